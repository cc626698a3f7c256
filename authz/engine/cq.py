"""The completion-queue engine: one thread, one queue, checks answered inline in one batch.

Law 1: this and `batches` are the only files that touch `grpc._cython.cygrpc`, which is private to grpcio.
Law 2: the loop's thread only ever waits for the queue. A check that needs a key is parked; others go on.
Law 3: bytes are passed through undecoded, and every accepted call gets exactly one answer: that of the service or, if
the service itself raises, a gRPC error.

Life of a call: `request_registered_call` arms the queue for one call of a method; its event carries the call. One
batch receives the message; one batch sends initial metadata, the answer and the status. Tags are callables that take
the event.
"""

import collections
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf.message import DecodeError
from grpc._cython import cygrpc

from authz._generated.grpc.health.v1 import health_pb2
from authz.core.parked import Parked
from authz.core.traceparent import traced
from authz.engine import batches
from authz.engine.binding import credentials
from authz.engine.contract import (
    CHECK,
    HEALTH_SERVICES,
    EngineOptions,
    Handler,
    Load,
    channel_arguments,
    traceparent_of,
)
from authz.engine.waiting import Waiting, WaitingRoom
from authz.system.listening import clear_the_way, why_not

log = logging.getLogger(__name__)

HEALTH_CHECK: Final = "/grpc.health.v1.Health/Check"
HEALTH_WATCH: Final = "/grpc.health.v1.Health/Watch"

_IDLE_S: Final = 0.1  # how soon a signal to stop is noticed when nothing else happens
_PARKED_S: Final = 0.002  # how soon a key that has come is noticed; key threads cannot wake a completion queue
_AT_ONCE: Final = 32  # waiting checks answered between two events: a key that thousands await delays no others
_MARGIN_S: Final = 0.05  # of a deadline, kept for the way back to Envoy
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@dataclass(slots=True)
class _Watcher:
    """One stream of `Health/Watch`: the last status sent, and whether a message is on its way."""

    call: Any
    service: str
    sent: int = -1
    sending: bool = False
    begun: bool = False
    ended: bool = False


