"""The newest decisions in logs that a selection means, and who their callers are.

Law: what is meant says `Selection.matches`, of each line that `Sieve` hands out: of all but lines that the gate wrote
whole and that do not hold what is asked for. What could not be read is counted, with its place. A log that is searched
in parts gives the same answer as one that is searched at once.
Memory is bounded by the number of decisions that are kept, with some to spare, and by that of different callers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from authz.core.policy.patterns import Glob
from authz.core.record import (
    DECISION,
    DECISION_LINE,
    VERSION,
    Skipped,
    entry_in,
    record_in,
    time_in,
)
from authz.core.traffic.selection import Selection
from authz.ops.log_reader import Block, Damage, LogReader, Part
from authz.ops.log_sieve import Others, Sieve

_GZ: Final = ".gz"
_SPARE: Final = 1000


class Found(NamedTuple):
    """A decision, and its caller's identity entry; None if it has none, or if it is not in the logs."""

    record: Mapping[str, Any]
    entry: Mapping[str, Any] | None


class _Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(slots=True)
class Tally:
    """What was found, in all files or in a part of one; it can be handed from process to process.

    Attributes:
        lines: lines that were read.
        matched: decisions that are meant, kept or not.
        undated: decisions whose time is not one of the log's form, if the selection asks for a time.
        skipped: for each reason, how many lines are no record, and the place of the first.
        others: the same of decisions of a version of the format that this one does not know.
        entries: the identity entries, by their ids.
        kept: times and lines of the newest decisions that are meant.
        damages: what could not be read.
        passed: the lines of the part, also those that were too long.
    """

    lines: int = 0
    matched: int = 0
    undated: int = 0
    skipped: dict[Skipped, tuple[int, _Place]] = field(default_factory=dict)
    others: tuple[int, _Place] | None = None
    entries: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    kept: list[tuple[str, bytes]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    passed: int = 0


class Search:
    """Searches files, one after another: `learn` from those that may have the identity entries, then `read` each.

    Args:
        selection: what is meant.
        most: how many decisions are kept, the newest ones.
        advanced: called with the number of bytes of a file that were read.
        seen: called with each decision that is meant, kept or not.
        sieve: finds the lines to parse; None for that of the selection.

    Attributes:
        tally: what was found until now.
    """

    def __init__(
        self,
        selection: Selection,
        most: int,
        advanced: Callable[[int], None] = lambda _bytes: None,
        seen: Callable[[Mapping[str, Any]], None] = lambda _record: None,
        sieve: Sieve | Others | None = None,
    ) -> None:
        self.tally = Tally()
        self._selection, self._most, self._advanced, self._seen = selection, most, advanced, seen
        self._sieve = sieve or Sieve(selection)

    @property
    def skipped(self) -> Mapping[Skipped, tuple[int, str]]:
        """For each reason, how many lines are no record, and the place of the first."""
        return {reason: (count, str(place)) for reason, (count, place) in self.tally.skipped.items()}

    def learn(self, part: Part) -> None:
        """Keep the identity entries of a file, or of a part of it.

        Raises:
            OSError: it cannot be read.
        """
        for block in LogReader(self._advanced).blocks(there(part)):
            for _start, line in Others().lines(block):
                self._keep_entry(line)

    def of_caller(self, name: str) -> frozenset[str]:
        """The ids of the entries that are known of a caller with this subject, user's name or client id."""
        words = ("subject", "user", "client")
        known = self.tally.entries.items()
        return frozenset(key for key, entry in known if name in {entry.get(word) for word in words})

    def entry_of(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The identity entry of a decision's caller; None if it has none, or if it is not in the logs."""
        name = record.get("identity")
        return self.tally.entries.get(name) if isinstance(name, str) else None

    def of_users(self, users: Sequence[Glob]) -> frozenset[str]:
        """The ids of the entries that are known of users with such names."""
        return frozenset(
            name
            for name, entry in self.tally.entries.items()
            if isinstance(user := entry.get("user"), str) and any(glob.matches(user) for glob in users)
        )

    def narrow(self, selection: Selection) -> None:
        """Search for this from now on."""
        self._selection, self._sieve = selection, Sieve(selection)

    def read(self, part: Part) -> None:
        """Search a file, or a part of it.

        Raises:
            OSError: it cannot be read.
        """
        reader = LogReader(self._advanced)
        for block in reader.blocks(there(part)):
            for start, line in self._sieve.lines(block):
                self._take(line, start, block)
            self.tally.lines += block.count
        self._trim()
        self.tally.damages += reader.damages
        self.tally.passed = reader.passed

    def add(self, more: Tally, before: int = 0) -> None:
        """Add what was found in the part that follows; `before` it are so many lines of the same file."""
        found = self.tally
        found.lines, found.matched = found.lines + more.lines, found.matched + more.matched
        found.undated += more.undated
        for reason, (count, place) in more.skipped.items():
            known, first = found.skipped.get(reason, (0, place._replace(line=place.line + before)))
            found.skipped[reason] = known + count, first
        if more.others is not None:
            count, place = more.others
            known, first = found.others or (0, place._replace(line=place.line + before))
            found.others = known + count, first
        found.entries = more.entries | found.entries
        for time, line in more.kept:
            self._keep(time, line)
        found.damages += [replace(damage, line=damage.line + before) for damage in more.damages]

    def newest(self) -> Iterator[Found]:
        """The decisions that were kept, the newest last."""
        self._trim()
        for _time, line in self.tally.kept:
            record = orjson.loads(line)
            yield Found(record, self.entry_of(record))

    def _take(self, line: bytes, start: int, block: Block) -> None:
        """Parse a line of a block."""
        if not line.startswith(DECISION_LINE) and self._keep_entry(line):
            return
        said = record_in(line)
        if isinstance(said, Skipped):
            count, first = self.tally.skipped.get(said) or (0, _Place(block.path, block.number(start)))
            self.tally.skipped[said] = count + 1, first
            return
        kind, record = said
        if kind != DECISION:
            return
        if record.get("v") != VERSION:
            count, first = self.tally.others or (0, _Place(block.path, block.number(start)))
            self.tally.others = count + 1, first
            return
        time = time_in(record)
        self.tally.undated += self._selection.by_time and not time
        if self._selection.matches(record):
            self.tally.matched += 1
            self._seen(record)
            self._keep(time, line)

    def _keep_entry(self, line: bytes) -> bool:
        """Keep an identity entry; false if the line is none."""
        if (entry := entry_in(line)) is None:
            return False
        self.tally.entries.setdefault(*entry)
        return True

    def _keep(self, time: str, line: bytes) -> None:
        kept, most = self.tally.kept, self._most
        kept.append((time, line))
        if len(kept) > most + max(_SPARE, most // 8):  # a heap takes longer, because most lines come in their order
            self._trim()

    def _trim(self) -> None:
        """Keep no more than are asked for."""
        self.tally.kept.sort()
        del self.tally.kept[: -self._most or None]


def there(part: Part) -> Part:
    """The part, under its file's name of now: the gate may have compressed it since its folder was listed."""
    path = part.path
    if not part.opened and not path.exists() and (packed := path.with_name(path.name + _GZ)).exists():
        return Part(packed)
    return part
