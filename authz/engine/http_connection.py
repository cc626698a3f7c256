"""One connection of a front: bytes in, checks answered in their order, bytes out.

Law: what is no HTTP/1.1 request is refused, and the connection ends: a request that two parsers read differently is not
answered. A check has no body; only the targets of `Api` take one, of a known length. Answers have the order of the
requests. No other protocol is spoken: `Upgrade` only makes a request the last one. What one connection may hold and how
long it may be silent is bounded; nothing here waits.
The parser is Node's (llhttp, by httptools): uvicorn and aiohttp hand out a target that was split and decoded, and the
target has to be evaluated byte by byte. A server around them would also cost twice the check (docs/performance.md).
"""

from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import httptools

from authz.core.http_answer import HttpAnswer
from authz.engine.front_connection import FrontConnection, Shared

HEALTH: Final = b"/healthz"
_MOST_QUEUED: Final = 64
_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_NOTHING: Final = (b"", b"0")
_VERSIONS: Final = frozenset({"1.0", "1.1"})
_BESIDE: Final = 4  # bytes of a line that are neither name nor value
_DIGITS: Final = 9  # of a length
_LAST: Final = "connection: close\r\n"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpConnection(FrontConnection):
    """See the module's docstring."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._headers = b"", list[tuple[bytes, bytes]]()
        self._body: bytearray | None = None
        self._most = shared.most_head  # bytes of this request, with a body that it may have
        self._size = self._head = 0  # of its parts that are complete, and of all that has come
        self._over = False  # the last request has come (RFC 9112 §9.6): nothing behind it is one
        self._queue: deque[tuple[Callable[[], None], bool]] = deque()

    def connection_lost(self, error: Exception | None) -> None:
        """See `FrontConnection`."""
        self._queue.clear()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and answer what is complete."""
        if self._over:
            return
        self._head += len(data)
        if not self._started:
            self._started = self._loop.time()
        try:
            if self._body is not None and self._parser.should_upgrade():
                self._take(data)
            else:
                self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._take(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            if not self._over:
                self._refuse(HTTPStatus.BAD_REQUEST)
        if self._head > self._most:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def resume_writing(self) -> None:
        """It reads again."""
        if len(self._queue) <= _MOST_QUEUED:
            super().resume_writing()

    @property
    def is_busy(self) -> bool:
        """Whether a check of it waits."""
        return super().is_busy or bool(self._queue)

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

    def on_body(self, part: bytes) -> None:
        """A part of its body."""
        if self._body is None:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif not self._refused:
            self._body += part

    def on_headers_complete(self) -> None:
        """Refuse a body before it comes: a front that sends its length and not the body would wait for ever."""
        if self._parser.get_http_version() not in _VERSIONS:
            self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        for name, value in self._headers:
            if name == b"transfer-encoding" or (name == b"content-length" and value not in _NOTHING):
                self._expect_body(name, value)
        if self._body is not None and not self._refused:
            self._ask_for_body()

    def on_message_complete(self) -> None:
        """Answer it, unless it upgrades: then the parser takes its body for bytes of the other protocol."""
        if self._body is None or not self._parser.should_upgrade():
            self._complete()

    # Ours.

    def _take(self, data: bytes) -> None:
        """Take a part of the body that the parser leaves."""
        if self._body is None or self._refused:
            return
        missing = self._most - self._shared.most_head - len(self._body)
        self._body += data[:missing]
        if len(data) >= missing:
            self._complete()

    def _complete(self) -> None:
        """Answer, unless others are to be answered first."""
        method, target, headers = self._parser.get_method().decode("ascii"), self._target, self._headers
        lasts = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        self._head, self._started, self._silent_since = 0, 0.0, self._loop.time()
        if self._refused:
            return
        self._over = not lasts
        body = self._body
        if body is not None:
            self._body, self._most = None, self._shared.most_head

        def ask() -> None:
            self._ask(method, target, headers, body, lasts=lasts)

        if self._waits is None and not self._queue:
            ask()
            return
        self._queue.append((ask, lasts))
        if len(self._queue) > _MOST_QUEUED or body is not None:
            self._transport.pause_reading()

    def _expect_body(self, name: bytes, value: bytes) -> None:
        """Refuse it, unless the target takes one of this length."""
        api = self._shared.api
        if api is None or not api.takes_body(self._target):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif name != b"content-length" or not value.isdigit():
            self._refuse(HTTPStatus.LENGTH_REQUIRED)
        elif len(value) > _DIGITS or int(value) > self._shared.most_head:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._body, self._most = bytearray(), self._shared.most_head + int(value)

    def _ask_for_body(self) -> None:
        """Say that it may come to a client that waits for that (RFC 9110 §10.1.1)."""
        waits = any(name == b"expect" and value.lower() == b"100-continue" for name, value in self._headers)
        if waits and self._parser.get_http_version() == "1.1" and not self.is_busy:  # answers keep their order
            self._transport.write(_CONTINUE)

    def _ask(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytearray | None, *, lasts: bool
    ) -> None:
        if target == HEALTH:
            ready = self._shared.health()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            self._send(HttpAnswer(status, {}, b""), method, lasts=lasts)
            return
        found = self._shared.routes.find(target)
        if found is None:
            self._ask_api(method, target, headers, bytes(body or b""), lasts=lasts)
            return
        route, asked = found
        message = route.message(method, asked, headers)
        if message is None:
            self._send(HttpAnswer(HTTPStatus.BAD_REQUEST, {}, b""), method, lasts=False)
            return
        self._check(message, lambda answer: self._send(self._made(route.answer, answer), method, lasts=lasts))

    def _ask_api(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes, *, lasts: bool
    ) -> None:
        api = self._shared.api
        conversation = api.converse(method, target, headers, body) if api is not None else None
        if conversation is None:
            self._send(HttpAnswer(HTTPStatus.NOT_FOUND, {}, b""), method, lasts=lasts)
        else:
            self._converse(conversation, lambda answer: self._send(answer, method, lasts=lasts))

    def _go_on(self) -> None:
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
        self._queue.clear()
        super()._close()
