"""Bounded interning of equal values, to save memory: a hundred thousand tokens share them.

Law: bounded, and affects only memory. The returned value equals the given one. A full table is cleared, so a flood of
different values costs only the sharing, and at most `limit` values outlive their last user.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

_Value = TypeVar("_Value")

_MOST: Final = 4096
_MOST_SETS: Final = 1024  # each may be as large as a token
_LONGEST: Final = 128  # characters of a text; tokens have few longer ones in common


class Shared(Generic[_Value]):
    """One table. Its values must be of one type: 1, 1.0 and True are equal.

    Args:
        limit: most values kept.
    """

    __slots__ = ("_kept", "_limit")

    def __init__(self, limit: int = _MOST) -> None:
        self._limit = limit
        self._kept: dict[_Value, _Value] = {}

    def __call__(self, value: _Value) -> _Value:
        """The first value that was equal to this one."""
        kept = self._kept.get(value)
        return self._first(value) if kept is None else kept

    def __contains__(self, value: _Value) -> bool:
        return value in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def _first(self, value: _Value) -> _Value:
        if len(self._kept) >= self._limit:
            self._kept.clear()
        self._kept[value] = value
        return value


class _Texts(Shared[str]):
    """Interns short texts."""

    __slots__ = ()

    def _first(self, value: str) -> str:
        return super()._first(value) if len(value) <= _LONGEST else value


class _Sets(Shared[frozenset[str]]):
    """Interns sets of texts; different sets share their common members."""

    __slots__ = ("_texts",)

    def __init__(self, texts: _Texts) -> None:
        super().__init__(_MOST_SETS)
        self._texts = texts

    def _first(self, value: frozenset[str]) -> frozenset[str]:
        return super()._first(frozenset(map(self._texts, value)))


def _same(value: _Value) -> _Value:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What the claims of many tokens have in common: names, groups and audiences, whole seconds.

    Not the subject: it differs between tokens.
    """

    text: Callable[[str], str] = _same
    members: Callable[[frozenset[str]], frozenset[str]] = _same
    seconds: Callable[[int], int] = _same


NOT_SHARED: Final = Sharing()


def shared_claims() -> Sharing:
    """Tables of their own."""
    texts = _Texts()
    return Sharing(text=texts, members=_Sets(texts), seconds=Shared[int]())
