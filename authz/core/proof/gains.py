"""Who may do under a new policy what they may not do under the old one: every region, with a witness.

Law: complete, if both policies have one catalogue and trust the same issuers (`conditions` says what is not alike), and
nothing is reported that the engine does not answer so. A gain is A' and not D' and (not A or D), where A and D are the
old allow and deny rules, A' and D' the new ones. For a region of one new allow rule, its stand-in shows whether the
old allow rules cover the whole of it. Where they do, only what the region shares with an old deny rule can be a gain.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from authz.core.catalogue import Route
from authz.core.decision.decide import applies, route_of, shows
from authz.core.model import Level, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.index import Index
from authz.core.policy.rules import AUTHENTICATED, Effect, Rule
from authz.core.proof.callers import ANONYMOUS, RUN, Caller, callers
from authz.core.proof.denials import Denials
from authz.core.proof.points import Point, point, stand_in
from authz.core.proof.regions import Region, of_rule, shared
from authz.core.proof.space import Space

_SURE = frozenset({Level.VERIFIED, Level.VERIFIED_BEARER})


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
    """The question for two policies and one plane, about `asking`, or else about all callers with a token.

    Anonymous callers, and runs that prove which run they are, are asked about wherever a rule may mean them.
    """

    def __init__(self, old: Policy, new: Policy, plane: Plane, asking: Iterable[Caller] | None = None) -> None:
        self._new, self._plane = new, plane
        self._space = Space(plane, old, new)
        self._symbol = stand_in((old, new))
        known = callers(plane, old, new) if asking is None else asking
        self._callers = tuple(caller for caller in known if caller.issuer)
        self._before, self._after = Asked(old, plane, self._callers), Asked(new, plane, self._callers)
        self._same = {_meaning(rule): rule for rule in _rules(old, plane) if rule.effect is not Effect.DENY}
        self._gone = Denials(self._no_longer_denying(old))

    def _no_longer_denying(self, old: Policy) -> Iterator[Rule]:
        """The old deny rules without a new one that says the same of all the same callers."""
        kept: dict[object, list[Rule]] = defaultdict(list)
        for rule in _rules(self._new, self._plane):
            if rule.effect is Effect.DENY:
                kept[_meaning(rule)].append(rule)
        for rule in _rules(old, self._plane):
            if rule.effect is Effect.DENY:
                alike = kept[_meaning(rule)]
                everyone = any(not other.roles for other in alike) or (bool(rule.roles) and bool(alike))
                same = (
                    any(_names(other, self._after.roles[c]) for other in alike)
                    for c in self._callers
                    if _names(rule, self._before.roles[c])
                )
                if not (everyone and all(same)):
                    yield rule

    def operations(self, region: Region) -> tuple[str, ...]:
        """The operations that a region of these stands for."""
        return self._space.operations_like(region.method, region.template) if region.template else ()

    def at(self, region: Region) -> Point:
        """The request that stands for a region."""
        return point(region, self._symbol)

    def all(self) -> Iterator[Gain]:
        """Every gain, rule by rule."""
        for rule in _rules(self._new, self._plane):
            if rule.effect is not Effect.DENY:
                yield from self._of_rule(rule)

    def _of_rule(self, rule: Rule) -> Iterator[Gain]:
        public = rule.effect is Effect.PUBLIC
        having = [c for c in self._callers if public or _names(rule, self._after.roles[c])]
        before = self._same.get(_meaning(rule))
        fresh = [c for c in having if before is None or not (public or _names(before, self._before.roles[c]))]
        if public:
            having.append(ANONYMOUS)
            fresh += [] if before else [ANONYMOUS]
        if not (fresh or self._gone):
            return
        for region in of_rule(rule, self._plane, self._space):
            at = self.at(region)
            route = route_of(at.request, self._new)
            if route is not None and not region.template:
                continue  # the catalogue's routes have regions of their own
            found = self._gaining(self._asking(region, rule, fresh), at, route)
            if found:
                yield Gain(callers=found, region=region, rule=rule.id)
            for deny in self._gone.near(region) if self._gone else ():
                yield from self._undenied(rule, deny, region, having)

    def _asking(self, region: Region, rule: Rule, having: list[Caller]) -> list[Caller]:
        """Who may be the caller of the region's requests: only runs prove which run they are, and have no roles."""
        if region.level not in _SURE:
            return having
        return [RUN] if _names(rule, frozenset()) else []

    def _undenied(self, rule: Rule, deny: Rule, region: Region, having: list[Caller]) -> Iterator[Gain]:
        for part in shared(region, deny, self._space):
            at = self.at(part)
            wholes = (whole for caller in self._asking(part, rule, having) for whole in self._with(caller, deny))
            found = tuple(whole for whole in dict.fromkeys(wholes) if self._gained(whole, at))
            if found:
                yield Gain(callers=found, region=part, rule=rule.id, denied=deny.id)

    def _with(self, caller: Caller, deny: Rule) -> Iterator[Caller]:
        """The caller, if the old deny rule is about them; else with one more membership, for which it is."""
        if not caller.issuer or _names(deny, self._before.roles[caller]):
            yield caller
            return
        for other in self._callers:
            if _names(deny, self._before.roles[other]) and (both := caller.also(other)) is not None:
                yield both

    def _gaining(self, asking: list[Caller], at: Point, route: Route | None) -> tuple[Caller, ...]:
        """Which of these gain the request, which a new rule about each of them allows."""
        if self._before.allows_no_one(at, route) and self._after.denies_no_one(at, route):
            return tuple(asking)
        return tuple(caller for caller in asking if self._gained(caller, at))

    def _gained(self, caller: Caller, at: Point) -> bool:
        return not self._before.may(caller, at) and self._after.may(caller, at)


class Asked:
    """What a policy answers to callers. What it says to all of them alike is asked once, of rules without roles."""

    def __init__(self, policy: Policy, plane: Plane, callers: Iterable[Caller]) -> None:
        self._policy, self._plane = policy, plane
        self._identities = {caller: caller.identity(policy) for caller in callers}
        self.roles = {caller: known.roles for caller, known in self._identities.items() if known is not None}
        rules = [replace(rule, roles=()) for rule in _rules(policy, plane)]
        self._anyones = {
            effect: Index(rules, plane=plane, effect=effect, catalogue=policy.catalogue)
            for effect in {rule.effect for rule in rules}
        }

    def may(self, caller: Caller, at: Point) -> bool:
        """What `may` says."""
        known = self._identities.get(caller)
        if known is None or at.run is not None:
            return may(caller, at, self._policy)
        return shows(at.request, known, self._policy, at.shown)

    def allows_no_one(self, at: Point, route: Route | None) -> bool:
        """Whether no allow rule applies to any caller."""
        return not any(self._applies(effect, at, route) for effect in (Effect.ALLOW, Effect.PUBLIC))

    def denies_no_one(self, at: Point, route: Route | None) -> bool:
        """Whether no deny rule applies to any caller."""
        return not self._applies(Effect.DENY, at, route)

    def _applies(self, effect: Effect, at: Point, route: Route | None) -> bool:
        rules = self._anyones.get(effect)
        return rules is not None and applies(rules, at.request, at.run, route, at.shown)


def _rules(policy: Policy, plane: Plane) -> Iterator[Rule]:
    return (rule for rule in policy.rules.values() if plane in rule.planes)


def _names(rule: Rule, roles: frozenset[str]) -> bool:
    """Whether the rule is about a caller with these roles, who has a valid token."""
    return not rule.roles or AUTHENTICATED in rule.roles or not roles.isdisjoint(rule.roles)


def _meaning(rule: Rule) -> object:
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
