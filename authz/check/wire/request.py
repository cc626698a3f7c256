"""From the bytes of a CheckRequest to `HttpRequest`.

Law: this module decides nothing and decodes only what is read. What Envoy sets (plane, destination, base path)
and what the caller sends (headers) are kept apart. Source: `envoy.service.auth.v3`, see `protos/`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.core.edge import (
    EXT_AUDIENCE,
    EXT_AUTHORIZATION,
    EXT_BASE,
    EXT_DAGS,
    EXT_DESTINATION,
    EXT_HOST,
    EXT_MARKER,
    EXT_PLANE,
    EXT_SIGNOUT,
    HOST_ONLY,
    KEEP,
    NARROWED,
    READ_HEADERS,
    READ_ON_EGRESS,
)
from authz.core.errors import RequestError
from authz.core.model import HttpRequest, Plane
from authz.core.reasons import Reason
from authz.core.request.path import CONNECT

# What `signout` may be: a path of plain segments. It goes into a Location and into a cookie.
_SIGNOUT: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+){1,16}", re.ASCII)
_EGRESS: Final = Plane.EGRESS.value

_KEY: Final = 0x0A  # how an entry of a header map begins: the tag of the name; its length follows
_ONE_BYTE: Final = range(0x80)  # lengths that take one byte
_OTHERS: Final = frozenset(_ONE_BYTE) - {len(name) for name in READ_HEADERS}
_OTHERS_ON_EGRESS: Final = frozenset(_ONE_BYTE) - {len(name) for name in READ_ON_EGRESS}


def parse(message: bytes) -> HttpRequest:
    """Read a serialised CheckRequest.

    With `encode_raw_headers` the headers are in `header_map`, one entry per line; without it Envoy joins repeated ones.

    Raises:
        RequestError: BAD_REQUEST, when the bytes are not a CheckRequest or lack an HTTP request.
    """
    try:
        attributes = pb.CheckRequest.FromString(message).attributes
        http = attributes.request.http
        extension = attributes.context_extensions.get
        plane = extension(EXT_PLANE, "")
        if plane == _EGRESS:
            return _outbound(attributes)
        authorization, cookies, browser, traceparent = _headers(http)
    except DecodeError:
        raise RequestError(Reason.BAD_REQUEST, "the message is not a CheckRequest") from None
    method, target = http.method, http.path
    if not method or not target:
        raise RequestError(Reason.BAD_REQUEST, "the CheckRequest carries no HTTP request")
    signout = extension(EXT_SIGNOUT, "")
    if signout:
        signout = _path(signout)
    audience = extension(EXT_AUDIENCE, "")
    return HttpRequest(
        plane,
        audience,
        method,
        http.host,
        target,
        authorization,
        cookies,
        browser,
        traceparent,
        attributes.source.address.socket_address.address,
        extension(EXT_BASE, ""),
        signout,
        signout != "" and _is_secure(extension(EXT_MARKER, ""), http.scheme),
        # Only an assertion can say which DAGs are meant, and without an audience there is none.
        audience != "" and extension(EXT_DAGS, "") == NARROWED,
    )


def _outbound(attributes: pb.AttributeContext) -> HttpRequest:
    """A task's call. A tunnel has no path (RFC 9110 §9.3.6); only its target may be empty."""
    http, extension = attributes.request.http, attributes.context_extensions.get
    lines: dict[str, list[bytes]] = {name: [] for name in READ_ON_EGRESS}
    for entry in _entries(http, _OTHERS_ON_EGRESS):
        header = pb.HeaderValue.FromString(entry)
        found = lines.get(header.key.lower())
        if found is not None:
            found.append(header.raw_value or header.value.encode())
    if not http.method or not (http.path or http.method == CONNECT):
        raise RequestError(Reason.BAD_REQUEST, "the CheckRequest carries no HTTP request")
    traceparent = lines["traceparent"]
    return HttpRequest(
        plane=_EGRESS,
        audience=extension(EXT_AUDIENCE, ""),
        method=http.method,
        authority=http.host,
        target=http.path,
        authorization=tuple(lines["authorization"]),
        cookies=tuple(lines["cookie"]),
        traceparent=traceparent[-1].decode("latin-1") if traceparent else "",
        source=attributes.source.address.socket_address.address,
        base=extension(EXT_BASE, ""),
        destination=extension(EXT_DESTINATION, ""),
        host=extension(EXT_HOST, ""),
        run_identity=tuple(lines["x-run-identity"]),
        run_proof=tuple(lines["x-run-proof"]),
        proxy_authorization=tuple(lines["proxy-authorization"]),
        keeps_authorization=extension(EXT_AUTHORIZATION, "") == KEEP,
    )


@lru_cache(maxsize=64)
def _path(text: str) -> str:
    """The path, or "" if it is not one: an untrusted sign-out path counts as none."""
    return text if _SIGNOUT.fullmatch(text) else ""


def _is_secure(marker: str, scheme: str) -> bool:
    """Whether the browser uses TLS: Envoy says which marker it expects, and knows of a load balancer before it."""
    return marker.startswith(HOST_ONLY) if marker else scheme == "https"


def _headers(http: pb.AttributeContext.HttpRequest) -> tuple[tuple[bytes, ...], tuple[bytes, ...], bool, str]:
    """The Authorization lines, the Cookie lines, whether HTML is accepted, and traceparent; all else is ignored."""
    authorization: list[bytes] = []
    cookies: list[bytes] = []
    browser, traceparent = False, ""
    for entry in _entries(http, _OTHERS):
        header = pb.HeaderValue.FromString(entry)
        key, value = header.key.lower(), header.raw_value or header.value.encode()
        if key == "authorization":
            authorization.append(value)
        elif key == "accept":
            browser = browser or b"text/html" in value
        elif key == "cookie":
            cookies.append(value)
        elif key == "traceparent":
            traceparent = value.decode("latin-1")
    return tuple(authorization), tuple(cookies), browser, traceparent


def _entries(http: pb.AttributeContext.HttpRequest, others: frozenset[int]) -> list[bytes]:
    """The entries of the header map, without most of those whose name is of a length in `others`.

    A third of the cost of reading a message is here: most entries are left out by their first two bytes alone.
    """
    entries = http.header_map.headers[:] or _as_entries(http.headers)
    try:
        return [entry for entry in entries if entry[1] not in others or entry[0] != _KEY]
    except IndexError:  # one of no name and no value
        return entries


def _as_entries(headers: Mapping[str, str]) -> list[bytes]:
    """The plain map of headers as header map entries."""
    return [pb.HeaderValue(key=key, value=text).SerializeToString() for key, text in headers.items()]
