"""The HTTP check: from a front's question to the bytes of a CheckRequest, and from the CheckResponse to HTTP.

Law: the request line is the request: `METHOD /check/<name><target>`. Plane, audience, base path and destination come
from the settings, by the name. Of the headers only those of `authz.core.edge` are read, and the Host; what fronts add
about a request (`Forwarded`, `X-Forwarded-*`, `X-Original-*`) is not: five advisories within a year are about servers
that read it. An answer that is no allow of ours is a refusal. Every allow has every identity header, an empty one where
there is nothing to say, so that a front that copies them overwrites those of the caller.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.check.wire.headers import NEVER_FORWARDED
from authz.core import edge
from authz.core.http_answer import HttpAnswer
from authz.core.model import Plane
from authz.core.reasons import GrpcCode

PREFIX: Final = b"/check/"
_BY_METHOD: Final = b"@"  # no name begins with it
STATUS: Final = "x-authz-status"
"""With `statuses: simple`: the status that the caller should get."""
REMOVE: Final = "x-authz-remove"
"""Of an allow: the request's headers that the front must not pass on."""

_FIRST, _LAST = NEVER_FORWARDED[0], "cookie"  # of what `allowed` removes: the two that it may keep
# By whether the first and the last are removed: reading the list would cost a tenth of the check. The identity headers
# that it removes are not named: each is in every answer, set or empty.
_REMOVED: Final = {
    (first, last): ", ".join([*NEVER_FORWARDED[not first :], *[_LAST] * last])
    for first in (True, False)
    for last in (True, False)
}
_OK: Final = 200
_LEAST_REFUSAL: Final = 400  # a front may take any status below for an allow
_KNOWN_TO_ALL: Final = frozenset({401, 403})  # what every front passes on as a refusal
_FORBIDDEN: Final = 403
_ALLOWED: Final = {"cache-control": "no-store", **dict.fromkeys(edge.IDENTITY_HEADERS, "")}
_AUTHORITY: Final = b"host"


class Route:
    """What the settings say about one name in the path of a question.

    Args:
        extensions: as Envoy would say them, see `authz.core.edge`; empty ones are left out.
        simple: every refusal is 401 or 403.
        client_address: the header with the caller's address, in lower case; b"" for none.
    """

    def __init__(self, extensions: Mapping[str, str], *, simple: bool = False, client_address: bytes = b"") -> None:
        said = {name: value for name, value in extensions.items() if value}
        self._said = pb.CheckRequest(attributes=pb.AttributeContext(context_extensions=said)).SerializeToString()
        outward = extensions[edge.EXT_PLANE] == Plane.EGRESS
        self._read = frozenset(name.encode() for name in (edge.READ_ON_EGRESS if outward else edge.READ_HEADERS))
        self._simple, self._client_address = simple, client_address

    def message(self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """The CheckRequest about a request; None if it has not exactly one Host. Names of headers are in lower case."""
        asked = pb.CheckRequest()
        attributes = asked.attributes
        http = attributes.request.http
        http.method, http.path = method, target.decode("latin-1")
        lines, hosts, read = http.header_map.headers, 0, self._read
        for name, value in headers:
            if name == _AUTHORITY:
                http.host = value.decode("latin-1")
                hosts += 1
            elif name in read:
                lines.append(pb.HeaderValue(key=name.decode(), raw_value=value).SerializeToString())
            elif name == self._client_address:
                attributes.source.address.socket_address.address = _address(value)
        if hosts != 1:
            return None
        return self._said + asked.SerializeToString()  # fields of `attributes` are merged, none is in both

    def answer(self, response: bytes) -> HttpAnswer:
        """The answer to the front, of a CheckResponse of ours."""
        said = pb.CheckResponse.FromString(response)
        if is_allow(said):
            headers = _ALLOWED.copy()
            removed = said.ok_response.headers_to_remove
            headers[REMOVE] = _REMOVED[removed[0] == _FIRST, removed[-1] == _LAST]
            for option in said.ok_response.headers:
                headers[option.header.key] = option.header.value
            return HttpAnswer(_OK, headers, b"")
        denied = said.denied_response
        headers = {option.header.key: option.header.value for option in denied.headers}
        status = denied.status.code
        if not said.HasField("denied_response") or status < _LEAST_REFUSAL:
            return unavailable()
        if self._simple and status not in _KNOWN_TO_ALL:
            headers[STATUS] = str(status)
            status = _FORBIDDEN
        return HttpAnswer(status, headers, denied.body.encode())


class _OfMethod:
    """A route, asked with GET about a request of another method."""

    def __init__(self, route: Route, method: bytes) -> None:
        self._route, self._method = route, method.decode("latin-1")
        self.answer = route.answer

    def message(self, method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
        """As that of `Route`; None also for another question than a GET."""
        return self._route.message(self._method, target, headers) if method == "GET" else None


class Routes:
    """All names that fronts may ask about."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = {name.encode(): route for name, route in routes.items()}

    def find(self, target: bytes) -> tuple[Route | _OfMethod, bytes] | None:
        """The route of a question, and the target that is asked about; None if it is no question, or of no known name.

        The target is all behind the name, byte by byte, and begins with a slash: `/check/airflow2/x` is never about
        `airflow`. `/check/@POST/airflow/x` is about a POST: some fronts can ask with GET only.
        """
        if not target.startswith(PREFIX):
            return None
        start, method = len(PREFIX), b""
        if target.startswith(_BY_METHOD, start):
            method, slash, _ = target[start + 1 :].partition(b"/")
            start += 1 + len(method) + len(slash)
            if not method:
                return None
        end = target.find(b"/", start)
        if end < 0:
            return None
        route = self._routes.get(target[start:end])
        if route is None:
            return None
        return (_OfMethod(route, method) if method else route), target[end:]


def is_allow(said: pb.CheckResponse) -> bool:
    """Whether a CheckResponse of ours allows the request: not by what it leaves out."""
    return said.status.code == GrpcCode.OK and said.HasField("ok_response")


def _address(value: bytes) -> str:
    """An IP address in its usual form; "" if it is none. A zone (RFC 4007 §11) may be any text, so none has one."""
    try:
        return "" if b"%" in value else str(ipaddress.ip_address(value.decode("ascii")))
    except ValueError:
        return ""


def unavailable() -> HttpAnswer:
    """The answer where there is none of the service."""
    return HttpAnswer(503, {"content-type": "text/plain", "cache-control": "no-store"}, b"")
