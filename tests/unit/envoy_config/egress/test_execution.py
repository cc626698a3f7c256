import re

import pytest

from authz.envoy_config.egress import execution
from tests.support.rendered_egress import FILTER, manager, rendered, told
from tests.support.rendered_envoy import cluster


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
    shown = [one["exact"] for one in made["http_filters"][3]["typed_config"]["allowed_headers"]["patterns"]]
    assert shown == ["authorization", "traceparent"]
    assert cluster(config, "execution.airflow")["transport_socket"]["typed_config"]["sni"] == "airflow.test"
