"""The routes of an HTTP connection manager: which of them forward, where to, and with which per-filter settings.

Law: every way to write a route is read (virtual hosts, matcher trees, weighted clusters, mirrors, scopes); one that is
elsewhere or unknown is reported as unseen, never skipped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from authz.core.doctor.envoy_config import Envoy
from authz.core.doctor.tree import Node, every, items, label, message, pick, text, truth, typed

ANYWHERE: Final = ""
"""The target of a route whose cluster the request names."""

_REWRITES: Final = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")
_HOST_REWRITES: Final = ("host_rewrite_header", "host_rewrite_path_regex")
_ANSWERS: Final = ("redirect", "direct_response", "non_forwarding_action")
_MATCHES: Final = ("path", "prefix", "path_separated_prefix", "safe_regex", "connect_matcher", "path_match_policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """One way of a request to one cluster. `layers` are its per-filter settings, the most specific first.

    `settings` are the messages that can add and remove headers, from the weighted cluster to the route configuration.
    `host_from_request` is the field that makes the upstream's Host from a header or the path, "" if none does.
    """

    where: str
    cluster: str
    match: Node
    layers: tuple[Node, ...]
    settings: tuple[Node, ...]
    rewrites: bool = False
    host_from_request: str = ""

    @property
    def prefix(self) -> str:
        """The literal beginning of every path that it matches; "" if that is not certain."""
        for name in ("prefix", "path", "path_separated_prefix"):
            if found := text(self.match, name):
                return found
        return ""


def tables(envoy: Envoy, manager: Node) -> tuple[list[Node], list[str]]:
    """The route configurations of a connection manager, and what cannot be seen of them."""
    inline = [message(manager, "route_config")] if pick(manager, "route_config") is not None else []
    unseen: list[str] = []
    for name in _named(envoy, manager, inline, unseen):
        if name in envoy.routes:
            inline.append(envoy.routes[name])
        else:
            unseen.append(f"the routes `{label(name)}` come from elsewhere (RDS)")
    unseen += ["virtual hosts come from elsewhere (VHDS)" for table in inline if pick(table, "vhds") is not None]
    return inline, unseen


def _named(envoy: Envoy, manager: Node, inline: list[Node], unseen: list[str]) -> list[str]:
    """The names of route configurations that are not inside the manager; those inside a scope go to `inline`."""
    names = [text(manager, "rds", "route_config_name")] if pick(manager, "rds") is not None else []
    scoped = message(manager, "scoped_routes")
    scopes = [message(one) for one in items(scoped, "scoped_route_configurations_list", "scoped_route_configurations")]
    if pick(scoped, "scoped_rds") is not None:
        known = envoy.scopes.get(text(scoped, "name"))
        if known is None:
            unseen.append("the scopes of the routes come from elsewhere (SRDS)")
        scopes += known or []
    for scope in scopes:
        if pick(scope, "route_configuration") is not None:
            inline.append(message(scope, "route_configuration"))
        else:
            names.append(text(scope, "route_configuration_name"))
    return names


def routes(table: Node) -> Iterator[tuple[Node, Node]]:
    """Every virtual host with each of its routes, also those in its matcher tree."""
    for host in items(table, "virtual_hosts"):
        for route in items(host, "routes"):
            yield message(host), message(route)
        for node in every(pick(host, "matcher")):
            found = typed(node)
            if found.is_a("route", "Route"):
                yield message(host), found.config
            elif found.is_a("route", "RouteList"):
                yield from ((message(host), message(one)) for one in items(found.config, "routes"))


def forwards(table: Node, place: str) -> Iterator[Forward]:
    """Every way of a request to a cluster."""
    for host, route in routes(table):
        where = f"{place}, virtual host `{label(text(host, 'name'))}`, route {_route_name(route)}"
        action = message(route, "route")
        if pick(route, "route") is None and any(pick(route, name) is not None for name in _ANSWERS):
            continue
        outer = (route, host, table)
        mirrors = [
            one for holder in (action, host, table) for one in items(holder, "request_mirror_policies")
        ]  # Envoy takes the most specific list; here each one counts
        weighted = items(action, "weighted_clusters", "clusters")
        for target in (*weighted, *mirrors):
            yield _forward(where, message(target), route, (message(target), *outer))
        if not weighted:
            yield _forward(where, action, route, outer)


def _forward(where: str, target: Node, route: Node, settings: Sequence[Node]) -> Forward:
    return Forward(
        where=where,
        cluster=text(target, "cluster") or text(target, "name") or ANYWHERE,
        match=message(route, "match"),
        layers=tuple(message(one, "typed_per_filter_config") for one in settings),
        settings=tuple(settings),
        rewrites=any(pick(message(route, "route"), name) is not None for name in _REWRITES),
        host_from_request=_host_from_request(message(route, "route"), settings),
    )


def _host_from_request(action: Node, settings: Sequence[Node]) -> str:
    """By the route itself, or by settings for dynamic_forward_proxy on any layer."""
    layers = (entry for one in settings for entry in message(one, "typed_per_filter_config").values())
    inner = (typed(node) for entry in layers for node in every(entry))
    holders = [action, *(one.config for one in inner if one.is_a("http.dynamic_forward_proxy", "PerRouteConfig"))]
    return next((name for name in _HOST_REWRITES for one in holders if pick(one, name) is not None), "")


def _route_name(route: Node) -> str:
    if name := text(route, "name"):
        return f"`{label(name)}`"
    match = message(route, "match")
    for kind in _MATCHES:
        found: Any = pick(match, kind)
        if found is not None:
            return f"with {kind} `{label(text(found, 'regex') or found)}`"
    return "without a name"


def answers_431(table: Node) -> bool:
    """Whether a route answers that the headers are too large: what our login does for a cookie that was dropped."""
    return any(pick(message(route, "direct_response"), "status") == 431 for _host, route in routes(table))  # noqa: PLR2004


def context(forward: Forward, names: Sequence[str]) -> dict[str, str]:
    """The context extensions of the filters with these names, merged as Envoy does."""
    merged: dict[str, str] = {}
    for layer in reversed(forward.layers):
        for name in names:
            extensions = message(per_route(layer.get(name)), "check_settings", "context_extensions")
            merged.update((key, str(value)) for key, value in extensions.items())
    return merged


def per_route(entry: Any) -> Node:
    """The ExtAuthzPerRoute of a layer's entry, also inside a FilterConfig; an empty message if there is none."""
    found = typed(entry)
    if found.is_a("route", "FilterConfig"):
        found = typed(pick(found.config, "config"))
    return found.config if found.is_a("http.ext_authz", "ExtAuthzPerRoute") else {}


def is_off(forward: Forward, name: str, *, by_default: bool) -> bool:
    """Whether the check of this name does not happen on this way, as Envoy resolves it."""
    off = by_default
    for layer in forward.layers:
        if name in layer:
            found = typed(layer[name])
            off = found.is_a("route", "FilterConfig") and truth(pick(found.config, "disabled"))
            break
    specific = next((one for layer in forward.layers if (one := per_route(layer.get(name)))), None)
    return off or truth(pick(specific, "disabled"))
