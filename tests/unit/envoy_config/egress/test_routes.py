"""The rendered ways out: base URLs, tunnels, dynamic hosts, and the listener for workers."""

import ipaddress
import re

import pytest

from authz.envoy_config.egress import dynamic, execution
from authz.envoy_config.render import render
from tests.support import envoy_settings

FILTER = "envoy.filters.http.ext_authz"
DYNAMIC = ["envoy.filters.http.dynamic_forward_proxy", "envoy.filters.http.rbac"]


def destination(**changes):
    return {"name": "orders", "address": "10.0.0.9:8443", "hosts": ["orders.test"], **changes}


def rendered(*destinations, execution=None, **changes):
    egress = {"egress": {"listen": "127.0.0.1:8090", "destinations": destinations, **changes}} if destinations else {}
    return render(envoy_settings.parsed(egress | ({"execution": execution} if execution else {})))


def listener(config, name):
    (found,) = [one for one in config["static_resources"]["listeners"] if one["name"] == name]
    return found


def manager(config, name):
    return listener(config, name)["filter_chains"][0]["filters"][0]["typed_config"]


def cluster(config, name):
    (found,) = [one for one in config["static_resources"]["clusters"] if one["name"] == name]
    return found


def told(place):
    return place["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]


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


# --- tunnels


def test_a_tunnel_leads_inside_of_envoy_where_the_server_name_must_be_the_host():
    hosts = ("orders.test", "*.orders.test", "10.0.0.9", "other.test")
    config = rendered(destination(hosts=hosts, tunnel=True, address=["10.0.0.9:8443", "10.0.0.8:9443"]))
    routes = manager(config, "egress")["route_config"]["virtual_hosts"][0]["routes"]
    asked = [route["match"]["headers"][0]["string_match"] for route in routes if route["name"] == "orders.tunnel"]
    assert [one["exact"] for one in asked] == [
        f"{name}.test:{port}" for name in ("orders", "other") for port in (8443, 9443)
    ]
    assert all(one["ignore_case"] for one in asked)
    assert [route["name"] for route in routes][-2:] == ["no-tunnel", "orders.forward"]
    for name in ("orders.test", "other.test"):
        inside = f"egress.orders.tunnel.{name}"
        endpoint = cluster(config, inside)["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        assert endpoint["address"] == {"envoy_internal_address": {"server_listener_name": inside}}
        (chain,) = listener(config, inside)["filter_chains"]
        assert chain["filter_chain_match"] == {"server_names": [name], "transport_protocol": "tls"}
        assert chain["filters"][0]["typed_config"]["cluster"] == "egress.orders.tcp"
        assert "default_filter_chain" not in listener(config, inside)
    assert "transport_socket" not in cluster(config, "egress.orders.tcp")
    assert [one["name"] for one in config["bootstrap_extensions"]] == ["envoy.bootstrap.internal_listener"]


def test_without_tunnels_there_is_nothing_inside():
    config = rendered(destination())
    assert "bootstrap_extensions" not in config
    assert "tunnel." not in str(config)


# --- dynamic hosts


def test_only_public_addresses_are_left_over():
    refused = [ipaddress.ip_network(block) for block in dynamic.REFUSED]

    def is_refused(text):
        address = ipaddress.ip_address(text)
        return any(address in block for block in refused)

    special = (
        *("0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.168.0.1"),
        *("192.0.0.170", "198.18.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1"),
        *("2001:db8::1", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1"),
        *("ff02::1", "168.63.129.16"),
    )
    assert [text for text in special if not is_refused(text)] == []
    public = ("1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.255.255", "223.255.255.255")
    assert [
        text for text in (*public, "2606:4700::1111", "2a00::1", "2003::1", "2001:4860:4860::8888") if is_refused(text)
    ] == []


def test_what_python_knows_of_special_addresses_is_refused_too():
    refused = [ipaddress.ip_network(block) for block in dynamic.REFUSED]
    for number in range(0, 2**32, 2**16 - 1):
        address = ipaddress.IPv4Address(number)
        if not address.is_global or address.is_multicast:
            assert any(address in block for block in refused if block.version == 4), address
    for number in range(2**16):
        address = ipaddress.IPv6Address(number << 112)
        if not address.is_global or address.is_multicast:
            assert any(address in block for block in refused if block.version == 6), address


def test_a_dynamic_host_is_looked_up_after_the_check_and_sifted_everywhere():
    config = rendered(destination(), dynamic={"ports": [443, 8443, 80], "ca": "/ca", "resolvers": ["10.0.0.2:53"]})
    made = manager(config, "egress")
    names = [entry["name"] for entry in made["http_filters"]]
    assert names[names.index(FILTER) + 1 :] == [*DYNAMIC, "envoy.filters.http.router"]
    lookup, judge = (made["http_filters"][names.index(name)]["typed_config"] for name in DYNAMIC)
    cache = lookup["dns_cache_config"]
    for name in (dynamic.TLS, dynamic.PLAIN):
        assert cluster(config, name)["cluster_type"]["typed_config"]["dns_cache_config"] == cache
    assert len(cache["resolved_address_filter"]["ranges"]) == len(dynamic.REFUSED)
    resolver = cache["typed_dns_resolver_config"]["typed_config"]
    assert resolver["resolvers"] == [{"socket_address": {"address": "10.0.0.2", "port_value": 53}}]
    assert judge["rules"]["action"] == "DENY"
    (policy,) = judge["rules"]["policies"].values()
    assert len(policy["permissions"][0]["or_rules"]["rules"]) == len(dynamic.REFUSED)
    tls = cluster(config, dynamic.TLS)
    (options,) = tls["typed_extension_protocol_options"].values()
    assert options["upstream_http_protocol_options"] == {"auto_sni": True, "auto_san_validation": True}
    assert "transport_socket" not in cluster(config, dynamic.PLAIN)


@pytest.mark.parametrize(
    ("ports", "leads"),
    [
        ((443, 80), {"a.test": "plain", "a.test:80": "plain", "a.test:443": "tls", "[2606::1]:443": "tls"}),
        ((8443,), {"a.test:8443": "tls"}),
        ((80,), {"a.test": "plain", "a.test:80": "plain", "[2606::1]": "plain"}),
    ],
)
def test_the_port_says_how_a_dynamic_host_is_spoken_to(ports, leads):
    made = manager(rendered(destination(), dynamic={"ports": ports}), "egress")
    _no_tunnel, *routes, nowhere = made["route_config"]["virtual_hosts"][-1]["routes"]
    assert nowhere["direct_response"] == {"status": 404}

    def way(authority):
        for route in routes:
            if re.fullmatch(route["match"]["headers"][0]["string_match"]["safe_regex"]["regex"], authority):
                return route["route"]["cluster"].rpartition(".")[2]
        return None

    asked = [f"{host}{port}" for host in ("a.test", "[2606::1]") for port in ("", ":80", ":443", ":8443", ":22", ":")]
    wanted = leads | ({"[2606::1]": "plain", "[2606::1]:80": "plain"} if 80 in ports else {})
    wanted |= {f"{host}:{port}": "tls" for host in ("a.test", "[2606::1]") for port in ports if port != 80}
    assert {authority: way(authority) for authority in asked if way(authority)} == wanted
    assert [way(odd) for odd in ("a:b:443", "a.test:443:443", "", ":443", "[::1", "a]:443")] == [None] * 6


# --- the listener for workers


@pytest.mark.parametrize(
    ("path", "is_exchange"),
    [
        ("/execution/variables/__run_identity__", True),
        ("/execution/variables/__run_identity__/v1/x", True),
        ("//execution%2Fvariables%2f/__run_identity__%2Fv1", True),
        ("/Execution/variables/__RUN_IDENTITY__", True),
        ("/execution/variables/x", False),
        ("/execution/variables/x/__run_identity__/v1", False),
        ("/execution/", False),
    ],
)
def test_the_exchange_pattern_matches_the_exchange_and_no_other_variable(path, is_exchange):
    assert bool(re.fullmatch(execution.exchange_pattern(), path)) == is_exchange


def test_the_gate_is_asked_about_the_exchange_alone_and_it_leads_nowhere():
    config = rendered(execution={"listen": "127.0.0.1:8091", "address": "airflow.test:8080", "tls": True})
    made = manager(config, "execution")
    (host,) = made["route_config"]["virtual_hosts"]
    exchange, loop, climbing, forward, nowhere = host["routes"]
    assert climbing["direct_response"]["status"] == 404
    assert exchange["direct_response"] == {"status": 403}
    assert "typed_per_filter_config" not in exchange
    assert told(made["route_config"]) == {"plane": "execution"}
    for route in (loop, forward, nowhere):
        assert route["typed_per_filter_config"][FILTER]["disabled"] is True
    assert (loop["direct_response"], nowhere["direct_response"]) == ({"status": 508}, {"status": 404})
    assert forward["match"] == {"prefix": "/execution/"}
    assert "merge_slashes" not in made
    shown = [one["exact"] for one in made["http_filters"][2]["typed_config"]["allowed_headers"]["patterns"]]
    assert shown == ["authorization", "traceparent"]
    assert cluster(config, "execution.airflow")["transport_socket"]["typed_config"]["sni"] == "airflow.test"
