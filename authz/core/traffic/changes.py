"""Which decisions on record stay the same under a policy, and which change, by which rule.

Law: a change is a difference between the decision on record and the one that `evaluate` gives now. In a check, the
policy is the one of the records, and everything but an equal decision, reason and rule is a difference.
"""

from enum import StrEnum
from typing import NamedTuple

from authz.core.catalogue import ANY_DAG
from authz.core.decision.decide import narrows, route_of
from authz.core.model import Allow, Plane
from authz.core.policy import Policy
from authz.core.reasons import ALLOWED_BY_POLICY
from authz.core.traffic.evaluating import Evaluated


class Outcome(StrEnum):
    """What becomes of a decision on record."""

    SAME = "same"
    OTHER_REASON = "other_reason"
    """The decision stays, by another rule or for another reason."""
    ALLOWED = "allowed"
    """It was denied, and is allowed now."""
    DENIED = "denied"
    """It was allowed, and is denied now."""
    NOT_REPRODUCED = "not_reproduced"
    """In a check: the policy of the record decides otherwise than the record says."""
    OTHER_REVISION = "other_revision"
    """In a check: another policy decided."""


class Kind(NamedTuple):
    """What records are counted together. Those that do not change have only the first three.

    `is_list`: it is allowed as before, and the DAGs that Airflow shows may be others. `was` and `now`
    are the rule that decided, or the reason where none did. `rest`: one of too many kinds to tell apart.
    """

    outcome: Outcome
    revision: str
    is_list: bool = False
    plane: str = ""
    caller: str = ""
    roles: tuple[str, ...] = ()
    roles_now: tuple[str, ...] = ()
    operation: str = ""
    destination: str = ""
    method: str = ""
    dag: str = ""
    was: str = ""
    now: str = ""
    rest: bool = False

    def folded(self) -> "Kind":
        """What is counted where there are too many kinds."""
        return Kind(self.outcome, self.revision, self.is_list, rest=True)


class Comparison:
    """The kind of each record: for `Traffic`.

    Args:
        policy: what decides now.
        check: whether it is the policy of the records.
    """

    def __init__(self, policy: Policy, *, check: bool = False) -> None:
        self._policy, self._check = policy, check

    def __call__(self, evaluated: Evaluated) -> Kind:
        """The kind of a record."""
        outcome = self._outcome(evaluated)
        if outcome is Outcome.OTHER_REVISION:
            return Kind(outcome, evaluated.revision)
        if outcome in {Outcome.SAME, Outcome.OTHER_REASON}:
            return Kind(outcome, evaluated.revision, self._is_list(evaluated))
        return _kind(outcome, evaluated)

    def _outcome(self, evaluated: Evaluated) -> Outcome:
        case, decision = evaluated.case, evaluated.decision
        if self._check and case.revision != self._policy.revision:
            return Outcome.OTHER_REVISION
        if (case.reason, case.rule) == (decision.reason, decision.rule):
            return Outcome.SAME
        if self._check:
            return Outcome.NOT_REPRODUCED
        was, now = case.reason in ALLOWED_BY_POLICY, isinstance(decision, Allow)
        if was is now:
            return Outcome.OTHER_REASON
        return Outcome.ALLOWED if now else Outcome.DENIED

    def _is_list(self, evaluated: Evaluated) -> bool:
        """Whether the policy of now says which DAGs Airflow shows in the answer, which is not on record."""
        request, decision = evaluated.case.request, evaluated.decision
        return (
            evaluated.revision != self._policy.revision
            and isinstance(decision, Allow)
            and decision.dag_id == ANY_DAG
            and narrows(request, evaluated.identity, route_of(request, self._policy))
        )


def _kind(outcome: Outcome, evaluated: Evaluated) -> Kind:
    record, case, identity, decision = evaluated
    request, outbound = case.request, case.request.plane is Plane.EGRESS
    return Kind(
        outcome=outcome,
        revision=case.revision,
        plane=request.plane.value,
        caller=caller_of(evaluated),
        roles=tuple(map(str, record.get("roles") or ())),
        roles_now=tuple(sorted(identity.roles)) if identity is not None else (),
        operation=decision.operation,
        destination=(request.destination or request.host) if outbound else "",
        method="" if decision.operation else request.method,
        dag=decision.dag_id,
        was=case.rule or case.reason.value,
        now=decision.rule or decision.reason.value,
    )


def caller_of(evaluated: Evaluated) -> str:
    """What kind of a caller it is: roles do not say it."""
    case = evaluated.case
    if case.run is not None:
        return f"run ({case.run.level.value})"
    return "anonymous" if case.caller is None else "token"
