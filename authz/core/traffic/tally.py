"""How often something was on record, when first and last, and in which decision."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from authz.core.replay import Case

MOST_CALLERS: Final = 1000
"""Callers that a tally tells apart."""


@dataclass(slots=True)
class Tally:
    """A count with its times: ISO 8601 in UTC, which compare as texts; "" where no record had one.

    `id` is that of the decision that was counted first, and `case` its case; `callers` are the ids of the identity
    entries with the subjects.
    """

    count: int = 0
    first: str = ""
    last: str = ""
    id: str = ""
    case: Case | None = None
    callers: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, time: str) -> None:
        """Count a decision with this id and time."""
        self.last = max(self.last, time)
        if time and (time < self.first or not self.first):
            self.first = time
        if not self.count:
            self.id = name
        self.count += 1


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    found = [*tallies]
    first = min((tally.first for tally in found if tally.first), default="")
    return Tally(sum(tally.count for tally in found), first, max((tally.last for tally in found), default=""))
