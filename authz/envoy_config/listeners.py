"""The listening sockets: one filter chain each, TLS or not, with Envoy's edge limits."""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import TrafficDirection, TransportSocket
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain
from envoy_data_plane.envoy.config.listener.v3 import Listener as EnvoyListener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.google.protobuf import Any

from authz.envoy_config.addresses import envoy_address
from authz.envoy_config.http_connection_manager import base_url, for_tasks, http_connection_manager, inbound, outbound
from authz.envoy_config.tls import listener_socket
from authz.settings import Settings
from authz.settings.egress import Destination, Egress
from authz.settings.envoy import Execution
from authz.settings.inbound import Inbound

CONNECTION_BUFFER: Final = 32 * 1024
HANDSHAKE_TIMEOUT: Final = timedelta(seconds=10)


def inbound_listener(settings: Settings, section: Inbound) -> EnvoyListener:
    """In front of Airflow."""
    return _listener(
        section.listen,
        http_connection_manager(settings, inbound(settings, section)),
        TrafficDirection.INBOUND,
        listener_socket(section.tls, settings.edge.sds) if section.tls else None,
    )


def egress_listener(settings: Settings, egress: Egress) -> EnvoyListener:
    """In front of everything that tasks call."""
    return _listener(
        egress.listen, http_connection_manager(settings, outbound(settings, egress)), TrafficDirection.OUTBOUND, None
    )


def base_url_listener(settings: Settings, egress: Egress, destination: Destination, listen: str) -> EnvoyListener:
    """In front of one destination, at an address of its own."""
    manager = http_connection_manager(settings, base_url(settings, egress, destination))
    return _listener(listen, manager, TrafficDirection.OUTBOUND, None)


def execution_listener(settings: Settings, execution: Execution) -> EnvoyListener:
    """In front of Airflow's execution API, for workers."""
    manager = http_connection_manager(settings, for_tasks(settings, execution))
    return _listener(execution.listen, manager, TrafficDirection.INBOUND, None)


def _listener(
    address: str, manager: HttpConnectionManager, direction: TrafficDirection, tls: TransportSocket | None
) -> EnvoyListener:
    http = Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))
    chain = FilterChain(
        filters=[http], transport_socket=tls, transport_socket_connect_timeout=HANDSHAKE_TIMEOUT if tls else None
    )
    return EnvoyListener(
        name=manager.stat_prefix,
        address=envoy_address(address),
        traffic_direction=direction,
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER,
        filter_chains=[chain],
    )
