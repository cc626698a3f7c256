"""The connection type `authz-http`: an unchanged `HttpOperator` is verified, and the task log says why it is not."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow.providers.http")

import requests
import tenacity
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import Connection
from airflow.sdk.execution_time import context

from authz.airflow.egress import hook as module
from authz.airflow.egress.gate_answers import refusal, retry_after
from authz.airflow.egress.hook import GateHttpHook
from authz.airflow.egress.provider import get_provider_info
from demo.entry_points import write_metadata
from tests.support.simulators.egress import IDENTITY_HEADERS, EgressSimulator
from tests.support.sites.egress_task import running


@pytest.fixture
def provider_info(monkeypatch, tmp_path):
    """What Airflow gets where our distribution for it is installed."""
    monkeypatch.syspath_prepend(str(write_metadata(tmp_path)))
    return get_provider_info()


@pytest.fixture
def site():
    with EgressSimulator() as site, running(site):
        yield site


@pytest.fixture
def slept(monkeypatch):
    slept = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=slept.append))
    return slept


@pytest.fixture
def connect(site):
    """Makes the connection `orders` lead to the simulator; further arguments are the connection's."""
    tokens = []

    def make(**more):
        made = Connection(conn_id="orders", conn_type="authz-http", **{"host": site.url, **more})
        tokens.append(context._preset_connections.set({"orders": made}))

    yield make
    for token in reversed(tokens):
        context._preset_connections.reset(token)


def run(endpoint="/v1/orders", *, method="GET", hook=None, **more):
    return (hook or GateHttpHook(method=method, http_conn_id="orders")).run(endpoint, **more)


@pytest.mark.filterwarnings("ignore:The `airflow.utils.operator_helpers")  # the provider's own
def test_an_unchanged_operator_calls_as_its_run(site, connect, monkeypatch):
    connect(extra=json.dumps({"x-team": "sales"}))
    monkeypatch.setattr(
        Connection, "get_hook", lambda self, hook_params: GateHttpHook(http_conn_id="orders", **hook_params)
    )
    operator = HttpOperator(task_id="operator", http_conn_id="orders", endpoint="v1/orders", method="GET")
    assert json.loads(operator.execute({})) == {"ok": True}
    (passed,) = site.passed
    assert (passed.level, passed.task, passed.path) == ("verified", "sales_daily.extract", "/v1/orders")
    assert passed.headers["x-team"] == "sales"
    assert set(passed.headers) & set(IDENTITY_HEADERS) == set()


def test_a_403_of_the_gate_fails_the_task_for_good_and_says_why(site, connect, caplog):
    connect()
    site.denied["/v1/orders"] = "deny_rule"
    with pytest.raises(
        AirflowFailException, match=r"403: the gate says deny_rule: Not allowed: deny_rule\. \(decision \w+"
    ):
        run()
    assert len(site.refused) == 1
    assert site.passed == []


def test_a_403_is_not_even_tried_again_with_advanced_retries(site, connect):
    connect()
    site.denied["/v1/orders"] = "no_rule"
    everything = {"wait": tenacity.wait_none(), "stop": tenacity.stop_after_attempt(5)}
    for retry in ({}, {"retry": tenacity.retry_if_exception_type(Exception)}):
        site.refused.clear()
        with pytest.raises(AirflowFailException):
            GateHttpHook("GET", "orders").run_with_advanced_retry({**everything, **retry}, "/v1/orders")
        assert len(site.refused) == 1


def test_advanced_retries_of_anything_else_go_on_with_a_new_proof_each(site, connect):
    connect()
    site.answers["/v1/orders"] = [(500, (), b""), (500, (), b""), (200, (), b"done")]
    everything = {"wait": tenacity.wait_none(), "stop": tenacity.stop_after_attempt(5)}
    assert GateHttpHook("GET", "orders").run_with_advanced_retry(everything, "/v1/orders").text == "done"
    assert len(site.passed) == 3


def test_a_403_of_the_destination_itself_raises_airflows_usual_exception(site, connect):
    connect()
    site.answers["/v1/orders"] = [(403, (), {"error": "deny_rule", "decision_id": "not the gate's"})]
    with pytest.raises(AirflowException, match="403:Forbidden") as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)


