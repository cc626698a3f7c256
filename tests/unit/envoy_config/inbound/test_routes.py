import re

import pytest

from authz.envoy_config.inbound import routes
from authz.envoy_config.render import render
from tests.support.rendered_envoy import connection_manager, egress, listener, plan, upstream

FILTER = "envoy.filters.http.ext_authz"


@pytest.mark.parametrize(
    "path",
    [
        "/execution",
        "/execution/",
        "/execution/variables/x",
        "/EXECUTION/x",
        "/Execution",
        "//execution",
        "/%2Fexecution/x",
        "/execution%2fvariables",
        "/execution;x",
        "/execution.json",
        "/execution%",
    ],
)
def test_the_task_api_is_recognised_in_every_spelling(path):
    assert re.fullmatch(routes.execution(""), path)
    assert re.fullmatch(routes.execution("/team.a/airflow-1"), "/team.a/airflow-1" + path)


@pytest.mark.parametrize("path", ["/", "/executions", "/execution-x", "/execution_x", "/api/v2/dags/execution/x"])
def test_other_paths_are_not_taken_for_the_task_api(path):
    assert not re.fullmatch(routes.execution(""), path)
    assert not re.fullmatch(routes.execution("/airflow"), "/airflow" + path)


def test_the_task_api_is_refused_inbound_only_and_before_anything_is_forwarded():
    config = render(plan(egress=egress()))
    inbound, out = (connection_manager(config, number)["route_config"] for number in (0, 1))
    assert [route["name"] for route in inbound["virtual_hosts"][0]["routes"]] == ["no-execution-api", "airflow.forward"]
    assert [route["name"] for route in out["virtual_hosts"][0]["routes"]] == ["no-tunnel", "orders.forward"]


def test_an_upstream_with_a_base_path_gets_what_is_below_it_and_the_check_gets_base():
    config = connection_manager(render(plan(inbound=listener(upstreams=(upstream(base_path="/team/airflow"),)))))
    host = config["route_config"]["virtual_hosts"][0]
    refused, forwarded, nowhere = host["routes"]
    assert refused["match"]["safe_regex"]["regex"] == routes.execution("/team/airflow")
    assert forwarded["match"] == {"path_separated_prefix": "/team/airflow"}
    assert (nowhere["match"], nowhere["direct_response"]) == ({"prefix": "/"}, {"status": 404})
    told = host["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]
    assert told["base"] == "/team/airflow"


def test_without_a_base_path_the_check_gets_no_base():
    host = connection_manager(render(plan()))["route_config"]["virtual_hosts"][0]
    assert "base" not in host["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]


def test_the_check_gets_dags_narrowed_only_for_the_upstream_that_narrows():
    both = (
        upstream(name="a", hosts=("a.test",), narrows_dags=True, audience="a"),
        upstream(name="b", hosts=("b.test",)),
    )
    config = connection_manager(render(plan(inbound=listener(upstreams=both))))["route_config"]
    told = [
        place["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]
        for place in (*config["virtual_hosts"][:2], config)
    ]
    assert [one.get("dags") for one in told] == ["narrowed", None, None]


def test_hosts_choose_the_upstream_and_the_audience():
    two = (
        upstream(name="a", hosts=("a.test", "*.a.test"), audience="aud-a"),
        upstream(name="b", hosts=("b.test",), audience="aud-b"),
    )
    config = connection_manager(render(plan(inbound=listener(upstreams=two))))["route_config"]
    assert config["ignore_port_in_host_matching"] is True
    assert [host["domains"] for host in config["virtual_hosts"]] == [["a.test", "*.a.test"], ["b.test"], ["*"]]
    told = [host["typed_per_filter_config"][FILTER] for host in config["virtual_hosts"][:2]]
    assert [one["check_settings"]["context_extensions"]["audience"] for one in told] == ["aud-a", "aud-b"]
    assert config["virtual_hosts"][2]["routes"][0]["direct_response"] == {"status": 404}


def test_a_catch_all_upstream_leaves_no_room_for_nowhere():
    config = connection_manager(render(plan()))["route_config"]
    assert [host["name"] for host in config["virtual_hosts"]] == ["airflow"]


@pytest.mark.parametrize("hops", [0, 2])
def test_what_the_client_wrote_into_forwarded_for_is_replaced(hops):
    manager = connection_manager(render(plan(inbound=listener(trusted_hops=hops))))
    (option,) = manager["route_config"]["request_headers_to_add"]
    assert option["header"]["key"] == "x-forwarded-for"
    assert option["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
    assert manager.get("xff_num_trusted_hops", 0) == hops


def test_websockets_only_where_they_are_wanted():
    for wanted in (True, False):
        routes = connection_manager(render(plan(inbound=listener(upstreams=(upstream(websockets=wanted),)))))
        (upgrade,) = routes["route_config"]["virtual_hosts"][0]["routes"][-1]["route"]["upgrade_configs"]
        assert upgrade == {"upgrade_type": "websocket", "enabled": wanted}
