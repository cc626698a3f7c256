"""Who may do under a new policy what they may not do under the old one: every region, with a witness.

Law: complete, if both policies trust the same issuers (`conditions` says what is not alike), and nothing is reported
that the engine does not answer so. A gain is A' and not D' and (not A or D), where A and D are the
old allow and deny rules, A' and D' the new ones. For a region of one new allow rule, its stand-in shows whether the
old allow rules cover the whole of it. Where they do, only what the region shares with an old deny rule can be a gain.

With two catalogues a region is what both make of its requests, each in its own way. Equal rules say the same of routes
about which both agree; of the others, each rule is looked at.

No caller is a special case: runs and anonymous callers are among all others, and rules name them by what they hold.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from authz.core.catalogue import Route
from authz.core.decision.decide import route_of, shows
from authz.core.model import Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import Effect, Rule
from authz.core.policy.targets import Target
from authz.core.proof.asked import Asked
from authz.core.proof.callers import TOKENLESS, Caller, callers
from authz.core.proof.denials import Denials
from authz.core.proof.points import Point, point
from authz.core.proof.regions import Region, of_rule, shared_before
from authz.core.proof.space import Space
from authz.core.proof.upgrades import text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Callers who gain a region. `rule` is the new rule that allows it; `denied` the old deny rule that did not."""

    callers: tuple[Caller, ...]
    region: Region
    rule: str
    denied: str = ""


def may(caller: Caller, at: Point, policy: Policy) -> bool:
    """Whether the policy allows the caller the request, and shows the DAG that it is asked for."""
    return shows(at.request, caller.identity(policy, at.run), policy, at.shown)


