import json

from authz.envoy_config.egress import failures
from authz.envoy_config.render import render, render_sds
from tests.unit.envoy_config.test_render import cluster, connection_manager, destination, egress, plan

BEARER = {"secret_file": "/run/orders.secret"}
TOKENS = {
    "oauth2": {
        "token_endpoint": "https://idp.test:8443/token?x=1",
        "client_id": "gate",
        "client_secret_file": "/run/client.secret",
        "scopes": ["orders:read"],
        "ca": "/run/ca.pem",
        "client_auth": "basic",
        "parameters": ["audience=orders"],
    }
}


def made(*destinations):
    return plan(inbound=None, egress=egress(*destinations), sds="/run/sds")


def filters(config, name="egress.orders"):
    (options,) = cluster(config, name)["typed_extension_protocol_options"].values()
    return {entry["name"]: entry["typed_config"] for entry in options["http_filters"]}


def forwarded(host):
    (action,) = [route["route"] for route in host["routes"] if "route" in route]
    return action


def test_the_secret_is_named_in_a_file_of_its_own_and_in_the_filters_of_its_cluster_alone():
    both = made(destination(credential=BEARER), destination(name="b", hosts=("b.test",)))
    config = render(both)
    found = filters(config)
    assert list(found) == ["authz.body_bound", "authz.credential", "envoy.filters.http.upstream_codec"]
    injector = found["authz.credential"]
    assert injector["overwrite"] is True
    assert "allow_request_without_credential" not in injector
    credential = injector["credential"]["typed_config"]
    assert (credential["header"], credential["header_value_prefix"]) == ("authorization", "Bearer ")
    assert credential["credential"]["sds_config"]["path_config_source"]["path"] == "/run/sds/credential_orders.yaml"
    assert "credential" not in str(filters(config, "egress.b"))
    assert "credential_orders" not in str(connection_manager(config))
    assert "orders.secret" not in str(config)
    ((path, file),) = render_sds(both).items()
    assert path == "/run/sds/credential_orders.yaml"
    assert file["resources"][0]["generic_secret"] == {"secret": {"filename": "/run/orders.secret"}}


def test_a_token_is_fetched_at_an_endpoint_that_is_verified():
    config = render(made(destination(credential=TOKENS)))
    oauth2 = filters(config)["authz.credential"]["credential"]["typed_config"]
    assert oauth2["token_endpoint"] == {
        "uri": "https://idp.test:8443/token?x=1",
        "cluster": "egress.orders.token",
        "timeout": "5s",
    }
    assert oauth2["scopes"] == ["orders:read"]
    assert oauth2["endpoint_params"] == [{"name": "audience", "value": "orders"}]
    assert oauth2["token_fetch_retry_interval"] == "1s"
    assert oauth2["client_credentials"]["client_id"] == "gate"
    endpoint = cluster(config, "egress.orders.token")
    tls = endpoint["transport_socket"]["typed_config"]
    assert tls["sni"] == "idp.test"
    checked = tls["common_tls_context"]["validation_context"]
    assert checked["trusted_ca"] == {"filename": "/run/ca.pem"}
    assert checked["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "idp.test"}}]
    local = {"oauth2": {"token_endpoint": "http://127.0.0.1:9000/t", "client_id": "gate", "client_secret_file": "/s"}}
    config = render(made(destination(credential=local)))
    assert "transport_socket" not in cluster(config, "egress.orders.token")


def test_limits_reach_the_cluster_and_the_route():
    limits = {
        "connections": 7,
        "pending": 8,
        "retries": 2,
        "failures": 3,
        "pause": "1.5s",
        "connect_timeout": "500ms",
        "idle_timeout": "9s",
        "request_bytes": "1000B",
    }
    config = render(made(destination(limits=limits)))
    found = cluster(config, "egress.orders")
    (thresholds,) = found["circuit_breakers"]["thresholds"]
    assert (thresholds["max_connections"], thresholds["max_requests"], thresholds["max_pending_requests"]) == (7, 7, 8)
    assert thresholds["retry_budget"] == {"budget_percent": {"value": 20.0}, "min_retry_concurrency": 3}
    outliers = found["outlier_detection"]
    assert outliers["consecutive_gateway_failure"] == 3
    assert "split_external_local_origin_errors" not in outliers, "a destination that hangs would never be found"
    assert (outliers["base_ejection_time"], outliers["max_ejection_time"]) == ("1.500s", "7.500s")
    assert outliers["interval"] == "1s"
    assert found["connect_timeout"] == "0.500s"
    assert filters(config)["authz.body_bound"]["max_request_bytes"] == 1000
    host = connection_manager(config)["route_config"]["virtual_hosts"][0]
    action = forwarded(host)
    assert (action["idle_timeout"], action["retry_policy"]["num_retries"]) == ("9s", 2)


def test_limits_may_be_none():
    config = render(made(destination(limits={"retries": 0, "request_bytes": "0B"})))
    assert list(filters(config)) == ["envoy.filters.http.upstream_codec"]
    host = connection_manager(config)["route_config"]["virtual_hosts"][0]
    assert "retry_policy" not in forwarded(host)


def test_each_failure_has_a_word_of_its_own_and_says_whether_to_try_again():
    words = [failure.word for failure in failures.FAILURES]
    assert len(set(words)) == len(words)
    for failure in failures.FAILURES:
        told = json.dumps(failure.body().to_dict())
        assert failure.word in told
        assert failure.message in told
        names = {option.header.key: option.header.value for option in failure.headers()}
        assert names[failures.HEADER] == failure.word
        assert ("retry-after" in names) == (failure.status in {503, 504})


def test_only_the_egress_listener_sets_the_destination_error_header():
    config = render(plan(egress=egress(destination()), sds="/run/sds"))
    inbound, outbound = connection_manager(config), connection_manager(config, 1)
    assert "x-authz-destination-error" not in str(inbound["local_reply_config"])
    assert "x-authz-destination-error" in str(outbound["local_reply_config"])
    assert "x-authz-destination-error" in outbound["route_config"]["response_headers_to_remove"]
