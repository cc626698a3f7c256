"""The parts of a URL that matter for identities: the origin (RFC 6454 §4) and the URL of a proof (RFC 9449 §4.2).

Law: URLs come from HTTP libraries, in the form in which they will be sent. They are split, not decoded; a URL
that does not look like `scheme://authority` has no origin, and nothing is sent there.
"""

import re

from authz.airflow.egress.errors import ForeignOriginError

_PORTS = {"http": "80", "https": "443"}
_port = re.compile("[0-9]{1,5}").fullmatch


def origin(url: str) -> str:
    """`scheme://host:port`, in lower case and with the port that the scheme implies."""
    scheme, authority, _path = _cut(url)
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:  # no port, or the colons of an IPv6 address
        host, port = authority, ""
    host = host.lower().removesuffix(".")
    port = port or _PORTS[scheme]
    if not host or host.startswith("[") != host.endswith("]") or not _port(port):
        raise ForeignOriginError(f"no host and port can be read from {url.partition('?')[0]!r}")
    return f"{scheme}://{host}:{int(port)}"


def origins_of(urls: tuple[str, ...], whose: str) -> frozenset[str]:
    """The origins of the base URLs that an identity is for.

    Raises:
        TypeError: there is no URL; `whose` names what needs one.
        ForeignOriginError: one of them has no origin.
    """
    if not urls:
        raise TypeError(f"{whose} needs the destination's base URL at the gate")
    return frozenset(map(origin, urls))


def host_name(url: str) -> str:
    """The host alone, as `NO_PROXY` wants it (an IPv6 address without its brackets); or ""."""
    try:
        host = origin(url).partition("://")[2].rpartition(":")[0]
    except ForeignOriginError:
        return ""
    return host.removeprefix("[").removesuffix("]")


def proof_url(url: str) -> str:
    """The URL as the caller addresses it, without userinfo, query and fragment: the claim `htu`."""
    scheme, authority, path = _cut(url)
    return f"{scheme}://{authority}{path or '/'}"


def _cut(url: str) -> tuple[str, str, str]:
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in _PORTS:
        raise ForeignOriginError("only calls to http:// and https:// URLs carry an identity")
    for end in "?#":
        rest = rest.partition(end)[0]
    authority, slash, path = rest.partition("/")
    return scheme, authority.rpartition("@")[2], slash + path
