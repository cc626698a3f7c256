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
from authz.settings.plan.egress import Destination, Egress
from authz.settings.plan.execution import Execution
from authz.settings.plan.front import EnvoyPlan, Listener

CONNECTION_BUFFER: Final = 32 * 1024
HANDSHAKE_TIMEOUT: Final = timedelta(seconds=10)


def inbound_listener(plan: EnvoyPlan, listener: Listener) -> EnvoyListener:
    """In front of Airflow."""
    return _listener(
        listener.listen,
        http_connection_manager(plan, inbound(plan, listener)),
        TrafficDirection.INBOUND,
        listener_socket(listener.tls, plan.sds) if listener.tls else None,
    )


def egress_listener(plan: EnvoyPlan, egress: Egress) -> EnvoyListener:
    """In front of everything that tasks call."""
    return _listener(
        egress.listen, http_connection_manager(plan, outbound(plan, egress)), TrafficDirection.OUTBOUND, None
    )


def base_url_listener(plan: EnvoyPlan, egress: Egress, destination: Destination) -> EnvoyListener:
    """In front of one destination, at an address of its own."""
    manager = http_connection_manager(plan, base_url(plan, egress, destination))
    return _listener(destination.listen, manager, TrafficDirection.OUTBOUND, None)


def execution_listener(plan: EnvoyPlan, execution: Execution) -> EnvoyListener:
    """In front of Airflow's execution API, for workers."""
    manager = http_connection_manager(plan, for_tasks(plan, execution))
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
