"""Reserves room for our headers in Envoy's limits: a request with too many is refused before the check.

Law: Envoy can carry whatever the authorizer allows. Envoy has one limit for a request's headers together with those
that a filter adds; past it, it answers 500 to a request that was allowed. So Envoy's own limit is the caller's plus
room for ours, and this filter, ahead of the check, enforces the caller's.
"""

from typing import Final

from envoy_data_plane.envoy.config.rbac.v3 import Permission, Policy, Principal, Rbac, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac as RbacFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.api.expr.v1alpha1 import Constant, Expr, ExprCall, ExprIdent, ExprSelect
from envoy_data_plane.google.protobuf import Any

NAME: Final = "authz.header_room"
MAX_HEADERS: Final = 100  # of a caller, including pseudo-headers and those that Envoy adds on arrival
ROOM: Final = 32  # for ours: the identity, the decision, cookies, what a login adds
ROOM_KIB: Final = 64  # an identity has up to some 20 KiB
_POLICY: Final = "headers_too_large"
# How Envoy's details of this refusal begin. It writes the policy's name after it.
REFUSED: Final = f"rbac_access_denied_matched_policy[{_POLICY}"


def header_room(kib: int) -> HttpFilter:
    """Refuses requests with more headers than `MAX_HEADERS`, or more bytes of them than `kib`."""
    many = _more(_call("size", _request("headers")), MAX_HEADERS)
    long = _more(_request("total_size"), kib * 1024)  # of headers alone: no body was read yet
    policy = Policy(
        permissions=[Permission(any=True)], principals=[Principal(any=True)], condition=_call("_||_", many, long)
    )
    rules = Rbac(action=RbacAction.DENY, policies={_POLICY: policy})
    return HttpFilter(name=NAME, typed_config=Any.pack(RbacFilter(rules=rules, rules_stat_prefix="header_room")))


def _request(attribute: str) -> Expr:
    return Expr(select_expr=ExprSelect(operand=Expr(ident_expr=ExprIdent(name="request")), field=attribute))


def _more(what: Expr, number: int) -> Expr:
    return _call("_>_", what, Expr(const_expr=Constant(int64_value=number)))


def _call(function: str, *args: Expr) -> Expr:
    return Expr(call_expr=ExprCall(function=function, args=list(args)))
