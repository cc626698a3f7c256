"""Ways around the check in Envoy's configuration, however they are written; tests/e2e/test_doctor_is_right.py has a
real Envoy say which of the variants are ways around it."""

import pytest

from authz.core.doctor.site import Site
from tests.support.doctor_envoy import (
    CHECK,
    NETWORK,
    PER_ROUTE_OFF,
    ROUTER,
    TYPES,
    VARIANTS,
    bootstrap,
    camel,
    cluster,
    ext_authz,
    listener,
    manager,
    network,
    route,
    table,
)
from tests.support.doctor_findings import ids, in_envoy, texts

CHECKED = listener(name="checked", port=8443)
UNCHECKED = [ROUTER]


def beside(*listeners, clusters=(), **more):
    """A configuration with a checked listener and these."""
    made = bootstrap(CHECKED, *listeners, **more)
    made["static_resources"]["clusters"] += clusters
    return made


def through(config, **changes):
    """A listener with this connection manager."""
    return listener(network(config), **changes)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_has_the_errors_that_envoy_proves(name):
    variant = VARIANTS[name]
    runtime = {"layers": [{"name": "fixed", "static_layer": variant.runtime}]}
    found = in_envoy(beside(variant.at(8080), layered_runtime=runtime))
    assert {one.id for one in found if one.kind.severity == "error"} == variant.found
    assert in_envoy(beside(variant.at(8080), layered_runtime=runtime)) == found


def test_a_checked_configuration_has_no_finding():
    assert in_envoy(bootstrap(CHECKED)) == []
    assert in_envoy(camel(bootstrap(CHECKED))) == []


def test_a_configuration_without_any_check_is_a_way_around_it():
    found = in_envoy(bootstrap(through(manager(http_filters=UNCHECKED))))
    assert ids(found) == {"route-unchecked"}
    (shown,) = texts(found, "route-unchecked")
    assert shown.startswith("envoy.yaml: listener `in`, virtual host `all`, route with prefix `/`: ")
    assert shown.endswith(": forwards to cluster `airflow` without a check")


def test_an_empty_configuration_has_nothing_to_find():
    assert in_envoy({"static_resources": {}}) == []


# --- where a way around the check leads


def test_another_service_is_only_a_warning():
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "metrics"}))))
    found = in_envoy(beside(aside, clusters=[cluster("metrics", "10.0.0.9:9090")]))
    assert ids(found) == {"forwards-unchecked"}


def test_a_cluster_that_is_not_in_the_configuration_is_said():
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "metrics"}))))
    assert "whose address is not in this configuration" in texts(in_envoy(beside(aside)), "forwards-unchecked")[0]


def test_the_same_address_under_another_name_is_the_same_service():
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "other"}))))
    for address in ("127.0.0.1:8081", "localhost:8081", "LOCALHOST:8081", "[::1]:8081"):
        assert "route-unchecked" in ids(in_envoy(beside(aside, clusters=[cluster("other", address)])))


def test_what_the_settings_call_airflow_is_guarded():
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "other"}))))
    config = beside(aside, clusters=[cluster("other", "airflow.internal:8080")])
    assert ids(in_envoy(config)) == {"forwards-unchecked"}
    assert ids(in_envoy(config, Site(airflow=("airflow.internal:8080",)))) == {"route-unchecked"}
    config["static_resources"]["clusters"][-1]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"] = {
        "address": {"pipe": {"path": "/run/airflow.sock"}}
    }
    assert ids(in_envoy(config, Site(airflow=("unix:/run/airflow.sock",)))) == {"route-unchecked"}


ANYWHERE = {
    "by a header": {"cluster_header": "x-cluster"},
    "by a plugin": {"cluster_specifier_plugin": "x"},
    "by an inline plugin": {"inline_cluster_specifier_plugin": {}},
    "by a weighted header": {"weighted_clusters": {"clusters": [{"cluster_header": "x", "weight": 1}]}},
}


@pytest.mark.parametrize("action", ANYWHERE.values(), ids=ANYWHERE)
def test_a_cluster_that_the_request_chooses_may_be_airflow(action):
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route=action))))
    assert ids(in_envoy(beside(aside))) == {"route-unchecked"}


