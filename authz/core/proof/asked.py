"""One policy, asked the same of many callers at once. Sets of callers are numbers with one bit for each.

Law: the engine's own indexes answer. What the policy says to all callers alike is asked once, of rules without roles.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from authz.core.catalogue import Route
from authz.core.decision.decide import applies, applying, shows
from authz.core.model import Identity, Level, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.index import ANY, Index, Keys
from authz.core.policy.rules import AUTHENTICATED, Effect, Rule
from authz.core.proof.callers import TOKENLESS, Caller, callers
from authz.core.proof.points import Point
from authz.core.proof.regions import Region


class Asked:
    """What a policy answers to callers. `keys` are the roles of each, as an index is asked for them.

    `tokenless` is the number of the one without a token, the last.
    """

    def __init__(self, policy: Policy, plane: Plane, known: Sequence[Caller]) -> None:
        self._policy, self._plane, self._known = policy, plane, known
        self.tokenless = len(known) - 1
        self._identities = [caller.identity(policy) for caller in known]
        self._holding: dict[str, list[int]] = defaultdict(list)
        held = [frozenset[str]() if one is None else one.roles | {AUTHENTICATED} for one in self._identities]
        self.keys: list[Keys] = [(ANY, *roles) for roles in held]
        for number, roles in enumerate(held):
            for role in roles:
                self._holding[role].append(number)
        self._named: dict[tuple[tuple[str, ...], bool], int] = {}
        self._those: dict[int, tuple[Caller, ...]] = {}
        self._anyones: dict[Effect, Index] = {}
        self._waited = dict.fromkeys(Effect, 0)

    def named(self, rule: Rule) -> int:
        """The callers that the rule is about. An allow rule without roles is about all but anonymous callers."""
        key = rule.roles, rule.effect is Effect.ALLOW
        found = self._named.get(key)
        if found is None:
            found = 0 if any(key) else (1 << len(self._known)) - 1
            for role in _roles(rule):
                found |= _set(self._holding.get(role, ()))
            self._named[key] = found
        return found

    def one(self, rule: Rule) -> int | None:
        """The number of a caller that the rule is about, if there is one."""
        names = _roles(rule)
        return next((self._holding[role][0] for role in names if role in self._holding), None) if names else 0

    def asking(self, region: Region, among: int) -> int:
        """Who of a set may be the caller of the region's requests; the last one who is known has no token.

        Only runs prove which run they are, with no token of an issuer; where tasks can reach Airflow's key, that is an
        assertion too. Airflow narrows nothing to those who are anonymous.
        """
        tokenless = 1 << self.tokenless
        if region.of_runs:
            return among & tokenless
        if region.level is Level.ASSERTED:
            return among
        return among & ~tokenless if self._plane is Plane.EGRESS or region.narrowed else among

    def denying(self, among: int, at: Point, route: Route | None) -> set[str] | None:
        """Deny rules that keep all of a set from a request; None if someone may be allowed it."""
        deny, found = self._policy.gates[self._plane].deny, set[str]()
        for number in numbers(among):
            name = applying(deny, at.request, at.run, route, at.shown, roles=self.keys[number])
            if not name:
                return None
            found.add(name)
        return found

    def those(self, among: int) -> tuple[Caller, ...]:
        """The callers of a set."""
        found = self._those.get(among)
        if found is None:
            found = self._those[among] = tuple(self._known[number] for number in numbers(among))
        return found

    def together(self, among: int) -> tuple[Caller, ...]:
        """The callers of a set who have a membership; those that differ only in the last one, of one kind, as one."""
        found: dict[object, list[Caller]] = defaultdict(list)
        for caller in self.those(among):
            if caller.memberships:
                found[caller.issuer, caller.memberships[:-1], caller.memberships[-1].kind].append(caller)
        return tuple(
            replace(first, alike=(*first.alike, *(m for one in others for m in (one.memberships[-1], *one.alike))))
            for first, *others in found.values()
        )

    def undenied(self, among: int, at: Point, route: Route | None) -> int:
        """Those of a set that no deny rule applies to."""
        deny = self._policy.gates[self._plane].deny
        if not among or not self._applies(Effect.DENY, at, route):
            return among
        return _set(
            number
            for number in numbers(among)
            if not applies(deny, at.request, at.run, route, at.shown, roles=self.keys[number])
        )

    def refused(self, among: int, at: Point) -> int:
        """Those of a set that the policy refuses the request, or does not show the DAG that it is asked for."""
        return _set(
            number
            for number in numbers(among)
            if not shows(at.request, self._identity(number, at), self._policy, at.shown)
        )

    def _identity(self, number: int, at: Point) -> Identity | None:
        known = self._identities[number]
        return known if known is None or at.run is None else replace(known, run=at.run)

    def allows_no_one(self, at: Point, route: Route | None) -> bool:
        """Whether no allow rule applies to any caller."""
        return not any(self._applies(effect, at, route) for effect in (Effect.ALLOW, Effect.PUBLIC))

    def _applies(self, effect: Effect, at: Point, route: Route | None) -> bool:
        """Whether a rule may apply to someone. The first questions are not worth an index: it may."""
        rules = self._anyones.get(effect)
        if rules is None:
            self._waited[effect] += len(self._known)
            if self._waited[effect] < len(self._policy.rules):
                return True
            known = [replace(rule, roles=()) for rule in self._policy.rules.values() if rule.effect is effect]
            rules = Index(known, plane=self._plane, effect=effect, catalogue=self._policy.catalogue)
            self._anyones[effect] = rules
        return applies(rules, at.request, at.run, route, at.shown)


def in_time(policy: Policy, later: Policy, plane: Plane) -> tuple[Asked, Asked]:
    """The same callers, asked of a policy as it is, and as it is later."""
    policies = (policy,) if policy is later else (policy, later)
    known = [caller for caller in callers(plane, *policies) if caller.issuer]
    asked = [Asked(one, plane, (*known, TOKENLESS[plane])) for one in policies]
    return asked[0], asked[-1]


def _roles(rule: Rule) -> tuple[str, ...]:
    """The roles by which a rule is about callers; none if it is about all of them."""
    return rule.roles or ((AUTHENTICATED,) if rule.effect is Effect.ALLOW else ())


def _set(members: Iterable[int]) -> int:
    return sum(1 << number for number in members)


def numbers(among: int) -> Iterator[int]:
    """The numbers of a set's members, the smallest first."""
    while among:
        lowest = among & -among
        yield lowest.bit_length() - 1
        among ^= lowest
