"""The operator's port: `/metrics`, `/healthz`, `/readyz`, `/jwks.json`.

Law: read-only, no credentials, nothing about any one caller; it listens on loopback unless the settings say otherwise.
No client can hang it: a connection serves one request, has one deadline for all of it, and at most `connections` are
open at a time (the next is closed at once). `http.server` reads HTTP.
"""

import contextlib
import json
import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

_DEADLINE_S: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"


class Metrics(Protocol):
    """What `/metrics` shows."""

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The text for a scrape and its content type."""
        ...


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
        deadline_s: seconds for one connection, from its first byte to the end of its answer.

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
        try:
            self._server = _Server(family, address, routes, connections, deadline_s)
        except OSError as error:
            raise OSError(f"cannot listen on {listen}: {error.strerror or error}") from None
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


class _Handler(BaseHTTPRequestHandler):
    """One connection: one request, one answer, the end. The library reads HTTP; here are our pages and the clock."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "authz"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = _TEXT

    def setup(self) -> None:
        super().setup()
        # The library's own timeout counts each read anew; whoever trickles bytes would hold a thread for hours.
        self._guard = threading.Timer(self.server.deadline_s, self._cut)
        self._guard.daemon = True
        self._guard.start()

    def finish(self) -> None:
        self._guard.cancel()
        super().finish()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # the client was faster
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        accept = ", ".join(self.headers.get_all("Accept", []))
        page = self.server.routes.answer(self.command, self.path, accept)
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        for name, value in page.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """No access log: scrapes would fill it."""