@pytest.mark.parametrize(
    "dynamic",
    [
        {"type": "ORIGINAL_DST"},
        {"type": 4},
        {"cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy"}},
    ],
)
def test_a_cluster_without_an_address_of_its_own_may_be_airflow(dynamic):
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "any"}))))
    assert ids(in_envoy(beside(aside, clusters=[{"name": "any", **dynamic}]))) == {"route-unchecked"}


def test_an_aggregate_cluster_leads_where_its_members_lead():
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "both"}))))
    members = {"@type": f"{TYPES}envoy.extensions.clusters.aggregate.v3.ClusterConfig", "clusters": ["x", "airflow2"]}
    both = {"name": "both", "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": members}}
    clusters = [both, cluster("x", "10.0.0.1:1"), cluster("airflow2", "127.0.0.1:8081")]
    assert ids(in_envoy(beside(aside, clusters=clusters))) == {"route-unchecked"}
    members["clusters"] = ["both", "x"]  # a circle
    assert ids(in_envoy(beside(aside, clusters=clusters))) == {"forwards-unchecked"}


def test_an_additional_address_and_an_old_list_of_hosts_count():
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "two"}))))
    two = cluster("two", "10.0.0.1:1")
    place = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 8081}}}
    endpoint = two["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["additional_addresses"] = [place]
    assert ids(in_envoy(beside(aside, clusters=[two]))) == {"route-unchecked"}
    old = {"name": "two", "hosts": [place["address"], {}]}
    assert ids(in_envoy(beside(aside, clusters=[old]))) == {"route-unchecked"}


def test_a_mirror_is_a_way_too():
    mirrored = route(route={"cluster": "x", "request_mirror_policies": [{"cluster": "airflow"}]})
    aside = through(manager(http_filters=UNCHECKED, route_config=table(mirrored)))
    found = in_envoy(beside(aside, clusters=[cluster("x", "10.0.0.1:1")]))
    assert ids(found) == {"forwards-unchecked", "route-unchecked"}
    on_host = table(route(route={"cluster": "x"}), vhost={"request_mirror_policies": [{"cluster": "airflow"}]})
    aside = through(manager(http_filters=UNCHECKED, route_config=on_host))
    assert "route-unchecked" in ids(in_envoy(beside(aside, clusters=[cluster("x", "10.0.0.1:1")])))


# --- routes


def test_routes_that_envoy_answers_itself_are_no_ways():
    answers = [
        route(match={"path": f"/{name}"}, route=None, **{name: {}})
        for name in ("redirect", "direct_response", "non_forwarding_action")
    ]
    made = [{key: value for key, value in one.items() if value is not None} for one in answers]
    aside = through(manager(http_filters=UNCHECKED, route_config=table(*made)))
    assert in_envoy(beside(aside)) == []


def test_a_route_whose_action_is_unknown_counts_as_forwarding():
    aside = through(
        manager(http_filters=UNCHECKED, route_config=table({"match": {"prefix": "/"}, "filter_action": {}}))
    )
    assert ids(in_envoy(beside(aside))) == {"route-unchecked"}


def _matcher(*actions):
    branches = [{"on_match": {"action": {"name": "x", "typed_config": one}}} for one in actions]
    return {"name": "all", "domains": ["*"], "matcher": {"matcher_list": {"matchers": branches}}}


def test_routes_in_a_matcher_tree_are_read():
    a_route = {"@type": f"{TYPES}envoy.config.route.v3.Route", **route(name="deep")}
    a_list = {"@type": f"{TYPES}envoy.config.route.v3.RouteList", "routes": [route(name="listed")]}
    tree = {"virtual_hosts": [_matcher(a_route, a_list)]}
    found = in_envoy(beside(through(manager(http_filters=UNCHECKED, route_config=tree))))
    assert len(texts(found, "route-unchecked")) == 2


@pytest.mark.parametrize(
    ("match", "shown"),
    [
        ({"path": "/x"}, "with path `/x`"),
        ({"safe_regex": {"regex": "/x.*"}}, "with safe_regex `/x.*`"),
        ({"path_separated_prefix": "/x"}, "with path_separated_prefix `/x`"),
        ({"connect_matcher": {}}, "with connect_matcher `{}`"),
        ({}, "without a name"),
    ],
)
def test_a_route_without_a_name_is_named_by_its_match(match, shown):
    found = in_envoy(beside(through(manager(http_filters=UNCHECKED, route_config=table(route(match=match))))))
    assert shown in texts(found, "route-unchecked")[0]


def test_an_internal_redirect_is_checked_again():
    redirected = route(route={"cluster": "airflow", "internal_redirect_policy": {"max_internal_redirects": 3}})
    assert in_envoy(bootstrap(through(manager(route_config=table(redirected))))) == []


SCOPE = {"name": "scope", "key": {"fragments": []}}


def test_scoped_routes_are_read():
    inside = {"scoped_route_configurations": [{**SCOPE, "route_configuration": table()}]}
    scoped = manager(route_config=None, scoped_routes={"name": "s", "scoped_route_configurations_list": inside})
    scoped["http_filters"] = UNCHECKED
    assert "route-unchecked" in ids(in_envoy(beside(through(scoped))))


# --- what is elsewhere

RDS = {"rds": {"route_config_name": "r", "config_source": {"ads": {}}}}
NAMED_SCOPE = {"scoped_route_configurations": [{**SCOPE, "route_configuration_name": "r"}]}
ELSEWHERE = {
    "RDS": through(manager(route_config=None, **RDS)),
    "a scope by RDS": through(
        manager(route_config=None, scoped_routes={"name": "s", "scoped_route_configurations_list": NAMED_SCOPE})
    ),
    "SRDS": through(manager(route_config=None, scoped_routes={"name": "s", "scoped_rds": {}})),
    "VHDS": through(manager(route_config=table(vhds={"config_source": {"ads": {}}}))),
    "ECDS": through(
        manager(http_filters=[{"name": "x", "config_discovery": {"config_source": {"ads": {}}}}, ext_authz(), ROUTER])
    ),
    "a filter without type": through(manager(http_filters=[{"name": "x"}, ext_authz(), ROUTER])),
    "FCDS": listener(fcds_config={"name": "x"}),
    "an unknown network filter": listener(
        network({"@type": f"{NETWORK}redis_proxy.v3.RedisProxy"}, "redis"), network(manager())
    ),
    "an unknown listener filter": listener(
        listener_filters=[{"name": "u", "typed_config": {"@type": "x/envoy.extensions.filters.udp.udp_proxy.v3.U"}}]
    ),
    "a listener filter by ECDS": listener(listener_filters=[{"name": "u", "config_discovery": {}}]),
}


@pytest.mark.parametrize("made", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_cannot_be_seen_is_said(made):
    assert ids(in_envoy(bootstrap(made))) == {"not-seen"}


@pytest.mark.parametrize("name", ["lds_config", "cds_config"])
def test_listeners_and_clusters_from_elsewhere_are_said(name):
    assert ids(in_envoy(bootstrap(CHECKED, dynamic_resources={name: {"ads": {}}}))) == {"not-seen"}


def test_what_is_known_is_not_called_unseen():
    known = listener(
        network({"@type": f"{NETWORK}rbac.v3.RBAC"}, "rbac"),
        network(manager()),
        listener_filters=[
            {
                "name": "tls",
                "typed_config": {"@type": "x/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
            },
            {"name": "http"},
        ],
    )
    assert in_envoy(bootstrap(known)) == []


# --- listeners


def test_an_api_listener_and_mobiles_manager_are_read():
    inner = manager(http_filters=UNCHECKED)
    assert "route-unchecked" in ids(in_envoy(beside({"name": "api", "api_listener": {"api_listener": inner}})))
    mobile = {"@type": f"{NETWORK}http_connection_manager.v3.EnvoyMobileHttpConnectionManager", "config": inner}
    assert "route-unchecked" in ids(in_envoy(beside(listener(network(mobile)))))


def test_a_listener_without_a_name_is_named_by_its_address_or_number():
    bare = through(manager(http_filters=UNCHECKED), name="")
    assert "listener `127.0.0.1:8080`" in texts(in_envoy(beside(bare)), "route-unchecked")[0]
    del bare["address"]
    assert "listener number 2" in texts(in_envoy(beside(bare)), "route-unchecked")[0]


TCP = {"@type": f"{NETWORK}tcp_proxy.v3.TcpProxy", "cluster": "x"}


@pytest.mark.parametrize(
    "filters",
    [
        [{**TCP, "cluster": "airflow"}],
        [{**TCP, "weighted_clusters": {"clusters": [{"name": "x"}, {"name": "airflow"}]}}],
        [{"@type": f"{NETWORK}sni_cluster.v3.SniCluster"}, TCP],
        [{"@type": f"{NETWORK}set_filter_state.v3.Config"}, TCP],
    ],
)
def test_tcp_that_can_reach_airflow_is_a_way_around_the_check(filters):
    aside = listener(*map(network, filters))
    assert "route-unchecked" in ids(in_envoy(beside(aside, clusters=[cluster("x", "10.0.0.1:1")])))


def test_tcp_to_another_service_is_a_warning():
    aside = listener(network(TCP))
    assert ids(in_envoy(beside(aside, clusters=[cluster("x", "10.0.0.1:1")]))) == {"forwards-unchecked"}


def _tunnel(inner):
    """A cluster that leads to an internal listener, and that listener."""
    place = {"envoy_internal_address": {"server_listener_name": "inner"}}
    outer = {
        "name": "tunnel",
        "load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": place}}]}]},
    }
    made = listener(network(inner), name="inner", address=None, internal_listener={})
    return outer, made


