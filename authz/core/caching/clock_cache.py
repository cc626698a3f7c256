"""Bounded CLOCK (second-chance) cache: one dictionary, and one bit per entry.

Law: it never holds more than `capacity` entries, and evicts none while there is room. A caller that uses an entry sets
its `used`. When the cache is full, a hand goes round the entries, oldest first: it spares an entry that was used since
it last passed and clears its bit, and evicts the first other one. It looks at a few entries at most, so that no put
takes long. Used by one thread.

An LRU cache would have to keep a list and relink it at every use: `cachetools.LRUCache` has three dictionaries for
that.
"""

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

_MOST_LOOKED_AT: Final = 64


class Entry(Protocol):
    """A cache entry."""

    used: bool


_Key = TypeVar("_Key", bound=Hashable)
_Entry = TypeVar("_Entry", bound=Entry)


class SecondChance(Generic[_Key, _Entry]):
    """Keys → entries.

    Args:
        capacity: most entries kept.

    Attributes:
        get: the entry of a key, or None; the dictionary's own method, because every check calls it.
    """

    __slots__ = ("_capacity", "_hand", "_kept", "get")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: dict[_Key, _Entry] = {}
        self._hand: Iterator[_Key] = iter(())
        self.get = self._kept.get

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._kept)

    def put(self, key: _Key, entry: _Entry) -> None:
        """Keep the entry. It replaces one with the same key or, if the cache is full, an unused one."""
        if len(self._kept) >= self._capacity and key not in self._kept:
            self._give_up_one()
        self._kept[key] = entry

    def _give_up_one(self) -> None:
        key = None
        for key in islice(self._round(), _MOST_LOOKED_AT):
            entry = self._kept[key]
            if not entry.used:
                break
            entry.used = False
        if key is not None:
            del self._kept[key]

    def _round(self) -> Iterator[_Key]:
        """The keys, from where the hand stopped, endlessly."""
        while self._kept:
            yield from self._hand  # all still there: only the hand removes entries
            # A list of its own: a dictionary that changes cannot be walked, and after many removals at its beginning,
            # finding its first key takes longer and longer.
            self._hand = iter(tuple(self._kept))
