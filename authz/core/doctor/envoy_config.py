"""Envoy's configuration as doctor reads it: from a bootstrap, or from a saved `/config_dump`.

Law: what the document refers to and does not hold is listed in `unseen`, each with its place.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.doctor.tree import Node, items, message, path, pick, text, typed
from authz.core.loopback import names_loopback

_ANY_ADDRESS: Final = {"0.0.0.0", "::", ""}
_DYNAMIC: Final = {"ORIGINAL_DST", "4"}
_EDS: Final = {"EDS", "3"}
_DYNAMIC_KINDS: Final = ("dynamic_forward_proxy", "original_dst")


@dataclass(slots=True, kw_only=True)
class Envoy:
    """One Envoy's configuration. `file` is how its place is printed."""

    file: str
    listeners: list[Node] = field(default_factory=list)
    clusters: dict[str, Node] = field(default_factory=dict)
    endpoints: dict[str, list[Node]] = field(default_factory=dict)
    routes: dict[str, Node] = field(default_factory=dict)
    scopes: dict[str, list[Node]] = field(default_factory=dict)
    filters: dict[str, Node] = field(default_factory=dict)
    secrets: list[Node] = field(default_factory=list)
    admin: Node = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    runtime_elsewhere: bool = False
    unseen: list[str] = field(default_factory=list)


def is_envoy(document: Any) -> bool:
    """Whether the document is a bootstrap or a config dump."""
    return any(
        pick(document, name) is not None for name in ("static_resources", "dynamic_resources", "configs", "bootstrap")
    )


def read(document: Any, file: str) -> Envoy:
    """The configuration in a bootstrap or a config dump."""
    found = Envoy(file=file)
    if pick(document, "configs") is None:
        _bootstrap(found, message(document, "bootstrap") or message(document), dumped=set())
    else:
        _dump(found, document)
    if any(str(pick(one, "type")) in _EDS and not [*_endpoints(found, one)] for one in found.clusters.values()):
        found.unseen.append("addresses of clusters come from elsewhere (EDS; a dump has them with `?include_eds`)")
    return found


def _dump(found: Envoy, document: Any) -> None:
    dumps: dict[str, list[Node]] = {}
    for one in items(document, "configs"):
        dumps.setdefault(typed(one).kind.rpartition(".")[2], []).append(message(one))
    for kind, reader in _DUMPS.items():
        for dump in dumps.get(kind, ()):
            reader(found, dump)
    for dump in dumps.get("BootstrapConfigDump", ()):
        _bootstrap(found, message(dump, "bootstrap"), dumped={*dumps})
    if "ListenersConfigDump" not in dumps and not found.listeners:
        found.unseen.append("the dump has no listeners")


def _bootstrap(found: Envoy, document: Node, *, dumped: set[str]) -> None:
    static = message(document, "static_resources")
    if "ListenersConfigDump" not in dumped:
        found.listeners += [message(one) for one in items(static, "listeners")]
    if "ClustersConfigDump" not in dumped:
        _clusters(found, items(static, "clusters"))
    found.secrets += [message(one) for one in items(static, "secrets")]
    found.admin = message(document, "admin")
    dynamic = message(document, "dynamic_resources")
    for name, dump, what in (
        ("lds_config", "ListenersConfigDump", "listeners come from elsewhere (LDS)"),
        ("lds_resources_locator", "ListenersConfigDump", "listeners come from elsewhere (LDS)"),
        ("cds_config", "ClustersConfigDump", "clusters come from elsewhere (CDS)"),
        ("cds_resources_locator", "ClustersConfigDump", "clusters come from elsewhere (CDS)"),
    ):
        if pick(dynamic, name) is not None and dump not in dumped:
            found.unseen.append(what)
    for layer in items(document, "layered_runtime", "layers"):
        _flatten(found.runtime, message(layer, "static_layer"), "")
        found.runtime_elsewhere |= any(pick(layer, name) is not None for name in ("rtds_layer", "disk_layer"))


def _flatten(runtime: dict[str, Any], layer: Node, prefix: str) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping) and not {"numerator", "denominator"} & {*value}:
            _flatten(runtime, value, f"{prefix}{key}.")
        else:
            runtime[f"{prefix}{key}"] = value


def _clusters(found: Envoy, clusters: Sequence[Any]) -> None:
    found.clusters.update((text(one, "name"), message(one)) for one in clusters)


def _dumped_listeners(found: Envoy, dump: Node) -> None:
    found.listeners += [message(one, "listener") for one in items(dump, "static_listeners")]
    for one in items(dump, "dynamic_listeners"):
        states = [message(one, state, "listener") for state in ("active_state", "warming_state", "draining_state")]
        found.listeners += [state for state in states if state]
        if not any(states):
            found.unseen.append(f"listener `{text(one, 'name')}`: the dump has no state of it")


def _dumped_clusters(found: Envoy, dump: Node) -> None:
    for name in ("static_clusters", "dynamic_warming_clusters", "dynamic_active_clusters"):
        _clusters(found, [message(one, "cluster") for one in items(dump, name)])


