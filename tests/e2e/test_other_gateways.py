"""What other projects make of Envoy in front of a real gate: no filter of ours but ext_authz, as they render it.

docs/howto/gateways.md says which project renders what, and where that was read.
"""

import pytest

from authz.core import edge
from tests.e2e.gate import SETTINGS
from tests.e2e.stack import Stack, id_of
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e

EXT_AUTHZ = "envoy.filters.http.ext_authz"
TYPE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3."
DAGS = "/api/v2/dags"
CONTEXT = {"plane": "inbound", "audience": "airflow-test"}
# Contour 1.33's filter; Envoy Gateway's and kgateway's have fewer fields, and the same defaults.
OVER_GRPC = {
    "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "2s"},
    "clear_route_cache": True,
    "failure_mode_allow": False,
    "status_on_error": {"code": "Forbidden"},
    "include_peer_certificate": True,
}
# Istio's provider over HTTP, with `pathPrefix`, `includeRequestHeadersInCheck` and `headersToUpstreamOnAllow`.
OVER_HTTP = {
    "http_service": {
        "server_uri": {"uri": "http://authz", "cluster": "gate-http", "timeout": "2s"},
        "path_prefix": "/check/airflow",
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"prefix": "x-authz-"}]}},
    },
    "allowed_headers": {"patterns": [{"exact": name} for name in edge.READ_HEADERS]},
}


def neighbours(filter_config, context, *, removes=(), http_port=0):
    """Change the rendered configuration into what such a project has: its filter, and a route with this context."""

    def alter(config):
        resources = config["static_resources"]
        [inbound] = [one for one in resources["listeners"] if one["name"] == "inbound"]
        manager = inbound["filter_chains"][0]["filters"][0]["typed_config"]
        asks = {"@type": f"{TYPE}ExtAuthz", "transport_api_version": "V3", **filter_config}
        manager["http_filters"] = [{"name": EXT_AUTHZ, "typed_config": asks}, manager["http_filters"][-1]]
        cluster = next(one["name"] for one in resources["clusters"] if one["name"].endswith("airflow"))
        host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}
        if context:
            settings = {"@type": f"{TYPE}ExtAuthzPerRoute", "check_settings": {"context_extensions": context}}
            host["typed_per_filter_config"] = {EXT_AUTHZ: settings}
        if removes:
            host["request_headers_to_remove"] = [*removes]
        manager["route_config"] = {"name": "inbound", "virtual_hosts": [host]}
        if http_port:
            place = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": http_port}}}}
            where = {"cluster_name": "gate-http", "endpoints": [{"lb_endpoints": [place]}]}
            resources["clusters"].append({"name": "gate-http", "type": "STATIC", "load_assignment": where})

    return alter


@pytest.fixture(scope="module")
def over_grpc(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("grpc"), envoy={"alter": neighbours(OVER_GRPC, CONTEXT)}) as stack:
        yield stack


@pytest.fixture(autouse=True)
def _fresh(request):
    for name in ("over_grpc", "over_http"):
        if name in request.fixturenames:
            request.getfixturevalue(name).reset()


FORGED = (*(f"{name}: forged" for name in (*edge.IDENTITY_HEADERS, edge.DECISION)), "X-Forwarded-User: forged")


def test_with_the_plane_in_the_context_airflow_gets_the_gates_identity_and_no_credential(over_grpc):
    answer = over_grpc.get(DAGS, *FORGED, token=over_grpc.token())
    assert (answer.status, over_grpc.gate.decision(id_of(answer))["rule"]) == (200, "readers")
    arrived = over_grpc.upstream.only
    assert arrived.all("authorization") == []
    assert len(arrived.all("x-authz-assertion")) == 1
    assert [name for name, value in arrived.headers if name.startswith("x-authz-") and value == "forged"] == []


def test_what_the_gate_refuses_is_not_served(over_grpc):
    token = over_grpc.token()
    refused = [
        over_grpc.get(DAGS, *FORGED),
        over_grpc.get(DAGS, f"Authorization: Bearer {token}", token=token),
        over_grpc.get(f"{DAGS}/%2e%2e%2fconnections", token=token),
    ]
    assert [one.status for one in refused] == [401, 400, 400]
    assert over_grpc.upstream.requests == []


def test_without_context_every_request_is_refused(tmp_path):
    with Stack(tmp_path, envoy={"alter": neighbours(OVER_GRPC, {})}) as stack:
        answer = stack.get(DAGS, token=stack.token())
        assert (answer.status, stack.gate.decision(id_of(answer))["reason"]) == (503, "misconfigured")
        assert stack.upstream.requests == []


@pytest.fixture(scope="module")
def over_http(tmp_path_factory):
    port = free_port()
    audience = "{{name: airflow, audience: airflow-test}}"
    checks = f'http_check: {{{{listen: ["127.0.0.1:{port}"], audiences: [{audience}]}}}}\n'
    removes = ("authorization", "cookie")
    alter = neighbours(OVER_HTTP, {}, removes=removes, http_port=port)
    with Stack(tmp_path_factory.mktemp("http"), settings=SETTINGS + checks, envoy={"alter": alter}) as stack:
        yield stack


def test_a_check_over_http_has_its_plane_in_the_path(over_http):
    answer = over_http.get(f"{DAGS}?limit=5", *FORGED, token=over_http.token())
    assert (answer.status, over_http.gate.decision(id_of_check(over_http))["rule"]) == (200, "readers")
    arrived = over_http.upstream.only
    assert (arrived.target, arrived.all("authorization")) == (f"{DAGS}?limit=5", [])
    assert [name for name, value in arrived.headers if name.startswith("x-authz-") and value == "forged"] == []
    assert len(arrived.all("x-authz-assertion")[0]) > 100


def test_an_anonymous_callers_headers_are_overwritten_by_empty_ones_over_http(over_http):
    """So Airflow, which refuses an empty assertion, answers no public request on this way."""
    assert over_http.get("/api/v2/monitor/health", *FORGED).status == 200
    arrived = over_http.upstream.only
    assert {name: arrived.all(name) for name in edge.IDENTITY_HEADERS} == {name: [""] for name in edge.IDENTITY_HEADERS}


def test_a_denial_over_http_is_the_gates_own_answer(over_http):
    answer = over_http.get("/api/v2/connections")
    assert (answer.status, over_http.gate.decision(id_of(answer))["reason"]) == (401, "no_token")
    assert over_http.upstream.requests == []


def id_of_check(stack):
    """An allow over HTTP shows its decision to the upstream alone, unless the filter says otherwise."""
    return stack.upstream.only.all(edge.DECISION)[0]
