"""The outbound rows judge: each of their checks can fail, against a real destination and a written decision log."""

import json
import threading
from types import SimpleNamespace

import httpx
import pytest

from demo import tour_outbound
from demo.files import Layout, Ports
from demo.orders import Orders
from demo.tour_client import Answer, DecisionLog
from demo.tour_outbound import Outbound

SECRET = "orders-canary"
WITH = {"authorization": f"Bearer {SECRET}"}
IDS = iter(range(10_000))


class Site:
    """A destination, a decision log and an Airflow of words; `rows` is what is tested."""

    def __init__(self, folder, port):
        names = dict.fromkeys(Ports.__dataclass_fields__, 1)
        self.layout = Layout(directory=folder, ports=Ports(**{**names, "orders": port, "egress": port}))
        self.state = "success"
        self.log_text = ""
        self.layout.audit_log.mkdir()
        self.rows = Outbound(self.layout, self, DecisionLog(self.layout.decisions, wait_s=0.1))
        self.rows._run_ids = {"sales_orders": "r1", "finance_orders": "r1"}
        self.issuer = SimpleNamespace(service_token=lambda _client, _audience: "token")
        self.triggered = []

    def person(self, _login, target, **_more):
        text = self.log_text if "/logs/" in target else json.dumps({"state": self.state})
        return Answer(status=200, decision="d", body=text.encode())

    def service(self, client, target, **_more):
        self.triggered.append((client, target))
        return Answer(status=200, decision="d", body=json.dumps({"dag_run_id": "r1"}).encode())

    def decided(self, decision, dag="", run="r1", plane="egress"):
        """One line of the decision log; returns its id."""
        record = {"type": "decision", "id": f"d{next(IDS)}", "plane": plane, "decision": decision}
        if plane == "egress":
            record["run"] = {"dag_id": dag, "run_id": run, "task_id": "read"} if dag else None
        with self.layout.decisions.open("a") as log:
            log.write(json.dumps(record) + "\n")
        return record["id"]

    def call(self, *more, **headers):
        url = f"http://127.0.0.1:{self.layout.ports.orders}/v1/orders/7"
        with httpx.Client(trust_env=False) as client:
            client.get(url, headers=[*{**WITH, **headers}.items(), *more])


@pytest.fixture
def site(tmp_path, monkeypatch):
    (tmp_path / "orders.token").write_text(SECRET)
    for limit in ("CALLED_WITHIN_S", "ENDED_WITHIN_S", "SETTLED_WITHIN_S", "OPEN_WITHIN_S", "BACK_WITHIN_S"):
        monkeypatch.setattr(tour_outbound, limit, 0.1)
    with Orders(0, tmp_path / "orders.token") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield Site(tmp_path, server.server_port)
        server.shutdown()
        thread.join()


ANSWER = Answer(status=200, decision="d", body=b"{}")


def test_a_call_is_known_by_its_run(site):
    site.decided("allow", "finance_orders", plane="inbound")
    site.decided("allow", "finance_orders", run="r0")
    site.decided("allow")
    first, second = site.decided("deny", "finance_orders"), site.decided("allow", "finance_orders", run="r2")
    told = [site.rows._call_of("finance_orders")]
    site.rows._run_ids["finance_orders"] = "r2"
    told.append(site.rows._call_of("finance_orders"))
    assert [(answer.status, answer.decision) for answer in told] == [(403, first), (200, second)]
    with pytest.raises(LookupError, match="no task of sales_orders has called"):
        site.rows._call_of("sales_orders")


def test_the_service_must_see_an_asserted_task_and_no_authorization(site):
    site.call(**{"x-authz-dag": "sales_orders", "x-authz-task": "read", "x-authz-identity": "verified"})
    assert "asserted" in site.rows._knows_the_run(ANSWER)
    site.call(**{"x-authz-dag": "sales_orders", "x-authz-task": "read", "x-authz-identity": "asserted"})
    assert site.rows._knows_the_run(ANSWER) == ""
    site.call(authorization="Bearer of-the-task")
    assert "credential" in site.rows._knows_the_run(ANSWER)


