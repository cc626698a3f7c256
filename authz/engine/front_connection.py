"""What the connections of all fronts have in common, whatever their protocol: one check at a time, and its limits.

Law: nothing here waits, and what a connection may hold and how long it may be silent is bounded. A check that fails is
no allow. A check whose front has hung up leaves what it waits for.
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from authz.core.http_answer import HttpAnswer
from authz.core.parked import Parked
from authz.engine.contract import Handler
from authz.engine.waiting_checks import WaitingChecks

log = logging.getLogger(__name__)

_In = TypeVar("_In")
_Out = TypeVar("_Out")
Conversation = Generator[bytes, bytes, HttpAnswer]
"""Yields messages of checks, is sent their answers, and returns the answer to the front."""

UNAVAILABLE: Final = HttpAnswer(HTTPStatus.SERVICE_UNAVAILABLE, {}, b"")
_NO_ANSWER: Final[bytes | Parked] = b""
_REQUEST_S: Final = 10.0  # from the first byte of a request to its last
_IDLE_S: Final = 75.0  # longer than fronts keep connections that they do not use: nginx 60


class Route(Protocol):
    """What a question is about; `authz.check.wire.over_http.Route`."""

    def message(self, method: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> bytes | None:
        """The CheckRequest; None if the request is none that can be evaluated."""
        ...

    def answer(self, response: bytes) -> HttpAnswer:
        """The answer to the front."""
        ...


class Routes(Protocol):
    """All that fronts may ask about over HTTP; `authz.check.wire.over_http.Routes`."""

    def find(self, target: bytes) -> tuple[Route, bytes] | None:
        """The route and the target that is asked about; None if it is no question."""
        ...


class Api(Protocol):
    """Questions with a body, at paths of their own; `authz.check.wire.over_authzen.AuthZen`."""

    def takes_body(self, target: bytes) -> bool:
        """Whether a request with this target may have one."""
        ...

    def converse(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Conversation | None:
        """The conversation about a request; None if there is nothing at this target."""
        ...


class Shared(NamedTuple):
    """What the connections of an engine share.

    `most_head` is the longest head of a request in bytes, and the longest body. `health` says whether the gate is
    ready, `ending` whether the engine stops. `connections` are those that are open, and `gone` is set when the last one
    has ended. `api` has the questions with a body, if there are any.
    """

    handler: Handler
    routes: Routes
    waiting: WaitingChecks
    most_head: int
    health: Callable[[], bool]
    ending: Callable[[], bool]
    connections: "set[FrontConnection]"
    gone: asyncio.Event
    api: Api | None


class FrontConnection(asyncio.Protocol, ABC):
    """See the module's docstring."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._started, self._silent_since = 0.0, self._loop.time()
        self._waits: asyncio.Task[Any] | None = None
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
        if self._waits is not None:
            self._waits.cancel()

    def pause_writing(self) -> None:
        """The front does not read: read no more of it."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        if not self._ended:
            self._transport.resume_reading()

    def end_if_idle(self) -> None:
        """The engine stops: close, unless a request is being answered."""
        if not self.is_busy and not self._started:
            self._close()

    @property
    def is_busy(self) -> bool:
        """Whether a check of it waits."""
        return self._waits is not None

    # For the protocols.

    def _check(self, message: bytes, said: Callable[[bytes], None]) -> None:
        """Ask the gate; `said` gets its answer, now or when it has come."""
        answer = _done("a check", self._shared.handler.check, message, _NO_ANSWER)
        if isinstance(answer, Parked):
            self._await(self._shared.waiting.answer(answer, float("inf")), said, b"")
        else:
            said(answer)

    def _made(self, make: Callable[[bytes], HttpAnswer], answer: bytes) -> HttpAnswer:
        """The answer to the front."""
        return _done("an answer", make, answer, UNAVAILABLE)

    def _converse(self, conversation: Conversation, said: Callable[[HttpAnswer], None]) -> None:
        """Have a conversation; `said` gets its end."""
        self._await(self._conversed(conversation), said, UNAVAILABLE)

    def _go_on(self) -> None:
        """A check that waited was answered."""

    @abstractmethod
    def _refuse(self, status: HTTPStatus) -> None:
        """Answer that this is no question, and end."""

    def _close(self) -> None:
        self._refused = True
        self._transport.close()

    # Ours.

    def _await(self, coming: Coroutine[Any, Any, _Out], said: Callable[[_Out], None], failed: _Out) -> None:
        self._waits = self._loop.create_task(coming)
        self._waits.add_done_callback(partial(self._came, said, failed))

    def _came(self, said: Callable[[_Out], None], failed: _Out, task: asyncio.Task[_Out]) -> None:
        if task.cancelled() or task is not self._waits:
            return
        self._waits = None
        said(_done("a check that waited", asyncio.Task.result, task, failed))
        self._go_on()

    async def _conversed(self, conversation: Conversation) -> HttpAnswer:
        """One check after the other. All together wait no longer than one may, and others are answered in between."""
        until = self._loop.time() + self._shared.waiting.longest
        step = _step(conversation, None)
        while not isinstance(step, HttpAnswer):
            answer = self._shared.handler.check(step)
            if isinstance(answer, Parked):
                answer = await self._shared.waiting.answer(answer, until - self._loop.time())
            await asyncio.sleep(0)
            step = _step(conversation, answer)
        return step

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


def _done(doing: str, do: Callable[[_In], _Out], argument: _In, failed: _Out) -> _Out:
    """The result; `failed` where our code has failed, which is never an allow."""
    try:
        return do(argument)
    except Exception as error:  # noqa: BLE001 service and codec never raise; if they did, the front gets no allow
        log.critical("internal error in %s: %s", doing, type(error).__name__)
        return failed


def _step(conversation: Conversation, answer: bytes | None) -> bytes | HttpAnswer:
    """The next message, or the end; `answer` is that to the last message, None before the first."""
    try:
        return next(conversation) if answer is None else conversation.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
