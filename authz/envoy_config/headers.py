"""Which headers cross the gate: what is dropped from requests and answers, what the authorizer sees and may change.

Law: a client cannot say who it is, where it comes from or what it "really" asks for. The identity headers that the
upstream sees are those of the authorizer's answer, and the answer can change nothing else: not the path, not the host.
A task's run-identity headers stay between the task and the authorizer, whatever the answer says.
"""

from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation,
    HeaderMutationRemoveOnMatch,
    HeaderMutationRules,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation as HeaderMutationFilter
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutationPerRoute, Mutations
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.core import edge
from authz.core.edge import READ_HEADERS, READ_ON_EGRESS, READ_ON_EXECUTION
from authz.core.model import EXECUTION, Plane

NAME: Final = "authz.client_headers"
REQUEST_ID: Final = "x-request-id"
# A task identifies its run by these. Only the egress plane reads them, and no destination ever sees them.
RUN_HEADERS: Final = ("x-run-identity", "x-run-proof", "proxy-authorization")
# Whole families: ours, Envoy's own, and the identities that other gates and clouds pass on: oauth2-proxy,
# Kubernetes, Google IAP, AWS ALB, Azure App Service, Cloudflare Access, Kong, Pomerium, Grafana, Tailscale, Teleport,
# and the client certificates of nginx, Traefik, HAProxy and RFC 9440.
CLIENT_PREFIXES: Final = (
    *("x-authz-", "x-envoy-", "x-original-", "x-rewrite-"),
    *("x-auth-request-", "x-authenticated-", "x-remote-", "x-user-", "x-consumer-", "x-credential-"),
    *("x-goog-authenticated-user-", "x-goog-iap-", "x-amzn-oidc-", "x-ms-client-principal", "x-ms-token-"),
    *("cf-access-authenticated-", "cf-access-jwt-", "x-pomerium-", "x-webauth-", "x-vouch-", "tailscale-user-"),
    *("x-teleport-", "teleport-", "client-cert", "ssl-client-", "x-ssl-", "x-tls-client-", "x-forwarded-tls-"),
)
# Towards Airflow, these whole families too: a task may need `x-goog-` and `cf-access-client-` for a destination.
INBOUND_PREFIXES: Final = (*CLIENT_PREFIXES, "x-run-", "x-airflow-", "x-client-", "x-goog-", "cf-access-")
# Single names: identity that other gates pass on, overrides of method and target, claims about the request's way here.
CLIENT_HEADERS: Final = (
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "x-user",
    "x-userinfo",
    "x-username",
    "x-email",
    "x-groups",
    "x-roles",
    "x-id-token",
    "x-access-token",
    "x-jwt-assertion",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-roles",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-id-token",
    "x-forwarded-client-cert",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-real-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "forwarded",
)
INBOUND_HEADERS: Final = (*CLIENT_HEADERS, "proxy-authorization")
# Headers that an upstream may not send to a caller: our own, and those that name its software.
UPSTREAM_RESPONSE_HEADERS: Final = (
    "server",
    "x-powered-by",
    *sorted((*edge.IDENTITY_HEADERS, edge.DECISION, "x-authz-destination-error")),
)


def response_cookies(*lines: str) -> dict[str, Any]:
    """The per-route settings that add each `set-cookie` to every answer there, a filter's own answers included."""
    mutations = [HeaderMutation(append=added("set-cookie", line)) for line in lines]
    return {NAME: Any.pack(HeaderMutationPerRoute(mutations=Mutations(response_mutations=mutations)))}


def added(name: str, value: str) -> HeaderValueOption:
    """One more header of this name."""
    return HeaderValueOption(
        header=HeaderValue(key=name, value=value),
        append_action=HeaderValueOptionHeaderAppendAction.APPEND_IF_EXISTS_OR_ADD,
    )


def client_header_filter(plane: str) -> HttpFilter:
    """The first filter: drops what a client may not send, in upper or lower case, however often it is sent."""
    inbound = plane != Plane.EGRESS
    by_prefix = [
        HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix=prefix)))
        for prefix in (INBOUND_PREFIXES if inbound else CLIENT_PREFIXES)
    ]
    by_name = [HeaderMutation(remove=name) for name in (INBOUND_HEADERS if inbound else CLIENT_HEADERS)]
    config = HeaderMutationFilter(mutations=Mutations(request_mutations=by_prefix + by_name))
    return HttpFilter(name=NAME, typed_config=Any.pack(config))


def own_request_id() -> TypedExtensionConfig:
    """Drops the caller's `x-request-id` before Envoy looks for one, so that it makes its own.

    The filter above runs too late for that: Envoy takes or makes the id before any filter. The id goes into Envoy's
    and Airflow's logs, so a caller's id would put its text there, and give two requests one id.
    """
    early = EarlyHeaderMutation(mutations=[HeaderMutation(remove=REQUEST_ID)])
    return TypedExtensionConfig(name="envoy.http.early_header_mutation.header_mutation", typed_config=Any.pack(early))


def shown(plane: str) -> ListStringMatcher:
    """The headers that the authorizer sees."""
    names = {Plane.EGRESS: READ_ON_EGRESS, EXECUTION: READ_ON_EXECUTION}.get(plane, READ_HEADERS)
    return ListStringMatcher(patterns=[StringMatcher(exact=name) for name in names])


def answer_rules(plane: str) -> HeaderMutationRules:
    """What the authorizer's answer may change: our identity headers, and the credentials it removes."""
    names = ["x-authz-[a-z-]+", "authorization", "cookie", *(RUN_HEADERS if plane == Plane.EGRESS else ())]
    return HeaderMutationRules(disallow_all=True, allow_expression=RegexMatcher(regex="|".join(names)))
