"""The decision: one pure function that `serve`, `check`, `explain`, `test` and `replay` all call (DESIGN §2.2).

Law: total and order-free. Deny rules win over everything. What no rule allows is denied. Of several rules that apply,
the one with the smallest id is reported, so that a decision does not depend on the order of lines.
"""

from authz.catalogue import Route
from authz.model import Allow, Decision, Deny, Identity, Plane, Request
from authz.policy import AUTHENTICATED, Gate, Policy
from authz.policy.index import ANY, Keys
from authz.reasons import Reason

_ANONYMOUS: Keys = (ANY,)
_EVERYONE: Keys = (ANY, AUTHENTICATED)


def route_of(request: Request, policy: Policy) -> Route | None:
    """The route of Airflow's that the request takes; None where the catalogue has none, and on egress."""
    if request.outside:
        return None
    return policy.catalogue.match(request.segments, request.method) if request.plane is Plane.INBOUND else None


def evaluate(request: Request, identity: Identity | None, policy: Policy) -> Decision:
    """Allow or deny one request of a verified identity, or of nobody (None)."""
    # What is not below Airflow's base path is none of its routes, and no rule is about it.
    if request.outside:
        return Deny(reason=Reason.NO_TOKEN if identity is None else Reason.UNKNOWN_ROUTE)
    route = route_of(request, policy)
    operation, dag_id = (route.operation, route.dag_id) if route is not None else ("", "")
    gate = policy.gates[request.plane]
    roles = _ANONYMOUS if identity is None else (*_EVERYONE, *identity.roles)
    denied = gate.deny.find(request, roles, operation, dag_id)
    public = gate.public.find(request, roles, operation, dag_id)
    # Nobody gets the same answer on every route that is not public, known or not, denied or not (DESIGN §2.14).
    if identity is None and not public:
        return Deny(reason=Reason.NO_TOKEN, operation=operation, dag_id=dag_id)
    # A deny rule wins over every other rule.
    if denied:
        return Deny(reason=Reason.DENY_RULE, rule=denied, operation=operation, dag_id=dag_id)
    if public:
        return Allow(reason=Reason.PUBLIC, rule=public, operation=operation, dag_id=dag_id)
    # What no rule allows is denied.
    allowed = gate.allow.find(request, roles, operation, dag_id)
    if not allowed:
        return Deny(reason=_why_not(request, roles, gate, route), operation=operation, dag_id=dag_id)
    return Allow(reason=Reason.RULE, rule=allowed, operation=operation, dag_id=dag_id)


def _why_not(request: Request, roles: Keys, gate: Gate, route: Route | None) -> Reason:
    if len(roles) == len(_EVERYONE):
        return Reason.NO_ROLE
    named = route is not None or gate.allow.names(request) or gate.public.names(request)
    return Reason.NO_RULE if named else Reason.UNKNOWN_ROUTE
