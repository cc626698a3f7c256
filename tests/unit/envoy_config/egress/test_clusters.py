from authz.envoy_config.render import render
from tests.support.rendered_envoy import cluster, destination, egress, plan


def test_a_destination_over_tls_is_asked_for_by_its_host_and_must_answer_for_it():
    def tls(*hosts):
        config = cluster(render(plan(egress=egress(destination(hosts=hosts, tls=True, tls_ca="/ca")))), "egress.orders")
        (options,) = config["typed_extension_protocol_options"].values()
        assert options["upstream_http_protocol_options"] == {"auto_sni": True, "auto_san_validation": True}
        context = config["transport_socket"]["typed_config"]
        checked = context["common_tls_context"]["validation_context"]
        assert checked["trusted_ca"] == {"filename": "/ca"}
        return context.get("sni"), [
            (one["san_type"], one["matcher"]) for one in checked["match_typed_subject_alt_names"]
        ]

    assert tls("a.test", "*.b.test") == ("a.test", [("DNS", {"exact": "a.test"}), ("DNS", {"suffix": ".b.test"})])
    assert tls("*.b.test") == (None, [("DNS", {"suffix": ".b.test"})])
    assert tls("10.0.0.1", "[::1]") == (None, [("IP_ADDRESS", {"exact": "10.0.0.1"}), ("IP_ADDRESS", {"exact": "::1"})])
    fixed = destination(tls=True, tls_name="fixed.test")
    config = cluster(render(plan(egress=egress(fixed))), "egress.orders")
    assert config["transport_socket"]["typed_config"]["sni"] == "fixed.test"
    assert "auto_sni" not in str(config)


def test_a_destinations_health_is_asked_under_a_name_of_its_own():
    def host(*hosts):
        config = render(plan(egress=egress(destination(health_path="/up", hosts=hosts))))
        return cluster(config, "egress.orders")["health_checks"][0]["http_health_check"]["host"]

    assert (host("*.a.test", "b.test"), host("*.a.test")) == ("b.test", "localhost")
