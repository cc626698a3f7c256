"""Equal values as one object: what a hundred thousand tokens say alike is kept once.

Law: bounded, and without effect but on memory. What comes back equals what went in; a table that is full is begun anew,
so a flood of different values costs only the sharing, and never more than `limit` values outlive their last user.
"""

from typing import Any, Final, Generic, TypeVar

_Value = TypeVar("_Value")

_MOST: Final = 4096
_MOST_SETS: Final = 1024  # each may be as large as a token
_LONGEST: Final = 128  # characters of a text; who has longer ones has few in common


class Shared(Generic[_Value]):
    """One table. Its values must be of one type: 1, 1.0 and True are equal.

    Args:
        limit: values kept at most.
    """

    __slots__ = ("_kept", "_limit")

    def __init__(self, limit: int = _MOST) -> None:
        self._limit = limit
        self._kept: dict[_Value, _Value] = {}

    def __call__(self, value: _Value) -> _Value:
        """The first value that was equal to this one."""
        kept = self._kept.get(value)
        if kept is None:
            if len(self._kept) >= self._limit:
                self._kept.clear()
            self._kept[value] = kept = value
        return kept

    def __contains__(self, value: _Value) -> bool:
        return value in self._kept

    def __len__(self) -> int:
        return len(self._kept)


class SharedClaims:
    """What the claims of many tokens have in common: groups, audiences, clients, names and whole seconds.

    The subject is left alone: it is what tells tokens apart.
    """

    __slots__ = ("_seconds", "_sets", "_texts")

    def __init__(self) -> None:
        self._sets: Shared[frozenset[str]] = Shared(_MOST_SETS)
        self._texts: Shared[str] = Shared()
        self._seconds: Shared[int] = Shared()

    def __call__(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values of `Claims` by their names, with equal ones in the place of some."""
        for name in ("groups", "audiences"):
            values[name] = self._set(values[name])
        for name in ("client_id", "username", "full_name"):
            values[name] = self._text(values[name])
        for name in ("expires_at", "issued_at", "not_before"):
            if values[name] is not None:
                values[name] = self._seconds(values[name])
        return values

    def _set(self, members: frozenset[str]) -> frozenset[str]:
        return self._sets(members if members in self._sets else frozenset(map(self._text, members)))

    def _text(self, text: str) -> str:
        return self._texts(text) if len(text) <= _LONGEST else text
