"""Whether an entry of `never` holds: whether a deny rule with its conditions would take nothing from anyone.

Law: complete, and nothing is reported that the engine does not answer so. Callers need two memberships at most: one for
an allow rule and one of the entry's `roles`; what they hold besides only denies more, and `except` passes to subsets.
Where such a rule and the entry overlap, the stand-in of what they share shows whether anyone is allowed. Anonymous
callers are meant also where `roles` names others, because everyone can leave the token out.

An entry's `roles` say which people it is about, and they stay the same people: who has such a role in the policy as it
is written is meant at every time. What they may do, and who is excepted, is what the policy says at the time.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import Any, Final, NamedTuple

from authz.core.decision.decide import applies, route_of
from authz.core.errors import TooLargeError
from authz.core.model import Level, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.coverage import covers
from authz.core.policy.index import METHOD_KEYS, Index
from authz.core.policy.operations import Words, danger
from authz.core.policy.outbound import is_tunnel
from authz.core.policy.overlap import agree, hosts, shape_of, shapes
from authz.core.policy.patterns import Glob, PathPattern
from authz.core.policy.rules import AUTHENTICATED, Effect, Rule
from authz.core.proof.callers import ANONYMOUS, RUN, Caller
from authz.core.proof.gains import may
from authz.core.proof.members import Members
from authz.core.proof.points import Point, point
from authz.core.proof.regions import Region, of_rule, shared
from authz.core.proof.space import Space
from authz.core.proof.witness import Witness, witness
from authz.core.proof.wording import dag_of
from authz.core.request.path import METHODS

_MOST_COMPARED: Final = 20_000
"""Comparisons of one entry's parts with deny rules, each of some microseconds."""
MOST_ASKED: Final = 300_000
"""Questions of the policy file's entries about its rules, at all times, each of some ten microseconds."""
MOST_OF_FILE: Final = 60_000
"""Questions of the policy file's entries about the rules of one team's file, and of that file's entries about rules."""
_AT_ONCE: Final = 32
"""Comparisons of patterns that take as long as one question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """One entry of `never`. `rule` is the deny rule that says the same; `excepted` are roles.

    `anonymous`: it is about callers without a token too. `team` is the file where a team's file has the entry, else "".
    """

    name: str
    file: str
    line: int
    column: int
    rule: Rule
    excepted: frozenset[str] = frozenset()
    anonymous: bool = True
    team: str = ""


class UnprovenError(TooLargeError):
    """An entry that cannot be proven in a bounded time. `rule` is the one with which it is too much."""

    def __init__(self, text: str, rule: Rule) -> None:
        super().__init__(text)
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Requests that an entry forbids and the rule `rule` allows the caller.

    `operations` are all those of the catalogue, the most dangerous first; the region has the first of them. `dags` are
    the patterns of their DAGs, () where some of them name none.
    """

    caller: Caller
    region: Region
    operations: tuple[str, ...]
    dags: tuple[str, ...]
    rule: Rule
    witness: Witness | None


class _Found(NamedTuple):
    """What a caller may do of what is forbidden; `operations` are those of the region, the most dangerous first."""

    caller: Caller
    region: Region
    at: Point
    operations: tuple[str, ...]


class Budget:
    """The questions that are left: of each team's file apart, so that one file leaves enough for all others.

    Those of one team's entries about another team's rules share one number: who changed is then kept back.
    """

    def __init__(self) -> None:
        self._spent: Counter[tuple[str, str]] = Counter()
        self._account, self._most = ("", ""), MOST_ASKED

    def about(self, entry: str, rule: str) -> None:
        """What is asked from now on is about an entry and a rule of these files; "" is the policy file."""
        if entry and rule and entry != rule:
            self._account, self._most = ("*", "*"), MOST_ASKED  # of two teams: neither file alone is too much
        elif entry:
            self._account, self._most = (entry, "*"), MOST_OF_FILE
        else:
            self._account, self._most = ("", rule), MOST_OF_FILE if rule else MOST_ASKED

    def take(self, questions: int) -> None:
        """Take these; TooLargeError if there are not so many."""
        self._spent[self._account] += questions
        if questions and self._spent[self._account] > self._most:
            raise TooLargeError("the entry is about too much to be proven with these rules")


