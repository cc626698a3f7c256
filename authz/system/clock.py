"""The clock as an argument.

Law: nothing in this package asks the operating system for the time or waits on it; both go through a `Clock`, so that a
test can let a day pass in a microsecond. Durations, deadlines and cache lifetimes use `monotonic`; `wall` is compared
only with the times inside tokens.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from authz.core import clock

log = logging.getLogger(__name__)


class Clock(clock.Clock, Protocol):
    """A clock that threads can wait on."""

    def wait(self, condition: threading.Condition, timeout: float) -> None:
        """Wait until `condition` (held by the caller) is notified or `timeout` seconds have passed on this clock.

        It may also return early: callers look again, as with every condition.
        """
        ...


class SystemClock:
    """The operating system's clock, whose wall time goes back by more than `tolerance` seconds only after `hold`.

    A clock that is set back would make expired tokens valid again. Small corrections are followed.
    After a larger one, time goes on at the pace of the monotonic clock, from the latest time seen less the tolerance;
    this is logged and reported. A clock that stays where it was set for `hold` seconds is taken to be right: a machine
    that started an hour ahead would otherwise refuse every token until the process ends. A restarted process trusts the
    same clock at once, so this is no weaker than a restart.
    """

    def __init__(
        self,
        *,
        tolerance: float = 30.0,
        hold: float = 300.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tolerance = tolerance
        self._hold = hold
        self._wall = wall
        self.monotonic = monotonic
        self._ahead = wall() - monotonic()  # the largest seen, or the one that was accepted
        self._held: tuple[float, float] | None = None  # how far ahead the clock was when it was set back, and when

    def wall(self) -> float:
        """Seconds since the epoch."""
        now, monotonic = self._wall(), self.monotonic()
        ahead = now - monotonic
        if ahead < self._ahead - self._tolerance:
            return self._while_held(now, monotonic)
        if self._held is not None:
            self._let_go()
        if ahead > self._ahead:  # noqa: PLR1730 this runs for every check, and a call of `max` takes longer
            self._ahead = ahead
        return now

    def divergence(self) -> float:
        """Seconds by which our time is ahead of the operating system's; 0 unless it was set back."""
        ours = self.wall()
        return max(0.0, ours - self._wall()) if self._held is not None else 0.0

    def problem(self) -> str:
        """What is wrong with the clock, or ""."""
        seconds, held = self.divergence(), self._held
        if held is None:
            return ""
        left = max(0.0, held[1] + self._hold - self.monotonic())
        return (
            f"the system's clock was set back: the gate's time is {seconds:.0f} s ahead of it, and follows it in"
            f" {left:.0f} s if it stays there"
        )

    def _while_held(self, now: float, monotonic: float) -> float:
        ahead, held = now - monotonic, self._held
        if held is None or abs(ahead - held[0]) > self._tolerance:  # set back, or set again meanwhile
            held = self._held = ahead, monotonic
            log.warning("the system's clock was set back by %.0f s: it is not followed yet", self._ahead - ahead)
        if monotonic - held[1] < self._hold:
            return monotonic + self._ahead - self._tolerance
        self._ahead, self._held = ahead, None
        log.warning("the system's clock is followed again: it has stayed where it was set for %.0f s", self._hold)
        return now

    def _let_go(self) -> None:
        self._held = None
        log.warning("the system's clock is followed again: it was corrected")

    def wait(self, condition: threading.Condition, timeout: float) -> None:
        """Wait on `condition` for at most `timeout` seconds."""
        condition.wait(timeout)
