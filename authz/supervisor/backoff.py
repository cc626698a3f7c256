"""How long a worker that ended must wait for its successor.

Law: pure. The first restart comes almost at once, because most crashes are single; each further one waits twice as
long, up to a limit; who has been up for a while begins anew.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class BackOff:
    """Seconds: the first delay, the longest, and how long a worker must have been up for its past to be forgotten."""

    first_s: float = 0.1
    longest_s: float = 30.0
    forget_s: float = 30.0
    _next_s: float = 0.0

    def after(self, up_s: float) -> float:
        """The delay after a worker that was up for `up_s` seconds has ended."""
        if up_s >= self.forget_s or not self._next_s:
            self._next_s = self.first_s
        delay = self._next_s
        self._next_s = min(2 * delay, self.longest_s)
        return delay
