"""What doctor finds in Envoy's configuration: ways around the check, and requests that are read in two ways.

Law: every listener, filter chain, upgrade and route is followed to its cluster. A service that some checked route leads
to, or that the settings call Airflow, is *guarded*: a way to it without a check is an error, whatever the listener.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.doctor import envoy_filters, envoy_login, envoy_routes
from authz.core.doctor.envoy_config import Envoy, Places, is_exposed, is_internal, is_open, normal, places, raw
from authz.core.doctor.envoy_filters import Chain
from authz.core.doctor.envoy_routes import ANYWHERE, Forward
from authz.core.doctor.kinds import Finding
from authz.core.doctor.site import Site
from authz.core.doctor.tree import Node, is_set, items, label, message, pick, text, typed
from authz.core.edge import EXT_AUTHORIZATION, EXT_BASE, EXT_PLANE, KEEP
from authz.core.model import Plane

_UNDERSCORES: Final = {"REJECT_REQUEST", "DROP_HEADER", "1", "2"}
_EXECUTION: Final = "/execution"
_IDENTITY: Final = "x-authz-"
_QUIET: Final = (  # network filters that send nothing anywhere
    *("rbac", "connection_limit", "local_ratelimit", "ratelimit", "geoip", "echo", "direct_response", "ext_authz"),
    "tcp_bandwidth_limit",
)
# Network filters that choose tcp_proxy's cluster.
_REDIRECTING: Final = ("sni_cluster", "set_filter_state", "sni_dynamic_forward_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manager:
    """An HTTP connection manager with what was read of it."""

    where: str
    config: Node
    open: bool
    internal: str
    chains: list[Chain]
    tables: list[Node]
    forwards: list[Forward]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of a request to a cluster. `checks` are the names of the filters that check it; none: unchecked.

    `sets_bearer` are the filters after them that set `authorization`.
    """

    where: str
    cluster: str
    open: bool
    internal: str
    forward: Forward | None = None
    checks: tuple[str, ...] = ()
    keeps_bearer: bool = False
    sets_bearer: tuple[str, ...] = ()
    base: bool = False
    plane: str = ""


@dataclass(slots=True, kw_only=True)
class _Read:
    managers: list[Manager] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def findings(envoy: Envoy, site: Site) -> list[Finding]:
    """Everything found in one Envoy's configuration."""
    read = _Read()
    for number, listener in enumerate(envoy.listeners):
        _listener(envoy, listener, f"{envoy.file}: listener {_name(listener, number)}", read)
    read.findings += [_not_seen(envoy.file, what) for what in envoy.unseen]
    read.findings += _admin(envoy)
    for manager in read.managers:
        read.findings += _manager(envoy, manager, read)
        read.findings += envoy_login.findings(manager.chains, manager.tables, manager.where, site)
    guarded = _Guarded(envoy, site, read.ways)
    reached = {cluster for cluster in {way.cluster for way in read.ways} if guarded.reached(cluster)}
    for way in read.ways:
        read.findings += _way(envoy, way, reached)
    return read.findings


def _name(listener: Node, number: int) -> str:
    name = text(listener, "name") or raw(message(listener, "address"))
    return f"`{label(name)}`" if name else f"number {number + 1}"


def _not_seen(where: str, what: str) -> Finding:
    return Finding(id="not-seen", where=where, text=what)


# --- reading


def _listener(envoy: Envoy, listener: Node, where: str, read: _Read) -> None:
    if pick(listener, "fcds_config") is not None:
        read.findings.append(_not_seen(where, "filter chains come from elsewhere (FCDS)"))
    chains = [message(one) for one in items(listener, "filter_chains")]
    if pick(listener, "default_filter_chain") is not None:
        chains.append(message(listener, "default_filter_chain"))
    api = pick(message(listener, "api_listener"), "api_listener")
    if api is not None:
        chains.append({"filters": [{"typed_config": api}]})
    for one in items(listener, "listener_filters"):
        if ".filters.listener." not in typed(pick(one, "typed_config")).kind and pick(one, "typed_config") is not None:
            read.findings.append(_not_seen(where, f"the listener filter `{label(text(one, 'name'))}`"))
        elif pick(one, "config_discovery") is not None:
            read.findings.append(_not_seen(where, f"the listener filter `{label(text(one, 'name'))}` (ECDS)"))
    for chain in chains:
        _network(envoy, listener, chain, where, read)


