"""Traces through the real Envoy, as it is rendered, and the real gate: one trace of both, and nothing of the caller."""

import pytest

from tests.e2e.gate import SETTINGS
from tests.e2e.stack import ORDERS, Stack, id_of
from tests.support.simulators.collector import Collector
from tests.support.waiting import wait_for

pytestmark = pytest.mark.e2e

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GATE, ENVOY = "airflow-envoy-authz", "envoy"
SERVER, CLIENT = 2, 3


@pytest.fixture(scope="module")
def collector():
    with Collector() as collector:
        yield collector


def soon(config):
    config["layered_runtime"]["layers"][0]["static_layer"] = {"tracing.opentelemetry.flush_interval_ms": 50}


@pytest.fixture(scope="module")
def traced(tmp_path_factory, collector, envoy_binary):
    """Envoy samples every request that does not say, and sends each span soon: by default it waits for five seconds."""
    section = {"endpoint": collector.endpoint, "sample": 100}
    settings = SETTINGS + f"tracing: {{{{endpoint: '{collector.endpoint}'}}}}\n"
    envoy = {"binary": envoy_binary, "alter": soon}
    with Stack(tmp_path_factory.mktemp("traced"), settings=settings, told={"tracing": section}, envoy=envoy) as stack:
        yield stack


@pytest.fixture
def stack(traced, collector):
    traced.reset()
    collector.requests.clear()
    return traced


def spans_of(collector, answer):
    """Envoy's span of the request, that of its question, and the gate's, once all three have come."""
    found = []

    def all_there():
        spans = collector.spans()
        by_id = {span.id: span for span in spans}
        found[:] = [span for span in spans if span.attributes.get("authz.decision_id") == id_of(answer)]
        while found and found[0].parent in by_id:
            found.insert(0, by_id[found[0].parent])
        return len(found) == 3

    wait_for(all_there)
    return found


def test_the_gates_span_is_below_envoys_question_which_is_below_the_request(stack, collector):
    answer = stack.get("/api/v2/dags", token=stack.token())
    assert answer.status == 200
    request, question, ours = spans_of(collector, answer)
    assert (request.kind, question.kind, ours.kind) == (SERVER, CLIENT, SERVER)
    assert {request.trace, question.trace, ours.trace} == {ours.trace}
    assert request.parent == "", "nothing was above"
    assert (ours.attributes["authz.decision"], ours.attributes["authz.plane"]) == ("allow", "inbound")
    assert stack.gate.decision(id_of(answer))["trace"] == ours.trace
    [passed_on] = stack.upstream.only.all("traceparent")
    assert passed_on.split("-")[1] == ours.trace, "Airflow's span is of the same trace"


def test_a_callers_trace_goes_on_on_both_planes(stack, collector):
    for token, options in ((stack.token(), {}), (stack.etl(), ORDERS)):
        target = "/v1/orders" if options else "/api/v2/dags"
        answer = stack.get(target, f"traceparent: 00-{TRACE}-{SPAN}-01", token=token, **options)
        assert answer.status == 200
        request, _question, ours = spans_of(collector, answer)
        assert (request.trace, request.parent, ours.trace) == (TRACE, SPAN, TRACE)
        collector.requests.clear()


def test_a_denial_is_in_the_trace_and_nothing_reaches_the_upstream(stack, collector):
    answer = stack.get("/api/v2/dags/sales_daily", token=stack.token(), method="DELETE")
    assert answer.status == 403
    request, _question, ours = spans_of(collector, answer)
    assert request.attributes["http.status_code"] == "403"
    assert ours.attributes["authz.decision"] == "deny"
    assert stack.upstream.requests == []


def test_a_caller_that_is_not_sampled_has_no_span(stack, collector):
    unsampled = stack.get("/api/v2/dags", f"traceparent: 00-{TRACE}-{SPAN}-00", token=stack.token())
    assert unsampled.status == 200
    broken = stack.get("/api/v2/dags", "traceparent: 00-broken", token=stack.token())
    assert broken.status == 200
    sampled = stack.get("/api/v2/dags", token=stack.token())
    spans_of(collector, sampled)  # it came last
    assert [span.attributes["authz.decision_id"] for span in collector.spans(GATE)] == [id_of(sampled)]
    assert {span.trace for span in collector.spans()} == {spans_of(collector, sampled)[2].trace}


def test_no_span_holds_a_query_a_path_a_token_or_a_name(stack, collector):
    secret = "s3cret"
    token = stack.token(sub=f"{secret}-subject", preferred_username=f"{secret}-name")
    headers = [f"x-secret: {secret}", f"cookie: a={secret}", f"tracestate: a={secret}"]
    answer = stack.get(f"/api/v2/dags/{secret}-dag?code={secret}", *headers, token=token)
    spans_of(collector, answer)
    for span in collector.spans():
        assert secret.encode() not in span.raw
        assert not [part for part in token.split(".") if part.encode() in span.raw]
    assert {span.attributes.get("http.url") for span in collector.spans(ENVOY)} == {None, "http://gate.test"}
