"""Rules with `dags`: which of them concern a DAG, and which DAGs they name together.

Law: the rules here apply to a request except for their `dags`. Finding those that concern one DAG costs what
`GlobTable` costs, however many there are. Their union is computed once. Its size decides nothing: a union that is too
large for an assertion has a reference, with which Airflow asks the gate for it (`authz.check.grants`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from authz.core.jose.primitives import b64url_encode
from authz.core.model import DagGrant, LargeGrant
from authz.core.policy.patterns import Glob
from authz.core.policy.rules import Rule
from authz.core.policy.tables import GlobTable

EVERY: Final = "*"
"""The glob that every DAG id matches."""

MAX_BYTES: Final = 8192
"""As much of an assertion as the names of DAGs may take: with all else it must fit into a request header."""

_FEW: Final = 4  # globs that are compared one by one; a table would take more memory than a rule
_MOST_KNOWN: Final = 1024  # unions, and as many grants; a full table is cleared
_MOST_GLOBS: Final = 1_000_000  # of all unions that are known: some 8 MB beside the policy's own texts
_MOST_PROBES: Final = 50_000  # of tables, for leaving out what others cover: some 15 ms, once per union


@dataclass(frozen=True, slots=True, eq=False)
class Dags:
    """DAGs as globs, sorted, none of which covers another, and the bytes that they take in an assertion.

    `alone` is the grant of exactly these. Compared by identity: equal unions of one policy are one object.
    """

    globs: tuple[str, ...]
    size: int
    alone: DagGrant


def grant_json(grant: DagGrant) -> bytes:
    """The grant as the gate sends it to Airflow; equal grants are equal bytes."""
    return orjson.dumps({"allowed": grant.allowed, "denied": grant.denied})


def reference_of(data: bytes) -> str:
    """The digest that names these bytes in an assertion: SHA-256 in base64url."""
    return b64url_encode(hashlib.sha256(data).digest())


def grant_of(allowed: tuple[str, ...], denied: tuple[str, ...], size: int) -> DagGrant:
    """The grant of these globs, with a reference if they take more bytes than an assertion has room for."""
    grant = DagGrant(allowed, denied)
    return grant if size <= MAX_BYTES else LargeGrant(allowed, denied, reference_of(grant_json(grant)))


NO_DAG: Final = Dags((), 0, DagGrant(()))
_ALL: Final = Dags((EVERY,), 0, DagGrant((EVERY,)))


class Limited:
    """The rules at one place of an index, if some of them have `dags`.

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
    """The rules of one plane and one effect that apply to a request except for their `dags`.

    `rule` is the smallest id of those without `dags`, or ""; `limited` has the others.
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
    """The DAGs that sets of such rules name together. Bounded cache of equal questions; used by one thread."""

    __slots__ = ("_globs", "_grants", "_known")

    def __init__(self) -> None:
        self._known: dict[tuple[Limited, ...], Dags] = {}
        self._grants: dict[tuple[Dags, Dags], DagGrant] = {}
        self._globs = 0

    def of(self, applying: Applying) -> Dags:
        """The DAGs that the rules name together. One without `dags` concerns all of them."""
        if applying.rule:
            return _ALL
        if not applying.limited:
            return NO_DAG
        found = self._known.get(applying.limited)
        if found is None:
            found = _union(applying.limited)
            if len(self._known) >= _MOST_KNOWN or self._globs + len(found.globs) > _MOST_GLOBS:
                self._known.clear()
                self._grants.clear()
                self._globs = 0
            self._known[applying.limited] = found
            self._globs += len(found.globs)
        return found

    def grant(self, allowed: Dags, denied: Dags) -> DagGrant:
        """The grant of what one union allows and another denies."""
        if denied is NO_DAG:
            return allowed.alone
        size = allowed.size + denied.size
        if size <= MAX_BYTES:
            return DagGrant(allowed.globs, denied.globs)
        found = self._grants.get((allowed, denied))
        if found is None:
            if len(self._grants) >= _MOST_KNOWN:
                self._grants.clear()
            found = self._grants[allowed, denied] = grant_of(allowed.globs, denied.globs, size)
        return found


def _union(places: Iterable[Limited]) -> Dags:
    named = {glob.text: glob for place in places for rule in place.rules for glob in rule.dags}
    if EVERY in named:
        return _ALL
    globs = tuple(sorted(reduced(named)))
    size = sum(len(text.encode()) + len('"",') for text in globs)
    return Dags(globs, size, grant_of(globs, (), size))


def reduced(globs: Mapping[str, Glob]) -> Iterable[str]:
    """The globs (by their texts) without those that another one covers: what is left matches the same DAG ids.

    One glob covers another if it matches the other's text, in which each `*` is a character that DAG ids never have.
    If this could take long, all globs stay: the result is longer, and means the same.
    """
    table: GlobTable[str] = GlobTable()
    lengths, between = set(), 0
    for text, glob in globs.items():
        if len(glob.parts) > 1:
            table.setdefault(glob, text)
            lengths.add((len(glob.parts[0]), len(glob.parts[-1])))
            between += len(glob.parts) > 2  # noqa: PLR2004 compared one by one, where they begin and end alike
    if len(globs) * (len(lengths) + between) > _MOST_PROBES:
        return globs
    return [text for text in globs if all(wide == text for wide in table.find(text))]
