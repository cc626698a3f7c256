"""The cluster of the authorizer's workers, and the parts that the clusters of both planes share.

Law: nothing here knows a plane. Calls to a broken server fail at once (no panic routing, circuit breakers, bounded
retries), and a server that has recovered is used again within a few seconds.
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
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as ClusterHttp
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.addresses import discovery, load_assignment
from authz.envoy_config.ext_authz import CLUSTER
from authz.envoy_config.secrets import AUTHZ_CERTIFICATE
from authz.envoy_config.tls import cluster_socket, shown_certificate
from authz.settings import Settings
from authz.settings.envoy import Envoy, Execution
from authz.settings.inbound import Upstream
from authz.settings.urls import endpoint

CONNECT_TIMEOUT: Final = timedelta(seconds=2)
AUTHZ_CONNECT_TIMEOUT: Final = timedelta(milliseconds=250)
CHECKS: Final = 4096  # under way at a time
CONNECTION_BUFFER: Final = 32 * 1024
# uvicorn closes an idle connection after 5 s: we must be first, or a request meets a closing socket and becomes a 503.
UPSTREAM_IDLE: Final = timedelta(seconds=4)
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# An unhealthy endpoint gets nothing, and a recovered one gets requests at once: by default Envoy delays the second of
# two changes for up to a second, for the sake of clusters of thousands (seen: all workers back, every request still a
# 503).
BALANCING: Final = ClusterCommonLbConfig(healthy_panic_threshold=Percent(value=0.0), update_merge_window=timedelta())
_SECOND: Final = timedelta(seconds=1)
_AWAY: Final = timedelta(milliseconds=250)


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
        common_lb_config=BALANCING,
        load_assignment=load_assignment(CLUSTER, endpoints),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(options)},
        transport_socket=_authz_socket(settings.edge) if settings.tls else None,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=keepalive(),
        circuit_breakers=_authz_breakers(),
        health_checks=[_grpc_health()],
    )


def _authz_socket(envoy: Envoy) -> TransportSocket:
    certificate, key = envoy.authz_tls_certificate, envoy.authz_tls_key
    shown = shown_certificate(certificate, key, envoy.sds, AUTHZ_CERTIFICATE) if certificate and key else None
    return cluster_socket(envoy.authz_tls_name, envoy.authz_authority, "h2", shown=shown)


def airflow_cluster(server: Upstream | Execution, name: str, health: list[HealthCheck]) -> Cluster:
    """The cluster of an Airflow, over HTTP/1.1."""
    options = ClusterHttp(
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=UPSTREAM_IDLE),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
    return Cluster(
        name=name,
        type=discovery(server.address),
        connect_timeout=CONNECT_TIMEOUT,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        common_lb_config=BALANCING,
        load_assignment=load_assignment(name, server.address),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(options)},
        transport_socket=cluster_socket(server.server_name, server.authority, "http/1.1") if server.tls else None,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=keepalive(),
        circuit_breakers=_breakers(requests=1024),
        health_checks=health,
        outlier_detection=_outliers(),
    )


def token_endpoint_cluster(name: str, text: str, authority: str, requests: int) -> Cluster:
    """The cluster of the token endpoint with this URL; at most `requests` are in flight there at a time."""
    url = endpoint(text)
    tls = cluster_socket(url.host.strip("[]"), authority, "http/1.1") if url.scheme == "https" else None
    return bounded_cluster(name, url.address, requests, tls)


def bounded_cluster(name: str, address: str, requests: int, tls: TransportSocket | None = None) -> Cluster:
    """The cluster of a server beside the upstreams, over HTTP/1.1; at most `requests` are in flight there at a time."""
    options = ClusterHttp(
        common_http_protocol_options=HttpProtocolOptions(idle_timeout=UPSTREAM_IDLE),
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
    )
    return Cluster(
        name=name,
        type=discovery([address]),
        connect_timeout=CONNECT_TIMEOUT,
        common_lb_config=BALANCING,
        load_assignment=load_assignment(name, [address]),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(options)},
        transport_socket=tls,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=keepalive(),
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


def http_health(path: str, *hosts: str) -> HealthCheck:
    """`hosts` are the names that the server is reached under, the best first."""
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


def keepalive() -> UpstreamConnectionOptions:
    """TCP keepalive: a connection whose other end is gone is detected after 45 seconds."""
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(
            keepalive_time=30,
            keepalive_interval=5,
            keepalive_probes=3,
        )
    )
