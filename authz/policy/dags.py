"""Rules that go by DAG: which of them concern a DAG, and which DAGs they name together.

Law: the rules that stand here apply to a request in everything but their `dags`. Finding those that concern one DAG
costs what `GlobTable` costs, however many there are. What they name together is put together once, and is bounded.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from authz.model import DagGrant
from authz.policy.rules import Rule
from authz.policy.tables import GlobTable

EVERY: Final = "*"
"""The glob that every DAG id matches."""

MAX_BYTES: Final = 8192
"""As much of an assertion as the names of DAGs may take: with all else it must fit into a request header."""

_FEW: Final = 4  # globs that are compared one by one; a table would take more memory than a rule
_MOST_KNOWN: Final = 1024  # unions; a table that is full is begun anew


class Dags(NamedTuple):
    """DAGs as globs, sorted, and the bytes that they take in an assertion. What takes more than MAX_BYTES has no globs.

    `alone` is the grant of exactly these.
    """

    globs: tuple[str, ...]
    size: int
    alone: DagGrant


NO_DAG: Final = Dags((), 0, DagGrant(()))
_ALL: Final = Dags((EVERY,), 0, DagGrant((EVERY,)))


class Limited:
    """The rules at one place of an index, where some of them have `dags`.

    `rule` is the smallest id of those without, `first` of those with, `every` of those that say `*`; each may be "".
    """

    __slots__ = ("_table", "every", "first", "rule", "rules")

    def __init__(self, rule: str, rules: Sequence[Rule]) -> None:
        """`rules` are those with `dags`, sorted by their ids."""
        self.rule = rule
        self.rules = tuple(rules)
        self.first = rules[0].id
        self.every = next((rule.id for rule in rules if any(glob.text == EVERY for glob in rule.dags)), "")
        self._table: GlobTable[str] | None = None
        if sum(len(rule.dags) for rule in rules) > _FEW:
            self._table = GlobTable()
            for rule_with in rules:
                for glob in rule_with.dags:
                    self._table.setdefault(glob, rule_with.id)

    def about(self, dag_id: str) -> str:
        """The smallest id of the rules with `dags` that name this DAG, or ""."""
        if self._table is not None:
            return min(self._table.find(dag_id), default="")
        for rule in self.rules:
            for glob in rule.dags:
                if glob.matches(dag_id):
                    return rule.id
        return ""


class Applying:
    """The rules of one plane and one effect that apply to a request in everything but their `dags`.

    `rule` is the smallest id of those without `dags`, "" where there is none; `limited` has the others.
    """

    __slots__ = ("limited", "rule")

    def __init__(self, rule: str, limited: tuple[Limited, ...] = ()) -> None:
        self.rule = rule
        self.limited = limited

    def to_dag(self, dag_id: str) -> str:
        """The smallest id of the rules that concern this DAG, or ""."""
        smallest = self.rule
        for place in self.limited:
            rule = place.about(dag_id)
            if rule and (rule < smallest or not smallest):
                smallest = rule
        return smallest

    def to_every_dag(self) -> str:
        """The smallest id of the rules that concern every DAG there may be, or ""."""
        return min(filter(None, (self.rule, *(place.every for place in self.limited))), default="")

    def to_any_dag(self) -> str:
        """The smallest id of the rules that concern at least some DAG, or ""."""
        return min(filter(None, (self.rule, *(place.first for place in self.limited))), default="")


class Unions:
    """What sets of such rules name together. Equal questions are answered once, and bounded; used by one thread."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[Limited, ...], Dags] = {}

    def of(self, applying: Applying) -> Dags:
        """The DAGs that the rules name together. One without `dags` concerns all of them."""
        if applying.rule:
            return _ALL
        if not applying.limited:
            return NO_DAG
        found = self._known.get(applying.limited)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[applying.limited] = _union(applying.limited)
        return found


def _union(places: Iterable[Limited]) -> Dags:
    texts = {glob.text for place in places for rule in place.rules for glob in rule.dags}
    if EVERY in texts:
        return _ALL
    size = sum(len(text.encode()) + len('"",') for text in texts)
    globs = tuple(sorted(texts)) if size <= MAX_BYTES else ()
    return Dags(globs, size, DagGrant(globs))
