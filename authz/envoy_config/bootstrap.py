"""Envoy's complete bootstrap: node, admin, listeners, clusters, and what Envoy does under overload.

Law: the admin interface is read-only; every change through it (runtime, log levels, shutdown) is refused, because a
runtime value could switch the check off.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.core.v3 import Node, TypedExtensionConfig
from envoy_data_plane.envoy.config.listener.v3 import Listener as EnvoyListener
from envoy_data_plane.envoy.config.metrics.v3 import StatsConfig, TagSpecifier
from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.bootstrap.internal_listener.v3 import InternalListener
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

from authz.envoy_config.addresses import envoy_address
from authz.envoy_config.clusters import authz_cluster
from authz.envoy_config.egress.clusters import egress_clusters, execution_cluster
from authz.envoy_config.egress.tunnels import tunnel_listeners
from authz.envoy_config.inbound.clusters import inbound_clusters
from authz.envoy_config.inbound.foreign_cookies import PATTERN_SIZE
from authz.envoy_config.listeners import base_url_listener, egress_listener, execution_listener, inbound_listener
from authz.envoy_config.tracing import collector_cluster
from authz.settings import Settings
from authz.settings.egress import Egress
from authz.settings.envoy import Envoy

ADMIN_PATHS: Final = ("/ready", "/stats", "/clusters", "/listeners", "/certs", "/server_info", "/memory")
_UPSTREAM_TAG: Final = TagSpecifier(
    tag_name="authz.upstream", regex=r"^cluster\.(?:inbound|egress|execution)\.(([^.]+)\.)"
)
"""Envoy takes a cluster's name to end at its first dot: in Prometheus the rest would be part of each metric's name."""
_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"


def bootstrap(settings: Settings) -> Bootstrap:
    """The complete configuration of one Envoy."""
    envoy = settings.edge
    return Bootstrap(
        node=Node(id="airflow-envoy-authz", cluster="airflow-envoy-authz"),
        admin=_admin(envoy.admin),
        static_resources=BootstrapStaticResources(
            listeners=[
                *([inbound_listener(settings, envoy.inbound)] if envoy.inbound else []),
                *(_egress_listeners(settings, envoy.egress) if envoy.egress else []),
                *([execution_listener(settings, envoy.execution)] if envoy.execution else []),
            ],
            clusters=[
                authz_cluster(settings),
                *(inbound_clusters(settings, envoy.inbound) if envoy.inbound else []),
                *(egress_clusters(envoy.egress, envoy.sds) if envoy.egress else []),
                *([execution_cluster(envoy.execution)] if envoy.execution else []),
                *([collector_cluster(settings.tracing)] if settings.tracing else []),
            ],
        ),
        bootstrap_extensions=_extensions(envoy.egress),
        layered_runtime=LayeredRuntime(layers=[RuntimeLayer(name="fixed", static_layer=_runtime(envoy))]),
        overload_manager=_overload(envoy),
        stats_config=StatsConfig(stats_tags=[_UPSTREAM_TAG]),
    )


def _runtime(envoy: Envoy) -> Struct:
    """Empty, unless there is a login: one of its patterns exceeds Envoy's size limit of 100."""
    login = envoy.inbound is not None and envoy.inbound.login is not None
    return Struct.from_dict({"re2.max_program_size.error_level": PATTERN_SIZE}) if login else Struct()


def _egress_listeners(settings: Settings, egress: Egress) -> list[EnvoyListener]:
    return [
        egress_listener(settings, egress),
        *(base_url_listener(settings, egress, one, one.listen) for one in egress.destinations if one.listen),
        *tunnel_listeners(egress),
    ]


def _extensions(egress: Egress | None) -> list[TypedExtensionConfig]:
    """What Envoy's internal listeners need."""
    if not egress or not any(destination.tunnel for destination in egress.destinations):
        return []
    return [TypedExtensionConfig(name="envoy.bootstrap.internal_listener", typed_config=Any.pack(InternalListener()))]


def _admin(listen: str) -> Admin:
    return Admin(
        address=envoy_address(listen),
        ignore_global_conn_limit=True,
        allow_paths=[StringMatcher(prefix=path) for path in ADMIN_PATHS],
    )


def _overload(envoy: Envoy) -> OverloadManager:
    heap = FixedHeapConfig(max_heap_size_bytes=envoy.max_heap)
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=envoy.max_connections)
    return OverloadManager(
        refresh_interval=timedelta(milliseconds=250),
        resource_monitors=[
            ResourceMonitor(name=_HEAP, typed_config=Any.pack(heap)),
            ResourceMonitor(name=_CONNECTIONS, typed_config=Any.pack(connections)),
        ],
        actions=[
            _above("envoy.overload_actions.shrink_heap", 0.95),
            _above("envoy.overload_actions.stop_accepting_requests", 0.98),
        ],
    )


def _above(action: str, share: float) -> OverloadAction:
    return OverloadAction(name=action, triggers=[Trigger(name=_HEAP, threshold=ThresholdTrigger(value=share))])
