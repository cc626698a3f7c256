"""What callers may do: operations with their DAGs as the engine grants them, and calls as the rules allow them.

Law: a cell is what `evaluate` grants one caller for one operation, patterns and exceptions together. Which operations
to ask about follows from the gains over a policy without rules, so that none is missed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from authz.core.decision.decide import evaluate
from authz.core.model import Allow, DagGrant, Decision, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.overlap import Segment, glob_of, segments
from authz.core.policy.rules import AUTHENTICATED, Effect
from authz.core.proof.callers import ANONYMOUS, Caller, callers
from authz.core.proof.diff import Change, gained
from authz.core.proof.gains import Gains
from authz.core.proof.nothing import without_rules
from authz.core.proof.places import NO_LIMITS, Limits, Places, Routes, is_about, taken_by
from authz.core.proof.regions import Region, of_rule, shared
from authz.core.proof.space import Space


@dataclass(slots=True)
class Cell:
    """What one caller may do of one operation; `rules` are the ids of the rules that allow it.

    `grants` are those of the operation's routes: which DAGs, but for which others. It is empty where none is concerned.
    `limits` are what rules ask for, where not the whole operation is allowed. `excepted_places` are what deny rules
    about paths or hosts take from it.
    """

    grants: set[DagGrant] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)
    limits: Limits = NO_LIMITS
    excepted_places: tuple[str, ...] = ()

    @property
    def dags(self) -> list[str]:
        """The patterns of DAG ids that are allowed, sorted."""
        return sorted({text for grant in self.grants for text in grant.allowed})

    @property
    def excepted(self) -> list[str]:
        """The patterns of DAG ids that no route of the operation allows, sorted."""
        denied = [frozenset(grant.denied) for grant in self.grants]
        return sorted(denied[0].intersection(*denied)) if denied else []

    def about(self, dag_id: str) -> bool:
        """Whether it is allowed for this DAG; an operation that concerns none is."""
        return not self.grants or any(
            _any(grant.allowed, dag_id) and not _any(grant.denied, dag_id) for grant in self.grants
        )


def _any(texts: Iterable[str], dag_id: str) -> bool:
    return any(glob_of(text).matches(dag_id) for text in texts)


def cells(policy: Policy, asking: Iterable[Caller]) -> dict[Caller, dict[str, Cell]]:
    """The operations that each of these callers may do."""
    wanted = dict.fromkeys(asking)
    found: dict[Caller, dict[str, Cell]] = {caller: {} for caller in wanted}
    places = {caller: Places(policy, caller.identity(policy)) for caller in wanted}
    routes = Routes(policy)
    question = Gains(without_rules(policy), policy, Plane.INBOUND, wanted)
    for gain in question.all():
        if gain.region.narrowed and gain.region.shown is None:
            continue  # a list; what it shows, if anything, is in regions of its own
        for caller in gain.callers:
            if caller in wanted:
                decision = evaluate(question.at(gain.region).request, caller.identity(policy), policy)
                grant = _grant(decision, gain.region)
                for name in question.operations(gain.region):
                    cell = found[caller].setdefault(name, Cell())
                    cell.grants.update([grant] if grant is not None else [])
                    cell.rules.add(gain.rule)
                    places[caller].add(name, gain.rule, gain.region)
    for caller, row in found.items():
        for name, cell in row.items():
            cell.limits = places[caller].limits(name, routes)
            cell.excepted_places = places[caller].excepted(name, routes, whole=not cell.limits)
    return found


def _grant(decision: Decision, region: Region) -> DagGrant | None:
    """The DAGs of a region that the decision on it grants; None if it concerns none."""
    granted = decision.dags if isinstance(decision, Allow) else None
    if granted is None or (region.shown is None and region.dag_at < 0):
        return None
    if region.shown is not None or region.reaches_any:
        return granted
    named = region.path[region.dag_at]  # a rule's path may be about some DAGs only
    patterns = {both for text in granted.allowed for both in segments(named, None if text == "*" else glob_of(text))}
    return DagGrant(tuple(sorted(_text(pattern) for pattern in patterns)), granted.denied)


def _text(segment: Segment) -> str:
    return "*" if segment is None else segment if isinstance(segment, str) else segment.text


def calls(policy: Policy, asking: Iterable[Caller]) -> Iterator[Change]:
    """The outbound calls that these callers, and runs, may make; as gains over a policy without rules.

    `excepted` is what deny rules take from them. Callers who lose different things have entries of their own.
    """
    space = Space(Plane.EGRESS, policy)
    denials = [rule for rule in policy.rules.values() if rule.effect is Effect.DENY and Plane.EGRESS in rule.planes]
    for right in gained(without_rules(policy), policy, Plane.EGRESS, tuple(dict.fromkeys(asking))):
        regions = [
            region for region in of_rule(policy.rules[right.rule], Plane.EGRESS, space) if _within(region, right)
        ]
        near = [rule for rule in denials if any(True for region in regions for _ in shared(region, rule, space.named))]
        alike: dict[tuple[str, ...], list[Caller]] = {}
        for caller in right.callers:
            identity = caller.identity(policy)
            taken = tuple(sorted({taken_by(rule) for rule in near if is_about(rule, identity)} - {""}))
            alike.setdefault(taken, []).append(caller)
        for taken, some in alike.items():
            yield replace(right, callers=tuple(some), excepted=taken)


def _within(region: Region, right: Change) -> bool:
    """Whether the right is about the region."""
    said = (right.destinations, region.destination), (right.paths, region.pattern), (right.methods, region.method)
    host = region.host.text if region.host is not None else ""
    return all(not texts or text in texts for texts, text in (*said, (right.hosts, host)))


def all_callers(policy: Policy, plane: Plane) -> tuple[Caller, ...]:
    """A caller for each membership that counts, strangers and anonymous ones; see `callers`."""
    return tuple(dict.fromkeys((ANONYMOUS, *callers(plane, policy))))


def roles(policy: Policy, plane: Plane) -> Iterator[Caller]:
    """A caller for each role, after those without a token and those with a token and nothing that counts.

    These are one for each issuer where an issuer gives all its callers a role; else one stands for all. A role that no
    issuer of the plane gives has none.
    """
    issuers = [issuer.name for issuer in policy.issuers.values() if plane in issuer.audiences]
    yield ANONYMOUS
    strangers = [Caller(name) for name in issuers]
    given = {caller.identified(policy).roles for caller in strangers}
    yield from strangers if len(given) > 1 else strangers[:1]
    held = [role for role in policy.roles.values() if not role.issuers or not role.issuers.isdisjoint(issuers)]
    possible = {name for role in held for name in (role.name, *role.includes)} if issuers else set()
    yield from (Caller(issuers[0], role=name) for name in policy.roles if name in possible)


def titles(chosen: Iterable[Caller]) -> list[str]:
    """The roles that callers of `roles` stand for; that of an entry of `grantable` is `grant` and the entry."""
    chosen = tuple(chosen)
    several = sum(1 for caller in chosen if not (caller.anonymous or caller.role)) > 1
    return [_title(caller, several=several) for caller in chosen]


def _title(caller: Caller, *, several: bool) -> str:
    if caller.anonymous:
        return "without a token"
    return caller.role.replace("/", " ") or (f"{AUTHENTICATED}, {caller.issuer}" if several else AUTHENTICATED)
