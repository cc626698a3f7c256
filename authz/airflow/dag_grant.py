"""Which DAGs a request may see and touch: the assertion's `dags` without its `dags_denied`.

Law: pure, and total once made. In a pattern only `*` is special: it matches any characters, including none. Everything
else matches itself, the whole DAG id is compared, and matching is linear for every pattern. An id
with a trailing space is never granted: a database that pads text would find the DAG without it. Most patterns of a real
policy are `name`, `team_*` or `*`: those are compared in one step, however many there are, because Airflow asks about
every DAG that it has for every list that it shows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

MAX_KEPT = 256  # a person's grant is the same in request after request
FEW = 64  # prefixes or suffixes that are compared at once; if there are more, each length is one set lookup


class _Patterns:
    """Some patterns, sorted by how they are compared."""

    __slots__ = ("_all", "_exact", "_many_prefixes", "_many_suffixes", "_others", "_prefixes", "_suffixes")

    def __init__(self, texts: Iterable[str]) -> None:
        split = [text.split("*") for text in texts]
        starred = [parts for parts in split if len(parts) > 1]
        self._exact = frozenset(parts[0] for parts in split if len(parts) == 1)
        self._all = not all(any(parts) for parts in starred)
        prefixes = tuple(parts[0] for parts in starred if parts[0] and not any(parts[1:]))
        suffixes = tuple(parts[-1] for parts in starred if parts[-1] and not any(parts[:-1]))
        self._prefixes = prefixes if len(prefixes) <= FEW else ()
        self._many_prefixes = _by_length(() if self._prefixes else prefixes)
        self._suffixes = suffixes if len(suffixes) <= FEW else ()
        self._many_suffixes = _by_length(() if self._suffixes else suffixes)
        self._others = tuple(parts for parts in starred if any(parts[1:-1]) or (parts[0] and parts[-1]))

    def match(self, dag_id: str) -> bool:
        """Whether one of them matches the whole id."""
        return (
            self._all
            or dag_id in self._exact
            or dag_id.startswith(self._prefixes)
            or dag_id.endswith(self._suffixes)
            or any(dag_id[:length] in texts for length, texts in self._many_prefixes)
            or any(dag_id[-length:] in texts for length, texts in self._many_suffixes)
            or any(_matches(parts, dag_id) for parts in self._others)
        )


def _by_length(texts: Iterable[str]) -> tuple[tuple[int, set[str]], ...]:
    table: dict[int, set[str]] = {}
    for text in texts:
        table.setdefault(len(text), set()).add(text)
    return tuple(table.items())


def _matches(parts: Sequence[str], value: str) -> bool:
    """Match the parts between the stars, each at its leftmost place: no other place is better, so this is linear."""
    first, last = parts[0], parts[-1]
    at, end = len(first), len(value) - len(last)
    if at > end or not value.startswith(first) or not value.endswith(last):
        return False
    for part in parts[1:-1]:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


@dataclass(frozen=True, slots=True)
class DagGrant:
    """DAGs selected by patterns: those that match `allowed` and not `denied`. Without patterns, none."""

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    _allowed: _Patterns = field(init=False, repr=False, compare=False)
    _denied: _Patterns = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_allowed", _Patterns(self.allowed))
        object.__setattr__(self, "_denied", _Patterns(self.denied))

    def permits(self, dag_id: str) -> bool:
        """Whether the DAG may be seen and touched."""
        return not dag_id.endswith(" ") and self._allowed.match(dag_id) and not self._denied.match(dag_id)

    def narrow(self, dag_ids: Iterable[str]) -> set[str]:
        """Return those that may be seen and touched."""
        return {dag_id for dag_id in dag_ids if self.permits(dag_id)}


@lru_cache(MAX_KEPT)
def grant_of(allowed: tuple[str, ...], denied: tuple[str, ...]) -> DagGrant:
    """Return the grant of these patterns; the same object again if it was made recently."""
    return DagGrant(allowed, denied)


NO_DAGS = DagGrant()
