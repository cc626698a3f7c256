"""Configurations of Envoy, hand-written as people do, with a way around the check or without: for `authz doctor`.

`VARIANTS` are listeners. Where the authorizer is not there, a request passes only around it: `passes` says so, and
tests/e2e/test_doctor_is_right.py asks a real Envoy.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

TYPES = "type.googleapis.com/"
HTTP = f"{TYPES}envoy.extensions.filters.http."
NETWORK = f"{TYPES}envoy.extensions.filters.network."
CHECK = "envoy.filters.http.ext_authz"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}router.v3.Router"}}
OFF = {"@type": f"{TYPES}envoy.config.route.v3.FilterConfig", "disabled": True}
ON = {"@type": f"{TYPES}envoy.config.route.v3.FilterConfig", "disabled": False, "config": {}}
PER_ROUTE = f"{HTTP}ext_authz.v3.ExtAuthzPerRoute"
PER_ROUTE_OFF = {"@type": PER_ROUTE, "disabled": True}
SETTINGS = {"@type": PER_ROUTE, "check_settings": {"context_extensions": {"plane": "inbound"}}}
ON["config"] = SETTINGS

Config = dict[str, Any]
NOTHING: frozenset[str] = frozenset()
ROUTE_UNCHECKED = frozenset({"route-unchecked"})
CHECK_SWITCHABLE = frozenset({"check-switchable"})
CHECK_FAILS_OPEN = frozenset({"check-fails-open"})


def ext_authz(**changes: Any) -> Config:
    """The filter that asks, as the gate's documentation has it."""
    config = {
        "@type": f"{HTTP}ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "0.25s"},
        **changes,
    }
    return {"name": CHECK, "typed_config": config}


def http_filter(family: str, message: str, name: str = "", **config: Any) -> Config:
    """Any HTTP filter."""
    made = {"@type": f"{HTTP}{family}.v3.{message}", **config}
    return {"name": name or f"envoy.filters.http.{family}", "typed_config": made}


def route(**changes: Any) -> Config:
    """The route of everything to Airflow."""
    return {"match": {"prefix": "/"}, "route": {"cluster": "airflow"}, **changes}


def table(*routes: Config, vhost: Config | None = None, **changes: Any) -> Config:
    """A route configuration of one virtual host."""
    host = {"name": "all", "domains": ["*"], "routes": [*(routes or (route(),))], **(vhost or {})}
    return {"name": "routes", "virtual_hosts": [host], **changes}


