import ipaddress
import re

import pytest

from authz.core.public_addresses import NOT_PUBLIC
from authz.envoy_config.egress import dynamic
from tests.support.rendered_egress import FILTER, manager, rendered
from tests.support.rendered_envoy import cluster, destination

DYNAMIC = ["envoy.filters.http.dynamic_forward_proxy", "envoy.filters.http.rbac"]


def test_only_public_addresses_are_left_over():
    refused = [ipaddress.ip_network(block) for block in NOT_PUBLIC]

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
    refused = [ipaddress.ip_network(block) for block in NOT_PUBLIC]
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
    assert len(cache["resolved_address_filter"]["ranges"]) == len(NOT_PUBLIC)
    resolver = cache["typed_dns_resolver_config"]["typed_config"]
    assert resolver["resolvers"] == [{"socket_address": {"address": "10.0.0.2", "port_value": 53}}]
    assert judge["rules"]["action"] == "DENY"
    (policy,) = judge["rules"]["policies"].values()
    assert len(policy["permissions"][0]["or_rules"]["rules"]) == len(NOT_PUBLIC)
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
