"""What callers may do: operations with their DAGs as the engine grants them, and calls as the rules allow them.

Law: a cell is what `evaluate` grants one caller for one operation, patterns and exceptions together. Which operations
to ask about follows from the gains over a policy without rules, so that none is missed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from authz.core.decision.decide import evaluate
from authz.core.model import Allow, DagGrant, Decision, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.overlap import Segment, glob_of, segments
from authz.core.policy.rules import AUTHENTICATED
from authz.core.proof.callers import ANONYMOUS, Caller, callers
from authz.core.proof.diff import Change, gained
from authz.core.proof.gains import Gains
from authz.core.proof.nothing import without_rules
from authz.core.proof.regions import Region


@dataclass(slots=True)
class Cell:
    """What one caller may do of one operation; `rules` are the ids of the rules that allow it.

    `grants` are those of the operation's routes: which DAGs, but for which others. It is empty where none is concerned.
    """

    grants: set[DagGrant] = field(default_factory=set)
    rules: set[str] = field(default_factory=set)

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
    question = Gains(without_rules(policy), policy, Plane.INBOUND, wanted)
    for gain in question.all():
        for caller in gain.callers:
            if caller in wanted:
                decision = evaluate(question.at(gain.region).request, caller.identity(policy), policy)
                grant = _grant(decision, gain.region)
                for name in question.operations(gain.region):
                    cell = found[caller].setdefault(name, Cell())
                    cell.grants.update([grant] if grant is not None else [])
                    cell.rules.add(gain.rule)
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
    """The outbound calls that these callers, and runs, may make; as gains over a policy without rules."""
    return gained(without_rules(policy), policy, Plane.EGRESS, frozenset(asking))


def all_callers(policy: Policy, plane: Plane) -> tuple[Caller, ...]:
    """A caller for each membership that counts, strangers and anonymous ones; see `callers`."""
    return (ANONYMOUS, *callers(plane, policy))


def roles(policy: Policy, plane: Plane) -> Iterator[Caller]:
    """A caller for each role, after those without a token and those with no role but `authenticated`."""
    issuers = [issuer.name for issuer in policy.issuers.values() if plane in issuer.audiences]
    yield ANONYMOUS
    if issuers:
        yield Caller(issuers[0])
        yield from (Caller(issuers[0], role=name) for name in policy.roles)


def title(caller: Caller) -> str:
    """The role that a caller of `roles` stands for."""
    return "without a token" if caller.anonymous else caller.role or AUTHENTICATED
