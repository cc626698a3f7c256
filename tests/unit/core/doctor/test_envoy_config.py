"""A saved or asked `/config_dump` is read as the bootstrap that it came from, with what is dynamic in it."""

import pytest

from authz.core.doctor import envoy_config
from tests.support.doctor_envoy import (
    ROUTER,
    TYPES,
    bootstrap,
    cluster,
    ext_authz,
    listener,
    manager,
    network,
    route,
    table,
)
from tests.support.doctor_findings import ids, in_envoy, texts

ADMIN = f"{TYPES}envoy.admin.v3."
CHECKED = listener(name="checked")
UNCHECKED = listener(network(manager(http_filters=[ROUTER])), name="aside")


def dump(*parts):
    return {"configs": [{"@type": f"{ADMIN}{kind}", **content} for kind, content in parts]}


def listeners(*static, dynamic=()):
    return "ListenersConfigDump", {
        "static_listeners": [{"listener": one} for one in static],
        "dynamic_listeners": [*dynamic],
    }


def clusters(*static, active=(), warming=()):
    return "ClustersConfigDump", {
        "static_clusters": [{"cluster": one} for one in static],
        "dynamic_active_clusters": [{"cluster": one} for one in active],
        "dynamic_warming_clusters": [{"cluster": one} for one in warming],
    }


AIRFLOW = cluster("airflow", "127.0.0.1:8081")
BOOTSTRAP = ("BootstrapConfigDump", {"bootstrap": bootstrap(CHECKED)})


def test_bootstraps_and_dumps_are_recognised():
    for document in (bootstrap(), dump(), {"dynamicResources": {}}, {"bootstrap": bootstrap()}):
        assert envoy_config.is_envoy(document)
    for document in ({}, [], None, {"apiVersion": "v1"}):
        assert not envoy_config.is_envoy(document)


def test_static_listeners_are_read_once():
    assert in_envoy(dump(BOOTSTRAP, listeners(CHECKED), clusters(AIRFLOW))) == []
    assert in_envoy(dump(BOOTSTRAP)) == []
    found = in_envoy(dump(BOOTSTRAP, listeners(CHECKED, UNCHECKED), clusters(AIRFLOW)))
    assert len(texts(found, "route-unchecked")) == 1
    assert len(texts(in_envoy({"bootstrap": bootstrap(UNCHECKED)}), "route-unchecked")) == 1


@pytest.mark.parametrize("state", ["active_state", "warming_state", "draining_state"])
def test_dynamic_listeners_are_read_in_every_state(state):
    dynamic = [{"name": "aside", state: {"listener": UNCHECKED}}]
    assert ids(in_envoy(dump(listeners(CHECKED, dynamic=dynamic), clusters(AIRFLOW)))) == {"route-unchecked"}


def test_a_listener_without_a_state_and_a_dump_without_listeners_are_said():
    found = in_envoy(dump(listeners(CHECKED, dynamic=[{"name": "x", "error_state": {}}]), clusters(AIRFLOW)))
    assert texts(found, "not-seen") == ["envoy.yaml: listener `x`: the dump has no state of it"]
    assert ids(in_envoy(dump(clusters(AIRFLOW)))) == {"not-seen"}


@pytest.mark.parametrize("kind", ["active", "warming"])
def test_dynamic_clusters_are_read(kind):
    aside = listener(network(manager(http_filters=[ROUTER], route_config=table(route(route={"cluster": "other"})))))
    parts = clusters(AIRFLOW, **{kind: [cluster("other", "127.0.0.1:8081")]})
    assert ids(in_envoy(dump(listeners(CHECKED, aside), parts))) == {"route-unchecked"}


def test_what_a_dump_has_is_not_called_elsewhere():
    dynamic = {"bootstrap": {"dynamic_resources": {"lds_config": {}, "cds_config": {}}}}
    parts = ("BootstrapConfigDump", dynamic), listeners(CHECKED), clusters(AIRFLOW)
    assert in_envoy(dump(*parts)) == []


RDS = {"route_config_name": "r", "config_source": {"ads": {}}}


@pytest.mark.parametrize("name", ["static_route_configs", "dynamic_route_configs"])
def test_routes_of_a_dump_are_used(name):
    made = listener(network(manager(http_filters=[ROUTER], route_config=None, rds=RDS)))
    routes = "RoutesConfigDump", {name: [{"route_config": {**table(), "name": "r"}}]}
    assert ids(in_envoy(dump(listeners(CHECKED, made), clusters(AIRFLOW), routes))) == {"route-unchecked"}


