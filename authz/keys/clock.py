"""The clock as an argument.

Law: nothing in this package asks the operating system for the time or waits on it; both go through a `Clock`, so that a
test can let a day pass in a microsecond. Durations, deadlines and cache lifetimes use `monotonic`; `wall` is compared
only with the times inside tokens (PITFALLS d-44).
"""

import threading
import time
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
    """The operating system's clock."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        return time.monotonic()

    def wait(self, condition: threading.Condition, timeout: float) -> None:
        """Wait on `condition` for at most `timeout` seconds."""
        condition.wait(timeout)