def _network(envoy: Envoy, listener: Node, chain: Node, where: str, read: _Read) -> None:
    families = [typed(pick(one, "typed_config")) for one in items(chain, "filters")]
    redirected = any(f".network.{name}." in found.kind for found in families for name in _REDIRECTING)
    for one, found in zip(items(chain, "filters"), families, strict=True):
        if found.kind.endswith("HttpConnectionManager"):
            config = message(found.config, "config") or found.config  # EnvoyMobile's has it one level deeper
            _http(envoy, listener, config, where, read)
        elif found.is_a("network.tcp_proxy", "TcpProxy"):
            for cluster in _tcp_clusters(found.config, redirected=redirected):
                way = Way(where=where, cluster=cluster, open=is_open(listener), internal=_internal(listener))
                read.ways.append(way)
        elif not any(f".network.{name}." in found.kind for name in (*_QUIET, *_REDIRECTING)):
            read.findings.append(_not_seen(where, f"the network filter `{label(text(one, 'name'))}`"))


def _tcp_clusters(config: Node, *, redirected: bool) -> list[str]:
    if redirected:
        return [ANYWHERE]
    weighted = [text(one, "name") for one in items(config, "weighted_clusters", "clusters")]
    return weighted or [text(config, "cluster")]


def _internal(listener: Node) -> str:
    return text(listener, "name") if is_internal(listener) else ""


def _http(envoy: Envoy, listener: Node, config: Node, where: str, read: _Read) -> None:
    chains, unseen_filters = envoy_filters.chains(envoy, config, where)
    tables, unseen_routes = envoy_routes.tables(envoy, config)
    read.findings += [_not_seen(where, what) for what in (*unseen_filters, *unseen_routes)]
    manager = Manager(
        where=where,
        config=config,
        open=is_open(listener),
        internal=_internal(listener),
        chains=chains,
        tables=tables,
        forwards=[one for table in tables for one in envoy_routes.forwards(table, where)],
    )
    read.managers.append(manager)
    for chain in chains:
        read.findings += envoy_filters.findings(envoy, chain)
        read.ways += [_through(envoy, chain, one, manager) for one in manager.forwards]


def _through(envoy: Envoy, chain: Chain, forward: Forward, manager: Manager) -> Way:
    active = [one for one in chain.checks if not envoy_routes.is_off(forward, one.name, by_default=one.disabled)]
    context = envoy_routes.context(forward, chain.names)
    setting = envoy_filters.authorizing(envoy, chain, forward.cluster)
    upgrade = chain.where.removeprefix(manager.where)
    return Way(
        where=f"{forward.where}{upgrade}",
        cluster=forward.cluster,
        open=manager.open,
        internal=manager.internal,
        forward=forward,
        checks=tuple(one.name for one in active),
        keeps_bearer=not any(envoy_filters.removes_bearer(one.typed.config) for one in active)
        and context.get(EXT_AUTHORIZATION) != KEEP,
        sets_bearer=tuple(
            one.name for one in setting if not envoy_routes.is_off(forward, one.name, by_default=one.disabled)
        ),
        base=bool(context.get(EXT_BASE)),
        plane=context.get(EXT_PLANE, ""),
    )


# --- what a connection manager does with every request


def _manager(envoy: Envoy, manager: Manager, read: _Read) -> Iterator[Finding]:
    checks = any(chain.checks for chain in manager.chains)
    none_anywhere = not any(chain.checks for other in read.managers for chain in other.chains)
    for_tasks = any(_is_execution(one) for one in manager.forwards)
    if not (checks or none_anywhere or for_tasks) or not (manager.forwards or not manager.tables):
        return
    config = manager.config
    if not is_set(pick(config, "normalize_path")):
        yield Finding(id="path-not-normalised", where=manager.where, text="`normalize_path` is not true")
    if checks and _forwards_checked(manager, read) and not is_set(pick(config, "merge_slashes")):
        yield Finding(id="slashes-not-merged", where=manager.where, text="`merge_slashes` is not true")
    action = pick(message(config, "common_http_protocol_options"), "headers_with_underscores_action")
    if str(action).upper() not in _UNDERSCORES:
        yield Finding(id="underscores-allowed", where=manager.where, text="headers with underscores are allowed")
    for cluster in sorted({one.cluster for one in manager.forwards}) if checks else ():
        for one in envoy_filters.upstream(envoy, cluster):
            if envoy_filters.may_change(one.typed):
                text_ = f"the upstream filter `{label(one.name)}` of cluster `{label(cluster)}` runs after the check"
                yield Finding(id="changed-after-check", where=manager.where, text=text_)


def _forwards_checked(manager: Manager, read: _Read) -> bool:
    places_of = {one.where for one in manager.forwards}
    return any(way.checks for way in read.ways if way.forward is not None and way.forward.where in places_of)


def _is_execution(forward: Forward) -> bool:
    prefix = forward.prefix
    return (prefix == _EXECUTION or prefix.startswith(f"{_EXECUTION}/")) and not forward.rewrites