def test_a_401_that_stays_is_tried_again_by_airflow_only(site, connect, monkeypatch):
    connect()
    monkeypatch.setattr(site, "judge", lambda *_: (_ for _ in ()).throw(LookupError("clock")))
    with pytest.raises(AirflowException, match="401: the gate says invalid_token") as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)
    assert len(site.refused) == 2
    assert len(site.tokens) == 2


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(site, connect, slept, status):
    connect()
    site.answers["/v1/orders"] = [(status, [("retry-after", "7")], b""), (200, (), b"done")]
    assert run().text == "done"
    assert slept == [7.0]
    assert len(site.passed) == 2
    assert site.refused == []


@pytest.mark.parametrize(
    ("extra", "waits", "sent"),
    [
        ({}, [25.0, 25.0], 3),  # 75 s are more than 60
        ({"retry_after_limit": 30}, [25.0], 2),
        ({"retry_after_limit": 0}, [], 1),
        ({"retry_after_limit": 1000}, [25.0, 25.0], 3),
        ({"retry_after_limit": 1000, "retry_after_tries": 5}, [25.0] * 4, 5),
        ({"retry_after_limit": "nonsense", "retry_after_tries": 1}, [], 1),
    ],
)
def test_waiting_has_bounds(site, connect, slept, extra, waits, sent):  # noqa: PLR0917 fixtures and cases
    connect(extra=json.dumps(extra))
    site.answers["/v1/orders"] = [(429, [("retry-after", "25")], b"")]
    with pytest.raises(AirflowException, match="429"):
        run()
    assert slept == waits
    assert len(site.passed) == sent
    assert not {"retry_after_limit", "retry_after_tries"} & set(site.passed[0].headers)


def test_a_503_without_retry_after_is_not_tried_again(site, connect, slept):
    connect()
    site.answers["/v1/orders"] = [(503, (), b"")]
    with pytest.raises(AirflowException, match="503"):
        run()
    assert slept == []
    assert len(site.passed) == 1


def test_what_may_have_reached_the_destination_is_sent_again_only_if_that_does_no_harm(site, connect, slept):
    connect()
    site.answers["/v1/orders"] = [(503, [("retry-after", "1")], b"")]
    with pytest.raises(AirflowException, match="503"):
        run(method="POST", data="{}")
    assert slept == []
    site.answers["/v1/orders"] = [(429, [("retry-after", "1")], b""), (200, (), b"")]
    run(method="POST", data="{}")
    assert slept == [1.0]
    assert len(site.passed) == 3


@pytest.mark.parametrize(
    ("method", "error", "wait_s"),
    [
        ("POST", "no_healthy_host", 2.0),
        ("POST", "connection_lost", None),
        ("PATCH", "connection_lost", None),
        ("GET", "connection_lost", 2.0),
    ],
)
def test_what_envoy_says_may_have_arrived_is_not_sent_again_either(method, error, wait_s):
    response = requests.Response()
    response.status_code = 503
    response.headers.update({"x-authz-decision": "d1", "x-authz-destination-error": error, "retry-after": "2"})
    response._content = json.dumps({"error": error, "message": "", "decision_id": "d1"}).encode()
    assert GateHttpHook(method=method, http_conn_id="orders")._worth_waiting(response) == wait_s


def test_who_checks_the_answer_himself_gets_it(site, connect):
    connect()
    site.denied["/v1/orders"] = "no_rule"
    assert run(extra_options={"check_response": False}).status_code == 403


def test_a_refused_identity_fails_the_task_for_good_and_an_unavailable_one_does_not(site, connect):
    connect()
    site.exchange = (403, {})
    with pytest.raises(AirflowFailException, match=r"refused a run identity to sales_daily\.extract"):
        run()
    site.exchange = (503, {"error": "unavailable", "message": "Later.", "decision_id": "d"})
    with pytest.raises(AirflowException, match=r"unavailable: Later \(decision d\)") as caught:
        run()
    assert not isinstance(caught.value, AirflowFailException)
    assert site.passed == site.refused == []


def test_a_redirect_to_another_host_ends_the_call(site, connect):
    connect()
    site.answers["/v1/orders"] = [(302, [("location", "http://elsewhere.test/collect")], b"")]
    with pytest.raises(AirflowException, match=r"Redirect refused.*http://elsewhere\.test:80"):
        run()


def test_login_and_password_are_the_destinations(site, connect):
    connect(login="me", password="pw")
    run()
    assert site.passed[0].headers["authorization"].startswith("Basic ")
    assert site.passed[0].level == "verified"


def test_identity_headers_among_the_extras_are_not_ours(site, connect):
    connect(extra=json.dumps({"X-Run-Identity": "DPoP a.b.c", "x-run-proof": "old"}))
    run()
    assert site.refused == []