class Gains:
    """The question for two policies and one plane, about `asking`, or else about all callers.

    Who has no token (`TOKENLESS`) is always asked about. Sets of callers are numbers with one bit for each.
    """

    def __init__(self, old: Policy, new: Policy, plane: Plane, asking: Iterable[Caller] | None = None) -> None:
        self._old, self._new, self._plane = old, new, plane
        self._space = Space(plane, old, new)
        tokens = callers(plane, old, new) if asking is None else asking
        known = (*dict.fromkeys(caller for caller in tokens if caller.issuer), TOKENLESS[plane])
        self._tokenless = 1 << len(known) - 1
        self._before, self._after = Asked(old, plane, known), Asked(new, plane, known)
        self._covered: dict[object, int] = defaultdict(int)
        for rule in _rules(old, plane):
            if rule.effect is not Effect.DENY:
                self._covered[meaning(rule)] |= self._before.named(rule)
        self._gone = Denials(self._no_longer_denying())
        self._denying = Denials(rule for rule in _rules(old, plane) if rule.effect is Effect.DENY)
        self._pairs: dict[tuple[int, int], tuple[Caller, ...]] = {}

    def _no_longer_denying(self) -> Iterator[Rule]:
        """The old deny rules, where new ones do not say the same of all the same callers."""
        kept: dict[object, int] = defaultdict(int)
        for rule in _rules(self._new, self._plane):
            if rule.effect is Effect.DENY:
                kept[meaning(rule)] |= self._after.named(rule)
        for rule in _rules(self._old, self._plane):
            if rule.effect is Effect.DENY and self._before.named(rule) & ~kept.get(meaning(rule), 0):
                yield rule

    @property
    def about_runs(self) -> bool:
        """Whether the policies tell runs apart; else the level of a region stands for all levels."""
        return self._space.about_runs

    def operations(self, region: Region) -> tuple[str, ...]:
        """The operations that a region of these stands for."""
        return tuple({one.operation for one in self._like(region)})

    def routes(self, region: Region, operation: str) -> tuple[str, ...]:
        """The routes of an operation that a region stands for, if the catalogues differ about them."""
        if not self._space.is_changed(region.method, region.template, region.was):
            return ()
        found = (one for one in self._like(region) if one.operation == operation)
        return tuple(f"{one.method} {text_of(one.shape, one.template)}" for one in found)

    def _like(self, region: Region) -> list[Target]:
        return self._space.like(region.method, region.template, region.was) if region.template else []

    def at(self, region: Region) -> Point:
        """The request that stands for a region."""
        return point(region, self._space.symbol)

    def all(self) -> Iterator[Gain]:
        """Every gain, rule by rule."""
        for rule in _rules(self._new, self._plane):
            if rule.effect is not Effect.DENY:
                yield from self._of_rule(rule)

    def _of_rule(self, rule: Rule) -> Iterator[Gain]:
        named = self._after.named(rule)
        fresh = named & ~self._covered.get(meaning(rule), 0)
        nothing_new = not (fresh or self._gone)
        if nothing_new and not self._space.changed:
            return
        for region in of_rule(rule, self._plane, self._space, changed=nothing_new):
            changed = self._space.is_changed(region.method, region.template, region.was)
            found = self._gaining(self._after.asking(region, named if changed else fresh), region)
            if found:
                yield Gain(callers=self._after.those(found), region=region, rule=rule.id)
            gone = self._denying if changed else self._gone
            for deny in gone.near(region.before()) if gone else ():
                yield from self._undenied(rule, deny, region, named)

    def _gaining(self, asking: int, region: Region) -> int:
        """Who of these gain the region, which a new rule about each of them allows."""
        if not asking:
            return asking
        at = self.at(region)
        route, was = self._routes(at)
        if not _is_of(region, route, was):
            return 0
        left = self._after.undenied(asking, at, route)
        if not left or self._before.allows_no_one(at, was):
            return left
        return self._before.refused(left, at)

    def _routes(self, at: Point) -> tuple[Route | None, Route | None]:
        """The route of a request under the new policy and under the old one."""
        route = route_of(at.request, self._new)
        return route, route if self._old.catalogue is self._new.catalogue else route_of(at.request, self._old)

    def _undenied(self, rule: Rule, deny: Rule, region: Region, named: int) -> Iterator[Gain]:
        for part in shared_before(region, deny, self._space.named_before):
            found = self._regaining(self._after.asking(part, named), deny, part)
            if found:
                yield Gain(callers=found, region=part, rule=rule.id, denied=deny.id)

    def _regaining(self, asking: int, deny: Rule, part: Region) -> tuple[Caller, ...]:
        """Who gain what a new rule about each of these allows, and what the old deny rule is about.

        They are those that it names, and the others with one more membership that it names.
        """
        at = self.at(part)
        route, was = self._routes(at)
        if not _is_of(part, route, was):
            return ()
        denied = self._before.named(deny)
        others = asking & ~denied & ~self._tokenless
        left = self._after.undenied(asking | (denied & ~self._tokenless if others else 0), at, route)
        alone = self._after.those(left & asking & denied)
        return (*alone, *self._with(left & others, left & denied)) if left & others else alone

    def _with(self, firsts: int, seconds: int) -> tuple[Caller, ...]:
        """Each of the first with a membership of the second; memberships that do as well are `alike`."""
        found = self._pairs.get((firsts, seconds))
        if found is None:
            known = self._after.together(seconds)
            both = (first.also(second) for first in self._after.those(firsts) for second in known)
            found = self._pairs[firsts, seconds] = tuple(caller for caller in both if caller is not None)
        return found


def _is_of(region: Region, route: Route | None, was: Route | None) -> bool:
    """Whether the routes are those of the region: others may have taken its path, and have regions of their own."""
    found = tuple(one.template if one is not None else "" for one in (route, was))
    return found == (region.template, region.before().template)


def _rules(policy: Policy, plane: Plane) -> Iterator[Rule]:
    return (rule for rule in policy.rules.values() if plane in rule.planes)


def meaning(rule: Rule) -> object:
    """All of a rule but its id and its roles."""
    return (
        rule.effect,
        rule.planes,
        frozenset(rule.operations),
        frozenset(rule.hosts),
        frozenset(rule.methods),
        frozenset(path.key for path in rule.paths),
        frozenset(rule.dags),
        frozenset(rule.destinations),
        frozenset(rule.tasks),
        rule.identity,
    )
