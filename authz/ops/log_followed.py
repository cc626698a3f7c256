"""What a log has out of Envoy's access logs: what came of decisions, and what tasks read and changed in Airflow.

Law: the answer is that of reading all lines in their order, on one CPU or on all. Memory is bounded by what is asked
for.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from authz.core.record import ACCESS, DECISION_LINE, OUTCOME, VERSION, record_in, text_in, time_in
from authz.core.traffic.selection import EndSelection
from authz.ops.log_parts import each_part
from authz.ops.log_reader import LogReader, Part
from authz.ops.log_search import there

_SPARE: Final = 1000

Entry = Mapping[str, Any]


class Newest:
    """The newest of some entries.

    Args:
        most: how many are kept.

    Attributes:
        count: how many there were.
    """

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most, self._kept = most, list[Entry]()

    def add(self, *entries: Entry) -> None:
        """Keep those that come next, if they are new enough."""
        self.count += len(entries)
        self._kept += entries
        if len(self._kept) > self._most + _SPARE:
            self._trim()

    def join(self, more: "Newest") -> None:
        """Add those that follow."""
        self.add(*more.kept())
        self.count += more.left_out

    def kept(self) -> list[Entry]:
        """Those that were kept, the newest last."""
        self._trim()
        return self._kept

    @property
    def left_out(self) -> int:
        """How many were not kept."""
        return self.count - len(self.kept())

    def _trim(self) -> None:
        self._kept.sort(key=time_in)
        del self._kept[: -self._most or None]


def outcomes_of(paths: Sequence[Path], decisions: Collection[str]) -> dict[str, Entry]:
    """What came of these decisions, as far as it is on record.

    Raises:
        OSError: a file cannot be read.
    """
    found: dict[str, Entry] = {}
    for some in each_part(paths, partial(_outcomes, decisions)) if decisions else ():
        found |= some
    return found


def ended_so(
    paths: Sequence[Path], ends: EndSelection, advanced: Callable[[int], None] = lambda _bytes: None
) -> frozenset[str]:
    """The ids of the decisions of which this came; `advanced` is called with the number of bytes that were read.

    Raises:
        OSError: a file cannot be read.
    """
    return frozenset[str]().union(*each_part(paths, partial(_ended_so, ends), advanced))


def accesses_of(paths: Sequence[Path], wanted: Callable[[Entry], int | None], most: Sequence[int]) -> list[Newest]:
    """What tasks read and changed in Airflow, sorted into kinds, of each the newest.

    Args:
        paths: the files.
        wanted: the number of an entry's kind; None if it is not wanted.
        most: how many are kept of each kind.

    Raises:
        OSError: a file cannot be read.
    """
    found = [*map(Newest, most)]
    for some in each_part(paths, partial(_accesses, wanted, most)):
        for one, more in zip(found, some, strict=True):
            one.join(more)
    return found


def _outcomes(decisions: Collection[str], part: Part, advanced: Callable[[int], None]) -> dict[str, Entry]:
    entries = _entries(part, OUTCOME, advanced)
    return {name: said for said in entries if (name := text_in(said, "decision")) in decisions}


def _ended_so(ends: EndSelection, part: Part, advanced: Callable[[int], None]) -> set[str]:
    return {text_in(said, "decision") for said in _entries(part, OUTCOME, advanced) if ends.matches(said)}


def _accesses(
    wanted: Callable[[Entry], int | None], most: Sequence[int], part: Part, advanced: Callable[[int], None]
) -> list[Newest]:
    found = [*map(Newest, most)]
    for said in _entries(part, ACCESS, advanced):
        if (kind := wanted(said)) is not None:
            found[kind].add(said)
    return found


def _entries(part: Part, kind: str, advanced: Callable[[int], None]) -> Iterator[Entry]:
    """The entries of this type, other than decisions."""
    word = f'"{kind}"'.encode()
    for block in LogReader(advanced).blocks(there(part)):
        for line in block.lines.split(b"\n") if word in block.lines else ():
            if line.startswith(DECISION_LINE) or word not in line:
                continue
            said = record_in(line)
            if isinstance(said, tuple) and said[0] == kind and said[1].get("v") == VERSION:
                yield said[1]