class CqEngine:
    """One `cygrpc.CompletionQueue` behind the engine's contract.

    Where this thread reads the sockets (see `poller`), nothing queues up: the core reads more only when everything that
    it has read is answered. The excess stays in the sockets, where Envoy's circuit breaker and deadline limit it. Where
    gRPC's threads read, the core keeps up to some thousand calls and cancels the next. `max_parked` limits checks that
    wait for keys; the revoker limits those that wait for a revocation.
    """

    def __init__(self, handler: Handler, options: EngineOptions, *, load: Load) -> None:
        self._handler = handler
        self._options = options
        self._load = load
        self._serving = False
        self._stopping = False
        self._accepting = True
        self._down = False
        self._waiting = WaitingRoom()
        self._fetched: collections.deque[tuple[Waiting, int]] = collections.deque()  # and which of its turns has ended
        self._ready = False  # whether more of those that waited can be answered at once
        self._watchers: list[_Watcher] = []
        self._news = False
        self._queue: Any = None
        self._server: Any = None

    def run(self, started: Callable[[Sequence[str]], None]) -> None:
        """See `Engine.run`."""
        self._queue = cygrpc.CompletionQueue()
        self._server = cygrpc.Server(
            tuple((name.encode(), value) for name, value in channel_arguments(self._options)),
            False,
        )
        self._server.register_completion_queue(self._queue)
        bound = [self._bind(address) for address in self._options.listen]
        for method in (CHECK, HEALTH_CHECK, HEALTH_WATCH):
            self._server.register_method(method)
        self._server.start()
        on_check = self._on_traced_check if self._options.traced else self._on_check
        for _ in range(self._options.armed):
            self._arm(CHECK, on_check)
            self._arm(HEALTH_CHECK, self._on_health_check)
        self._arm(HEALTH_WATCH, self._on_health_watch)
        self._arm_unknown()
        started(bound)
        self._serve(lambda: self._stopping)
        self._drain()

    def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping = True

    def set_serving(self, *, serving: bool) -> None:
        """See `Engine.set_serving`."""
        self._serving = serving
        self._news = True

    def _bind(self, address: str) -> str:
        clear_the_way(address)
        arguments = (credentials(self._options.tls)._credentials,) if self._options.tls else ()  # noqa: SLF001 grpcio's own
        port = self._server.add_http2_port(address.encode(), *arguments)
        if not port:
            raise OSError(f"cannot listen on {address}{why_not(address)}")
        return address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    def _serve(self, until: Callable[[], bool]) -> None:
        """Handle events until the condition holds; it is checked after every event and every pause."""
        poll, timeout = self._queue.poll, cygrpc.CompletionType.queue_timeout
        while not until():
            pause = 0.0 if self._ready else _PARKED_S if self._waiting.count else _IDLE_S
            event = poll(time.time() + pause)
            try:
                if event.completion_type != timeout:
                    event.tag(event)
                if self._ready or self._waiting.count or self._fetched:
                    self._answer_waiting()
                if self._news:
                    self._tell_watchers()
            except Exception:
                # The loop's outermost handler: one call that cannot be answered must not end the serving of all others.
                log.exception("handling an event of the completion queue")
            finally:
                event = None  # a call that is held while polling would not be freed

    def _drain(self) -> None:
        """Health off, keep serving for a while, accept nothing more, let what is in flight end, close."""
        self.set_serving(serving=False)
        end = time.monotonic() + self._options.drain_delay
        self._serve(lambda: time.monotonic() >= end)
        self._accepting = False
        self._tell_watchers()
        for watcher in self._watchers:
            self._finish_watch(watcher)
        self._server.shutdown(self._queue, self._on_down)
        end = time.monotonic() + self._options.drain_grace
        self._serve(lambda: self._down or time.monotonic() >= end)
        if not self._down:
            self._server.cancel_all_calls()
            self._serve(lambda: self._down)
        self._server.destroy()
        self._queue.shutdown()
        while self._queue.poll(time.time() + _IDLE_S).completion_type != cygrpc.CompletionType.queue_shutdown:
            pass

    def _on_down(self, _event: Any) -> None:
        self._down = True

    def _arm(self, method: str, tag: Callable[[Any], None]) -> None:
        if self._accepting:
            self._server.request_registered_call(self._queue, self._queue, method, tag)

    def _arm_unknown(self) -> None:
        if self._accepting:
            self._server.request_call(self._queue, self._queue, self._on_unknown)

    def _on_unknown(self, event: Any) -> None:
        if event.success:
            self._arm_unknown()
            batches.refuse(event.call, cygrpc.StatusCode.unimplemented, b"Method not found!")

    def _on_check(self, event: Any) -> None:
        if event.success:
            self._arm(CHECK, self._on_check)
            call = event.call
            call.start_server_batch(batches.receive(), partial(self._on_message, call, event.call_details.deadline))

    def _on_traced_check(self, event: Any) -> None:
        if event.success:
            self._arm(CHECK, self._on_traced_check)
            call, parent = event.call, traceparent_of(event.invocation_metadata)
            tag = partial(self._on_traced_message, call, event.call_details.deadline, parent)
            call.start_server_batch(batches.receive(), tag)

    def _on_message(self, call: Any, deadline: float, event: Any) -> None:
        message = event.batch_operations[0].message()
        if message is not None:  # else the client is gone, or its message was refused for its size
            self._answer(call, deadline, message)

    def _on_traced_message(self, call: Any, deadline: float, parent: str, event: Any) -> None:
        message = event.batch_operations[0].message()
        if message is not None:
            self._answer(call, deadline, traced(message, parent))

    def _answer(self, call: Any, deadline: float, message: bytes) -> None:
        try:
            answer = self._handler.check(message)
            if isinstance(answer, bytes):
                batches.reply(call, answer)
            else:
                self._park(call, answer, deadline)
        except Exception:
            # The call's outermost handler: see Law 3.
            log.exception("answering a check")
            batches.refuse(call, cygrpc.StatusCode.internal, b"internal error")

    def _park(self, call: Any, parked: Parked, deadline: float) -> None:
        limit = min(deadline - time.time() - _MARGIN_S, self._options.max_wait)
        waiting = Waiting(call, time.monotonic() + limit)
        answer = self._settle(waiting, parked)
        if answer is not None:
            batches.reply(call, answer)
        else:
            call.start_server_batch(batches.closed(), partial(self._on_closed, waiting))

    def _settle(self, waiting: Waiting, answer: bytes | Parked) -> bytes | None:
        """The answer; None if the check waits, for the first time or again."""
        while isinstance(answer, Parked):
            if answer.counted and self._load.parked >= self._options.max_parked:
                return self._handler.overloaded()
            if self._begin(waiting, answer):
                self._load.parked += answer.counted
                self._waiting.add(waiting, answer)
                return None
            answer = answer.resume()
        return answer

    def _begin(self, waiting: Waiting, parked: Parked) -> bool:
        """Start what the check waits for; False: nothing will come, or not in time."""
        if time.monotonic() >= waiting.until:
            return False
        waiting.turn += 1
        try:
            return parked.begin(partial(self._fetched.append, (waiting, waiting.turn)))
        except Exception:
            # What the check waits for could not be started: the check is answered without it.
            log.exception("starting what a check waits for")
            return False

    def _on_closed(self, waiting: Waiting, _event: Any) -> None:
        """The call has ended: the client went away, or it was answered."""
        parked = self._forget(waiting)
        waiting.call = None
        if parked is not None and parked.leave is not None:
            parked.leave()

    def _forget(self, waiting: Waiting) -> Parked | None:
        """Remove a check from the parked ones; None when it is not among them (any more).

        The key's fetch keeps its callback until it ends, so the callback must hold neither the call nor the message.
        """
        parked = self._waiting.remove(waiting)
        self._load.parked -= parked is not None and parked.counted
        return parked

    def _answer_waiting(self) -> None:
        """Answer some of the checks whose wait or time is over."""
        now = time.monotonic()
        for _ in range(_AT_ONCE):
            waiting = self._next_ready(now)
            self._ready = waiting is not None
            if waiting is None:
                return
            self._resume(waiting)

    def _next_ready(self, now: float) -> Waiting | None:
        while self._fetched:
            waiting, turn = self._fetched.popleft()
            if waiting.parked is not None and waiting.turn == turn:
                return waiting
        return self._waiting.overdue(now)

    def _resume(self, waiting: Waiting) -> None:
        call, parked = waiting.call, self._forget(waiting)
        try:
            answer = self._settle(waiting, parked.resume()) if parked is not None else None
            if answer is not None:
                waiting.call = None
                batches.reply(call, answer)
        except Exception:
            # The call's outermost handler: see Law 3. Those that follow have their own answers.
            log.exception("answering a check that waited")
            waiting.call = None
            batches.refuse(call, cygrpc.StatusCode.internal, b"internal error")

    def _status(self, service: str) -> health_pb2.HealthCheckResponse.ServingStatus:
        if service not in HEALTH_SERVICES:
            return _SERVICE_UNKNOWN
        return _SERVING if self._serving else _NOT_SERVING

    def _on_health_check(self, event: Any) -> None:
        if event.success:
            self._arm(HEALTH_CHECK, self._on_health_check)
            event.call.start_server_batch(batches.receive(), partial(self._on_health_message, event.call))

    def _on_health_message(self, call: Any, event: Any) -> None:
        message = event.batch_operations[0].message()
        if message is None:
            return
        service = _service_in(message)
        status = _SERVICE_UNKNOWN if service is None else self._status(service)
        if service is None:
            batches.refuse(call, cygrpc.StatusCode.invalid_argument, b"not a HealthCheckRequest")
        elif status == _SERVICE_UNKNOWN:
            batches.refuse(call, cygrpc.StatusCode.not_found, b"unknown service")
        else:
            batches.reply(call, _health(status))

    def _on_health_watch(self, event: Any) -> None:
        if event.success:
            self._arm(HEALTH_WATCH, self._on_health_watch)
            event.call.start_server_batch(batches.receive(), partial(self._on_watch_message, event.call))

    def _on_watch_message(self, call: Any, event: Any) -> None:
        message = event.batch_operations[0].message()
        if message is None:
            return
        service = _service_in(message)
        if service is None:
            batches.refuse(call, cygrpc.StatusCode.invalid_argument, b"not a HealthCheckRequest")
            return
        watcher = _Watcher(call, service)
        self._watchers.append(watcher)
        self._news = True
        call.start_server_batch(batches.closed(), partial(self._on_watcher_gone, watcher))

    def _on_watcher_gone(self, watcher: _Watcher, _event: Any) -> None:
        watcher.ended = True
        self._watchers.remove(watcher)

    def _tell_watchers(self) -> None:
        self._news = False
        for watcher in self._watchers:
            self._tell(watcher)

    def _tell(self, watcher: _Watcher) -> None:
        """Send the status if it is news to the watcher; one message is on its way at a time."""
        status = self._status(watcher.service)
        if status == watcher.sent or watcher.sending or watcher.ended:
            return
        watcher.sent, watcher.sending = status, True
        message = batches.message(_health(status))
        operations = (message,) if watcher.begun else (batches.initial(), message)
        watcher.begun = True
        watcher.call.start_server_batch(operations, partial(self._on_sent, watcher))

    def _on_sent(self, watcher: _Watcher, _event: Any) -> None:
        watcher.sending = False
        self._tell(watcher)
        if not self._accepting:
            self._finish_watch(watcher)

    def _finish_watch(self, watcher: _Watcher) -> None:
        """End a stream, once what is being sent on it has been sent."""
        if not watcher.ended and not watcher.sending:
            watcher.ended = True
            ok = batches.status(cygrpc.StatusCode.ok)
            watcher.call.start_server_batch((ok,) if watcher.begun else (batches.initial(), ok), batches.nothing)


def _health(status: health_pb2.HealthCheckResponse.ServingStatus) -> bytes:
    return health_pb2.HealthCheckResponse(status=status).SerializeToString()


def _service_in(message: bytes) -> str | None:
    """The service that a health check is about; None when the bytes are not a HealthCheckRequest."""
    try:
        return health_pb2.HealthCheckRequest.FromString(message).service
    except DecodeError:
        return None
