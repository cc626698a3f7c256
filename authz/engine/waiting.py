"""The checks that wait: which of them must be answered next, whatever the result of its wait.

Law 1: a check that waits costs the others nothing. Adding and removing one, and finding the next one whose time is
over, never look at all of them: a heap by deadline, whose entries outlive their checks (lazy deletion).
Law 2: an entry that has outlived its check holds neither its call nor its message. Such entries never outnumber the
waiting checks by more than a small margin.
"""

import heapq
import itertools
from dataclasses import dataclass
from typing import Any, Final

from authz.core.parked import Parked

_SLACK: Final = 64


@dataclass(slots=True, eq=False)
class Waiting:
    """A check that waits, or did: its call, and the monotonic time at which it is answered whatever happens.

    `parked` is None while it does not wait. `turn` counts its waits, so that the end of one is not taken for the end of
    the next.
    """

    call: Any
    until: float
    parked: Parked | None = None
    turn: int = 0


class WaitingRoom:
    """Every check that waits, in the order of their deadlines. One thread.

    `count` is how many there are: an attribute, because the engine reads it after every event.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Waiting]] = []
        self._serial = itertools.count()  # checks with the same deadline keep their order; checks cannot be compared
        self.count = 0

    def add(self, waiting: Waiting, parked: Parked) -> None:
        """Let a check wait; it must not be waiting yet."""
        waiting.parked = parked
        self.count += 1
        heapq.heappush(self._heap, (waiting.until, next(self._serial), waiting))

    def remove(self, waiting: Waiting) -> Parked | None:
        """End its wait; None if it does not wait (any more)."""
        parked, waiting.parked = waiting.parked, None
        if parked is not None:
            self.count -= 1
            if len(self._heap) > 2 * self.count + _SLACK:
                self._heap = [entry for entry in self._heap if entry[2].parked is not None]
                heapq.heapify(self._heap)
        return parked

    def overdue(self, now: float) -> Waiting | None:
        """The check whose time ran out first; None if there is none. It stays until it is removed."""
        heap = self._heap
        while heap and heap[0][2].parked is None:
            heapq.heappop(heap)
        return heap[0][2] if heap and heap[0][0] <= now else None
