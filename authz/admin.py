"""The operator's port: `/metrics`, `/healthz`, `/readyz`, `/jwks.json`.

Law: read-only, no credentials, nothing about any one caller; it listens on loopback unless the settings say otherwise.
No client can hang it: a request head has a size and a deadline for all of it, an answer has a deadline, a connection
serves one request, and at most `connections` are open at a time (the next is closed at once).
"""

import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from authz.metrics import Metrics

log = logging.getLogger(__name__)

_DEADLINE_S: Final = 5.0
_HEAD_BYTES: Final = 8192
_DRAIN_BYTES: Final = 65536
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the service can answer checks, why not, and what else an operator wants to see at a glance."""

    ready: bool
    reasons: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the port."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Cache-Control", "no-store"),)


class Routes:
    """What the port shows: a request's method, path and `Accept` in, a page out. No sockets."""

    def __init__(
        self, *, metrics: Metrics, readiness: Callable[[], Readiness], jwks: Callable[[], Mapping[str, object]]
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._jwks = jwks
        self._routes: Mapping[str, Callable[[str], Page]] = {
            "/metrics": self._show_metrics,
            "/healthz": lambda _accept: Page(HTTPStatus.OK, _TEXT, b"ok\n"),
            "/readyz": lambda _accept: self._show_readiness(),
            "/jwks.json": lambda _accept: self._show_jwks(),
        }

    def answer(self, method: str, target: str, accept: str) -> Page:
        """The page for a request; an error inside is a 500 without details."""
        show = self._routes.get(target.partition("?")[0])
        if show is None:
            return Page(HTTPStatus.NOT_FOUND, _TEXT, b"not found\n")
        if method not in {"GET", "HEAD"}:
            return Page(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"only GET and HEAD\n", (("Allow", "GET, HEAD"),))
        try:
            return show(accept)
        except Exception:
            # The port's door: a bug in one page must not end the thread without an answer.
            log.exception("showing %s", target.partition("?")[0])
            return Page(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, b"internal error\n")

    def _show_metrics(self, accept: str) -> Page:
        body, content_type = self._metrics.exposition(accept)
        return Page(HTTPStatus.OK, content_type, body)

    def _show_readiness(self) -> Page:
        state = self._readiness()
        shown = {"ready": state.ready, "reasons": list(state.reasons), **state.details}
        status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Page(status, _JSON, _json(shown))

    def _show_jwks(self) -> Page:
        return Page(HTTPStatus.OK, _JSON, _json(self._jwks()), (("Cache-Control", "public, max-age=60"),))


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=2, default=str) + "\n").encode()


class AdminServer:
    """Serves the operator's port on one address.

    Args:
        listen: `host:port`, `[v6]:port` or `unix:/path`; port 0 takes a free one.
        metrics: shown on `/metrics`.
        readiness: asked for every `/readyz`.
        jwks: asked for every `/jwks.json`.
        connections: how many may be open at a time.
        deadline_s: seconds for a request to arrive, and again for its answer to leave.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        listen: str,
        metrics: Metrics,
        readiness: Callable[[], Readiness],
        jwks: Callable[[], Mapping[str, object]],
        *,
        connections: int = 32,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        routes = Routes(metrics=metrics, readiness=readiness, jwks=jwks)
        family, address = _family_and_address(listen)
        self._server = _Server(family, address, routes, connections, deadline_s)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="admin", daemon=True)

    @property
    def port(self) -> int:
        """The TCP port that is listened on (0 for a Unix socket)."""
        name = self._server.socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End; connections that are open finish by themselves within their deadlines."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout)
        self._server.server_close()


def _family_and_address(listen: str) -> tuple[socket.AddressFamily, Any]:
    """What `socket` needs; a socket file that an earlier process left behind is removed."""
    if listen.startswith("unix:"):
        path = Path(listen.removeprefix("unix:"))
        if path.is_socket():
            path.unlink()
        return socket.AF_UNIX, str(path)
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread per connection, so many and no more."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, family: socket.AddressFamily, address: Any, routes: Routes, connections: int, deadline_s: float
    ) -> None:
        self.address_family = family
        self.routes = routes
        self.deadline_s = deadline_s
        self._free = threading.BoundedSemaphore(connections)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 the base class's signature
        log.debug("a connection to the admin port broke: %s", type(sys.exception()).__name__)


class _Handler(socketserver.BaseRequestHandler):
    """One connection: a request head, an answer, the end."""

    server: _Server

    def handle(self) -> None:
        head = self._head()
        if head is None:
            return
        method, target, accept = head
        page = self.server.routes.answer(method, target, accept)
        lines = [
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Connection: close",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in page.headers),
        ]
        answer = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.request.settimeout(self.server.deadline_s)  # `sendall` counts it for all of the answer
        self.request.sendall(answer if method == "HEAD" else answer + page.body)
        self._drain()

    def _head(self) -> tuple[str, str, str] | None:
        """Method, target and `Accept` of the request; None when no whole request head comes in time and size."""
        end = time.monotonic() + self.server.deadline_s
        data = b""
        while b"\r\n\r\n" not in data:
            left = end - time.monotonic()
            if left <= 0 or len(data) > _HEAD_BYTES:
                return None
            self.request.settimeout(left)
            received = self.request.recv(4096)
            if not received:
                return None
            data += received
        request_line, *headers = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        method, _, rest = request_line.partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            return None
        pairs = (header.partition(":") for header in headers)
        accept = ", ".join(value.strip() for name, _, value in pairs if name.lower() == "accept")
        return method, target, accept

    def _drain(self) -> None:
        """Read a little of what the client still sends, so that closing does not reset the answer away."""
        self.request.shutdown(socket.SHUT_WR)
        self.request.settimeout(min(1.0, self.server.deadline_s))
        end = time.monotonic() + self.server.deadline_s
        drained = 0
        while drained < _DRAIN_BYTES and time.monotonic() < end:
            received = self.request.recv(4096)
            if not received:
                return
            drained += len(received)
