"""The newest decisions in logs that a selection means, and who their callers are.

Law: each line is parsed, or it is seen to be one that the gate wrote whole (it begins and ends as a decision, an
outcome or an access, with as many braces opened as closed, and without a hole of NUL) and not to hold what is asked
for. What could not be read is counted, with its place.
Memory is bounded by the number of decisions that are kept, and by the number of different callers.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from authz.core.policy.patterns import Glob
from authz.core.record import (
    ACCESS,
    ACCESS_LINE,
    DECISION,
    DECISION_LINE,
    OUTCOME,
    OUTCOME_LINE,
    VERSION,
    Skipped,
    entry_in,
    record_in,
    time_in,
)
from authz.core.traffic.selection import Selection
from authz.ops.log_reader import Damage, LogReader

# Where the time is in a line whose id has 24 digits.
_BEFORE_TIME: Final = slice(55, 65)
_WORD: Final = b'","time":"'
_TIME: Final = slice(65, 92)
_GZ: Final = ".gz"


class Found(NamedTuple):
    """A decision, and its caller's identity entry; None if it has none, or if it is not in the logs."""

    record: Mapping[str, Any]
    entry: Mapping[str, Any] | None


class Search:
    """Searches files, one after another: `learn` from those that may have the identity entries, then `read` each.

    Args:
        selection: what is meant.
        most: how many decisions are kept, the newest ones.
        advanced: called with the number of bytes of a file that were read.
        seen: called with each decision that is meant, kept or not.

    Attributes:
        lines: lines that were read.
        matched: decisions that are meant, kept or not.
        skipped: for each reason, how many lines are no record, and the place of the first.
        other_version: decisions of a version of the format that this one does not know, and the place of the first.
        undated: decisions whose time is not one of the log's form, if the selection asks for a time.
        damages: the parts of files that could not be read.
    """

    def __init__(
        self,
        selection: Selection,
        most: int,
        advanced: Callable[[int], None] = lambda _bytes: None,
        seen: Callable[[Mapping[str, Any]], None] = lambda _record: None,
    ) -> None:
        self.lines = self.matched = self.undated = 0
        self.skipped: dict[Skipped, tuple[int, str]] = {}
        self.other_version = 0, ""
        self._selection, self._most, self._advanced, self._seen = selection, most, advanced, seen
        self._reader = LogReader(advanced)
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._kept: list[tuple[str, bytes]] = []

    @property
    def damages(self) -> Sequence[Damage]:
        """See above."""
        return self._reader.damages

    def learn(self, path: Path) -> None:
        """Keep the identity entries of a file.

        Raises:
            OSError: it cannot be read.
        """
        for _first, _path, lines in _batches(LogReader(self._advanced), path):
            for line in lines:
                if not line.startswith(DECISION_LINE) and (entry := entry_in(line)) is not None:
                    self._entries.setdefault(*entry)

    def of_caller(self, name: str) -> frozenset[str]:
        """The ids of the entries that are known of a caller with this subject, user's name or client id."""
        words = ("subject", "user", "client")
        return frozenset(key for key, entry in self._entries.items() if name in {entry.get(word) for word in words})

    def entry_of(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The identity entry of a decision's caller; None if it has none, or if it is not in the logs."""
        name = record.get("identity")
        return self._entries.get(name) if isinstance(name, str) else None

    def of_users(self, users: Sequence[Glob]) -> frozenset[str]:
        """The ids of the entries that are known of users with such names."""
        return frozenset(
            name
            for name, entry in self._entries.items()
            if isinstance(user := entry.get("user"), str) and any(glob.matches(user) for glob in users)
        )

    def narrow(self, selection: Selection) -> None:
        """Search for this from now on."""
        self._selection = selection

    def read(self, path: Path) -> None:
        """Search a file.

        Raises:
            OSError: it cannot be read.
        """
        maybe = _filter(self._selection)
        for first, at, lines in _batches(self._reader, path):
            self.lines += len(lines)
            for number, line in maybe(lines):
                self._take(line, at, first + number)

    def fill(
        self, *, lines: int = 0, matched: int = 0, newest: Iterable[bytes] = (), entries: Iterable[bytes] = ()
    ) -> bool:
        """Add what was found in another way; false if a line is not what is meant."""
        self.lines, self.matched = self.lines + lines, self.matched + matched
        for line in newest:
            record = orjson.loads(line)
            if not self._selection.matches(record):
                return False
            self._keep(time_in(record), line)
        for line in entries:
            if (entry := entry_in(line)) is not None:
                self._entries.setdefault(*entry)
        return True

    def identities(self) -> Iterator[str]:
        """The ids of the callers of the decisions that were kept."""
        yield from (
            found.record["identity"] for found in self.newest() if isinstance(found.record.get("identity"), str)
        )

    def newest(self) -> Iterator[Found]:
        """The decisions that were kept, the newest last."""
        for _time, line in sorted(self._kept):
            record = orjson.loads(line)
            yield Found(record, self.entry_of(record))

    def _take(self, line: bytes, path: Path, number: int) -> None:
        """Parse a line."""
        if (entry := entry_in(line)) is not None:
            self._entries.setdefault(*entry)
            return
        found = record_in(line)
        if isinstance(found, Skipped):
            count, place = self.skipped.get(found, (0, f"{path}:{number}"))
            self.skipped[found] = count + 1, place
            return
        kind, record = found
        if kind != DECISION:
            return
        if record.get("v") != VERSION:
            self.other_version = self.other_version[0] + 1, self.other_version[1] or f"{path}:{number}"
            return
        time = time_in(record)
        self.undated += self._selection.by_time and not time
        if self._selection.matches(record):
            self.matched += 1
            self._seen(record)
            self._keep(time, line)

    def _keep(self, time: str, line: bytes) -> None:
        if not self._most:
            return
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, (time, line))
        else:
            heapq.heappushpop(self._kept, (time, line))


