import pytest

from authz.envoy_config.render import render
from tests.support.rendered_envoy import cluster, listener, plan, upstream


def test_an_upstreams_health_is_asked_under_a_name_that_it_serves():
    def host(**changes):
        config = render(plan(inbound=listener(upstreams=(upstream(health_path="/health", **changes),))))
        return cluster(config, "inbound.airflow")["health_checks"][0]["http_health_check"]["host"]

    assert host() == "localhost"
    assert host(hosts=("*.a.test", "b.test")) == "b.test"
    assert host(hosts=("b.test",), host_rewrite="c.test") == "c.test"
    assert "health_checks" not in cluster(render(plan()), "inbound.airflow")


def test_outliers_are_ejected_for_gateway_failures_and_not_for_plain_500s():
    outliers = cluster(render(plan()), "inbound.airflow")["outlier_detection"]
    assert outliers["enforcing_consecutive_5xx"] == 0
    assert outliers["enforcing_success_rate"] == 0
    assert outliers["enforcing_consecutive_gateway_failure"] == 100


@pytest.mark.parametrize(("name", "kind", "sni"), [("a.test", "DNS", "a.test"), ("10.0.0.1", "IP_ADDRESS", None)])
def test_tls_to_an_upstream_checks_authority_and_name(name, kind, sni):
    config = render(plan(inbound=listener(upstreams=(upstream(tls=True, tls_name=name),))))
    context = cluster(config, "inbound.airflow")["transport_socket"]["typed_config"]
    checked = context["common_tls_context"]["validation_context"]
    assert checked["trusted_ca"] == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
    assert checked["match_typed_subject_alt_names"] == [{"san_type": kind, "matcher": {"exact": name}}]
    assert context.get("sni") == sni
    assert context["common_tls_context"]["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert "tls_certificates" not in context["common_tls_context"]
