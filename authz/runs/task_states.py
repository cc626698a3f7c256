"""Airflow's answers about task instances: their identity, and whether they run. Asked off the serving thread.

Law 1: the serving thread never waits here. `seen` and `look` take a lock that is never held while asking.
Law 2: an unknown state is never taken for "running". A task counts as running for `recheck` from the moment at which
the question that Airflow answered with "running" was sent; the answer to a later question wins, whichever arrives
first.
Law 3: one question at a time about one claim (single flight), however many wait for it; the number of asking threads
and of waiting questions is bounded. The next question is refused, and its caller learns it at once.
Law 4: `done` is called exactly once for each waiting call, also after a failure, unless the call has left before.
"""

import logging
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from authz.core.errors import DeniedError
from authz.core.parked import Done
from authz.core.reasons import Reason
from authz.core.runs.task_lookup import PendingLookup, TaskRef, TaskStatus
from authz.system.clock import Clock
from authz.system.threads import Background

log = logging.getLogger(__name__)

_THREADS: Final = 4
_MOST_QUESTIONS: Final = 1024  # that wait for a thread
_MOST_OF_ONE: Final = 4  # about one task instance: a caller that claims to be many cannot keep others from an answer
_MOST_WAITERS: Final = 256  # for one answer
_MOST_WAITING: Final = 4096  # for all of them
_MOST_KEPT: Final = 20_000  # task instances, some 10 MB
_LONG_AGO: Final = float("-inf")
_TOLD_S: Final = 300.0  # for how long a failure is reported if no task asks again
_SETTLED_S: Final = 1.0  # for how long an ended task, or an Airflow that failed, is not asked about again


class Airflow(Protocol):
    """Answers questions about task instances."""

    def ask(self, claim: TaskRef) -> TaskStatus:
        """Airflow's answer; blocks for as long as the limits allow, and never raises on purpose."""
        ...


@dataclass(slots=True, eq=False)
class _Known:
    """The newest answers about one claim, in monotonic times.

    `running_at` is when the question answered with "running" was sent, and long ago if a later one was answered
    otherwise. `ended` and `failed` are repeated up to their `…_until`.
    """

    running_at: float = _LONG_AGO
    ended: TaskStatus | None = None
    ended_at: float = _LONG_AGO
    ended_until: float = _LONG_AGO
    failed: TaskStatus | None = None
    failed_until: float = _LONG_AGO


@dataclass(slots=True, eq=False)
class _Flight:
    """One question on its way, and the calls that wait for it."""

    waiters: dict[PendingLookup, Done] = field(default_factory=dict, repr=False)


