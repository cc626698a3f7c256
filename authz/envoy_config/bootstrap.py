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
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Node, TypedExtensionConfig
from envoy_data_plane.envoy.config.listener.v3 import Listener as EnvoyListener
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
from authz.envoy_config.clusters import (
    authz_cluster,
    destination_cluster,
    login_clusters,
    token_cluster,
    upstream_cluster,
)
from authz.envoy_config.dynamic import dynamic_clusters
from authz.envoy_config.execution import CLUSTER as EXECUTION_CLUSTER
from authz.envoy_config.listeners import base_url_listener, egress_listener, execution_listener, inbound_listener
from authz.envoy_config.login_cookies import PATTERN_SIZE
from authz.envoy_config.routes import cluster_name
from authz.envoy_config.tunnels import tunnel_clusters, tunnel_listeners
from authz.settings.plan.credentials import ClientCredentials
from authz.settings.plan.egress import Egress
from authz.settings.plan.execution import Execution
from authz.settings.plan.front import EnvoyPlan, Listener, Upstream

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
                *(_egress_listeners(plan, plan.egress) if plan.egress else []),
                *([execution_listener(plan, plan.execution)] if plan.execution else []),
            ],
            clusters=[
                authz_cluster(plan),
                *_inbound_clusters(plan.inbound),
                *(_egress_clusters(plan.egress, plan.sds) if plan.egress else []),
                *([_execution_cluster(plan.execution)] if plan.execution else []),
            ],
        ),
        bootstrap_extensions=_extensions(plan),
        layered_runtime=LayeredRuntime(layers=[RuntimeLayer(name="fixed", static_layer=_runtime(plan))]),
        overload_manager=_overload(plan),
    )


def _runtime(plan: EnvoyPlan) -> Struct:
    """Empty, except for the size of the one pattern of a login that exceeds Envoy's bound of 100."""
    login = plan.inbound is not None and plan.inbound.login is not None
    return Struct.from_dict({"re2.max_program_size.error_level": PATTERN_SIZE}) if login else Struct()


def _inbound_clusters(inbound: Listener | None) -> list[Cluster]:
    if inbound is None:
        return []
    login = login_clusters(inbound.login) if inbound.login else []
    return [*(upstream_cluster(upstream, cluster_name(upstream)) for upstream in inbound.upstreams), *login]


def _egress_listeners(plan: EnvoyPlan, egress: Egress) -> list[EnvoyListener]:
    return [
        egress_listener(plan, egress),
        *(base_url_listener(plan, egress, one) for one in egress.destinations if one.listen),
        *tunnel_listeners(egress),
    ]


def _egress_clusters(egress: Egress, sds: str) -> list[Cluster]:
    return [
        *(destination_cluster(destination, sds) for destination in egress.destinations),
        *(
            token_cluster(destination.name, destination.credential)
            for destination in egress.destinations
            if isinstance(destination.credential, ClientCredentials)
        ),
        *tunnel_clusters(egress),
        *(dynamic_clusters(egress.dynamic) if egress.dynamic else []),
    ]


def _execution_cluster(execution: Execution) -> Cluster:
    return upstream_cluster(
        Upstream(name="airflow", addresses=execution.addresses, tls=execution.tls), EXECUTION_CLUSTER
    )


def _extensions(plan: EnvoyPlan) -> list[TypedExtensionConfig]:
    """What Envoy's internal listeners need."""
    if not plan.egress or not any(destination.tunnel for destination in plan.egress.destinations):
        return []
    return [TypedExtensionConfig(name="envoy.bootstrap.internal_listener", typed_config=Any.pack(InternalListener()))]


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
