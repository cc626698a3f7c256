"""The files of the decision log, one after the other: one is renamed, and the next one has its name.

Law 1: a line goes to the file that was current when it was accepted, however late it is written. The serving thread
alone decides which file that is: the writer opens the next file and offers it, and the serving thread takes the offer
between two lines and marks the place in the queue. So no line can be accepted in between.
Law 2: a file that cannot take its lines any more (it was removed, or a write fails, and there is a next one) does not
hold them back: they go to the next one.
Law 3: an offer belongs to the thread that takes it out of the queue of one, which is atomic. The writer takes back an
offer that is out of date, and closes it.
"""

import contextlib
from collections import deque
from dataclasses import dataclass

from authz.ops.log_target import Target


@dataclass(frozen=True, slots=True, eq=False)
class NextFile:
    """A file that is open, and waits for its turn."""

    number: int
    target: Target


class LogFiles:
    """The current file, and those after it. The writer's, except `offers`, which the serving thread takes from."""

    def __init__(self, first: Target) -> None:
        self.offers: deque[NextFile] = deque()
        self._current = self._newest = NextFile(1, first)

    @property
    def target(self) -> Target:
        """Where the writer writes."""
        return self._current.target

    def look(self) -> bool:
        """Open the next file if the newest one has lost its name. Returns whether it has.

        Raises:
            OSError: the next one cannot be opened.
        """
        newest = self._newest
        if newest.target.is_in_place():
            return False
        following = NextFile(newest.number + 1, newest.target.next())
        with contextlib.suppress(IndexError):
            self._close(self.offers.pop())  # it lost its name before a line was accepted for it
        self.offers.append(following)
        self._newest = following
        return True

    def turn_to(self, following: NextFile) -> bool:
        """Write to this file from now on, unless lines already go to a later one. Returns whether it is a change."""
        if following.number <= self._current.number:
            self._close(following)
            return False
        left, self._current = self._current, following
        left.target.close()
        return True

    def give_up(self, *, failed: bool) -> bool:
        """Turn to the newest file if the current one is gone, or has `failed`. Returns whether it is a change."""
        return (failed or self.target.is_gone()) and self.turn_to(self._newest)

    def close(self) -> None:
        """Close the current file, and an offer that was not taken."""
        self.target.close()
        while self.offers:
            self._close(self.offers.pop())

    def _close(self, unused: NextFile) -> None:
        if unused.target is not self.target:
            unused.target.close()