class Never:
    """Entries of `never` about a policy as of some time; `written` is that policy as it is written."""

    def __init__(
        self, policy: Policy, written: Policy, invariants: Iterable[Invariant], budget: Budget | None = None
    ) -> None:
        entries, budget = tuple(one.rule for one in invariants), budget or Budget()
        self._sides = {plane: _Side(policy, written, plane, entries, budget) for plane in Plane}

    def violations(self, invariant: Invariant) -> Iterator[Violation]:
        """Why the entry does not hold: for each rule that allows what it forbids, one caller and some requests.

        Raises:
            UnprovenError: this entry and those before it cannot be proven in a bounded time.
        """
        for plane in Plane:
            if plane in invariant.rule.planes and not (plane is Plane.EGRESS and invariant.rule.operations):
                yield from self._sides[plane].violations(invariant)


class _Kept(NamedTuple):
    """What an entry is about on one plane. `spared` are its exceptions, and the roles that are denied all of it."""

    entry: Rule
    spared: frozenset[str]
    anonymous: bool
    denying: Index


class _Side:
    """One plane of a policy; `entries` are the deny rules that say the same as the entries."""

    def __init__(
        self, policy: Policy, written: Policy, plane: Plane, entries: tuple[Rule, ...], budget: Budget
    ) -> None:
        self._policy, self._written = policy, written
        self._plane, self._entries, self._budget = plane, entries, budget
        self._shared_names: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]] = {}

    @cached_property
    def _space(self) -> Space:
        return Space(self._plane, self._policy, also=self._entries)

    @cached_property
    def _members(self) -> Members:
        denying = (rule.roles for rule in self._denials)
        telling = frozenset(role for roles in denying for role in roles)
        return Members(self._policy, self._written, self._plane, telling)

    @cached_property
    def _granting(self) -> list[Rule]:
        return [rule for rule in self._rules if rule.effect is not Effect.DENY]

    @cached_property
    def _denials(self) -> list[Rule]:
        return [rule for rule in self._rules if rule.effect is Effect.DENY]

    @cached_property
    def _rules(self) -> list[Rule]:
        return [rule for rule in self._policy.rules.values() if self._plane in rule.planes]

    @cached_property
    def _anyones_denials(self) -> list[tuple[Rule, Rule]]:
        """Each deny rule, and the one that says the same of everyone."""
        return [(rule, replace(rule, roles=())) for rule in self._denials]

    @cached_property
    def _words(self) -> Words:
        return Words(self._policy.catalogue)

    @cached_property
    def _of_dags(self) -> frozenset[str]:
        """The operations some of whose routes name a DAG, or may reach any."""
        return frozenset(target.operation for target in self._space.targets if target.dag_at >= 0 or target.any_dag)

    def violations(self, invariant: Invariant) -> Iterator[Violation]:
        """One for each rule that allows what the entry forbids."""
        kept = self._kept(invariant)
        if AUTHENTICATED in kept.spared and not kept.anonymous:
            return
        for rule in self._granting:
            self._budget.about(invariant.team, rule.file)
            try:
                self._budget.take(_comparisons(rule, kept.entry) // _AT_ONCE)
                narrowed = self._narrowed(rule, kept.entry)
                found = None if narrowed is None else self._allowed(rule, narrowed, kept)
            except TooLargeError as error:
                raise UnprovenError(str(error), rule) from None
            if found is not None:
                yield found

    def _kept(self, invariant: Invariant) -> _Kept:
        entry = replace(invariant.rule, planes=frozenset({self._plane}), roles=())
        denied, everyone = self._denied(entry)
        spared = invariant.excepted | denied
        anonymous = invariant.anonymous and self._plane is Plane.INBOUND and not everyone
        denying = Index([entry], plane=self._plane, effect=Effect.DENY, catalogue=self._policy.catalogue)
        about = replace(entry, roles=invariant.rule.roles)
        return _Kept(about, spared, anonymous, denying)

    def _denied(self, entry: Rule) -> tuple[frozenset[str], bool]:
        """Roles that deny rules keep from all of the entry, and whether they keep everyone from it.

        For an entry of many parts with many deny rules it finds fewer, and the proof takes longer.
        """
        pieces: list[dict[str, Any]] = [{}]
        for key in ("operations", "dags", "destinations", "hosts", "paths", "methods"):
            values = getattr(entry, key)
            if key == "methods" and self._plane is Plane.INBOUND and any(rule.methods for rule in self._denials):
                values = tuple(sorted(_methods(values)))  # deny rules for one method each may cover it together
            if key == "operations" and values:
                values = self._space.named.by(entry)
            if values and len(pieces) * len(values) * len(self._denials) <= _MOST_COMPARED:
                pieces = [{**piece, key: (value,)} for piece in pieces for value in values]
        denied, everyone = frozenset({AUTHENTICATED}), True
        for piece in pieces:
            part = replace(entry, **piece)
            found = [deny.roles for deny, anyones in self._anyones_denials if covers(anyones, part, self._words)]
            roles = frozenset(role for named in found for role in named or (AUTHENTICATED,))
            if AUTHENTICATED in denied:
                denied = roles
            elif AUTHENTICATED not in roles:
                denied &= roles
            everyone = everyone and not all(found)
        return denied, everyone

    def _narrowed(self, rule: Rule, entry: Rule) -> Rule | None:
        """The rule without what the entry has nothing to do with; None if that is all."""
        if _apart(rule, entry):
            return None
        dags = rule.dags
        if dags and entry.dags and rule.identity is not Level.ASSERTED:  # what is only asserted may be any run
            dags = tuple(glob for glob in dags if any(_meet(glob, other) for other in entry.dags))
            if not dags:
                return None
        operations = rule.operations
        if self._plane is Plane.INBOUND and entry.operations:
            operations = self._both(rule, entry)
            if not operations or (dags and self._of_dags.isdisjoint(operations)):
                return None
        paths = rule.paths
        if paths and entry.paths:
            paths = tuple(path for path in paths if any(_cross(path, other) for other in entry.paths))
            if not paths:
                return None
        if operations is rule.operations and dags is rule.dags and paths is rule.paths:
            return rule
        return replace(rule, operations=operations, dags=dags, paths=paths)

    def _both(self, rule: Rule, entry: Rule) -> tuple[str, ...]:
        """The operations that both are about; the entry names some."""
        question = rule.operations, entry.operations
        found = self._shared_names.get(question)
        if found is None:
            both = self._space.named.by(rule) & self._space.named.by(entry)
            found = self._shared_names[question] = tuple(sorted(both))
        return found

    def _allowed(self, rule: Rule, narrowed: Rule, kept: _Kept) -> Violation | None:
        """Requests that the rule allows to a caller of those that the entry is about."""
        holders = self._members.holding(rule.roles, kept.entry.roles, kept.spared)
        run = (
            self._plane is Plane.EGRESS
            and AUTHENTICATED not in kept.spared
            and all(not roles or AUTHENTICATED in roles for roles in (rule.roles, kept.entry.roles))
        )
        anonymous = [ANONYMOUS] if kept.anonymous and rule.effect is Effect.PUBLIC else []
        if not (holders or anonymous or run):
            return None
        found = []
        try:
            for one in self._each(narrowed, kept, [*anonymous, *holders], run=run):
                found.append(one)
                if not one.operations:
                    break  # nothing that has a name: one such request says it
        except TooLargeError:
            if not found:
                raise  # else these say enough
        return self._violation(found, rule, kept) if found else None

    def _each(self, rule: Rule, kept: _Kept, callers: list[Caller], *, run: bool) -> Iterator[_Found]:
        """What the rule allows, each with the first caller who may do it."""
        for region in of_rule(rule, self._plane, self._space):
            self._budget.take(1)
            for part in shared(region, kept.entry, self._space.named):
                asking = [] if part.of_runs else [*callers]
                if run and part.level is not None:
                    asking.append(RUN)
                self._budget.take(1 + len(asking))
                at = point(part, self._space.symbol)
                if not part.template and route_of(at.request, self._policy) is not None:
                    continue  # the catalogue's routes have regions of their own
                if not self._forbids(kept, at):
                    continue
                caller = next((one for one in asking if may(one, at, self._policy)), None)
                if caller is not None:
                    yield _Found(caller, part, at, self._named(part))

    def _named(self, part: Region) -> tuple[str, ...]:
        like = self._space.like(part.method, part.template, part.was) if part.template else ()
        return tuple(sorted({target.operation for target in like}, key=self._danger))

    def _danger(self, name: str) -> tuple[bool, bool, int, bool, str]:
        return danger(self._policy.catalogue.operations[name])

    def _violation(self, found: list[_Found], rule: Rule, kept: _Kept) -> Violation:
        """The most dangerous of what was found, and all operations that its caller may do."""
        worst = min(found, key=lambda one: (not one.operations, *map(self._danger, one.operations[:1])))
        theirs = [one for one in found if one.caller is worst.caller or may(worst.caller, one.at, self._policy)]
        names = {name for one in theirs for name in one.operations}

        def allowed(one: Caller, tried: Point) -> bool:
            return self._forbids(kept, tried) and may(one, tried, self._policy)

        return Violation(
            caller=worst.caller,
            region=worst.region,
            operations=tuple(sorted(names, key=self._danger)),
            dags=_dags(one.region for one in (worst, *theirs)),
            rule=rule,
            witness=witness(worst.region, worst.caller, allowed),
        )

    def _forbids(self, kept: _Kept, at: Point) -> bool:
        return applies(kept.denying, at.request, at.run, route_of(at.request, self._policy), at.shown)


def _dags(regions: Iterable[Region]) -> tuple[str, ...]:
    """The DAGs of the regions, in their order; () where one is about no DAG."""
    found = [dag_of(region) for region in regions if not region.narrowed or region.shown is not None]
    return tuple(dict.fromkeys(found)) if all(found) else ()


def _comparisons(rule: Rule, entry: Rule) -> int:
    """How many pairs of patterns are compared at most to see what two rules share."""
    pairs = (rule.hosts, entry.hosts), (rule.dags, entry.dags), (rule.paths, entry.paths)
    return sum(len(one) * len(other) for one, other in pairs)


def _apart(rule: Rule, entry: Rule) -> bool:
    """Whether their destinations, hosts or methods have nothing in common."""
    return (
        (bool(rule.destinations and entry.destinations) and set(rule.destinations).isdisjoint(entry.destinations))
        or (bool(rule.hosts and entry.hosts) and not any(hosts(*both) for both in product(rule.hosts, entry.hosts)))
        or (not is_tunnel(rule.methods) and _methods(rule.methods).isdisjoint(_methods(entry.methods)))
    )


@cache
def _methods(words: tuple[str, ...]) -> frozenset[str]:
    """The methods that a rule is about, tunnels left out."""
    return frozenset(method for method in METHODS if not words or any(word in METHOD_KEYS[method] for word in words))


def _cross(one: PathPattern, other: PathPattern) -> bool:
    """Whether some path matches both."""
    for have, want in zip(one.segments, other.segments, strict=False):
        if isinstance(have, str) and isinstance(want, str) and have != want:
            return False
    return any(True for _ in shapes(shape_of(one), shape_of(other)))


def _meet(one: Glob, other: Glob) -> bool:
    """Whether two globs may match the same text, by their beginnings and ends."""
    return agree(one.parts[0], other.parts[0]) and agree(one.parts[-1][::-1], other.parts[-1][::-1])