class TaskStates:
    """Asks Airflow, and caches its answers for a while.

    Args:
        airflow: answers questions.
        clock: monotonic time.
        recheck: seconds for which a task counts as running.
        observe: called with (seconds, `running` | `refused` | `failed`) after every question, from its thread.
        threads: how many questions may be on their way.
    """

    def __init__(
        self,
        airflow: Airflow,
        clock: Clock,
        *,
        recheck: float,
        observe: Callable[[float, str], None],
        threads: int = _THREADS,
    ) -> None:
        self._airflow = airflow
        self._clock = clock
        self._recheck = recheck
        self._observe = observe
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._queue: deque[TaskRef] = deque()
        self._flights: dict[TaskRef, _Flight] = {}
        self._waiting = 0
        self._busy: Counter[str] = Counter()
        self._known: OrderedDict[TaskRef, _Known] = OrderedDict()
        self._failing, self._failing_until = "", _LONG_AGO
        self._running = False
        self._threads = [Background(self._run, name=f"airflow-{number}") for number in range(threads)]

    def start(self) -> None:
        """Begin to ask."""
        with self._lock:
            self._running = True
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop asking. Waiting calls are notified; questions on their way end by themselves."""
        with self._lock:
            self._running = False
            self._queue.clear()
            dones = [done for flight in self._flights.values() for done in flight.waiters.values()]
            self._flights.clear()
            self._waiting = 0
            self._work.notify_all()
        self._tell(dones)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def seen(self, claim: TaskRef, now: float) -> bool:
        """Whether the task was seen running a short while ago; False: the caller has to `look` first.

        Halfway through that time the next look begins in the background, so that a task that calls often never waits.

        Raises:
            DeniedError: Airflow has just said that it does not run, or could not be asked just now.
        """
        with self._lock:
            known = self._known.get(claim)
            if known is None:
                return False
            if known.ended is not None and now < known.ended_until:
                raise DeniedError(known.ended.reason or Reason.RUN_ENDED, known.ended.detail)
            age = now - known.running_at
            is_running = 0 <= age < self._recheck
            has_failed = now < known.failed_until
        if is_running:
            if age >= self._recheck / 2 and not has_failed:
                self.look(PendingLookup(claim), None)
            return True
        if has_failed:
            raise DeniedError(Reason.AIRFLOW_UNAVAILABLE, known.failed.detail if known.failed else "")
        return False

    def problem(self) -> str:
        """Why Airflow could not be asked last time; "" when it could, or when that is long ago."""
        failing = self._failing if self._clock.monotonic() < self._failing_until else ""
        return f"Airflow cannot be asked about tasks: {failing}" if failing else ""

    def look(self, attempt: PendingLookup, done: Done | None) -> bool:
        """Ask Airflow, or join a question that is on its way; never blocks.

        Returns:
            True when `done` will be called once, from another thread, when `attempt.found` is set or will not be. False
            when nothing will be asked: too many questions wait, and `attempt.found` says so, or `stop` was called.
        """
        claim, why = attempt.claim, ""
        with self._lock:
            flight = self._flights.get(claim)
            if flight is None:
                if not self._running:
                    return False
                why = self._too_many_questions(claim)
                flight = None if why else self._begin(claim)
            if flight is not None:
                if done is None:
                    return True
                why = self._too_many_wait(flight)
                if not why:
                    self._waiting += 1
                    flight.waiters[attempt] = done
                    return True
            attempt.found = TaskStatus(Reason.TASKS_WAIT_FOR_AIRFLOW, detail=why)
        return False

    def _begin(self, claim: TaskRef) -> _Flight:
        self._busy[claim.instance] += 1
        flight = self._flights[claim] = _Flight()
        self._queue.append(claim)
        self._work.notify()
        return flight

    def _too_many_questions(self, claim: TaskRef) -> str:
        """Why Airflow cannot be asked one more question; "" when it can."""
        if len(self._queue) >= _MOST_QUESTIONS:
            return f"{_MOST_QUESTIONS} questions wait to be sent to Airflow"
        if self._busy[claim.instance] >= _MOST_OF_ONE:
            return f"{_MOST_OF_ONE} questions about this task instance wait for Airflow"
        return ""

    def _too_many_wait(self, flight: _Flight) -> str:
        """Why no further call can wait for this answer; "" when one can."""
        if len(flight.waiters) >= _MOST_WAITERS:
            return f"{_MOST_WAITERS} calls wait for this answer of Airflow"
        if self._waiting >= _MOST_WAITING:
            return f"{_MOST_WAITING} calls wait for Airflow"
        return ""

    def leave(self, attempt: PendingLookup) -> None:
        """Free the call's place. The question to Airflow goes on, and its answer is cached."""
        with self._lock:
            flight = self._flights.get(attempt.claim)
            if flight is not None and flight.waiters.pop(attempt, None) is not None:
                self._waiting -= 1

    def _run(self) -> None:
        """One thread."""
        while True:
            with self._lock:
                while self._running and not self._queue:
                    self._work.wait()
                if not self._running:
                    return
                claim = self._queue.popleft()
            self._ask(claim)

    def _ask(self, claim: TaskRef) -> None:
        begun = self._clock.monotonic()
        found = TaskStatus(Reason.AIRFLOW_UNAVAILABLE, detail="internal error")  # unless something better comes
        try:
            found = self._airflow.ask(claim)
        except Exception as error:  # noqa: BLE001 the outermost handler: the error's text could quote an answer
            # A bug in a question must not end the asking, and the waiting calls must be notified.
            log.error("asking Airflow about a task: %s", type(error).__name__)  # noqa: TRY400
        landed = self._clock.monotonic()
        with self._lock:
            self._failing = found.detail if found.reason is Reason.AIRFLOW_UNAVAILABLE else ""
            self._failing_until = landed + _TOLD_S
            self._note(claim, found, begun, landed)
            if found.reason is None:  # the token that follows names the try
                self._note(claim._replace(try_number=found.try_number), found, begun, landed)
            flight = self._flights.pop(claim, None) or _Flight()
            self._waiting -= len(flight.waiters)
            self._busy[claim.instance] -= 1
            if self._busy[claim.instance] <= 0:
                del self._busy[claim.instance]
            for attempt in flight.waiters:
                attempt.found = found
        self._tell(flight.waiters.values())
        failed = found.reason is Reason.AIRFLOW_UNAVAILABLE
        self._observe(landed - begun, "running" if found.reason is None else "failed" if failed else "refused")

    def _note(self, claim: TaskRef, found: TaskStatus, begun: float, landed: float) -> None:
        """Cache an answer. Bounded: the claim asked about least recently is evicted."""
        known = self._known.get(claim)
        if known is None:
            if len(self._known) >= _MOST_KEPT:
                self._known.popitem(last=False)
            known = self._known[claim] = _Known()
        self._known.move_to_end(claim)
        if found.reason is None:
            if begun >= known.ended_at:
                known.running_at, known.ended = max(begun, known.running_at), None
        elif found.reason is Reason.AIRFLOW_UNAVAILABLE:
            known.failed, known.failed_until = found, landed + _SETTLED_S
        elif begun >= known.running_at:
            known.running_at = _LONG_AGO
            known.ended, known.ended_at, known.ended_until = found, begun, landed + _SETTLED_S

    @staticmethod
    def _tell(dones: Iterable[Done]) -> None:
        for done in dones:
            done()
