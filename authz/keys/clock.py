"""The clock as an argument.

Law: nothing in this package asks the operating system for the time or waits on it; both go through a `Clock`, so that a
test can let a day pass in a microsecond. Durations, deadlines and cache lifetimes use `monotonic`; `wall` is compared
only with the times inside tokens (PITFALLS d-44).
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def wait(self, condition: threading.Condition, timeout: float) -> None:
        """Wait until `condition` (held by the caller) is notified or `timeout` seconds have passed on this clock.

        It may also return early: callers look again, as with every condition.
        """
        ...


class SystemClock:
    """The operating system's clock, whose wall time never goes back by more than `tolerance` seconds.

    A clock that is set back would make expired tokens valid again (PITFALLS d-44). Small corrections are followed;
    after a larger one time goes on, at the pace of the monotonic clock, from the latest seen less the tolerance.
    """

    def __init__(
        self,
        *,
        tolerance: float = 30.0,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tolerance = tolerance
        self._wall = wall
        self.monotonic = monotonic
        self._ahead = wall() - monotonic()

    def wall(self) -> float:
        """Seconds since the epoch."""
        now, monotonic = self._wall(), self.monotonic()
        ahead = now - monotonic
        if ahead >= self._ahead:
            self._ahead = ahead
            return now
        return max(now, monotonic + self._ahead - self._tolerance)

    def wait(self, condition: threading.Condition, timeout: float) -> None:
        """Wait on `condition` for at most `timeout` seconds."""
        condition.wait(timeout)
