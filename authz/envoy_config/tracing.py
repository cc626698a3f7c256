"""Envoy's own spans: which requests are sampled, and the collector that they go to.

Law: a span of Envoy has neither path nor query: a query may carry a code or a token, and a path names things. Only
`tracing.sample` and the `traceparent` of a request decide what is sampled.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDnsLookupFamily
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, Http2ProtocolOptions
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManagerTracing
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as ClusterHttp
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.v3 import Percent
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.addresses import discovery, load_assignment
from authz.envoy_config.clusters import BALANCING, CONNECT_TIMEOUT, CONNECTION_BUFFER, HTTP_OPTIONS, keepalive
from authz.envoy_config.tls import cluster_socket
from authz.settings.tracing import Tracing

CLUSTER: Final = "tracing"
SERVICE: Final = "envoy"
_EXPORT_TIMEOUT: Final = timedelta(seconds=5)


def tracer(tracing: Tracing) -> HttpConnectionManagerTracing:
    """The tracing of a listener's requests."""
    config = OpenTelemetryConfig(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CLUSTER),
            timeout=_EXPORT_TIMEOUT,
        ),
        service_name=SERVICE,
    )
    return HttpConnectionManagerTracing(
        client_sampling=Percent(value=0.0),  # of x-client-trace-id
        random_sampling=Percent(value=float(tracing.sample)),
        max_path_tag_length=0,
        provider=TracingHttp(name="envoy.tracers.opentelemetry", typed_config=Any.pack(config)),
    )


def collector_cluster(tracing: Tracing) -> Cluster:
    """The cluster of the collector: gRPC over HTTP/2."""
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    return Cluster(
        name=CLUSTER,
        type=discovery([tracing.endpoint]),
        connect_timeout=CONNECT_TIMEOUT,
        common_lb_config=BALANCING,
        load_assignment=load_assignment(CLUSTER, [tracing.endpoint]),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(ClusterHttp(explicit_http_config=http2))},
        transport_socket=cluster_socket(tracing.server_name, tracing.authority, "h2") if tracing.tls else None,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        upstream_connection_options=keepalive(),
    )
