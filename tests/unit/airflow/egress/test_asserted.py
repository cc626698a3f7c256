"""What a service account says of a run: deferred calls, and deployments whose task tokens nobody can verify."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("airflow.providers.http")

import requests
from airflow.providers.common.compat.sdk import AirflowException, AirflowFailException
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.triggers.http import HttpTrigger
from airflow.sdk import Connection
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time import context

from authz.airflow.egress import asserted, settings
from authz.airflow.egress.asserted import AssertedIdentity, ServiceAccount
from authz.airflow.egress.connections import RunConnections
from authz.airflow.egress.deferrable import GateHttpOperator, GateHttpTrigger
from authz.airflow.egress.errors import NotConfiguredError, RefusedError, UnavailableError
from authz.airflow.egress.for_requests import RunAuth
from authz.airflow.egress.identity import RunIdentity
from authz.airflow.egress.settings import Account
from authz.airflow.egress.task_sdk import task_of
from tests.support.simulators.egress import EgressSimulator
from tests.support.sites.egress_task import instance, running

NOBODY = Account("", "", "", "", ())
JWT = "header.payload.signature-of-the-account"


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setattr(asserted, "_KEPT", [])
    with EgressSimulator() as site:
        yield site


@pytest.fixture
def token_file(site, tmp_path, monkeypatch):
    """The account's token is in a file, and the gate knows it."""
    path = tmp_path / "token"
    path.write_text(f"{JWT}\n")
    site.accounts[JWT] = None
    monkeypatch.setenv("AIRFLOW__AUTHZ__EGRESS_TOKEN_FILE", str(path))
    return path


@pytest.fixture
def connect(site):
    made = Connection(conn_id="orders", conn_type="authz-http", host=site.url)
    token = context._preset_connections.set({"orders": made})
    yield
    context._preset_connections.reset(token)


def provided(site, tmp_path, **changes):
    (tmp_path / "secret").write_text("pa55\n")
    found = Account(
        token_file="",
        token_endpoint=f"{site.url}/provider/token",
        client_id="triggerer",
        client_secret_file=str(tmp_path / "secret"),
        parameters=(("scope", "egress"),),
    )
    return ServiceAccount(found._replace(**changes), hide=lambda _text: None)


def call(site, identity, path="/v1/orders"):
    return requests.get(site.url + path, auth=RunAuth(site.url, identity=identity), timeout=10).status_code


def test_the_proof_says_which_run_it_is(site, token_file):
    assert call(site, AssertedIdentity(task_of(instance(map_index=4, try_number=2)))) == 200
    (passed,) = site.passed
    assert (passed.level, passed.task) == ("asserted", "sales_daily.extract")


def test_in_tasks_it_is_used_only_where_that_is_configured(site, token_file, monkeypatch):
    with running(site):
        assert isinstance(asserted.current(), RunIdentity)
        assert requests.get(f"{site.url}/a", auth=RunAuth(site.url), timeout=10).status_code == 200
        monkeypatch.setenv("AIRFLOW__AUTHZ__EGRESS_IDENTITY", "asserted")
        assert requests.get(f"{site.url}/b", auth=RunAuth(site.url), timeout=10).status_code == 200
    assert [passed.level for passed in site.passed] == ["verified", "asserted"]
    assert len(site.asked) == 1


def test_a_refused_run_is_never_asserted_instead(site, token_file):
    site.exchange = (403, {})
    with running(site), pytest.raises(RefusedError, match="refused a run identity"):
        requests.get(f"{site.url}/a", auth=RunAuth(site.url), timeout=10)
    assert site.passed == site.refused == []


def test_a_token_of_the_providers_is_bound_to_the_key_of_this_process(site, tmp_path):
    account = provided(site, tmp_path)
    identity = AssertedIdentity(task_of(instance()), account)
    assert [call(site, identity) for _ in range(3)] == [200] * 3
    ((form, method, url),) = site.token_requests
    assert form == {"grant_type": "client_credentials", "scope": "egress"}
    assert (method, url) == ("POST", f"{site.url}/provider/token")
    assert set(site.accounts.values()) == {account.key.thumbprint}
    assert {passed.level for passed in site.passed} == {"asserted"}


def test_after_a_401_of_the_gate_the_provider_is_asked_again(site, tmp_path):
    identity = AssertedIdentity(task_of(instance()), provided(site, tmp_path))
    call(site, identity)
    site.retired.update(site.accounts)
    assert call(site, identity) == 200
    assert len(site.token_requests) == 2


def test_one_account_serves_all_runs_of_the_process(site, token_file):
    call(site, AssertedIdentity(task_of(instance())))
    call(site, AssertedIdentity(task_of(instance(task_id="load"))))
    assert [passed.task for passed in site.passed] == ["sales_daily.extract", "sales_daily.load"]
    assert len(asserted._KEPT) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client_id": "other"}, "issued no token to other: HTTP 401"),
        ({"client_secret_file": "/nowhere"}, "issued no token: FileNotFoundError"),
        ({"token_endpoint": "http://127.0.0.1:9/"}, "issued no token: ConnectError"),
    ],
)
def test_the_error_says_why_the_provider_gave_no_token(site, tmp_path, changes, said):
    with pytest.raises(UnavailableError, match=said):
        call(site, AssertedIdentity(task_of(instance()), provided(site, tmp_path, **changes)))


@pytest.mark.parametrize("content", ["", "no token", "a.b.c\nd.e.f", "a.b.ü"])
def test_a_token_file_without_a_jwt_is_an_error(site, token_file, content):
    token_file.write_text(content)
    with pytest.raises(UnavailableError, match=r"not a JWT|cannot be read"):
        call(site, AssertedIdentity(task_of(instance())))


