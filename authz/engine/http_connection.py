"""One connection of a front: bytes in, checks answered in their order, bytes out.

Law: what is no HTTP/1.1 request without a body is refused, and the connection ends: a request that two parsers read
differently is not answered. Answers have the order of the requests. What one connection may hold and how long it may
be silent is bounded; nothing here waits.
The parser is Node's (llhttp, by httptools): uvicorn and aiohttp hand out a target that was split and decoded, and the
target has to be evaluated byte by byte. A server around them would also cost twice the check (docs/performance.md).
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

import httptools

from authz.core.http_answer import HttpAnswer
from authz.core.parked import Parked
from authz.engine.contract import Handler
from authz.engine.waiting_checks import WaitingChecks

log = logging.getLogger(__name__)

HEALTH: Final = b"/healthz"
_MOST_QUEUED: Final = 64
_REQUEST_S: Final = 10.0  # from the first byte of a request to its last
_IDLE_S: Final = 75.0  # longer than fronts keep connections that they do not use: nginx 60
_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_NOTHING: Final = (b"", b"0")
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_BESIDE: Final = 4  # bytes of a line that are neither name nor value
_LAST: Final = "connection: close\r\n"


class Route(Protocol):
    """What a question is about; `authz.check.wire.over_http.Route`."""

    def message(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """The CheckRequest; None if the request is none that can be evaluated."""
        ...

    def answer(self, response: bytes) -> HttpAnswer:
        """The answer to the front."""
        ...


class Routes(Protocol):
    """All that fronts may ask about; `authz.check.wire.over_http.Routes`."""

    def find(self, target: bytes) -> tuple[Route, bytes] | None:
        """The route and the target that is asked about; None if it is no question."""
        ...


class Shared(NamedTuple):
    """What the connections of an engine share.

    `most_head` is the longest head of a request in bytes. `health` says whether the gate is ready, `ending` whether the
    engine stops. `connections` are those that are open, and `gone` is set when the last one has ended.
    """

    handler: Handler
    routes: Routes
    waiting: WaitingChecks
    most_head: int
    health: Callable[[], bool]
    ending: Callable[[], bool]
    connections: "set[HttpConnection]"
    gone: asyncio.Event


class HttpConnection(asyncio.Protocol):
    """See the module's docstring."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._target, self._headers = b"", list[tuple[bytes, bytes]]()
        self._size = self._head = 0  # of its parts that are complete, and of all that has come
        self._started, self._silent_since = 0.0, self._loop.time()
        self._waits: asyncio.Task[None] | None = None
        self._queue: deque[tuple[Callable[[], None], bool]] = deque()
        self._refused = self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a connection of a stream is needed")
        self._transport = transport
        self._shared.connections.add(self)
        self._timer = self._loop.call_later(_REQUEST_S, self._look)

    def connection_lost(self, _error: Exception | None) -> None:
        """Leave what a check waits for: the front has hung up."""
        self._ended = True
        self._timer.cancel()
        self._shared.connections.discard(self)
        if not self._shared.connections:
            self._shared.gone.set()
        self._queue.clear()
        if self._waits is not None:
            self._waits.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and answer what is complete."""
        self._head += len(data)
        if not self._started:
            self._started = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(HTTPStatus.BAD_REQUEST)
        if self._head > self._shared.most_head:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def pause_writing(self) -> None:
        """The front does not read: read no more of it."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if len(self._queue) <= _MOST_QUEUED and not self._ended:
            self._transport.resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._target, self._headers, self._size = b"", [], 0

    def on_url(self, part: bytes) -> None:
        """A part of its target."""
        self._target += part
        self._size += len(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._headers.append((name.lower(), value))
        self._size += len(name) + len(value) + _BESIDE
        if self._size > self._shared.most_head:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_body(self, _part: bytes) -> None:
        """It has a body, which no question has."""
        self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """Refuse a body before it comes: a front that sends its length and not the body would wait for ever."""
        if self._parser.get_http_version() not in _VERSIONS:
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        for name, value in self._headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value not in _NOTHING):
                self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        """Answer, unless others are to be answered first."""
        method, target, headers = self._parser.get_method().decode("ascii"), self._target, self._headers
        lasts = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._head, self._started, self._silent_since = 0, 0.0, self._loop.time()
        if self._refused:
            return

        def ask() -> None:
            self._ask(method, target, headers, lasts=lasts)

        if self._waits is None and not self._queue:
            ask()
            return
        self._queue.append((ask, lasts))
        if len(self._queue) > _MOST_QUEUED:
            self._transport.pause_reading()

    # Ours.

    def _ask(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], *, lasts: bool) -> None:
        if target == HEALTH:
            ready = self._shared.health()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(HttpAnswer(status, {}, b""), method, lasts=lasts)
            return
        found = self._shared.routes.find(target)
        if found is None:
            self._send(HttpAnswer(HTTPStatus.NOT_FOUND, {}, b""), method, lasts=lasts)
            return
        route, asked = found
        message = route.message(method, asked, headers)
        if message is None:
            self._send(HttpAnswer(HTTPStatus.BAD_REQUEST, {}, b""), method, lasts=False)
            return
        answer = self._checked(message)
        if isinstance(answer, Parked):
            self._waits = self._loop.create_task(self._wait(answer, route, method, lasts=lasts))
        else:
            self._send(self._said(route, answer), method, lasts=lasts)

    def _checked(self, message: bytes) -> bytes | Parked:
        try:
            return self._shared.handler.check(message)
        except Exception as error:  # noqa: BLE001 the service never raises; if it did, the front gets no allow
            log.critical("internal error in a check: %s", type(error).__name__)
            return b""

    def _said(self, route: Route, answer: bytes) -> HttpAnswer:
        try:
            return route.answer(answer)
        except Exception as error:  # noqa: BLE001 see above
            log.critical("internal error in an answer: %s", type(error).__name__)
            return HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, {}, b"")

    async def _wait(self, parked: Parked, route: Route, method: str, *, lasts: bool) -> None:
        try:
            answer = await self._shared.waiting.answer(parked, float("inf"))
        except Exception as error:  # noqa: BLE001 see above
            log.critical("internal error in a check that waited: %s", type(error).__name__)
            answer = b""
        self._waits = None
        self._send(self._said(route, answer), method, lasts=lasts)
        while self._queue and self._waits is None and not self._refused:
            ask, _ = self._queue.popleft()
            ask()
        if not self._ended and not self._refused:
            self._transport.resume_reading()

    def _send(self, answer: HttpAnswer, method: str, *, lasts: bool) -> None:
        """Send an answer; without `lasts` it is the last one."""
        if self._ended:
            return
        lasts = lasts and not self._shared.ending()
        lines = [f"{name}: {value}\r\n" for name, value in answer.headers.items()]
        lines.append(f"content-length: {len(answer.body)}\r\n{'' if lasts else _LAST}\r\n")
        body = b"" if method == "HEAD" else answer.body
        self._transport.write(_LINES[answer.status] + "".join(lines).encode("latin-1") + body)
        self._silent_since = self._loop.time()
        if not lasts:
            self._close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer that this is no question, after what was asked before, and end."""
        if self._refused:
            return
        self._refused = True
        if self._waits is not None or self._queue:  # answers keep their order: those before would come too late
            self._transport.abort()
            return
        self._send(HttpAnswer(status, {}, b""), "GET", lasts=False)

    def _close(self) -> None:
        self._refused = True
        self._queue.clear()
        self._transport.close()

    def end_if_idle(self) -> None:
        """The engine stops: close, unless a request is being answered."""
        if self._waits is None and not self._queue and not self._started:
            self._close()

    @property
    def is_busy(self) -> bool:
        """Whether a check of it waits."""
        return self._waits is not None or bool(self._queue)

    def _look(self) -> None:
        """End a connection that is silent for too long, or whose request does not end."""
        now = self._loop.time()
        late = self._started and now - self._started >= _REQUEST_S
        idle = not self._started and not self.is_busy and now - self._silent_since >= _IDLE_S
        if late:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif idle:
            self._close()
        with contextlib.suppress(RuntimeError):
            self._timer = self._loop.call_later(_REQUEST_S / 2, self._look)
