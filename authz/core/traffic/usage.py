"""What of a policy's rights the traffic of a log used, and which rights no one used.

Law: a use is what the policy of now allows, by the rule that the engine reports; what was denied uses no right. A right
counts as used by a role if a caller who had the role used it, by any rule: so what is called unused is unused.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from authz.core.catalogue import ANY_DAG
from authz.core.model import Allow, Plane
from authz.core.policy import AUTHENTICATED, Effect, Policy
from authz.core.proof.access import Cell, cells, roles, titles
from authz.core.traffic.evaluating import Evaluated
from authz.core.traffic.tally import Tally, total


class Use(NamedTuple):
    """What uses are counted together: how a rule was used. `rest`: one of too many kinds to tell apart.

    `dag` is that of the request, or of the run that calls; `~` where any may be reached. Of a denial there is only the
    rule.
    """

    rule: str
    allowed: bool
    plane: Plane
    operation: str = ""
    destination: str = ""
    dag: str = ""
    roles: frozenset[str] = frozenset()
    rest: bool = False

    def folded(self) -> "Use":
        """What is counted where there are too many kinds."""
        return Use(self.rule, self.allowed, self.plane, rest=True)


def use(evaluated: Evaluated) -> Use:
    """The use that a record is: for `Traffic`."""
    decision, request = evaluated.decision, evaluated.case.request
    if not isinstance(decision, Allow):
        return Use(decision.rule, allowed=False, plane=request.plane)
    identity = evaluated.identity
    return Use(
        decision.rule,
        allowed=True,
        plane=request.plane,
        operation=decision.operation,
        destination=(request.destination or request.host) if request.plane is Plane.EGRESS else "",
        dag=decision.dag_id,
        roles=frozenset() if identity is None else identity.roles | {AUTHENTICATED},
    )


Uses = Mapping[Use, Tally]


@dataclass(slots=True)
class Right:
    """What one role used of an operation or a destination, by one rule."""

    role: str
    target: str
    rule: str
    tally: Tally
    dags: list[str] = field(default_factory=list)


def rights_used(policy: Policy, uses: Uses) -> list[Right]:
    """Each role's uses, by the rules that name the role; a rule without roles is used by those without a role."""
    found: dict[tuple[str, str, str], list[tuple[Use, Tally]]] = {}
    for one, tally in uses.items():
        if one.allowed:
            for role in _using(policy, one):
                target = "others" if one.rest else one.operation or one.destination or "paths of no operation"
                found.setdefault((role, target, one.rule), []).append((one, tally))
    rights = []
    for (role, target, rule), listed in sorted(found.items()):
        dags = sorted({one.dag for one, _tally in listed} - {""})
        rights.append(Right(role, target, rule, total(tally for _one, tally in listed), dags))
    return rights


def _using(policy: Policy, one: Use) -> list[str]:
    """The roles of the caller that the rule names."""
    named = policy.rules[one.rule].roles
    return sorted(one.roles.intersection(named)) or ["any caller" if not named else "others"]


@dataclass(slots=True)
class Unused:
    """The operations that a role may do, and that no caller with it did."""

    role: str
    cells: dict[str, Cell]


def rights_unused(policy: Policy, uses: Uses) -> Iterator[Unused]:
    """For each role of the policy the operations that were not used. A list that shows any DAG uses the operation."""
    found = cells(policy, roles(policy, Plane.INBOUND))
    for title, (caller, granted) in zip(titles(found), found.items(), strict=True):
        held = caller.role or AUTHENTICATED
        done = {one.operation for one in uses if one.allowed and (caller.anonymous or held in one.roles)}
        crowded = any(one.rest and one.allowed for one in uses)
        left = {} if crowded else {name: cell for name, cell in sorted(granted.items()) if name not in done}
        if left:
            yield Unused(title, left)


def rules_unused(policy: Policy, uses: Uses) -> list[str]:
    """The rules that decided nothing: an allow rule, too, if another one is always reported in its place."""
    used = {one.rule for one in uses}
    return [name for name in policy.rules if name not in used]


def exact_dags(uses: Iterable[Use]) -> list[str] | None:
    """The DAGs that were named; None if a use named none, or may have reached any."""
    dags = {one.dag for one in uses}
    return None if dags & {"", ANY_DAG} else sorted(dags)


def allows(policy: Policy, name: str) -> bool:
    """Whether it is an allow rule of one plane: what can be narrowed. A rule for all teams has other names here."""
    rule = policy.rules.get(name)
    return rule is not None and rule.effect is Effect.ALLOW and len(rule.planes) == 1