def test_a_way_through_an_internal_listener_is_followed():
    outer, inner = _tunnel({**TCP, "cluster": "airflow"})
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "tunnel"}))))
    found = in_envoy(beside(aside, inner, clusters=[outer]))
    assert [where.split(":")[1] for where in texts(found, "route-unchecked")] == [
        " listener `in`, virtual host `all`, route with prefix `/`"
    ]
    assert ids(in_envoy(beside(inner, clusters=[outer]))) == set()  # nothing leads there


def test_an_internal_listener_that_checks_is_a_check():
    outer, inner = _tunnel(manager())
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "tunnel"}))))
    assert ids(in_envoy(beside(aside, inner, clusters=[outer]))) == {"forwards-unchecked"}


def test_what_a_checked_request_reaches_through_an_internal_listener_is_guarded():
    outer, inner = _tunnel({**TCP, "cluster": "deep"})
    front = through(manager(route_config=table(route(route={"cluster": "tunnel"}))), name="front")
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "again"}))))
    clusters = [outer, cluster("deep", "10.0.0.7:1"), cluster("again", "10.0.0.7:1")]
    assert ids(in_envoy(beside(front, inner, aside, clusters=clusters))) == {"route-unchecked"}


def test_internal_listeners_in_a_circle_end():
    outer, inner = _tunnel({**TCP, "cluster": "tunnel"})
    aside = through(manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "tunnel"}))))
    assert ids(in_envoy(beside(aside, inner, clusters=[outer]))) == {"forwards-unchecked"}


