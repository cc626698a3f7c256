"""The clusters of everything that tasks call: each destination, its token endpoint, and Airflow's execution API.

Law: each destination has a cluster of its own, with its own limits, health and credential, so that one destination's
failure affects no other. An upstream of the inbound plane may have the same name.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDnsLookupFamily, ClusterLbPolicy
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    HttpProtocolOptions,
    TransportSocket,
    UpstreamHttpProtocolOptions,
)
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as ClusterHttp
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.google.protobuf import Any

from authz.core.model import Plane
from authz.envoy_config.addresses import discovery, load_assignment
from authz.envoy_config.clusters import (
    BALANCING,
    CONNECTION_BUFFER,
    HTTP_OPTIONS,
    UPSTREAM_IDLE,
    airflow_cluster,
    http_health,
    keepalive,
    token_endpoint_cluster,
)
from authz.envoy_config.egress.credentials import injector, token_cluster_name
from authz.envoy_config.egress.dynamic import dynamic_clusters
from authz.envoy_config.egress.execution import CLUSTER as EXECUTION
from authz.envoy_config.egress.failures import named
from authz.envoy_config.egress.limits import body_bound, breakers, outliers
from authz.envoy_config.egress.tunnels import tunnel_clusters
from authz.envoy_config.tls import cluster_socket, host_socket
from authz.settings.destinations import OAuth2
from authz.settings.egress import Destination, Egress
from authz.settings.envoy import Execution

TOKEN_FETCHES: Final = 8  # Envoy makes one at a time
ANSWER_HEADERS_KIB: Final = 64
ANSWER_HEADERS: Final = 200


def egress_clusters(egress: Egress, sds: str) -> list[Cluster]:
    """The clusters of the destinations, of their token endpoints, of tunnels and of dynamic hosts."""
    return [
        *(destination_cluster(destination, sds) for destination in egress.destinations),
        *(
            token_cluster(destination.name, destination.credential.oauth2)
            for destination in egress.destinations
            if destination.credential and destination.credential.oauth2
        ),
        *tunnel_clusters(egress),
        *(dynamic_clusters(egress.dynamic) if egress.dynamic else []),
    ]


def destination_name(destination: Destination) -> str:
    """The cluster of a destination."""
    return f"{Plane.EGRESS.value}.{destination.name}"


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
        common_lb_config=BALANCING,
        load_assignment=load_assignment(name, destination.address),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(options)},
        transport_socket=_destination_socket(destination),
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=keepalive(),
        circuit_breakers=breakers(limits),
        health_checks=[http_health(destination.health_path, destination.named)] if destination.health_path else [],
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


def token_cluster(destination: str, oauth2: OAuth2) -> Cluster:
    """The token endpoint of a destination; nothing but its own destination depends on it."""
    return token_endpoint_cluster(
        token_cluster_name(destination), oauth2.token_endpoint, oauth2.authority, TOKEN_FETCHES
    )


def execution_cluster(execution: Execution) -> Cluster:
    """Airflow's execution API."""
    return airflow_cluster(execution, EXECUTION, [])
