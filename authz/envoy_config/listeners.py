"""The listening sockets: one filter chain each, TLS or not, with Envoy's edge limits."""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain
from envoy_data_plane.envoy.config.listener.v3 import Listener as EnvoyListener
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.addresses import envoy_address
from authz.envoy_config.http_connection_manager import http_connection_manager
from authz.envoy_config.plan import EnvoyPlan, Listener
from authz.envoy_config.tls import listener_socket
from authz.model import Plane

CONNECTION_BUFFER: Final = 32 * 1024
HANDSHAKE_TIMEOUT: Final = timedelta(seconds=10)
_DIRECTION: Final = {Plane.INBOUND: TrafficDirection.INBOUND, Plane.EGRESS: TrafficDirection.OUTBOUND}


def envoy_listener(plane: Plane, plan: EnvoyPlan, listener: Listener) -> EnvoyListener:
    """The listener of one plane."""
    manager = Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=Any.pack(http_connection_manager(plane, plan, listener)),
    )
    chain = FilterChain(
        filters=[manager],
        transport_socket=listener_socket(listener.tls, plan.sds) if listener.tls else None,
        transport_socket_connect_timeout=HANDSHAKE_TIMEOUT if listener.tls else None,
    )
    return EnvoyListener(
        name=plane.value,
        address=envoy_address(listener.listen),
        traffic_direction=_DIRECTION[plane],
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        filter_chains=[chain],
    )