# --- the execution API


def _for_tasks(host="127.0.0.1", more=None, **match):
    one = route(match=match or {"prefix": "/execution/"}, typed_per_filter_config={CHECK: PER_ROUTE_OFF})
    one["route"].update(more or {})
    return listener(network(manager(route_config=table(one))), name="execution", host=host)


def test_the_execution_api_may_be_unchecked_beside_its_workers():
    assert in_envoy(beside(_for_tasks())) == []
    for match in ({"path_separated_prefix": "/execution"}, {"path": "/execution/health"}):
        assert in_envoy(beside(_for_tasks(**match))) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "workers.internal"])
def test_the_execution_api_on_the_network_is_a_finding(host):
    assert ids(in_envoy(beside(_for_tasks(host)))) == {"execution-exposed"}


def test_an_additional_address_of_a_listener_counts():
    made = _for_tasks()
    made["additional_addresses"] = [{"address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}}]
    assert ids(in_envoy(beside(made))) == {"execution-exposed"}


@pytest.mark.parametrize(
    "made",
    [
        _for_tasks(prefix="/executionx"),
        _for_tasks(prefix="/"),
        _for_tasks(safe_regex={"regex": "/execution/.*"}),
        _for_tasks(more={"prefix_rewrite": "/"}),
        _for_tasks(more={"regex_rewrite": {}}),
        _for_tasks(more={"path_rewrite_policy": {}}),
    ],
)
def test_what_only_looks_like_the_execution_api_is_a_way_around_the_check(made):
    assert "route-unchecked" in ids(in_envoy(beside(made)))


def test_a_listener_for_tasks_alone_needs_a_normal_path_too():
    one = route(match={"prefix": "/execution/"})
    bare = through(manager(http_filters=UNCHECKED, route_config=table(one), normalize_path=None), name="e")
    assert ids(in_envoy(beside(bare))) == {"path-not-normalised"}
