"""What came of each decision is in the signed log: a real Envoy writes its access log, the gate's writer follows it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.gate import SETTINGS
from tests.e2e.raw_http import Connection, request
from tests.e2e.stack import ORDERS, Stack, id_of

pytestmark = pytest.mark.e2e

AUTHZ = Path(sys.executable).with_name("authz")
SIGNED = SETTINGS.replace(
    "log: {{decisions: decisions.jsonl}}",
    "audit: {{log: audit, keys: [audit.pem], spool: spool, access_logs: [../access.log],"
    " checkpoints: {{every: 200ms}}}}",
)
assert SIGNED != SETTINGS


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("signed"), settings=SIGNED) as stack:
        yield stack


def records(stack, kind):
    files = sorted((stack.gate.folder / "audit").glob("decisions*.jsonl"))
    lines = [json.loads(line) for path in files for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]
    return [line for line in lines if line["type"] == kind]


def outcome(stack, decision):
    """The one outcome of a decision."""
    found = []

    def look():
        found[:] = [line for line in records(stack, "outcome") if line["decision"] == decision]
        return bool(found)

    stack.gate.until(look, f"no outcome of {decision}")
    assert [line["id"] for line in records(stack, "decision")].count(decision) == 1
    assert len(found) == 1
    return found[0]


def verified(stack):
    done = subprocess.run(
        [AUTHZ, "audit", "verify", stack.gate.folder / "audit"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_allowed_request_ends_with_the_answer_of_the_upstream(signed):
    answer = signed.get("/api/v2/dags?secret=1", "User-Agent: alices-browser", token=signed.token())
    found = outcome(signed, id_of(answer))
    host, port = signed.upstream.address.split(":")
    assert (found["status"], found["ended_by"], found["flags"]) == (200, "upstream", "")
    assert (found["upstream"], found["upstream_host"]) == ("inbound.airflow", f"{host}:{port}")
    assert found["bytes_sent"] == len(answer.body) > 0
    assert found["bytes_received"] == 0
    assert found["duration_ms"] >= 0
    assert found["details"] == "via_upstream"
    text = json.dumps(records(signed, "outcome"))
    assert "alices" not in text
    assert "secret" not in text
    assert "/api" not in text


def test_a_denied_request_is_ended_by_the_gate_and_no_upstream_is_called(signed):
    signed.upstream.reset()
    answer = signed.get("/api/v2/config", token=signed.token())
    found = outcome(signed, id_of(answer))
    assert (answer.status, found["status"], found["ended_by"], found["flags"]) == (403, 403, "gate", "UAEX")
    assert "upstream_host" not in found
    assert signed.upstream.requests == []


def test_a_call_of_a_task_has_an_outcome_too(signed):
    answer = signed.get("/v1/orders/7", token=signed.etl(), **ORDERS)
    found = outcome(signed, id_of(answer))
    assert (found["status"], found["ended_by"], found["upstream"]) == (200, "upstream", "egress.orders")


def test_a_story_says_who_made_a_run_that_airflow_named(signed):
    """Our code in Airflow sets this header; the caller does not get it, and the log has it."""
    signed.upstream.extra_headers = ("X-Authz-Made-Run: manual__1",)
    try:
        target = "/api/v2/dags/sales_daily/dagRuns"
        answer = signed.get(target, token=signed.etl(aud="airflow"), method="POST", body=b"{}")
    finally:
        signed.upstream.extra_headers = ()
    assert (answer.status, answer.header("x-authz-made-run")) == (200, None)
    assert outcome(signed, id_of(answer))["run"] == "manual__1"
    command = [AUTHZ, "audit", "story", "sales_daily/manual__1", signed.gate.folder / "audit"]
    recorded = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    assert recorded[:2] == ["run manual__1 of sales_daily", "├─ triggered by:"]
    assert id_of(answer) in recorded[2]
    assert "etl" in recorded[2]
    assert recorded[3:] == [f"└─ policy: {signed.gate.get('/readyz').json()['revision'][:12]}"]


def test_a_client_that_goes_away_ended_it(signed):
    signed.upstream.reset()
    before = {line["id"] for line in records(signed, "decision")}
    token = signed.token(groups=["data-ops"])
    head = request("/api/v2/pools", f"Authorization: Bearer {token}", method="POST", body=b"x" * 9)
    with Connection(signed.envoy.inbound) as connection:
        connection.send(head[:-5])
        signed.gate.until(lambda: {line["id"] for line in records(signed, "decision")} - before, "no decision")
    (decision,) = {line["id"] for line in records(signed, "decision")} - before
    found = outcome(signed, decision)
    assert (found["ended_by"], found["bytes_received"]) == ("client", 4)
    assert "DC" in found["flags"]


def test_a_log_with_outcomes_is_what_was_signed_also_after_its_writer_was_killed(signed):
    signed.get("/api/v2/dags", token=signed.token())
    writer = signed.gate.writer
    subprocess.run(["kill", "-9", str(writer)], check=True)
    last = id_of(signed.get("/api/v2/dags", token=signed.token()))
    outcome(signed, last)
    names = [line["decision"] for line in records(signed, "outcome")]
    assert len(names) == len(set(names)), "each is there once"
    assert signed.gate.metric("authz_log_outcomes_total") > 0
    assert signed.gate.metric("authz_log_outcomes_unread") == 0
    assert signed.gate.metric("authz_log_outcome_files_lost_total") == 0
    verified(signed)


def test_an_upstream_that_is_away_is_ended_by_envoy(tmp_path):
    with Stack(tmp_path, settings=SIGNED) as stack:
        stack.upstream.close()
        answer = stack.get("/api/v2/dags", token=stack.token())
        found = outcome(stack, id_of(answer))
        assert (answer.status, found["status"], found["ended_by"]) == (503, 503, "envoy")
        assert set(found["flags"].split(",")) & {"UF", "UC", "UH"}
        verified(stack)
