"""Finds patterns of two owners that match one DAG id.

Law: exact. If an owner shares a DAG id with another one, a pair is found, and the patterns of each pair match the DAG
id that it names. Two globs with stars overlap if and only if one's beginning begins the other's, and their ends alike:
so each is compared with those only, never with all.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from authz.core.policy.patterns import Glob
from authz.core.policy.tables import GlobTable

_KEPT: Final = 2  # items of two owners: for each owner, one of them is of another
_MOST: Final = 8  # pairs for each pattern


class Owned(NamedTuple):
    """A pattern, and the number of its owner."""

    owner: int
    glob: Glob


class Shared(NamedTuple):
    """Patterns of two owners, and a DAG id that both match."""

    one: Owned
    other: Owned
    dag_id: str


def shared(owned: Iterable[Owned]) -> Iterator[Shared]:
    """Pairs of patterns of two owners: for each pattern some, if it overlaps with any of another owner before it.

    "Before" is not the order in which they are given.
    """
    items = sorted(owned, key=lambda item: len(item.glob.parts[0]))
    wide = [item for item in items if len(item.glob.parts) > 1]
    yield from _wide(wide)
    table: GlobTable[list[Owned]] = GlobTable()
    for item in wide:
        _keep(table.setdefault(item.glob, []), item)
    exact: dict[str, list[Owned]] = {}
    for item in items:
        if len(item.glob.parts) == 1:
            text = item.glob.text
            before = exact.setdefault(text, [])
            others = (one for found in (before, *table.find(text)) for one in found if one.owner != item.owner)
            yield from (Shared(other, item, text) for other in islice(others, _MOST))
            _keep(before, item)


def _wide(items: Iterable[Owned]) -> Iterator[Shared]:
    """Pairs of globs with stars; `items` have the shorter beginnings first."""
    known: dict[str, _Ends] = {}
    for item in items:
        first, end = item.glob.parts[0], item.glob.parts[-1][::-1]
        agreeing = (known[first[:size]] for size in range(len(first) + 1) if first[:size] in known)
        others = (other for ends in agreeing for other in ends.agreeing(end) if other.owner != item.owner)
        yield from (Shared(other, item, _both(other.glob, item.glob)) for other in islice(others, _MOST))
        known.setdefault(first, _Ends()).add(end, item)


class _Ends:
    """Globs with one beginning, by their ends, which are written backwards."""

    __slots__ = ("_by", "_sorted")

    def __init__(self) -> None:
        self._by: dict[str, list[Owned]] = {}
        self._sorted: list[str] = []

    def add(self, end: str, item: Owned) -> None:
        """One more glob."""
        if end not in self._by:
            insort(self._sorted, end)
        _keep(self._by.setdefault(end, []), item)

    def agreeing(self, end: str) -> Iterator[Owned]:
        """The globs with an end that begins this one, or that this one begins."""
        for size in range(len(end)):
            yield from self._by.get(end[:size], ())
        at = bisect_left(self._sorted, end)
        while at < len(self._sorted) and self._sorted[at].startswith(end):
            yield from self._by[self._sorted[at]]
            at += 1


def _keep(items: list[Owned], item: Owned) -> None:
    if len(items) < _KEPT and all(other.owner != item.owner for other in items):
        items.append(item)


def _both(one: Glob, other: Glob) -> str:
    """A DAG id that two globs with stars match, if their beginnings and their ends agree."""
    first = max(one.parts[0], other.parts[0], key=len)
    last = max(one.parts[-1], other.parts[-1], key=len)
    return "".join([first, "x", *one.parts[1:-1], *other.parts[1:-1], last])
