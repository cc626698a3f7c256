from authz.envoy_config.render import render
from tests.support.rendered_egress import filters, with_secrets
from tests.support.rendered_envoy import cluster, connection_manager, destination


def forwarded(host):
    (action,) = [route["route"] for route in host["routes"] if "route" in route]
    return action


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
    config = render(with_secrets(destination(limits=limits)))
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
    config = render(with_secrets(destination(limits={"retries": 0, "request_bytes": "0B"})))
    assert list(filters(config)) == ["envoy.filters.http.upstream_codec"]
    host = connection_manager(config)["route_config"]["virtual_hosts"][0]
    assert "retry_policy" not in forwarded(host)
