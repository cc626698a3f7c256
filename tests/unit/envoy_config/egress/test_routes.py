import re

import pytest

from authz.core import edge, stripped
from authz.envoy_config.render import render
from tests.support.rendered_egress import FILTER, manager, rendered, told
from tests.support.rendered_envoy import connection_manager, destination, egress, plan


def out(*destinations):
    """The connection manager of the egress listener."""
    return connection_manager(render(plan(egress=egress(*destinations))), 1)


def test_a_host_chooses_the_destination_and_the_authorizer_is_told_its_name():
    two = (
        destination(name="a", hosts=("a.test", "*.a.test"), audience="aud-a"),
        destination(name="b", hosts=("b.test",), keep_authorization=True),
    )
    config = out(*two)["route_config"]
    assert [host["domains"] for host in config["virtual_hosts"]] == [["a.test", "*.a.test"], ["b.test"], ["*"]]
    told = [
        place.get("typed_per_filter_config", {}).get(FILTER, {}).get("check_settings", {}).get("context_extensions")
        for place in (*config["virtual_hosts"], config)
    ]
    assert told == [
        {"plane": "egress", "destination": "a", "audience": "aud-a"},
        {"plane": "egress", "destination": "b", "authorization": "keep"},
        None,
        {"plane": "egress"},
    ]
    refused, nowhere = config["virtual_hosts"][2]["routes"]
    assert (refused["direct_response"], nowhere["direct_response"]) == ({"status": 403}, {"status": 404})


def test_what_a_task_says_about_itself_is_read_on_egress_and_goes_no_further():
    config = out(destination(), destination(name="kept", hosts=("kept.test",), keep_authorization=True))
    removed = config["route_config"]["request_headers_to_remove"]
    assert set(removed) == {"x-forwarded-for", *stripped.RUN_HEADERS}
    hosts = config["route_config"]["virtual_hosts"]
    assert [host.get("request_headers_to_remove", []) for host in hosts[:2]] == [["authorization"], []]
    first, _room, _guard, check, _router = config["http_filters"]
    assert not any(f"{name}'" in str(first) for name in stripped.RUN_HEADERS)
    shown = [one["exact"] for one in check["typed_config"]["allowed_headers"]["patterns"]]
    assert shown == list(edge.READ_ON_EGRESS)
    inbound = connection_manager(render(plan()))["http_filters"][-2]["typed_config"]["allowed_headers"]["patterns"]
    assert [one["exact"] for one in inbound] == list(edge.READ_HEADERS)


def test_no_destination_is_redirected_to_by_envoy():
    assert "internal_redirect" not in str(out())


# --- base URLs


def test_a_base_url_of_its_own_leads_to_one_destination_and_is_judged_as_its_first_host():
    config = rendered(destination(listen="127.0.0.1:9101", hosts=("orders.test", "*.orders.test"), audience="a"))
    made = manager(config, "egress.orders")
    (host,) = made["route_config"]["virtual_hosts"]
    (route,) = host["routes"]
    assert host["domains"] == ["*"]
    assert told(host) == {"plane": "egress", "destination": "orders", "host": "orders.test", "audience": "a"}
    assert (route["route"]["host_rewrite_literal"], "regex_rewrite" in route["route"]) == ("orders.test", False)
    assert "upgrade_configs" not in made
    assert "accept_http_10" not in made["http_protocol_options"]
    assert [entry["name"] for entry in made["http_filters"]][-2:] == [FILTER, "envoy.filters.http.router"]
    assert {log["typed_config"]["log_format"]["json_format"]["plane"] for log in made["access_log"]} == {"egress"}


@pytest.mark.parametrize(
    ("listen", "domains"),
    [
        ("127.0.0.1:8090", ["127.0.0.1", "localhost"]),
        ("0.0.0.0:8090", ["127.0.0.1", "localhost"]),
        ("[::]:8090", ["[::1]", "localhost"]),
        ("[::1]:8090", ["[::1]", "localhost"]),
        ("10.0.0.5:8090", ["10.0.0.5", "localhost"]),
        ("unix:/run/egress.sock", ["localhost"]),
    ],
)
def test_a_path_is_found_at_the_listeners_own_address(listen, domains):
    config = rendered(destination(path="/team/orders"), listen=listen)
    _named, own, _nowhere = manager(config, "egress")["route_config"]["virtual_hosts"]
    assert own["domains"] == domains
    refused, below, nowhere = own["routes"]
    assert "connect_matcher" in refused["match"]
    assert below["match"] == {"path_separated_prefix": "/team/orders"}
    assert told(below) == {"plane": "egress", "destination": "orders", "host": "orders.test", "base": "/team/orders"}
    assert below["request_headers_to_remove"] == ["authorization"]
    assert nowhere["direct_response"] == {"status": 404}
    rewrite = below["route"]["regex_rewrite"]
    for path, rest in (("/team/orders", "/"), ("/team/orders/", "/"), ("/team/orders/a/team/orders", "/a/team/orders")):
        assert re.sub(rewrite["pattern"]["regex"], rewrite["substitution"], path) == rest


def test_without_a_path_the_listeners_own_address_leads_nowhere():
    hosts = manager(rendered(destination()), "egress")["route_config"]["virtual_hosts"]
    assert [host["name"] for host in hosts] == ["orders", "nowhere"]
