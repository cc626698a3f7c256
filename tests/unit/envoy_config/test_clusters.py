import pytest

from authz.envoy_config.render import render
from tests.support.rendered_envoy import cluster, destination, egress, listener, plan, upstream

GATE = {"tls": {"certificate": "/gate.pem", "key": "/gate.key"}}


def test_the_authorizer_is_watched_every_second_and_never_used_in_panic():
    found = cluster(render(plan(authz=("127.0.0.1:1", "127.0.0.1:2"))), "authz")
    (check,) = found["health_checks"]
    assert check["grpc_health_check"] == {}
    assert check["interval"] == check["no_traffic_interval"] == "1s"
    assert check["unhealthy_interval"] == "0.250s"
    assert found["common_lb_config"] == {"healthy_panic_threshold": {}, "update_merge_window": "0s"}
    assert found["lb_policy"] == "LEAST_REQUEST"
    (bounds,) = found["circuit_breakers"]["thresholds"]
    assert "retry_budget" not in bounds, "it would refuse the second tries just when they are needed"
    assert bounds["max_retries"] == bounds["max_requests"] == 4096
    assert "http2_protocol_options" in str(found["typed_extension_protocol_options"])


@pytest.mark.parametrize(
    ("addresses", "kind"),
    [
        (("127.0.0.1:80",), "STATIC"),
        (("[::1]:80",), "STATIC"),
        (("unix:/run/a.sock",), "STATIC"),
        (("airflow.internal:80",), "STRICT_DNS"),
        (("airflow.internal:80", "127.0.0.1:80"), "STRICT_DNS"),
    ],
)
def test_names_are_looked_up_and_addresses_are_not(addresses, kind):
    config = render(plan(inbound=listener(upstreams=(upstream(address=addresses),))))
    assert cluster(config, "inbound.airflow")["type"] == kind


def test_both_planes_may_use_one_upstream_name():
    config = render(plan(egress=egress(destination(name="airflow"))))
    names = [found["name"] for found in config["static_resources"]["clusters"]]
    assert names == ["authz", "inbound.airflow", "egress.airflow"]


def test_mutual_tls_to_the_authorizer():
    ours = {"authz_tls_certificate": "/cert", "authz_tls_key": "/key"}
    made = plan(gate=GATE, authz_tls_name="authz.test", authz_tls_ca="/ca", **ours)
    context = cluster(render(made), "authz")["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_certificates"] == [
        {"certificate_chain": {"filename": "/cert"}, "private_key": {"filename": "/key"}}
    ]
    assert context["alpn_protocols"] == ["h2"]
