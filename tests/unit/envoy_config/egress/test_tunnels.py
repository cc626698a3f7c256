from tests.support.rendered_egress import listener, manager, rendered
from tests.support.rendered_envoy import cluster, destination


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
