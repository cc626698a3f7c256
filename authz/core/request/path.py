r"""The one canonicaliser: request target, host and method, so that each means the same to the gate and to Airflow.

Law: a request without a single canonical form is refused (400), never repaired. The query is cut at the first `?` and
is never evaluated. The path is percent-decoded exactly once, as strict UTF-8, and only then split on `/`: uvicorn and
Starlette do this before they route, so `%2F` acts as a slash and only a parameter that may hold slashes takes it. A
path is refused when it

* does not start with `/`, is longer than 8 KiB, or holds a raw `#`, space, control character or non-ASCII character
  (RFC 3986 §3.3);
* holds an escape that is not `%` and two hex digits, or escapes that are not UTF-8;
* decodes to a backslash, a control character or a line separator, or to something that still holds an escape;
* has, after decoding, an empty segment that is not the last one, or a dot segment, also one with a path parameter
  (`..;x`, which some servers strip);
* has, after decoding, a segment that begins or ends with a space: databases that pad text (MySQL's collations for ids,
  which Airflow uses) take `secret ` for `secret`, and Airflow never writes such a name.

A trailing slash stays, as a last empty segment. `;x` and a trailing dot are data. Canonicalising is
idempotent, and total: it returns a canonical path or raises `RequestError`. It never loops over characters or
segments in Python: anyone may send the longest path, with an escape in each segment, without a token.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from authz.core.errors import RequestError
from authz.core.reasons import Reason

MAX_PATH_BYTES = 8192
MAX_HOST_BYTES = 253

# What a base path may be: plain segments, so that it has one spelling only, and no slash at its end.
is_base = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]+)+").fullmatch

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CONNECT = "CONNECT"
"""The method that opens a tunnel (RFC 9110 §9.3.6). Only callers on egress may ask for one: see `tunnel`."""

# Characters that need no escape in a path: `pchar` of RFC 3986 §3.3 without escapes, and the slash.
_PLAIN = r"A-Za-z0-9\-._~!$&'()*+,;=:@/"
_plain_path = re.compile(rf"/[{_PLAIN}]*").fullmatch
_others = re.compile(rf"[^{_PLAIN}]+")
_bad_raw = re.compile(r"[^!-~]|[#\\]").search
_bad_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search
_escape = re.compile(r"%[0-9A-Fa-f]{2}").search
_bad_decoded = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\]").search
_dot_segment = re.compile(r"/\.\.?(?:;[^/]*)?(?:/|\Z)").search

_host_and_port = re.compile(
    r"(\[[0-9a-f:.]+\]|[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*)(?::([1-9][0-9]{0,4}))?"
).fullmatch
# WHATWG URL §3.5, "ends in a number": what resolvers and URL parsers read as an IPv4 address in some spelling.
_ends_in_a_number = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)").fullmatch
_MAX_PORT = 65535
_MAX_AUTHORITY_BYTES = MAX_HOST_BYTES + len(f":{_MAX_PORT}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalPath:
    """A path in canonical form; only `canonicalise` makes one.

    `segments` are decoded, without the leading slash: `/` is `("",)`, `/a/` is `("a", "")`. `path` is the same,
    re-encoded in one way. `encoded_slash`: a slash came as `%2F`. Equality ignores it, because Airflow routes both
    alike. Other destinations may not: egress refuses such a path.
    """

    path: str
    segments: tuple[str, ...]
    encoded_slash: bool = field(default=False, compare=False)


def canonicalise(target: str) -> CanonicalPath:
    """The canonical path of a request target. Raises RequestError(BAD_PATH)."""
    raw = target.partition("?")[0]
    # The common case, and provably the same: nothing to decode, no empty segment, no segment that starts with a dot.
    if _plain_path(raw) and "//" not in raw and "/." not in raw and len(raw) <= MAX_PATH_BYTES:
        return CanonicalPath(path=raw, segments=tuple(raw[1:].split("/")))
    return _canonicalise_any(raw)


def below(path: CanonicalPath, base: str) -> CanonicalPath | None:
    """The path as seen by the application that is served under `base`; None for a path that is not below it.

    The base itself, with or without a trailing slash, is `/`. Segments are compared, decoded and case-sensitive:
    Starlette cuts there too (`get_route_path`), but it also routes what is not below the base.
    """
    wanted = tuple(base[1:].split("/"))
    if path.segments[: len(wanted)] != wanted:
        return None
    return CanonicalPath(
        path=path.path[len(base) :] or "/",
        segments=path.segments[len(wanted) :] or ("",),
        encoded_slash=path.encoded_slash,
    )


def _canonicalise_any(raw: str) -> CanonicalPath:
    """Any path, without its query, strictly by the law."""
    if not raw.startswith("/"):
        raise _bad_path("the request target does not start with a slash")
    if len(raw) > MAX_PATH_BYTES:
        raise _bad_path("the path is too long")
    if _bad_raw(raw):
        raise _bad_path("the path holds a raw character that must be escaped")
    decoded = _decode_once(raw)
    if "//" in decoded:
        raise _bad_path("the path holds an empty segment")
    if _dot_segment(decoded):
        raise _bad_path("the path holds a dot segment")
    if "/ " in decoded or " /" in decoded or decoded.endswith(" "):
        raise _bad_path("a segment of the path begins or ends with a space")
    path = _others.sub(_escaped, decoded)
    if len(path) > MAX_PATH_BYTES:
        raise _bad_path("the path is too long")
    return CanonicalPath(path=path, segments=tuple(decoded[1:].split("/")), encoded_slash="%2f" in raw.lower())


def written(segments: tuple[str, ...]) -> str:
    """The canonical path of decoded segments."""
    return _others.sub(_escaped, "/" + "/".join(segments))


def _escaped(others: re.Match[str]) -> str:
    return "%" + others[0].encode().hex("%").upper()


def _decode_once(raw: str) -> str:
    if _bad_escape(raw):
        raise _bad_path("the path holds an invalid percent-escape")
    # Escapes as Python writes them, because its codec decodes them without a loop; a raw backslash was refused.
    octets = raw.replace("%", r"\x").encode("ascii").decode("unicode_escape").encode("latin-1")
    try:
        decoded = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad_path("the path's escapes are not UTF-8") from error
    if _bad_decoded(decoded):
        raise _bad_path("the path holds an escaped control character or backslash")
    if _escape(decoded):
        raise _bad_path("the path is escaped more than once")
    return decoded


@lru_cache(maxsize=1024)  # few hosts are routed here, and every check names one
def canonical_host(authority: str) -> tuple[str, int | None]:
    """The host in lower case, and the port if one was given (RFC 9110 §7.2). Raises RequestError(BAD_HOST).

    Only what Envoy's routing reads in the same way has a canonical form: a host that we took for another spelling of a
    name would be evaluated as that name and routed elsewhere. So a trailing dot is refused (Envoy drops one before it
    asks; a client with a dot left sent two), and so is an IPv6 literal in any spelling but the shortest. A host whose
    last label is a number is an IPv4 address (WHATWG URL §3.5), and has one spelling, four decimal numbers: what rules
    read as a name must not be an address to the connecting program (`2130706433`, `0x7f.1`, `127.1`, `0177.0.0.1`).
    """
    bounded = authority.isascii() and len(authority) <= _MAX_AUTHORITY_BYTES
    match = _host_and_port(authority.lower()) if bounded else None
    if match is None:
        raise _bad_host("not one host name with an optional port")
    host, port = match[1], int(match[2]) if match[2] else None
    if len(host) > MAX_HOST_BYTES:
        raise _bad_host("the host name is too long")
    if port is not None and port > _MAX_PORT:
        raise _bad_host("the port is out of range")
    if host.startswith("["):
        host = _ipv6_literal(host)
    elif _ends_in_a_number(host):
        _refuse_other_spellings(host)
    return host, port


def _ipv6_literal(host: str) -> str:
    try:
        shortest = f"[{IPv6Address(host[1:-1])}]"
    except AddressValueError as error:
        raise _bad_host("the brackets hold no IPv6 address") from error
    if host != shortest:
        raise _bad_host("the IPv6 address is not in its shortest spelling")
    return host


def _refuse_other_spellings(host: str) -> None:
    try:
        IPv4Address(host)
    except AddressValueError as error:
        raise _bad_host("the host ends in a number and is not an IPv4 address of four decimal numbers") from error


def tunnel(authority: str, target: str) -> tuple[str, int]:
    """Host and port that a CONNECT asks for (RFC 9110 §9.3.6); `target` is "" if Envoy passes no path.

    Raises:
        RequestError: BAD_HOST or BAD_PATH: there is no port, or the target differs from the Host.
    """
    host, port = canonical_host(authority)
    if port is None:
        raise _bad_host("a tunnel needs a port")
    if target and canonical_host(target) != (host, port):
        raise _bad_path("the tunnel's target differs from the Host")
    return host, port


def canonical_method(method: str) -> str:
    """The method, which is case-sensitive (RFC 9110 §9.1). Raises RequestError(BAD_METHOD)."""
    if method not in METHODS:
        raise RequestError(Reason.BAD_METHOD, "not a method that policies know")
    return method


def _bad_path(detail: str) -> RequestError:
    return RequestError(Reason.BAD_PATH, detail)


def _bad_host(detail: str) -> RequestError:
    return RequestError(Reason.BAD_HOST, detail)
