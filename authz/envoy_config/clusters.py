"""Envoy's clusters: the authorizer's workers, the upstreams and the provider that people log in at.

Law: calls to a broken server fail at once (no panic routing, circuit breakers, bounded retries), and a server that has
recovered is used again within a few seconds.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    Cluster,
    ClusterCommonLbConfig,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
    OutlierDetection,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
    TcpKeepalive,
    TransportSocket,
    UpstreamHttpProtocolOptions,
)
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as ClusterHttp
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.addresses import discovery, load_assignment
from authz.envoy_config.egress.credentials import injector, token_cluster_name
from authz.envoy_config.egress.execution import CLUSTER as EXECUTION
from authz.envoy_config.egress.failures import named
from authz.envoy_config.egress.limits import body_bound, breakers, outliers
from authz.envoy_config.egress.routes import destination_name
from authz.envoy_config.ext_authz import CLUSTER
from authz.envoy_config.inbound.login import BACKCHANNEL
from authz.envoy_config.inbound.login import CLUSTER as PROVIDER
from authz.envoy_config.secrets import AUTHZ_CERTIFICATE
from authz.envoy_config.tls import cluster_socket, host_socket, shown_certificate
from authz.settings import Settings
from authz.settings.destinations import OAuth2
from authz.settings.egress import Destination
from authz.settings.envoy import Envoy, Execution
from authz.settings.inbound import Upstream
from authz.settings.login import Login
from authz.settings.urls import endpoint

CONNECT_TIMEOUT: Final = timedelta(seconds=2)
AUTHZ_CONNECT_TIMEOUT: Final = timedelta(milliseconds=250)
CHECKS: Final = 4096  # under way at a time
CONNECTION_BUFFER: Final = 32 * 1024
TOKEN_REQUESTS: Final = 128  # under way at the provider at a time
BACKCHANNEL_REQUESTS: Final = 24  # more than may wait for a key there, fewer than that port takes
TOKEN_FETCHES: Final = 8  # Envoy makes one at a time
ANSWER_HEADERS_KIB: Final = 64
ANSWER_HEADERS: Final = 200
# uvicorn closes an idle connection after 5 s: we must be first, or a request meets a closing socket and becomes a 503.
UPSTREAM_IDLE: Final = timedelta(seconds=4)
_SECOND: Final = timedelta(seconds=1)
_AWAY: Final = timedelta(milliseconds=250)
_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# An endpoint that is unwell gets nothing, and one that is well again gets requests at once: Envoy would keep the second
# of two changes back for up to a second, for clusters of thousands (seen: all workers back, every request still a 503).
_BALANCING: Final = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0.0), update_merge_window=timedelta())


def authz_cluster(settings: Settings) -> Cluster:
    """The workers of `authz serve`: gRPC over HTTP/2, health-checked every second."""
    endpoints = settings.authz_endpoints
    http2 = Http2ProtocolOptions(
        connection_keepalive=KeepaliveSettings(connection_idle_interval=timedelta(seconds=10), timeout=_SECOND)
    )
    options = ClusterHttp(explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2))
    return Cluster(
        name=CLUSTER,
        type=discovery(endpoints),
        connect_timeout=AUTHZ_CONNECT_TIMEOUT,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        common_lb_config=_BALANCING,
        load_assignment=load_assignment(CLUSTER, endpoints),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={_HTTP_OPTIONS: Any.pack(options)},
        transport_socket=_authz_socket(settings.edge) if settings.tls else None,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=_keepalive(),
        circuit_breakers=_authz_breakers(),
        health_checks=[_grpc_health()],
    )


def _authz_socket(envoy: Envoy) -> TransportSocket:
    certificate, key = envoy.authz_tls_certificate, envoy.authz_tls_key
    shown = shown_certificate(certificate, key, envoy.sds, AUTHZ_CERTIFICATE) if certificate and key else None
    return cluster_socket(envoy.authz_tls_name, envoy.authz_authority, "h2", shown=shown)


def upstream_cluster(upstream: Upstream, name: str) -> Cluster:
    """An Airflow of ours."""
    named = [upstream.host_rewrite or "", *(host for host in upstream.hosts if not host.startswith("*"))]
    health = [_http_health(upstream.health_path, *named)] if upstream.health_path else []
    return _server(upstream, name, health)


def execution_cluster(execution: Execution) -> Cluster:
    """Airflow's execution API."""
    return _server(execution, EXECUTION, [])


