"""Back-off between a worker's end and the start of the next one.

Law: pure. The first restart is almost immediate, because most crashes are single. Each further one waits twice as
long. If a worker had started to listen, only its start-up is lost, so its successor waits at most `served_s`: every
second without a worker is a second of refused checks. One that never listened would crash again at once, so the limit
is `longest_s`. A worker that was up for `forget_s` resets the back-off.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class BackOff:
    """Seconds: the first delay, the longest after a worker that listened, the longest, and when back-off is reset."""

    first_s: float = 0.1
    served_s: float = 0.4
    longest_s: float = 30.0
    forget_s: float = 30.0
    _next_s: float = 0.0

    def after(self, up_s: float, *, served: bool = False) -> float:
        """The delay after the end of a worker that was up for `up_s` seconds; `served` says whether it had listened."""
        if up_s >= self.forget_s or not self._next_s:
            self._next_s = self.first_s
        delay = min(self._next_s, self.served_s) if served else self._next_s
        self._next_s = min(2 * delay, self.longest_s)
        return delay
