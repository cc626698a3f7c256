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
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
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
from authz.envoy_config.clusters import (
    authz_cluster,
    destination_cluster,
    login_clusters,
    token_cluster,
    upstream_cluster,
)
from authz.envoy_config.credential_plan import ClientCredentials
from authz.envoy_config.egress_plan import Egress
from authz.envoy_config.listeners import egress_listener, inbound_listener
from authz.envoy_config.plan import EnvoyPlan, Listener

ADMIN_PATHS: Final = ("/ready", "/stats", "/clusters", "/listeners", "/certs", "/server_info", "/memory")
_HEAP: Final = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS: Final = "envoy.resource_monitors.global_downstream_max_connections"


def bootstrap(plan: EnvoyPlan) -> Bootstrap:
    """The complete configuration of one Envoy."""
    return Bootstrap(
        node=Node(id="airflow-envoy-authz", cluster="airflow-envoy-authz"),
        admin=_admin(plan),
        static_resources=BootstrapStaticResources(
            listeners=[
                *([inbound_listener(plan, plan.inbound)] if plan.inbound else []),
                *([egress_listener(plan, plan.egress)] if plan.egress else []),
            ],
            clusters=[authz_cluster(plan), *_inbound_clusters(plan.inbound), *_egress_clusters(plan.egress, plan.sds)],
        ),
        layered_runtime=LayeredRuntime(layers=[RuntimeLayer(name="fixed", static_layer=Struct())]),
        overload_manager=_overload(plan),
    )


def _inbound_clusters(inbound: Listener | None) -> list[Cluster]:
    if inbound is None:
        return []
    login = login_clusters(inbound.login) if inbound.login else []
    return [*(upstream_cluster(upstream) for upstream in inbound.upstreams), *login]


def _egress_clusters(egress: Egress | None, sds: str) -> list[Cluster]:
    destinations = egress.destinations if egress else ()
    return [
        *(destination_cluster(destination, sds) for destination in destinations),
        *(
            token_cluster(destination.name, destination.credential)
            for destination in destinations
            if isinstance(destination.credential, ClientCredentials)
        ),
    ]


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