# --- ways to clusters


class _Guarded:
    """The clusters and addresses behind the gate."""

    def __init__(self, envoy: Envoy, site: Site, ways: list[Way]) -> None:
        self._envoy, self._ways = envoy, ways
        self._clusters = {way.cluster for way in ways if way.checks}
        found = [places(envoy, name) for name in self._clusters]
        waiting = [*found]
        while waiting:  # what a checked request reaches through internal listeners is guarded too
            inner = waiting.pop().internal
            more = {way.cluster for way in ways if way.internal in inner} - self._clusters if inner else set()
            self._clusters |= more
            waiting += [places(envoy, name) for name in more]
            found += [places(envoy, name) for name in more]
        self._addresses = {normal(one) for one in site.airflow}.union(*(one.addresses for one in found))
        self.nothing = not self._clusters and not self._addresses

    def reached(self, cluster: str, inside: frozenset[str] = frozenset()) -> bool:
        """Whether the cluster leads to one of them, also through internal listeners without a check."""
        if self.nothing or cluster in self._clusters or cluster == ANYWHERE:
            return True
        found: Places = places(self._envoy, cluster)
        if found.anywhere or found.addresses & self._addresses:
            return True
        inner = found.internal - inside
        return any(
            self.reached(way.cluster, inside | {way.internal})
            for way in (self._ways if inner else ())
            if way.internal in inner and not way.checks
        )


def _way(envoy: Envoy, way: Way, reached: set[str]) -> Iterator[Finding]:
    if way.forward is not None:
        yield from _settings(way, way.forward)
    if way.checks or way.internal:  # what an internal listener forwards is found where Envoy leads into it
        return
    target = f"cluster `{label(way.cluster)}`" if way.cluster != ANYWHERE else "a cluster that the request names"
    if way.forward is not None and _is_execution(way.forward):
        if way.open:
            yield Finding(id="execution-exposed", where=way.where, text=f"forwards to {target} without a check")
    elif way.cluster in reached:
        yield Finding(id="route-unchecked", where=way.where, text=f"forwards to {target} without a check")
    else:
        unknown = places(envoy, way.cluster).unknown
        more = ", whose address is not in this configuration" if unknown else ""
        yield Finding(id="forwards-unchecked", where=way.where, text=f"forwards to {target} without a check{more}")


def _settings(way: Way, forward: Forward) -> Iterator[Finding]:
    """What the settings of a checked route do to a request after the check."""
    for layer in forward.layers if way.checks else ():
        for name in way.checks:
            check = message(envoy_routes.per_route(layer.get(name)), "check_settings")
            if pick(check, "grpc_service") is not None or pick(check, "http_service") is not None:
                yield Finding(id="check-elsewhere", where=way.where, text="`check_settings` names a server")
    if way.checks and forward.rewrites and not way.base and way.plane != Plane.EGRESS:
        yield Finding(id="rewritten-after-check", where=way.where, text="the route rewrites the path")
    removed = {str(one).lower() for holder in forward.settings for one in items(holder, "request_headers_to_remove")}
    if way.checks and way.keeps_bearer and "authorization" not in removed:
        text_ = "neither the gate's answer nor the route may remove `authorization`"
        yield Finding(id="bearer-forwarded", where=way.where, text=text_)
    added = [_header(one) for holder in forward.settings for one in items(holder, "request_headers_to_add")]
    if "authorization" in added and way.plane != Plane.EGRESS:
        yield Finding(id="bearer-forwarded", where=way.where, text="`request_headers_to_add` has `authorization`")
    for name in way.sets_bearer if way.checks and way.plane != Plane.EGRESS else ():
        text_ = f"`{label(name)}` runs after the check and sets `authorization`"
        yield Finding(id="bearer-forwarded", where=way.where, text=text_)
    if way.checks and forward.host_from_request:
        text_ = f"`{forward.host_from_request}`: the Host is made from the request, after the check"
        yield Finding(id="changed-after-check", where=way.where, text=text_)
    if any(name.startswith(_IDENTITY) for name in added):
        text_ = f"`request_headers_to_add` has `{_IDENTITY}…`, which only the gate may set"
        yield Finding(id="changed-after-check", where=way.where, text=text_)


def _header(option: Any) -> str:
    return text(option, "header", "key").lower()


def _admin(envoy: Envoy) -> Iterator[Finding]:
    address = pick(envoy.admin, "address")
    if address is not None and is_exposed(message(address)):
        where = f"{envoy.file}: admin"
        yield Finding(id="admin-exposed", where=where, text=f"listens on {label(raw(message(address)))}")