@pytest.mark.parametrize(
    ("status", "state", "problem"),
    [
        (200, "success", ""),
        (403, "failed", ""),
        (200, "failed", "ended as failed"),
        (403, "success", "ended as success"),
        (403, "running", ""),
    ],
)
def test_a_run_ends_as_its_call_did(site, status, state, problem):
    site.state = state
    found = site.rows._after("sales_orders", lambda _: "", Answer(status=status, decision="d", body=b""))
    assert problem in found
    assert bool(found) == bool(problem)


def test_a_call_that_was_denied_and_arrived_all_the_same_is_seen(site):
    site.decided("allow")
    site.decided("deny")
    site.decided("allow", plane="inbound")
    site.call()
    assert site.rows._never_arrived(ANSWER) == ""
    site.call()
    assert site.rows._never_arrived(ANSWER) == "a call that was denied reached the destination"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, ""),
        ({"authorization": "Bearer of-the-task"}, "without its credential"),
        ({"x-run-proof": "p", "x-run-identity": "i"}, "got x-run-identity, x-run-proof"),
        ({"proxy-authorization": "Basic x"}, "got proxy-authorization"),
    ],
)
def test_the_service_must_get_its_credential_and_nothing_of_the_tasks(site, headers, problem):
    site.call(**headers)
    site.call()
    found = site.rows._was_given_the_credential(ANSWER)
    assert problem in found
    assert bool(found) == bool(problem)


def test_the_caller_must_be_seen_once(site):
    site.call(**{"x-authz-user": "sales-etl"})
    assert site.rows._saw_who_calls(ANSWER) == ""
    site.call(("x-authz-user", "adam"), **{"x-authz-user": "sales-etl"})
    assert "adam" in site.rows._saw_who_calls(ANSWER)


def test_a_secret_that_a_task_has_or_a_file_holds_is_found(site):
    host = f"host='{site.layout.orders_for_tasks}'"

    def found(text):
        return site.rows._has_no_secret(Answer(status=200, decision="d", body=text.encode()))

    assert found(f"conn_type='authz-http' {host} login=None password=None extra=None") == ""
    assert "does not say" in found(f"conn_type='http' {host} login=None password='x' extra=None")
    (site.layout.directory / "logs").mkdir()
    (site.layout.directory / "logs" / "attempt=1.log").write_text(f"sent Bearer {SECRET}")
    assert "attempt=1.log" in found(f"conn_type='authz-http' {host} login=None password=None extra=None")


def test_a_denied_tasks_log_must_name_the_reason_and_the_decision(site):
    decision = site.decided("deny", "finance_orders")
    site.rows._call_of("finance_orders")

    def found(text):
        return site.rows._tells_why("no_rule", Answer(status=200, decision="d", body=text.encode()))

    assert found(f"the gate says no_rule (decision {decision})") == ""
    assert "no_rule" in found(f"the gate says no (decision {decision})")
    assert "no decision" in found("the gate says no_rule (decision another)")


def test_the_breaker_is_seen_to_open_when_the_gate_answers_instead_of_the_service(site):
    assert site.rows._when(fails_with=502).status == 502
    assert site.rows._until_open().status == 502
    assert site.rows._until_back().status != 502


@pytest.mark.parametrize(
    ("log", "status", "problem"),
    [
        ("503: the gate says no_healthy_host: left alone (decision d)", 503, ""),
        ("503: the gate says unavailable (decision d)", 503, "does not say no_healthy_host"),
        ("all is well", 200, "does not say no_healthy_host"),
    ],
)
def test_the_tasks_log_must_say_that_its_destination_has_no_healthy_host(site, log, status, problem):
    site.decided("allow", "sales_orders")
    site.state, site.log_text = "failed", log
    answer = site.rows._broken_call()
    found = site.rows._log_says_so(answer)
    assert answer.status == status
    assert problem in found
    assert bool(found) == bool(problem)
    again = [] if status == 503 else [("sales-etl", "/api/v2/dags/sales_orders/dagRuns")] * 2
    assert site.triggered == again


@pytest.mark.parametrize(
    ("body", "took_s", "problem"),
    [
        ({"destination": "orders"}, 0.01, ""),
        ({"destination": "orders"}, 9.0, "9.00 s"),
        ({"service": "orders"}, 0.01, "does not name"),
    ],
)
def test_a_broken_destination_is_named_at_once(site, body, took_s, problem):
    site.rows._took_s = took_s
    found = site.rows._says_so_at_once(Answer(status=503, decision="d", body=json.dumps(body).encode()))
    assert problem in found
    assert bool(found) == bool(problem)
