"""The filter that asks `authz serve`, and what each route passes to it.

Law: it cannot fail open. An error, a timeout or a switched-off filter refuses the request (503); the answer can change
only our own headers; the body is never sent; a decision never changes the route that it was made for.
The check carries only the headers that are read: what is not sent cannot leak, and costs neither side anything.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    BackoffStrategy,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    RetryPolicy,
    RetryPolicyRetryHostPredicate,
    RuntimeFeatureFlag,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import CheckSettings, ExtAuthz, ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any

from authz.core import edge
from authz.core.model import Plane
from authz.envoy_config.headers import answer_rules, shown
from authz.settings import Settings
from authz.settings.egress import Destination

NAME: Final = "envoy.filters.http.ext_authz"
CLUSTER: Final = "authz"
# A dead worker has the fewest requests of all, so LEAST_REQUEST prefers it: of two, three picks in four are the dead
# one. After 32 of them one second try in ten thousand went there again (seen); after 100 it is one in 10^12.
PICKS: Final = 100
RETRY_AFTER: Final = timedelta(milliseconds=10)


def ext_authz_filter(settings: Settings, plane: str) -> HttpFilter:
    """The check of every request. Nothing can change the route after it."""
    config = ExtAuthz(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CLUSTER),
            timeout=timedelta(seconds=settings.edge.authz_timeout),
            retry_policy=_retry(settings),
        ),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        deny_at_disable=RuntimeFeatureFlag(default_value=True, runtime_key="authz.deny_at_disable"),
        clear_route_cache=False,
        validate_mutations=True,
        decoder_header_mutation_rules=answer_rules(plane),
        encode_raw_headers=True,
        allowed_headers=shown(plane),
        include_peer_certificate=False,
        emit_filter_state_stats=True,
        stat_prefix="authz",
        charge_cluster_response_stats=False,  # else denials count as answers of the upstream, which has seen nothing
    )
    return HttpFilter(name=NAME, typed_config=Any.pack(config))


def inbound_settings(
    audience: str = "", *, base: str = "", signout: str = "", marker: str = "", narrowed: bool = False
) -> dict[str, Any]:
    """The per-route settings of the inbound plane: audience of an assertion, base path, where browser sessions end.

    `marker` is the name of the cookie that a browser must send there. `narrowed`: Airflow keeps to the DAGs that the
    assertion names.
    """
    extensions = {
        edge.EXT_AUDIENCE: audience,
        edge.EXT_BASE: base,
        edge.EXT_SIGNOUT: signout,
        edge.EXT_MARKER: marker,
        edge.EXT_DAGS: edge.NARROWED if narrowed else "",
    }
    return check_settings(Plane.INBOUND, extensions)


def egress_settings(destination: Destination, *, host: str = "", base: str = "") -> dict[str, Any]:
    """The same for an egress route: its destination, and whether the task's own Authorization is passed on.

    `host` is what is evaluated where the Host is Envoy's own address; `base` is Envoy's part of the path.
    """
    extensions = {
        edge.EXT_DESTINATION: destination.name,
        edge.EXT_HOST: host,
        edge.EXT_BASE: base,
        edge.EXT_AUDIENCE: destination.audience or "",
        edge.EXT_AUTHORIZATION: edge.KEEP if destination.keep_authorization else "",
    }
    return check_settings(Plane.EGRESS, extensions)


def check_disabled() -> dict[str, Any]:
    """The per-route settings of a route that the authorizer is not asked about."""
    return {NAME: Any.pack(ExtAuthzPerRoute(disabled=True))}


def check_settings(plane: str, values: Mapping[str, str]) -> dict[str, Any]:
    """The per-route settings with these values, without the empty ones."""
    extensions = {edge.EXT_PLANE: str(plane)} | {name: value for name, value in values.items() if value}
    return {NAME: Any.pack(ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions=extensions)))}


def _retry(settings: Settings) -> RetryPolicy:
    """One retry if a worker goes away, on another worker if there is one.

    A check changes nothing, except a sign-out, which may be repeated, and a proof, which may not: if the worker died
    after it had recorded the proof, the retry is refused and the task makes a new one. So this is safe.

    "reset" is a worker that died during the check: the connection ends and there is no status. "unavailable" is the
    gRPC status of a broken connection; the authorizer itself never answers with it (a failure of its own is a denial
    with 503). Envoy takes `max_interval` for the time limit of one try
    (https://github.com/envoyproxy/envoy/issues/38847), so it is the check's own deadline.
    """
    several = len(settings.authz_endpoints) > 1
    deadline = timedelta(seconds=settings.edge.authz_timeout)
    elsewhere = RetryPolicyRetryHostPredicate(
        name="envoy.retry_host_predicates.previous_hosts", typed_config=Any.pack(PreviousHostsPredicate())
    )
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset,unavailable",
        num_retries=1,
        retry_back_off=BackoffStrategy(base_interval=RETRY_AFTER, max_interval=deadline),
        retry_host_predicate=[elsewhere] if several else [],
        host_selection_retry_max_attempts=PICKS if several else 0,
    )
