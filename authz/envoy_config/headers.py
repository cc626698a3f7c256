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

from authz.core.edge import READ_HEADERS, READ_ON_EGRESS, READ_ON_EXECUTION
from authz.core.model import EXECUTION, Plane
from authz.core.stripped import CLIENT_HEADERS, CLIENT_PREFIXES, INBOUND_HEADERS, INBOUND_PREFIXES, RUN_HEADERS

NAME: Final = "authz.client_headers"
REQUEST_ID: Final = "x-request-id"
ODD_NAME: Final = StringMatcher(safe_regex=RegexMatcher(regex=".*[^a-z0-9:-].*"))
"""Towards Airflow, no name that something behind could read as another one: `x.authz-user`."""


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
    odd = [HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=ODD_NAME))] if inbound else []
    config = HeaderMutationFilter(mutations=Mutations(request_mutations=by_prefix + by_name + odd))
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
