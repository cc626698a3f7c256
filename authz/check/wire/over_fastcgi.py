"""The FastCGI authorizer's codec: from a server's variables to a CheckRequest, and back to `Variable-…` headers.

Law: FastCGI 1.0 §6.3 and RFC 3875 §4.1. A request is `REQUEST_METHOD`, `REQUEST_URI` as it came, and `HTTP_…` of the
headers that are read. Names in upper case have lost the difference of `-` and `_`, so only those are read that no other
header can turn into: none of them has a hyphen. A variable that is there twice is no question. What a server joins of
several headers stays joined: the gate refuses a comma in credentials. Cookies are not read: a session is Envoy's, and
joined ones could not be distinguished.
"""

import re
from collections.abc import Sequence
from typing import Final

from authz.check.wire.over_http import Route
from authz.core import edge
from authz.core.http_answer import HttpAnswer

ADDRESS: Final = b"remote-addr"
"""What a `Route` calls `REMOTE_ADDR`, which no header is."""

_METHOD: Final = b"REQUEST_METHOD"
_TARGET: Final = b"REQUEST_URI"
_HEADERS: Final = {
    f"HTTP_{name.upper()}".encode(): name.encode() for name in ("host", *edge.READ_HEADERS) if name != "cookie"
}
_READ: Final = {**_HEADERS, b"REMOTE_ADDR": ADDRESS, _METHOD: b"", _TARGET: b""}
_NO_TARGET: Final = re.compile(rb"[\x00-\x20\x7f#]")  # RFC 9112 §3.2: lighttpd forwards a space, and no fragment
_OK: Final = 200
_VARIABLES: Final = {f"Variable-{name.upper()}": name for name in (*edge.IDENTITY_HEADERS, edge.DECISION)}


class ParamsRoute:
    """What the requests at one address are about.

    Args:
        route: as for HTTP; its plane is inbound. Its `client_address` is `ADDRESS` where the server is trusted.
    """

    def __init__(self, route: Route) -> None:
        self._route = route

    def message(self, params: Sequence[tuple[bytes, bytes]]) -> bytes | None:
        """The CheckRequest about a request; None if the variables are not those of exactly one."""
        found: dict[bytes, bytes] = {}
        for name, value in params:
            if name in _READ:
                if name in found:
                    return None
                found[name] = value
        method, target = found.pop(_METHOD, b""), found.pop(_TARGET, b"")
        if not (method.isascii() and target) or _NO_TARGET.search(target):
            return None
        headers = [(_READ[name], value) for name, value in found.items()]
        return self._route.message(method.decode("ascii"), target, headers)

    def answer(self, response: bytes) -> HttpAnswer:
        """The answer of a CheckResponse of ours: an allow has every variable, also those without a value."""
        said = self._route.answer(response)
        if said.status != _OK:
            return said
        return HttpAnswer(_OK, {name: said.headers.get(of, "") for name, of in _VARIABLES.items()}, b"")
