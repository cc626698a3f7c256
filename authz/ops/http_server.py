"""A small HTTP server for a few pages, for which a web framework would be too much.

Law: a client cannot hang it. A connection serves one request, has one deadline for all of it, and at most `connections`
are open at a time (the next is closed at once); a body has a length, and that is bounded. Pages that may take long, or
have a body, get half of the connections, so that the others are always answered. `http.server` reads HTTP.

Why not waitress 3.0.2, which starts faster and smaller (43 ms, 4 MB against 120 ms, 10 MB): it only cuts idle
connections. When 32 clients sent a byte a second each, it answered no one for as long as they did; this server answered
after 5 seconds.
"""

import contextlib
import logging
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from authz.system.listening import clear_the_way
from authz.system.threads import Background

log = logging.getLogger(__name__)

_DEADLINE_S: Final = 5.0
_PAUSE_S: Final = 0.05
_SHARE: Final = 2  # of the connections, one in so many may be for slow pages
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = (("Cache-Control", "no-store"),)


_BUSY: Final = Page(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "application/json",
    b'{"error": "unavailable", "message": "too many requests at once", "hint": "try again in a second"}\n',
    (("Cache-Control", "no-store"), ("Retry-After", "1")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request. `body` is None if it is not read: no length, or too large.

    `peer` is the address of the connection's other end; over a Unix socket the last one of `x-forwarded-for`: its
    permissions say who may connect. `forwarded` is the last address of `x-forwarded-for`, over a Unix socket the one
    before; "" if there is none. It is as trustworthy as the peer. `authorization` has the lines of this header.
    """

    method: str
    target: str
    accept: str
    content_type: str
    body: bytes | None = field(repr=False)
    peer: str = ""
    forwarded: str = ""
    authorization: tuple[str, ...] = field(default=(), repr=False)


class SmallServer:
    """Serves one address.

    Args:
        listen: `host:port`, `[v6]:port` or `unix:/path`; port 0 picks a free one.
        answer: the page for a request; must not raise.
        connections: how many may be open at a time.
        deadline_s: seconds for one connection, from its first byte to the end of its answer.
        most_body: bytes of a body that is read.
        is_slow: whether the page of a target may take long. Such pages have half of the connections; the next request
            is answered 503 before its body is read. If there are any, no body is read for the others.
        name: of its thread.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self,
        listen: str,
        answer: Callable[[Asked], Page],
        *,
        connections: int = 32,
        deadline_s: float = _DEADLINE_S,
        most_body: int = 0,
        is_slow: Callable[[str], bool] | None = None,
        name: str = "admin",
    ) -> None:
        family, address = _family_and_address(listen)
        clear_the_way(listen)
        try:
            self._server = _Server(family, address, answer, connections=connections, deadline_s=deadline_s)
        except OSError as error:
            raise OSError(f"cannot listen on {listen}: {error.strerror or error}") from None
        self._server.most_body = most_body
        self._server.is_slow = is_slow
        self._thread = Background(self._server.serve_forever, args=(0.1,), name=name)

    @property
    def port(self) -> int:
        """The TCP port that is listened on (0 for a Unix socket)."""
        name = self._server.socket.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop; open connections finish by themselves within their deadlines."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(timeout)
        self._server.server_close()


def _family_and_address(listen: str) -> tuple[socket.AddressFamily, Any]:
    """What `socket` needs."""
    if listen.startswith("unix:"):
        return socket.AF_UNIX, listen.removeprefix("unix:")
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """One thread per connection, up to a limit."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        family: socket.AddressFamily,
        address: Any,
        answer: Callable[[Asked], Page],
        *,
        connections: int,
        deadline_s: float,
    ) -> None:
        self.address_family = family
        self.answer = answer
        self.deadline_s = deadline_s
        self.most_body = 0
        self.is_slow: Callable[[str], bool] | None = None
        self.slow_free = threading.BoundedSemaphore(max(1, connections // _SHARE))
        self._free = threading.BoundedSemaphore(connections)
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError:  # no descriptors left: the listener stays readable, and asking on would take a whole CPU
            time.sleep(_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started, so none gives the place back
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 the base class's signature
        error = sys.exception()
        # A client that goes away is no news; anything else is a bug. Its text could quote the request.
        log.log(logging.DEBUG if isinstance(error, OSError) else logging.ERROR, "a connection broke: %s", _place(error))


def _place(error: BaseException | None) -> str:
    frames = traceback.extract_tb(error.__traceback__) if error is not None else ()
    return type(error).__name__ + "".join(f" at {frame.name}:{frame.lineno}" for frame in frames[-1:])


class _Handler(BaseHTTPRequestHandler):
    """One connection: one request, one answer. The library reads HTTP; our pages and the deadline are here."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "authz"
    sys_version = ""
    error_message_format = "%(code)d %(message)s\n"
    error_content_type = _TEXT

    def setup(self) -> None:
        super().setup()
        # The library's own timeout restarts with each read; a client that trickles bytes would hold a thread for hours.
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
        is_slow = self.server.is_slow
        if is_slow is None:
            self._send(self.server.answer(self._asked(self._body())))
        elif not is_slow(self.path):
            self._send(self.server.answer(self._asked(None)))
        elif self.server.slow_free.acquire(blocking=False):
            try:
                self._send(self.server.answer(self._asked(self._body())))
            finally:
                self.server.slow_free.release()
        else:
            self._send(_BUSY)

    def _asked(self, body: bytes | None) -> Asked:
        named = ", ".join(self.headers.get_all("X-Forwarded-For", []))
        if isinstance(self.client_address, tuple):
            peer = str(self.client_address[0])
        else:
            named, _, peer = named.rpartition(",")
        forwarded = named.rpartition(",")[2]
        return Asked(
            method=self.command,
            target=self.path,
            accept=", ".join(self.headers.get_all("Accept", [])),
            content_type=", ".join(self.headers.get_all("Content-Type", [])),
            body=body,
            peer=peer.strip(),
            forwarded=forwarded.strip(),
            authorization=tuple(self.headers.get_all("Authorization", [])),
        )

    def _send(self, page: Page) -> None:
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

    def _body(self) -> bytes | None:
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdecimal()) or len(lengths[0]) > 9:  # noqa: PLR2004 digits
            return None
        length = int(lengths[0])
        if "Transfer-Encoding" in self.headers or not 0 < length <= self.server.most_body:
            return None
        body = self.rfile.read(length)
        return body if len(body) == length else None

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
        """No access log: scrapes would fill it."""
