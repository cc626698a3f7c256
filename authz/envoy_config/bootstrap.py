"""The whole of Envoy's bootstrap: node, admin, listeners, clusters, and what Envoy does when it has too much.

Law: the admin interface only shows; whatever it could change (runtime, log levels, shutdown) is refused, because a
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
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.config.overload.v3 import (
    OverloadAction,
    OverloadManager,
    ResourceMonitor,
    ThresholdTrigger,
    Trigger,
)
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import DownstreamConnectionsConfig
from envoy_data_plane.envoy.extensions.resource_monitors.fixed_heap.v3 import FixedHeapConfig
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any, Struct

from authz.envoy_config.addresses import envoy_address
from authz.envoy_config.clusters import authz_cluster, login_clusters, upstream_cluster
from authz.envoy_config.listeners import envoy_listener
from authz.envoy_config.plan import EnvoyPlan
from authz.model import Plane

ADMIN_PATHS: Final = ("/ready", "/stats", "/clusters", "/listeners", "/certs", "/server_info", "/memory")
_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"


def bootstrap(plan: EnvoyPlan) -> Bootstrap:
    """The complete configuration of one Envoy."""
    planes = [(Plane.INBOUND, plan.inbound), (Plane.EGRESS, plan.egress)]
    used = [(plane, listener) for plane, listener in planes if listener]
    return Bootstrap(
        node=Node(id="airflow-envoy-authz", cluster="airflow-envoy-authz"),
        admin=_admin(plan),
        static_resources=BootstrapStaticResources(
            listeners=[envoy_listener(plane, plan, listener) for plane, listener in used],
            clusters=[
                authz_cluster(plan),
                *(upstream_cluster(plane, upstream) for plane, listener in used for upstream in listener.upstreams),
                *(cluster for _plane, listener in used if listener.login for cluster in login_clusters(listener.login)),
            ],
        ),
        layered_runtime=LayeredRuntime(layers=[RuntimeLayer(name="fixed", static_layer=Struct())]),
        overload_manager=_overload(plan),
    )


def _admin(plan: EnvoyPlan) -> Admin:
    return Admin(
        address=envoy_address(plan.admin_listen),
        ignore_global_conn_limit=True,
        allow_paths=[StringMatcher(prefix=path) for path in ADMIN_PATHS],
    )


def _overload(plan: EnvoyPlan) -> OverloadManager:
    heap = FixedHeapConfig(max_heap_size_bytes=plan.max_heap_bytes)
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=plan.max_connections)
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
