"""Convert an address of the settings to Envoy's: `Address`, endpoints, and the kind of cluster they need."""

from collections.abc import Iterable

from envoy_data_plane.envoy.config.cluster.v3 import ClusterDiscoveryType
from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints

from authz.core.addresses import HostPort, SocketPath, parse_address


def envoy_address(text: str) -> Address:
    """`unix:/path` or `host:port` as Envoy writes it."""
    match parse_address(text):
        case SocketPath(path):
            return Address(pipe=Pipe(path=path))
        case HostPort(host, port):
            return Address(socket_address=SocketAddress(address=host, port_value=port))


def load_assignment(cluster: str, addresses: Iterable[str]) -> ClusterLoadAssignment:
    """The endpoints of a cluster, all in one locality."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=envoy_address(address))) for address in addresses]
    return ClusterLoadAssignment(cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)])


def discovery(addresses: Iterable[str]) -> ClusterDiscoveryType:
    """Names are looked up repeatedly (STRICT_DNS); addresses and sockets stay (STATIC)."""
    parsed = [parse_address(address) for address in addresses]
    named = any(isinstance(address, HostPort) and not address.is_ip for address in parsed)
    return ClusterDiscoveryType.STRICT_DNS if named else ClusterDiscoveryType.STATIC
