"""Fixed-window rate limiter, per caller.

Law: a caller's use never counts against another. The calls let through bound the memory: a window is dropped whole
when the next one begins, so a caller may take at most twice its share around the end of a window. Asking what is
left takes nothing, so only calls that turn out to be valid are counted. Used by one thread. Time is an argument.

Why not the `limits` library: it keeps its counters in storages with locks and clocks of their own; here one thread
counts, and time is an argument.
"""


class FairShare:
    """Limits each caller per window.

    Args:
        most: a caller's limit per window.
        window: seconds.
    """

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._ends = float("-inf")
        self._taken: dict[str, int] = {}

    def left(self, who: str, now: float) -> int:
        """How many this caller may still take. `now` is monotonic, or a clock that may be set back."""
        if not self._ends - self._window <= now < self._ends:
            self._begin(now)
        return self._most - self._taken.get(who, 0)

    def take(self, who: str, now: float) -> bool:
        """Take one; False: the caller has used its share."""
        if not self._ends - self._window <= now < self._ends:
            self._begin(now)
        taken = self._taken.get(who, 0)
        if taken >= self._most:
            return False
        self._taken[who] = taken + 1
        return True

    def _begin(self, now: float) -> None:
        """Begin another window."""
        self._taken.clear()
        self._ends = now + self._window
