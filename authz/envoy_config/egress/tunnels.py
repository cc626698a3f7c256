"""Tunnels: the inside of a CONNECT must be TLS with a server name that is the host that was evaluated.

Law: a tunnel ends at a listener inside Envoy that reads the beginning of the TLS handshake. A server name that is not
the tunnel's host, no server name, or traffic that is not TLS matches no filter chain there: the connection ends, and
Envoy does not connect to the destination. The caller must check the certificate inside; the gate cannot see it.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import Address, EnvoyInternalAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.config.listener.v3 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
    ListenerInternalListenerConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Listener as EnvoyListener
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector.v3 import TlsInspector
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import TcpProxy
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.addresses import discovery, load_assignment
from authz.settings.egress import Destination, Egress

HANDSHAKE_TIMEOUT: Final = timedelta(seconds=10)
CONNECT_TIMEOUT: Final = timedelta(seconds=2)
MOST_TUNNELS: Final = 1024  # to one destination
_BUFFER: Final = 32 * 1024


def tunnel_name(destination: Destination, host: str) -> str:
    """The name of the cluster that leads to the listener inside, and of that listener."""
    return f"egress.{destination.name}.tunnel.{host}"


def tunnel_listeners(egress: Egress) -> Iterator[EnvoyListener]:
    """The listeners inside, one for each host that may be tunnelled to."""
    for destination in _with_tunnels(egress):
        for host in destination.names:
            yield _inside(destination, host, egress.idle_timeout)


def tunnel_clusters(egress: Egress) -> Iterator[Cluster]:
    """The clusters to these listeners, and from there to the destinations."""
    for destination in _with_tunnels(egress):
        for host in destination.names:
            yield _way_in(tunnel_name(destination, host))
        yield _way_out(destination)


def _with_tunnels(egress: Egress) -> Iterator[Destination]:
    return (destination for destination in egress.destinations if destination.tunnel)


def _inside(destination: Destination, host: str, idle: float) -> EnvoyListener:
    name = tunnel_name(destination, host)
    proxy = TcpProxy(stat_prefix=name, cluster=_out_name(destination), idle_timeout=timedelta(seconds=idle))
    return EnvoyListener(
        name=name,
        internal_listener=ListenerInternalListenerConfig(),
        per_connection_buffer_limit_bytes=_BUFFER,
        listener_filters=[
            ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=Any.pack(TlsInspector()))
        ],
        listener_filters_timeout=HANDSHAKE_TIMEOUT,
        filter_chains=[
            FilterChain(
                filter_chain_match=FilterChainMatch(transport_protocol="tls", server_names=[host]),
                filters=[Filter(name="envoy.filters.network.tcp_proxy", typed_config=Any.pack(proxy))],
            )
        ],
    )


def _way_in(name: str) -> Cluster:
    inside = Address(envoy_internal_address=EnvoyInternalAddress(server_listener_name=name))
    endpoint = LbEndpoint(endpoint=Endpoint(address=inside))
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=CONNECT_TIMEOUT,
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
        per_connection_buffer_limit_bytes=_BUFFER,
        circuit_breakers=_bounds(),
    )


def _out_name(destination: Destination) -> str:
    return f"egress.{destination.name}.tcp"


def _way_out(destination: Destination) -> Cluster:
    name = _out_name(destination)
    return Cluster(
        name=name,
        type=discovery(destination.address),
        connect_timeout=CONNECT_TIMEOUT,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        load_assignment=load_assignment(name, destination.address),
        dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
        per_connection_buffer_limit_bytes=_BUFFER,
        circuit_breakers=_bounds(),
    )


def _bounds() -> CircuitBreakers:
    bounds = CircuitBreakersThresholds(
        max_connections=MOST_TUNNELS, max_pending_requests=MOST_TUNNELS, max_requests=MOST_TUNNELS
    )
    return CircuitBreakers(thresholds=[bounds])
