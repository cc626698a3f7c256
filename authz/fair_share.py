"""How much of something that all share one of them may take, counted by whole windows of time.

Law: nobody's use is counted against anybody else. What is kept is bounded by what was let through: a window is
forgotten whole when the next one begins, so that one may take twice its share around the end of a window, and no more.
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

    def take(self, who: str, now: float) -> bool:
        """Take one; False: this one has had its share. `now` is monotonic, or a clock that may be set back."""
        if not self._ends - self._window <= now < self._ends:
            self._taken.clear()
            self._ends = now + self._window
        taken = self._taken.get(who, 0)
        if taken >= self._most:
            return False
        self._taken[who] = taken + 1
        return True