def _server(server: Upstream | Execution, name: str, health: list[HealthCheck]) -> Cluster:
    """A server of ours, over HTTP/1.1."""
    options = ClusterHttp(
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=UPSTREAM_IDLE),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
    return Cluster(
        name=name,
        type=discovery(server.address),
        connect_timeout=CONNECT_TIMEOUT,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        common_lb_config=_BALANCING,
        load_assignment=load_assignment(name, server.address),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={_HTTP_OPTIONS: Any.pack(options)},
        transport_socket=cluster_socket(server.server_name, server.authority, "http/1.1") if server.tls else None,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=_keepalive(),
        circuit_breakers=_breakers(requests=1024),
        health_checks=health,
        outlier_detection=_outliers(),
    )


def destination_cluster(destination: Destination, sds: str) -> Cluster:
    """One egress destination, over HTTP/1.1. Without `tls_name`, server name and certificate must match the Host."""
    name = destination_name(destination)
    follows = destination.tls and not destination.tls_name
    limits = destination.limits
    options = ClusterHttp(
        common_http_protocol_options=HttpProtocolOptions(
            idle_timeout=UPSTREAM_IDLE,
            max_response_headers_kb=ANSWER_HEADERS_KIB,
            max_headers_count=ANSWER_HEADERS,
        ),
        upstream_http_protocol_options=UpstreamHttpProtocolOptions(auto_sni=follows, auto_san_validation=follows)
        if follows
        else None,
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
        http_filters=_on_the_way(destination, sds),
    )
    return Cluster(
        name=name,
        metadata=named(destination.name),
        type=discovery(destination.address),
        connect_timeout=timedelta(seconds=limits.connect_timeout),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        common_lb_config=_BALANCING,
        load_assignment=load_assignment(name, destination.address),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={_HTTP_OPTIONS: Any.pack(options)},
        transport_socket=_destination_socket(destination),
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=_keepalive(),
        circuit_breakers=breakers(limits),
        health_checks=[_http_health(destination.health_path, destination.named)] if destination.health_path else [],
        outlier_detection=outliers(limits),
    )


def _on_the_way(destination: Destination, sds: str) -> list[HttpFilter]:
    """What happens to a call after the decision: the limit on its body, then the credential."""
    bound = [body_bound(destination.limits)] if destination.limits.request_bytes else []
    credential = [injector(destination.name, destination.credential, sds)] if destination.credential else []
    last = HttpFilter(name="envoy.filters.http.upstream_codec", typed_config=Any.pack(UpstreamCodec()))
    return [*bound, *credential, last]


def _destination_socket(destination: Destination) -> TransportSocket | None:
    if not destination.tls:
        return None
    if destination.tls_name:
        return cluster_socket(destination.tls_name, destination.authority, "http/1.1")
    return host_socket(destination.authority, destination.hosts, "http/1.1")


def login_clusters(login: Login, backchannel: str | None) -> list[Cluster]:
    """The provider's token endpoint, and the server for the provider's back-channel calls, if there is one.

    Anyone who sends a refresh token makes Envoy call the former, and anyone who knows its path reaches the latter, so
    few calls may be under way at once.
    """
    clusters = [_token_endpoint(PROVIDER, login.tokens, login.authority, TOKEN_REQUESTS)]
    if backchannel:
        clusters.append(_beside(BACKCHANNEL, backchannel, BACKCHANNEL_REQUESTS))
    return clusters


