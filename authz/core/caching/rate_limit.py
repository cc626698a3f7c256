"""Fixed-window rate limiter, per caller.

Law: no caller's use counts against another. What is kept is bounded by what was let through: a window is forgotten
whole when the next one begins, so that one may take twice its share around the end of a window, and no more. Asking
whether there is anything left takes nothing, so that only what turns out to be good has to be counted.
Used by one thread. Time is an argument.
"""


class FairShare:
    """So many for each in so many seconds.

    Args:
        most: what one may take in a window.
        window: seconds.
    """

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window
        self._ends = float("-inf")
        self._taken: dict[str, int] = {}

    def left(self, who: str, now: float) -> int:
        """How many this one may still take. `now` is monotonic, or a clock that may be set back."""
        if not self._ends - self._window <= now < self._ends:
            self._taken.clear()
            self._ends = now + self._window
        return self._most - self._taken.get(who, 0)

    def take(self, who: str, now: float) -> bool:
        """Take one; False: this one has had its share."""
        if self.left(who, now) <= 0:
            return False
        self._taken[who] = self._taken.get(who, 0) + 1
        return True