def test_proxies_of_the_environment_are_not_asked(site, connect, monkeypatch):
    connect()
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    run()
    assert len(site.passed) == 1


def trial():
    return GateHttpHook(http_conn_id="orders").test_connection()


def test_testing_the_connection_in_a_task_says_what_the_gate_says(site, connect):
    connect()
    assert trial() == (True, f"{site.url}: the gate passed it on, and the destination said 200")
    site.denied["/"] = "no_rule"
    good, said = trial()
    assert (good, "no_rule" in said) == (True, True)


def test_testing_the_connection_without_a_task_finds_the_gate():
    with EgressSimulator() as site:
        made = Connection(conn_id="orders", conn_type="authz-http", host=site.url)
        token = context._preset_connections.set({"orders": made})
        try:
            good, said = trial()
        finally:
            context._preset_connections.reset(token)
        assert good
        assert f"{site.url}: the gate says no_token" in said
        assert "only a running task's calls carry an identity; this one had none" in said
        assert site.passed == []


def test_testing_a_connection_that_leads_past_the_gate_says_so(site, connect):
    connect(host=site.url + "/execution/")
    good, said = trial()
    assert not good
    assert "but it is not the gate" in said
    connect(host="http://127.0.0.1:9")
    good, said = trial()
    assert not good
    assert "127.0.0.1:9" in said


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("7.5", None),
        ("\u0667", None),
        ("1" * 99, 111111.0),
    ],
)
def test_retry_after(text, seconds):
    assert retry_after({"Retry-After": text} if text else {}) == seconds


def test_retry_after_as_a_date():
    from email.utils import formatdate

    assert 25 < retry_after({"Retry-After": formatdate(time.time() + 30, usegmt=True)}) <= 30
    assert retry_after({"Retry-After": formatdate(time.time() - 30, usegmt=True)}) == 0.0


GATES = {"error": "no_rule", "message": "m", "decision_id": "d", "rule": "r1"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (403, {"x-authz-decision": "d"}, json.dumps(GATES), "the gate says no_rule, rule r1: m (decision d)"),
        (403, {}, json.dumps(GATES), None),
        (403, {"x-authz-decision": "other"}, json.dumps(GATES), None),
        (403, {"x-authz-decision": "d"}, "no json", None),
        (403, {"x-authz-decision": "d"}, "[]", None),
        pytest.param(403, {"x-authz-decision": "d"}, "[" * 16_000, None, id="nested too deeply"),
        (403, {"x-authz-decision": "d"}, '{"decision_id": "d"}', None),
        (200, {"x-authz-decision": "d"}, json.dumps(GATES), None),
        (403, {"x-authz-decision": "d"}, json.dumps({**GATES, "message": "x" * 20_000}), None),
    ],
)
def test_the_gates_word_is_known_by_header_and_body_together(status, headers, body, told):
    found = refusal(status, headers, body.encode())
    assert (str(found) if found else None) == told


def test_the_type_is_known_by_the_names_that_airflow_gives_it(provider_info):
    """In the database it keeps its name; from environment variables and secrets backends it comes with `_` for `-`."""
    known = {entry["connection-type"]: entry["hook-class-name"] for entry in provider_info["connection-types"]}
    written = [
        Connection(conn_id="orders", conn_type="authz-http"),
        Connection.from_json('{"conn_type": "authz-http"}', conn_id="orders"),
        Connection.from_uri("authz-http://127.0.0.1:9101", conn_id="orders"),
    ]
    hooks = [getattr(module, known[connection.conn_type].rpartition(".")[2]) for connection in written]
    assert [hook.conn_type for hook in hooks] == [connection.conn_type for connection in written]
    assert all(issubclass(hook, GateHttpHook) for hook in hooks)
    assert len({entry["hook-name"] for entry in provider_info["connection-types"]}) == len(known)


def test_the_providers_metadata_is_what_airflow_asks_for(provider_info):
    import airflow
    import jsonschema

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert list(validator.iter_errors(provider_info)) == []
    assert not validator.is_valid({**provider_info, "connection-types": "none"}), "the schema notices"


def test_the_form_of_the_connection_has_our_options(provider_info):
    for entry in provider_info["connection-types"]:
        assert set(entry["conn-fields"]) == {module.WAIT_FIELD, module.TRIES_FIELD}
        assert {field["schema"]["type"][0] for field in entry["conn-fields"].values()} == {"integer"}