def token_cluster(destination: str, oauth2: OAuth2) -> Cluster:
    """The token endpoint of a destination; nothing but its own destination depends on it."""
    return _token_endpoint(token_cluster_name(destination), oauth2.token_endpoint, oauth2.authority, TOKEN_FETCHES)


def _token_endpoint(name: str, text: str, authority: str, requests: int) -> Cluster:
    url = endpoint(text)
    tls = cluster_socket(url.host.strip("[]"), authority, "http/1.1") if url.scheme == "https" else None
    return _beside(name, url.address, requests, tls)


def _beside(name: str, address: str, requests: int, tls: TransportSocket | None = None) -> Cluster:
    """A server beside the upstreams, over HTTP/1.1."""
    options = ClusterHttp(
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=UPSTREAM_IDLE),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
    return Cluster(
        name=name,
        type=discovery([address]),
        connect_timeout=CONNECT_TIMEOUT,
        common_lb_config=_BALANCING,
        load_assignment=load_assignment(name, [address]),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={_HTTP_OPTIONS: Any.pack(options)},
        transport_socket=tls,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=_keepalive(),
        circuit_breakers=_breakers(requests=requests),
    )


def _grpc_health() -> HealthCheck:
    """Every second, also without traffic: the default of 60 s would keep the gate at 503 that long after a start.

    A worker that is down is checked four times as often: if the others are down too, every check until then is a 503,
    and probing a socket that nothing listens on costs next to nothing.
    """
    return HealthCheck(
        timeout=_SECOND,
        interval=_SECOND,
        no_traffic_interval=_SECOND,
        unhealthy_interval=_AWAY,
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=HealthCheckGrpcHealthCheck(),
    )


def _http_health(path: str, *hosts: str) -> HealthCheck:
    """`hosts` are names that it is served under, the best first."""
    return HealthCheck(
        timeout=timedelta(seconds=3),
        interval=timedelta(seconds=5),
        no_traffic_interval=timedelta(seconds=5),
        unhealthy_interval=_SECOND,
        unhealthy_threshold=3,
        healthy_threshold=1,
        http_health_check=HealthCheckHttpHealthCheck(
            path=path, host=next((host for host in hosts if host), "localhost")
        ),
    )


def _breakers(*, requests: int) -> CircuitBreakers:
    """Limits of an upstream: when it is in trouble, at most a fifth of its requests are retries."""
    budget = CircuitBreakersThresholdsRetryBudget(budget_percent=Percent(value=20.0), min_retry_concurrency=3)
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=requests,
                max_pending_requests=requests,
                max_requests=requests,
                retry_budget=budget,
                track_remaining=True,
            )
        ]
    )


def _authz_breakers() -> CircuitBreakers:
    """Limits of the authorizer, where every request may be retried once.

    Until a dead worker is found unhealthy it has the fewest requests, so many or all first tries go there. A retry
    budget counts active requests, and few are active while these wait for their retry: it would refuse most of them
    (seen: 100 failures for each worker that was killed). Each check has one retry, which is limit enough.
    """
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=CHECKS,
                max_pending_requests=CHECKS,
                max_requests=CHECKS,
                max_retries=CHECKS,
                track_remaining=True,
            )
        ]
    )


def _outliers() -> OutlierDetection:
    """An endpoint that cannot be reached, or answers only 502/503/504, is ejected for some seconds.

    A plain 500 does not count: one broken Airflow page must not make Airflow unavailable to everyone.
    """
    return OutlierDetection(
        split_external_local_origin_errors=True,
        enforcing_consecutive_5xx=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        consecutive_gateway_failure=5,
        enforcing_consecutive_gateway_failure=100,
        consecutive_local_origin_failure=5,
        interval=_SECOND,
        base_ejection_time=timedelta(seconds=5),
        max_ejection_time=timedelta(seconds=30),
        max_ejection_percent=100,
    )


def _keepalive() -> UpstreamConnectionOptions:
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(
            keepalive_time=30,
            keepalive_interval=5,
            keepalive_probes=3,
        )
    )
