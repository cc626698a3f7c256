"""The clock that every part takes as an argument, so that tests set the time."""

from typing import Protocol


class Clock(Protocol):
    """Wall time and a monotonic time, both in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...