def _dumped_routes(found: Envoy, dump: Node) -> None:
    for name in ("static_route_configs", "dynamic_route_configs"):
        for one in items(dump, name):
            route = message(one, "route_config")
            found.routes[text(route, "name")] = route


def _dumped_scopes(found: Envoy, dump: Node) -> None:
    for name in ("inline_scoped_route_configs", "dynamic_scoped_route_configs"):
        for one in items(dump, name):
            found.scopes.setdefault(text(one, "name"), []).extend(
                message(scope) for scope in items(one, "scoped_route_configs")
            )


def _dumped_filters(found: Envoy, dump: Node) -> None:
    for one in items(dump, "ecds_filters"):
        found.filters[text(one, "ecds_filter", "name")] = message(one, "ecds_filter")


def _dumped_endpoints(found: Envoy, dump: Node) -> None:
    for name in ("static_endpoint_configs", "dynamic_endpoint_configs"):
        for one in items(dump, name):
            assignment = message(one, "endpoint_config")
            found.endpoints.setdefault(text(assignment, "cluster_name"), []).append(assignment)


_DUMPS: Final = {
    "ListenersConfigDump": _dumped_listeners,
    "ClustersConfigDump": _dumped_clusters,
    "RoutesConfigDump": _dumped_routes,
    "ScopedRoutesConfigDump": _dumped_scopes,
    "EcdsConfigDump": _dumped_filters,
    "EndpointsConfigDump": _dumped_endpoints,
}


# --- addresses


def is_internal(listener: Node) -> bool:
    """Whether only Envoy itself can connect to it."""
    return pick(listener, "internal_listener") is not None


def is_open(listener: Node) -> bool:
    """Whether it can be reached from other machines."""
    others = [message(one, "address") for one in items(listener, "additional_addresses")]
    addresses = [message(listener, "address"), *others]
    return not is_internal(listener) and any(is_exposed(address) for address in addresses)


def is_exposed(address: Node) -> bool:
    """Whether the address is neither loopback nor a path. No address at all counts as exposed."""
    if pick(address, "pipe") is not None or pick(address, "envoy_internal_address") is not None:
        return False
    return not names_loopback(text(address, "socket_address", "address").lower())


def shown(address: Node) -> str:
    """The address as `host:port` or path, the loopback ones alike; "" if it is none of these."""
    return normal(raw(address))


def raw(address: Node) -> str:
    """The address as it stands there: `host:port` or path; "" if it is none of these."""
    if place := text(address, "pipe", "path"):
        return f"unix:{place}"
    host = text(address, "socket_address", "address")
    port = path(address, "socket_address", "port_value") or text(address, "socket_address", "named_port")
    return f"{host}:{port}" if host else ""


def normal(address: str) -> str:
    """`host:port` for comparing: every loopback name and "any address" are one host."""
    host, colon, port = address.rpartition(":")
    bare = host.strip("[]").lower()
    return f"loopback:{port}" if colon and (names_loopback(bare) or bare in _ANY_ADDRESS) else address.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a cluster leads: addresses, internal listeners; `anywhere`: the caller or a name decides."""

    addresses: frozenset[str] = frozenset()
    internal: frozenset[str] = frozenset()
    anywhere: bool = False
    unknown: bool = False


def places(envoy: Envoy, name: str, *, inside: frozenset[str] = frozenset()) -> Places:
    """Where the cluster of this name leads; members of an aggregate cluster are included."""
    cluster = envoy.clusters.get(name)
    if cluster is None or name in inside:
        return Places(unknown=True)
    extension = typed(pick(message(cluster, "cluster_type"), "typed_config"))
    kind = f"{text(cluster, 'cluster_type', 'name')} {extension.kind}"  # with a type, the name is free
    if str(pick(cluster, "type")) in _DYNAMIC or any(one in kind for one in _DYNAMIC_KINDS):
        return Places(anywhere=True)
    members = [str(one) for one in items(extension.config, "clusters")]
    parts = [places(envoy, one, inside=inside | {name}) for one in members]
    addresses, internal = set(), set()
    for address in _endpoints(envoy, cluster):
        if listener := text(address, "envoy_internal_address", "server_listener_name"):
            internal.add(listener)
        elif place := shown(address):
            addresses.add(place)
    return Places(
        addresses=frozenset(addresses).union(*(part.addresses for part in parts)),
        internal=frozenset(internal).union(*(part.internal for part in parts)),
        anywhere=any(part.anywhere for part in parts),
        unknown=any(part.unknown for part in parts) or not (addresses or internal or parts),
    )


def _endpoints(envoy: Envoy, cluster: Node) -> Iterator[Node]:
    yield from (message(host) for host in items(cluster, "hosts"))
    service = text(cluster, "eds_cluster_config", "service_name") or text(cluster, "name")
    for assignment in (message(cluster, "load_assignment"), *envoy.endpoints.get(service, ())):
        for one in (one for group in items(assignment, "endpoints") for one in items(group, "lb_endpoints")):
            endpoint = message(one, "endpoint")
            yield message(endpoint, "address")
            yield from (message(more, "address") for more in items(endpoint, "additional_addresses"))
