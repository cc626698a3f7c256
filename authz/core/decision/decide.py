"""The decision: one pure function that `serve`, `check` and `explain` all call.

Law: total and order-free. Deny rules win over everything. What no rule allows is denied. Of several rules that apply,
the one with the smallest id is reported, so that a decision does not depend on the order of lines.

On the inbound plane, rules with `dags` compare the DAG that the request names. If it names none, they do not apply. If
it may reach any (`~`), an allow rule must be for all DAGs, and every deny rule applies, unless Airflow itself limits
this request to the DAGs that the assertion names. Then an allow rule for some DAG is enough, and the grant says which
DAGs these are.

On egress, the DAG and the task are those of the calling run. Allow rules about runs require a minimum assurance level;
deny rules about runs also apply if the run is unknown or only asserted (see `authz.core.policy.outbound`).
"""

from typing import Final

from authz.core.catalogue import ANY_DAG, Route
from authz.core.model import Allow, Decision, Deny, Identity, Level, Plane, Request, Run
from authz.core.policy import AUTHENTICATED, Effect, Gate, Policy
from authz.core.policy.dags import Applying
from authz.core.policy.index import ANY, Index, Keys
from authz.core.policy.outbound import sure
from authz.core.reasons import Reason

UNSURE: Final = "it is not sure which run this is, so deny rules about DAGs and tasks apply"

_ANONYMOUS: Keys = (ANY,)
_EVERYONE: Keys = (ANY, AUTHENTICATED)


def route_of(request: Request, policy: Policy) -> Route | None:
    """The request's route in Airflow; None if the catalogue has none, and on egress."""
    if request.outside:
        return None
    return policy.catalogue.match(request.segments, request.method) if request.plane is Plane.INBOUND else None


def narrows(request: Request, identity: Identity | None, route: Route | None) -> bool:
    """Whether Airflow itself limits this request to the assertion's DAGs. Anonymous callers have no assertion."""
    return request.narrowed and identity is not None and route is not None and route.narrowed


def evaluate(request: Request, identity: Identity | None, policy: Policy) -> Decision:
    """Allow or deny one request of a verified or anonymous (None) identity."""
    # What is not below Airflow's base path is none of its routes, and no rule is about it.
    if request.outside:
        return Deny(reason=Reason.NO_TOKEN if identity is None else Reason.UNKNOWN_ROUTE)
    return (_outbound if request.plane is Plane.EGRESS else _inbound)(request, identity, policy)


def shows(request: Request, identity: Identity | None, policy: Policy, dag_id: str) -> bool:
    """Whether the request is allowed and, where Airflow narrows it, whether that shows the DAG `dag_id`.

    It is what the grant of `evaluate` says (`Allow.dags`), asked of one DAG. Without `dag_id`, and where Airflow does
    not narrow the request, it is whether that is allowed.
    """
    decision = evaluate(request, identity, policy)
    if not isinstance(decision, Allow) or not dag_id or not narrows(request, identity, route_of(request, policy)):
        return isinstance(decision, Allow)
    gate, roles = policy.gates[Plane.INBOUND], _keys(identity)
    granting = gate.public if decision.reason is Reason.PUBLIC else gate.allow
    allowed = granting.find(request, roles, decision.operation).to_dag(dag_id)
    return bool(allowed) and not gate.deny.find(request, roles, decision.operation).to_dag(dag_id)


def applies(
    rules: Index, request: Request, run: Run | None, route: Route | None, dag_id: str, *, roles: Keys = _EVERYONE
) -> bool:
    """Whether one of the rules applies to a caller with these roles; as `shows`, to one DAG of a narrowed list.

    `route` is that of the request (`route_of`).
    """
    return bool(applying(rules, request, run, route, dag_id, roles=roles))


def applying(
    rules: Index, request: Request, run: Run | None, route: Route | None, dag_id: str, *, roles: Keys = _EVERYONE
) -> str:
    """The smallest id of the rules that apply, as in `applies`, or ""."""
    operation, named = (route.operation, route.dag_id) if route is not None else ("", "")
    found = rules.find(request, roles, operation, run)
    narrowed = request.narrowed and route is not None and route.narrowed
    if dag_id and narrowed:
        return found.to_dag(dag_id)
    return (_denying if rules.effect is Effect.DENY else _allowing)(found, named, narrowed=narrowed)