@pytest.mark.parametrize("name", ["inline_scoped_route_configs", "dynamic_scoped_route_configs"])
def test_scopes_of_a_dump_are_used(name):
    scoped = {"name": "s", "scoped_rds": {"scoped_rds_config_source": {"ads": {}}}}
    made = listener(network(manager(http_filters=[ROUTER], route_config=None, scoped_routes=scoped)))
    scope = {"name": "one", "route_configuration_name": "r"}
    parts = (
        listeners(CHECKED, made),
        clusters(AIRFLOW),
        ("RoutesConfigDump", {"dynamic_route_configs": [{"route_config": {**table(), "name": "r"}}]}),
        ("ScopedRoutesConfigDump", {name: [{"name": "s", "scoped_route_configs": [scope]}]}),
    )
    assert ids(in_envoy(dump(*parts))) == {"route-unchecked"}


def test_filters_of_a_dump_are_used():
    discovered = {"name": "check", "config_discovery": {"config_source": {"ads": {}}}}
    made = listener(network(manager(http_filters=[discovered, ROUTER])))
    check = {"name": "check", "typed_config": ext_authz(failure_mode_allow=True)["typed_config"]}
    parts = listeners(made), clusters(AIRFLOW), ("EcdsConfigDump", {"ecds_filters": [{"ecds_filter": check}]})
    assert ids(in_envoy(dump(*parts))) == {"check-fails-open"}


@pytest.mark.parametrize("service", ["", "remote"])
@pytest.mark.parametrize("name", ["static_endpoint_configs", "dynamic_endpoint_configs"])
def test_addresses_that_come_by_eds_are_read(service, name):
    more = {"eds_cluster_config": {"service_name": service}} if service else {}
    other = {"name": "other", "type": "EDS", **more}
    aside = listener(network(manager(http_filters=[ROUTER], route_config=table(route(route={"cluster": "other"})))))
    assignment = {**cluster("x", "127.0.0.1:8081")["load_assignment"], "cluster_name": service or "other"}
    parts = listeners(CHECKED, aside), clusters(AIRFLOW, active=[other])
    assert ids(in_envoy(dump(*parts))) == {"forwards-unchecked", "not-seen"}
    endpoints = "EndpointsConfigDump", {name: [{"endpoint_config": assignment}]}
    assert ids(in_envoy(dump(*parts, endpoints))) == {"route-unchecked"}


@pytest.mark.parametrize("kind", ["dynamic_forward_proxy", "original_dst"])
def test_a_cluster_that_leads_anywhere_is_known_by_its_type(kind):
    typed = {"@type": f"{TYPES}envoy.extensions.clusters.{kind}.v3.ClusterConfig"}
    aside = listener(network(manager(http_filters=[ROUTER], route_config=table(route(route={"cluster": "other"})))))
    for cluster_type in ({"name": "mine", "typed_config": typed}, {"name": f"envoy.clusters.{kind}"}):
        made = bootstrap(CHECKED, aside)
        made["static_resources"]["clusters"].append({"name": "other", "cluster_type": cluster_type})
        assert ids(in_envoy(made)) == {"route-unchecked"}


@pytest.mark.parametrize(
    "name", ["lds_config", "cds_config", "lds_resources_locator", "cds_resources_locator", "ldsResourcesLocator"]
)
def test_listeners_and_clusters_from_elsewhere_are_said(name):
    assert ids(in_envoy(bootstrap(CHECKED, dynamic_resources={name: "xdstp://x"}))) == {"not-seen"}


def test_a_nested_runtime_layer_is_flattened():
    layer = {"a": {"b": False, "c": {"numerator": 1, "denominator": "HUNDRED"}}}
    found = envoy_config.read(
        bootstrap(layered_runtime={"layers": [{"static_layer": layer}, {"admin_layer": {}}]}), "e"
    )
    assert found.runtime == {"a.b": False, "a.c": {"numerator": 1, "denominator": "HUNDRED"}}


def test_addresses_are_shown_for_comparing():
    assert envoy_config.shown({}) == ""
    assert envoy_config.shown({"socket_address": {"address": "Airflow.test", "named_port": "http"}}) == (
        "airflow.test:http"
    )
    assert envoy_config.normal("[::1]:80") == "loopback:80"
    assert envoy_config.normal("0.0.0.0:80") == "loopback:80"
