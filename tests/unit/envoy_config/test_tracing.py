"""Envoy's tracer: rendered on every listener only where the settings have `tracing`, and with nothing of a request."""

from authz.envoy_config.render import render
from tests.support.rendered_envoy import cluster, connection_manager, destination, egress, plan

TRACED = {"tracing": {"endpoint": "otel.test:4317", "sample": 5}}
EVERY_LISTENER = {
    "egress": egress(destination(listen="127.0.0.1:9101")),
    "execution": {"listen": "127.0.0.1:8092", "address": "airflow.test:8080"},
}


def managers(config):
    return [connection_manager(config, at) for at in range(len(config["static_resources"]["listeners"]))]


def test_every_listener_has_it_or_none():
    assert [one.get("tracing") for one in managers(render(plan(**EVERY_LISTENER)))] == [None] * 4
    assert "otel" not in str(render(plan(**EVERY_LISTENER)))
    traced = [one["tracing"] for one in managers(render(plan(gate=TRACED, **EVERY_LISTENER)))]
    assert len(traced) == 4
    assert traced == [traced[0]] * 4


def test_a_span_has_no_path_and_no_query_and_no_header_of_choice():
    (found,) = [one["tracing"] for one in managers(render(plan(gate=TRACED)))]
    assert found["max_path_tag_length"] == 0
    assert found.keys() == {"client_sampling", "random_sampling", "max_path_tag_length", "provider"}


def test_only_the_setting_and_a_traceparent_decide_what_is_sampled():
    (found,) = [one["tracing"] for one in managers(render(plan(gate=TRACED)))]
    assert found["random_sampling"] == {"value": 5.0}
    assert found["client_sampling"] == {}, "0: not by x-client-trace-id"


def test_by_default_a_request_without_a_traceparent_is_not_sampled():
    (found,) = [one["tracing"] for one in managers(render(plan(gate={"tracing": {"endpoint": "otel.test:1"}})))]
    assert found["random_sampling"] == {}


def test_the_collectors_name_is_verified():
    plaintext = cluster(render(plan(gate=TRACED)), "tracing")
    assert "transport_socket" not in plaintext
    section = {"endpoint": "otel.test:4317", "tls": True, "tls_ca": "/ca.pem"}
    tls = str(cluster(render(plan(gate={"tracing": section})), "tracing")["transport_socket"])
    for wanted in ("'exact': 'otel.test'", "/ca.pem", "'h2'", "'sni': 'otel.test'"):
        assert wanted in tls