def _inbound(request: Request, identity: Identity | None, policy: Policy) -> Decision:
    route = route_of(request, policy)
    operation, dag_id = (route.operation, route.dag_id) if route is not None else ("", "")
    narrowed = request.narrowed and narrows(request, identity, route)
    gate = policy.gates[Plane.INBOUND]
    roles = _keys(identity)
    deny = gate.deny.find(request, roles, operation)
    public = gate.public.find(request, roles, operation)
    # Anonymous callers get one answer on every route that is not public, known or not, denied or not.
    if identity is None and not public.rule:
        return Deny(reason=Reason.NO_TOKEN, operation=operation, dag_id=dag_id)
    # A deny rule wins over every other rule.
    if denied := _denying(deny, dag_id, narrowed=narrowed):
        return Deny(reason=Reason.DENY_RULE, rule=denied, operation=operation, dag_id=dag_id)
    # What no rule allows is denied.
    reason = Reason.PUBLIC if public.rule else Reason.RULE
    granting = public if public.rule else gate.allow.find(request, roles, operation)
    allowed = _allowing(granting, dag_id, narrowed=narrowed)
    if not allowed:
        reason = _why_not(request, roles, gate, route)
        return Deny(reason=reason, operation=operation, dag_id=dag_id, narrowed=narrowed)
    dags = gate.allow.grant(granting, gate.deny.dags(deny)) if identity is not None else None
    level = policy.catalogue.operations[operation].airflow_role if operation else ""
    return Allow(reason=reason, rule=allowed, operation=operation, dag_id=dag_id, dags=dags, level=level)


def _keys(identity: Identity | None) -> Keys:
    """The roles by which rules name a caller."""
    return _ANONYMOUS if identity is None else (*_EVERYONE, *identity.roles)


def _outbound(request: Request, identity: Identity | None, policy: Policy) -> Decision:
    """Allow or deny one call of a run, a service account or an anonymous caller. Egress has no public rules."""
    if identity is None:
        return Deny(reason=Reason.NO_TOKEN)
    gate, run = policy.gates[Plane.EGRESS], identity.run
    dag_id = run.dag_id if run is not None else ""
    roles = (*_EVERYONE, *identity.roles)
    # A deny rule wins over every other rule.
    if denied := gate.deny.find(request, roles, "", run).rule:
        rule = policy.rules[denied]
        detail = UNSURE if (rule.dags or rule.tasks) and not sure(run) else ""
        return Deny(reason=Reason.DENY_RULE, rule=denied, dag_id=dag_id, detail=detail)
    if allowed := gate.allow.find(request, roles, "", run).rule:
        return Allow(reason=Reason.RULE, rule=allowed, dag_id=dag_id)
    # What no rule allows is denied.
    if run is None:
        return Deny(reason=_why_not(request, roles, gate, None))
    surer = gate.allow.find(request, roles, "", run._replace(level=Level.VERIFIED)).rule
    if surer:
        detail = f"the rule `{surer}` asks for `{policy.rules[surer].identity}`, and the run is `{run.level}`"
        return Deny(reason=Reason.IDENTITY_TOO_WEAK, dag_id=dag_id, detail=detail)
    return Deny(reason=Reason.NO_RULE, dag_id=dag_id)


def _denying(rules: Applying, dag_id: str, *, narrowed: bool) -> str:
    """The deny rule that applies. If narrowed, those with `dags` do not: Airflow keeps to the DAGs they leave."""
    if dag_id == ANY_DAG:
        return rules.rule if narrowed else rules.to_any_dag()
    return rules.to_dag(dag_id) if dag_id else rules.rule


def _allowing(rules: Applying, dag_id: str, *, narrowed: bool) -> str:
    """The rule that allows it. If narrowed, one for any DAG is enough."""
    if dag_id == ANY_DAG:
        return rules.to_any_dag() if narrowed else rules.to_every_dag()
    return rules.to_dag(dag_id) if dag_id else rules.rule


def _why_not(request: Request, roles: Keys, gate: Gate, route: Route | None) -> Reason:
    if len(roles) == len(_EVERYONE):
        return Reason.NO_ROLE
    named = route is not None or gate.allow.names(request) or gate.public.names(request)
    return Reason.NO_RULE if named else Reason.UNKNOWN_ROUTE