def test_without_an_account_it_says_what_to_set(site):
    with pytest.raises(NotConfiguredError, match="egress_token_file"):
        AssertedIdentity(task_of(instance()))


def test_nothing_of_it_is_shown(site, token_file):
    identity = AssertedIdentity(task_of(instance()))
    call(site, identity)
    assert "signature-of-the-account" not in f"{identity!r}{asserted._KEPT[0]!r}{asserted._KEPT[0].credential.get()!r}"


def test_a_forked_child_has_its_own_key(site, token_file):
    mine = asserted._account()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, asserted._account().key.thumbprint.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() not in {"", mine.key.thumbprint}
    os.waitpid(child, 0)


# --- deferred calls


def fire(trigger):
    async def main():
        trigger.task_instance = instance()
        return [event.payload async for event in trigger.run()]

    (payload,) = asyncio.run(main())
    return payload


def trigger(kind=GateHttpTrigger, **more):
    return kind(http_conn_id="orders", method="GET", endpoint="/v1/orders", **more)


def test_a_deferred_call_says_which_run_it_is_for(site, token_file, connect):
    payload = fire(trigger())
    assert payload["status"] == "success"
    (passed,) = site.passed
    assert (passed.level, passed.task) == ("asserted", "sales_daily.extract")
    assert JWT not in str(payload)


def test_a_deferred_call_of_an_unchanged_operator_is_denied_with_401(site, token_file, connect):
    payload = fire(trigger(HttpTrigger))
    assert payload["status"] == "error"
    assert "401" in payload["message"]
    assert site.passed == []


def test_the_operator_defers_with_our_trigger(site, connect):
    operator = GateHttpOperator(
        task_id="operator", http_conn_id="orders", endpoint="/v1/orders", method="GET", deferrable=True
    )
    with pytest.raises(TaskDeferred) as caught:
        operator.execute({})
    path, arguments = caught.value.trigger.serialize()
    assert path == "authz.airflow.egress.deferrable.GateHttpTrigger"
    assert GateHttpTrigger(**arguments).endpoint == "/v1/orders"
    assert isinstance(operator, HttpOperator)


@pytest.mark.filterwarnings("ignore:The `airflow.utils")
def test_the_operator_goes_on_with_the_answer(site, token_file, connect):
    operator = GateHttpOperator(task_id="operator", http_conn_id="orders", endpoint="/v1/orders", method="GET")
    assert operator.execute_complete({}, fire(trigger())) == '{"ok": true}'


def test_a_403_of_the_gate_ends_the_deferred_task_for_good(site, token_file, connect):
    site.denied["/v1/orders"] = "identity_too_weak"
    operator = GateHttpOperator(task_id="operator", http_conn_id="orders", endpoint="/v1/orders", method="GET")
    with pytest.raises(AirflowFailException, match="403: the gate says identity_too_weak"):
        operator.execute_complete({}, fire(trigger()))
    assert len(site.refused) == 1


@pytest.mark.parametrize("status", [403, 500])
def test_what_the_destination_says_may_be_tried_again(site, token_file, connect, status):
    site.answers["/v1/orders"] = [(status, (), b"")]
    operator = GateHttpOperator(task_id="operator", http_conn_id="orders", endpoint="/v1/orders", method="GET")
    with pytest.raises(AirflowException, match=str(status)) as caught:
        operator.execute_complete({}, fire(trigger()))
    assert not isinstance(caught.value, AirflowFailException)
    assert fire(trigger(extra_options={"check_response": False}))["status"] == "success"


def test_a_deferred_redirect_to_another_host_is_refused(site, token_file, connect):
    with EgressSimulator() as elsewhere:
        site.answers["/v1/orders"] = [(302, [("location", f"{elsewhere.url}/collect")], b"")]
        payload = fire(trigger())
        assert payload["status"] == "error"
        assert "ForeignOriginError" in payload["message"]
        assert elsewhere.passed == elsewhere.refused == []


def test_a_flagged_connection_carries_nothing_in_the_triggerer(site, token_file, monkeypatch):
    """There is no run of this process, so there is no token of a run: `RunConnections` leaves the connection bare."""
    made = Connection(conn_id="orders", conn_type="http", host=site.url, extra='{"authz_run_identity": true}')
    backend = RunConnections()
    monkeypatch.setattr(backend, "_others", lambda: [SimpleNamespace(get_connection=lambda _conn_id: made)])
    found = asyncio.run(backend.aget_connection("orders"))
    token = context._preset_connections.set({"orders": found})
    try:
        payload = fire(trigger(HttpTrigger))
    finally:
        context._preset_connections.reset(token)
    assert "401" in payload["message"]
    assert site.passed == []


def test_proxy_variables_do_nothing_for_a_deferred_call(site, token_file, connect, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fire(trigger(HttpTrigger))
    assert site.refused == [("/v1/orders", "no_token")]  # and not by the proxy


def test_the_page_about_tasks_has_the_row_of_deferred_http_operators():
    page = (Path(__file__).parents[4] / "docs" / "tasks.md").read_text()
    assert "| a deferred `HttpOperator` | *no* | *no* | *no* | *asserted* |" in page


def test_without_an_account_a_deferred_call_says_what_to_set(site, connect):
    assert "egress_token_file" in fire(trigger())["message"]
    assert site.passed == site.refused == []


def test_the_settings_of_an_account():
    given = {"egress_client_id": " c ", "egress_audience": "a", "egress_token_endpoint": "https://idp/token"}
    found = settings.read(lambda _section, name: given.get(name, "")).account
    assert found == Account("", "https://idp/token", "c", "", (("audience", "a"),))
    assert not found.is_complete
    assert found._replace(client_secret_file="/s").is_complete
    assert NOBODY._replace(token_file="/t").is_complete
    assert not NOBODY.is_complete