def manager(**changes: Any) -> Config:
    """A connection manager in which every request is checked."""
    config = {
        "@type": f"{NETWORK}http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "normalize_path": True,
        "merge_slashes": True,
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http_filters": [ext_authz(), ROUTER],
        "route_config": table(),
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


def network(config: Config, name: str = "envoy.filters.network.http_connection_manager") -> Config:
    """A network filter."""
    return {"name": name, "typed_config": config}


def listener(*filters: Config, name: str = "in", host: str = "127.0.0.1", port: int = 8080, **changes: Any) -> Config:
    """A listener of one filter chain."""
    address = {"socket_address": {"address": host, "port_value": port}}
    chains = [{"filters": [*(filters or (network(manager()),))]}]
    made = {"name": name, "address": address, "filter_chains": chains, **changes}
    return {key: value for key, value in made.items() if value is not None}


def cluster(name: str, address: str, **changes: Any) -> Config:
    """A cluster of one address."""
    host, _, port = address.rpartition(":")
    place = {"socket_address": {"address": host, "port_value": int(port)}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": place}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        **changes,
    }


def gate_cluster(address: str) -> Config:
    """The cluster of the gate: gRPC is HTTP/2."""
    options = {
        "@type": f"{TYPES}envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return cluster(
        "authz",
        address,
        typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
    )


def bootstrap(
    *listeners: Config, upstream: str = "127.0.0.1:8081", gate: str = "127.0.0.1:9190", **more: Any
) -> Config:
    """A whole configuration; the first listener is checked, so that the cluster `airflow` is behind the gate."""
    clusters = [cluster("airflow", upstream), gate_cluster(gate), cluster("nowhere", "127.0.0.1:1")]
    static = {"listeners": [*listeners], "clusters": clusters}
    return {"static_resources": static, **more}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A connection manager, or a whole listener. `found` are its errors."""

    found: frozenset[str]
    passes: bool
    manager: Config | None = None
    listener: Callable[[int], Config] | None = None
    upgrade: bool = False
    runtime: Config = field(default_factory=dict)
    path: str = "/api/v2/dags"
    headers: tuple[str, ...] = ()

    def at(self, port: int, name: str = "in") -> Config:
        """The listener on this port of 127.0.0.1."""
        made = self.listener(port) if self.listener else listener(network(self.manager or manager()), port=port)
        return {**copy.deepcopy(made), "name": name}


def _fraction(numerator: int, key: str = "") -> Config:
    runtime = {"runtime_key": key} if key else {}
    return {"default_value": {"numerator": numerator, "denominator": "HUNDRED"}, **runtime}


def _weighted(**changes: Any) -> Config:
    clusters = [{"name": "airflow", "weight": 100, **changes}]
    return table(route(route={"weighted_clusters": {"clusters": clusters}}))


def _only(layer: Any) -> Config:
    return {CHECK: layer}


def _manager_layers(*, on_route: Any = None, on_host: Any = None, on_table: Any = None, **changes: Any) -> Config:
    of_route = {"typed_per_filter_config": _only(on_route)} if on_route else {}
    of_host = {"typed_per_filter_config": _only(on_host)} if on_host else {}
    of_table = {"typed_per_filter_config": _only(on_table)} if on_table else {}
    return manager(route_config=table(route(**of_route), vhost=of_host, **of_table), **changes)


_MATCHED = {
    "name": CHECK,
    "typed_config": {
        "@type": f"{TYPES}envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        "extension_config": ext_authz(),
        "xds_matcher": {
            "matcher_tree": {
                "input": {
                    "name": "path",
                    "typed_config": {
                        "@type": f"{TYPES}envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
                        "header_name": ":path",
                    },
                },
                "prefix_match_map": {
                    "map": {
                        "/": {
                            "action": {
                                "name": "skip",
                                "typed_config": {
                                    "@type": f"{TYPES}envoy.extensions.filters.common.matcher.action.v3.SkipFilter"
                                },
                            }
                        }
                    }
                },
            }
        },
    },
}
_TCP = {"@type": f"{NETWORK}tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "airflow"}
_OFF_BY_DEFAULT = [{**ext_authz(), "disabled": True}, ROUTER]


def _weighted_layers(*, on_cluster: Any, on_route: Any) -> Config:
    made = _weighted(typed_per_filter_config=_only(on_cluster))
    made["virtual_hosts"][0]["routes"][0]["typed_per_filter_config"] = _only(on_route)
    return manager(route_config=made)


def _header_input(name: str) -> Config:
    kind = f"{TYPES}envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
    return {"name": "header", "typed_config": {"@type": kind, "header_name": name}}


def _matched_host(layers: Config) -> Config:
    """A virtual host whose routes are in a matcher tree."""
    one = {"@type": f"{TYPES}envoy.config.route.v3.Route", **route(typed_per_filter_config=layers)}
    branch = {"action": {"name": "route", "typed_config": one}}
    tree = {"matcher_tree": {"input": _header_input(":path"), "prefix_match_map": {"map": {"/": branch}}}}
    return {"name": "all", "domains": ["*"], "matcher": tree}


def _scoped(layers: Config) -> Config:
    """A connection manager whose routes are in a scope that the Host chooses."""
    scope = {
        "name": "scope",
        "key": {"fragments": [{"string_key": "gate.test"}]},
        "route_configuration": table(route(typed_per_filter_config=layers)),
    }
    extractor = {"name": "host", "element_separator": ",", "index": 0}
    scoped = {
        "name": "s",
        "scope_key_builder": {"fragments": [{"header_value_extractor": extractor}]},
        "scoped_route_configurations_list": {"scoped_route_configurations": [scope]},
    }
    return manager(route_config=None, scoped_routes=scoped)


def _several_chains(port: int) -> Config:
    made = listener(port=port)
    made["filter_chains"][0]["filter_chain_match"] = {"application_protocols": ["never"]}
    made["default_filter_chain"] = {"filters": [network(manager(http_filters=[ROUTER]))]}
    return made


def _camel(config: Any) -> Any:
    """The same in protobuf's JSON names."""
    if isinstance(config, list):
        return [_camel(one) for one in config]
    if not isinstance(config, dict):
        return config
    return {_camel_name(key): _camel(value) for key, value in config.items()}


def _camel_name(name: str) -> str:
    if name.startswith(("@", "envoy.")):
        return name
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


camel = _camel

VARIANTS: dict[str, Variant] = {
    "checked": Variant(found=NOTHING, passes=False),
    "checked in camel case": Variant(found=NOTHING, passes=False, manager=_camel(manager())),
    "no filter": Variant(found=ROUTE_UNCHECKED, passes=True, manager=manager(http_filters=[ROUTER])),
    "off on the route": Variant(found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_route=OFF)),
    "off on the route, its own message": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_route=PER_ROUTE_OFF)
    ),
    "off on the virtual host": Variant(found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_host=OFF)),
    "off on the virtual host, its own message": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_host=PER_ROUTE_OFF)
    ),
    "off in the route configuration": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_table=OFF)
    ),
    "off above, settings on the route": Variant(
        found=NOTHING, passes=False, manager=_manager_layers(on_host=OFF, on_route=SETTINGS)
    ),
    "off above, on again on the route": Variant(
        found=NOTHING, passes=False, manager=_manager_layers(on_table=OFF, on_route=ON)
    ),
    "off above by its own message, settings on the route": Variant(
        found=NOTHING, passes=False, manager=_manager_layers(on_host=PER_ROUTE_OFF, on_route=SETTINGS)
    ),
    "off above by its own message, a switch on the route": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        manager=_manager_layers(on_host=PER_ROUTE_OFF, on_route={**OFF, "disabled": False, "config": PER_ROUTE_OFF}),
    ),
    "settings above, off on the route": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_host=SETTINGS, on_route=PER_ROUTE_OFF)
    ),
    "off for a name that no filter has": Variant(
        found=NOTHING,
        passes=False,
        manager=manager(route_config=table(route(typed_per_filter_config={"other": PER_ROUTE_OFF}))),
    ),
    "off in camel case": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_camel(_manager_layers(on_route=PER_ROUTE_OFF))
    ),
    "off on a weighted cluster": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        manager=manager(route_config=_weighted(typed_per_filter_config=_only(PER_ROUTE_OFF))),
    ),
    "switched off on a weighted cluster": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        manager=manager(route_config=_weighted(typed_per_filter_config=_only(OFF))),
    ),
    "off by default": Variant(found=ROUTE_UNCHECKED, passes=True, manager=manager(http_filters=_OFF_BY_DEFAULT)),
    "off by default, settings on the route": Variant(
        found=NOTHING, passes=False, manager=_manager_layers(on_route=SETTINGS, http_filters=_OFF_BY_DEFAULT)
    ),
    "off in a second route": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        path="/public/x",
        manager=manager(
            route_config=table(
                route(match={"prefix": "/public"}, typed_per_filter_config=_only(PER_ROUTE_OFF)), route()
            )
        ),
    ),
    "a matcher around it": Variant(
        found=frozenset({"check-conditional", "route-unchecked"}),
        passes=True,
        manager=manager(http_filters=[_MATCHED, ROUTER]),
    ),
    "fails open": Variant(
        found=CHECK_FAILS_OPEN,
        passes=True,
        manager=manager(http_filters=[ext_authz(failure_mode_allow=True), ROUTER]),
    ),
    "fails open in camel case": Variant(
        found=CHECK_FAILS_OPEN,
        passes=True,
        manager=_camel(manager(http_filters=[ext_authz(failure_mode_allow=True), ROUTER])),
    ),
    "for no request": Variant(
        found=CHECK_SWITCHABLE,
        passes=True,
        manager=manager(http_filters=[ext_authz(filter_enabled=_fraction(0)), ROUTER]),
    ),
    "for no request, which is then denied": Variant(
        found=NOTHING,
        passes=False,
        manager=manager(
            http_filters=[
                ext_authz(
                    filter_enabled=_fraction(0),
                    deny_at_disable={"default_value": True, "runtime_key": "deny.one"},
                ),
                ROUTER,
            ]
        ),
    ),
    "for no request, and the runtime lets it pass": Variant(
        found=CHECK_SWITCHABLE,
        passes=True,
        runtime={"deny.two": False},
        manager=manager(
            http_filters=[
                ext_authz(
                    filter_enabled=_fraction(0),
                    deny_at_disable={"default_value": True, "runtime_key": "deny.two"},
                ),
                ROUTER,
            ]
        ),
    ),
    "for requests with metadata only": Variant(
        found=CHECK_SWITCHABLE,
        passes=True,
        manager=manager(
            http_filters=[
                ext_authz(
                    filter_enabled_metadata={
                        "filter": "never.set",
                        "path": [{"key": "x"}],
                        "value": {"string_match": {"exact": "x"}},
                    }
                ),
                ROUTER,
            ]
        ),
    ),
    "an upgrade with filters of its own": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        upgrade=True,
        manager=manager(upgrade_configs=[{"upgrade_type": "websocket", "filters": [ROUTER]}]),
    ),
    "an upgrade with the same filters": Variant(
        found=NOTHING, passes=False, upgrade=True, manager=manager(upgrade_configs=[{"upgrade_type": "websocket"}])
    ),
    "off on the route, settings on the weighted cluster": Variant(
        found=NOTHING, passes=False, manager=_weighted_layers(on_cluster=SETTINGS, on_route=PER_ROUTE_OFF)
    ),
    "off by its own switch, settings on the weighted cluster": Variant(
        found=NOTHING, passes=False, manager=_weighted_layers(on_cluster=SETTINGS, on_route=OFF)
    ),
    "switched off with settings of its own": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_manager_layers(on_route={**OFF, "config": SETTINGS})
    ),
    "for all requests, and the runtime says none": Variant(
        found=CHECK_SWITCHABLE,
        passes=True,
        runtime={"check": {"share": 0}},
        manager=manager(http_filters=[ext_authz(filter_enabled=_fraction(100, "check.share")), ROUTER]),
    ),
    "a runtime of several layers denies": Variant(
        found=NOTHING,
        passes=False,
        runtime={"deny": {"three": True}},
        manager=manager(
            http_filters=[
                ext_authz(
                    filter_enabled=_fraction(0),
                    deny_at_disable={"default_value": False, "runtime_key": "deny.three"},
                ),
                ROUTER,
            ]
        ),
    ),
    "a route in a matcher tree": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        manager=manager(route_config={"name": "r", "virtual_hosts": [_matched_host(_only(PER_ROUTE_OFF))]}),
    ),
    "a checked route in a matcher tree": Variant(
        found=NOTHING,
        passes=False,
        manager=manager(route_config={"name": "r", "virtual_hosts": [_matched_host({})]}),
    ),
    "a scope with routes of its own": Variant(
        found=ROUTE_UNCHECKED, passes=True, manager=_scoped(_only(PER_ROUTE_OFF))
    ),
    "a checked scope": Variant(found=NOTHING, passes=False, manager=_scoped({})),
    "a cluster that a header names": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        headers=("x-cluster: airflow",),
        manager=manager(http_filters=[ROUTER], route_config=table(route(route={"cluster_header": "x-cluster"}))),
    ),
    "a mirror of a request that goes elsewhere": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        manager=manager(
            http_filters=[ROUTER],
            route_config=table(
                route(route={"cluster": "nowhere", "request_mirror_policies": [{"cluster": "airflow"}]})
            ),
        ),
    ),
    "an action that forwards nothing": Variant(
        found=NOTHING,
        passes=False,
        manager=manager(
            http_filters=[ROUTER], route_config=table({"match": {"prefix": "/"}, "non_forwarding_action": {}})
        ),
    ),
    "plain TCP": Variant(
        found=ROUTE_UNCHECKED,
        passes=True,
        listener=lambda port: listener(network(_TCP, "envoy.filters.network.tcp_proxy"), port=port),
    ),
    "a second filter chain": Variant(found=ROUTE_UNCHECKED, passes=True, listener=_several_chains),
}