def outcomes_of(paths: Iterable[Path], decisions: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """What came of these decisions, as far as it is on record.

    Raises:
        OSError: a file cannot be read.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for said in _of_type(paths if decisions else (), OUTCOME):
        name = said.get("decision")
        if isinstance(name, str) and name in decisions:
            found[name] = said
    return found


def accesses_of(
    paths: Iterable[Path], wanted: Callable[[Mapping[str, Any]], bool], most: int
) -> tuple[list[Mapping[str, Any]], int]:
    """What tasks read and changed in Airflow, as far as it is wanted: the newest, and how many there are.

    Raises:
        OSError: a file cannot be read.
    """
    kept: list[tuple[str, int, Mapping[str, Any]]] = []
    count = 0
    for count, said in enumerate(filter(wanted, _of_type(paths, ACCESS)), 1):
        one = time_in(said), count, said
        if count <= most:
            heapq.heappush(kept, one)
        else:
            heapq.heappushpop(kept, one)
    return [said for _, _, said in sorted(kept, key=lambda one: one[:2])], count


def _of_type(paths: Iterable[Path], kind: str) -> Iterator[Mapping[str, Any]]:
    """The entries of this type, other than decisions."""
    word = f'"{kind}"'.encode()
    for path in paths:
        for _first, _path, lines in _batches(LogReader(), path):
            for line in lines:
                if line.startswith(DECISION_LINE) or word not in line:
                    continue
                said = record_in(line)
                if isinstance(said, tuple) and said[0] == kind and said[1].get("v") == VERSION:
                    yield said[1]


def _batches(reader: LogReader, path: Path) -> Iterator[tuple[int, Path, list[bytes]]]:
    """The lines of a file, and its name: the gate may have compressed it since its folder was listed.

    Raises:
        OSError: it cannot be read.
    """
    if not path.exists() and (packed := path.with_name(path.name + _GZ)).exists():
        path = packed
    for number, lines in reader.batches(path):
        yield number, path, lines


def _filter(selection: Selection) -> Callable[[Iterable[bytes]], Iterator[tuple[int, bytes]]]:
    """What leaves out lines that are whole and cannot match, and numbers the others from 0."""
    needles, begins, by_time = selection.needles(), DECISION_LINE, selection.by_time
    ours = (DECISION_LINE, OUTCOME_LINE, ACCESS_LINE)
    since, until = selection.since.encode(), selection.until.encode() or b"~"

    def maybe(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        for number, line in enumerate(lines):
            whole = line.startswith(ours) and line.endswith(b"}") and line.count(b"{") == line.count(b"}")
            if not whole or b"\0" in line:
                yield number, line
                continue
            if not line.startswith(begins):
                continue
            if needles and b"\\" not in line:
                for needle in needles:
                    if needle in line:
                        break
                else:
                    continue
            if by_time and line[_BEFORE_TIME] == _WORD and not since <= line[_TIME] < until:
                continue
            yield number, line

    return maybe
