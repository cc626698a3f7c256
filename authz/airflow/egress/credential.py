"""One credential that the whole process shares: renewed before it expires, requested once however many callers wait.

Law: a separate thread requests it, so neither an event loop nor its default executor (which the Task SDK needs to read
the answer) is ever blocked. While the old one is valid it is handed out; callers do not wait for a renewal that is not
needed yet. Time is monotonic.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitedTooLongError
from typing import NamedTuple

from authz.airflow.egress.errors import EgressError, UnavailableError

WAIT_S = 120.0  # Airflow's supervisor itself retries for half a minute when the gate answers 503
RENEW_AT = 0.4  # of the life that is left: a token of 120 s is renewed after 72
NEVER_BELOW_S = 5.0  # a token this near its end may expire on the way
PAUSE_S = 5.0  # between renewals that fail while the old one is still good

Clock = Callable[[], float]


class Credential(NamedTuple):
    """A token, its lifetime, and the highest level that the gate will report."""

    token: str
    lives_s: float
    level: str

    def __repr__(self) -> str:
        return f"Credential(level={self.level!r}, lives_s={self.lives_s:g})"


class SharedCredential:
    """Shares the credential that `fetch` returns.

    Args:
        fetch: requests a new one; it blocks, and raises `EgressError` if there is none.
        clock: monotonic seconds.
    """

    def __init__(self, fetch: Callable[[], Credential], clock: Clock = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._held: Credential | None = None
        self._until = 0.0
        self._renew_from = 0.0
        self._flight: Future[Credential] | None = None

    def get(self, *, refused: str = "") -> Credential:
        """The credential, at least `NEVER_BELOW_S` before its end; never the one whose token was `refused`."""
        found = self._held_or_flight(refused)
        if isinstance(found, Credential):
            return found
        try:
            return found.result(timeout=WAIT_S)
        except WaitedTooLongError:
            raise UnavailableError(f"The supervisor has not answered for {WAIT_S:g} s.") from None

    async def aget(self, *, refused: str = "") -> Credential:
        """The same, for coroutines."""
        found = self._held_or_flight(refused)
        if isinstance(found, Credential):
            return found
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(found)), timeout=WAIT_S)
        except TimeoutError:
            raise UnavailableError(f"The supervisor has not answered for {WAIT_S:g} s.") from None

    def renews_in(self) -> float:
        """Seconds until a caller should ask again."""
        with self._lock:
            return max(0.0, self._renew_from - self._clock())

    def _held_or_flight(self, refused: str) -> Credential | Future[Credential]:
        with self._lock:
            now = self._clock()
            held = self._held
            if held is not None and held.token != refused and now < self._until - NEVER_BELOW_S:
                if now >= self._renew_from and self._flight is None:
                    self._take_off(now)
                return held
            return self._flight or self._take_off(now)

    def _take_off(self, now: float) -> Future[Credential]:
        self._renew_from = now + PAUSE_S  # unless it succeeds
        flight = self._flight = Future[Credential]()
        threading.Thread(target=self._fly, args=(flight,), name="run-identity", daemon=True).start()
        return flight

    def _fly(self, flight: Future[Credential]) -> None:
        asked_at = self._clock()
        try:
            credential = self._fetch()
        except EgressError as error:
            self._land(flight)
            flight.set_exception(error)
        else:
            with self._lock:
                self._held = credential
                self._until = asked_at + credential.lives_s
                self._renew_from = asked_at + max(credential.lives_s * (1 - RENEW_AT), 1.0)
            self._land(flight)
            flight.set_result(credential)
        finally:
            if not flight.done():  # a bug: `threading.excepthook` logs its traceback
                self._land(flight)
                flight.set_exception(UnavailableError("The run identity could not be requested: see the task's log."))

    def _land(self, flight: Future[Credential]) -> None:
        with self._lock:
            if self._flight is flight:
                self._flight = None
