"""Run identity with `authz serve` as it is deployed: two workers, one table of used proofs, keys in a file."""

import json
import os
import signal
import threading
import time
from collections import Counter

import grpc
import pytest

from authz.engine.contract import CHECK
from tests.e2e.gate import POLICY, SETTINGS, Gate
from tests.e2e.gate import token as a_token
from tests.support.factories.proofs import prove, task_key, thumbprint
from tests.support.factories.tokens import jwks_of, make_key, sign
from tests.support.rigs.run import AIRFLOW_ISS, AIRFLOW_KEY, HOST, NEXT_AIRFLOW_KEY, described, task_claims
from tests.support.rigs.service import message, read
from tests.support.simulators.airflow import AirflowSimulator
from tests.support.simulators.idp import IdP, silence

KEY = make_key("ES256", kid="k1")
TASK = task_key()
RUNS = """
run_identity:
  airflow: {airflow}
  issuer: {issuer}
  jwks_file: airflow-jwks.json
  algorithms: [EdDSA]
  signing_key_isolated: true
  replays: 4000
"""
ANYBODY = (
    "  - {{id: anybody, plane: egress, roles: [authenticated], hosts: [orders.internal], paths: ['/v1/orders']}}\n"
)


class RunGate(Gate):
    """A gate with two workers that knows runs; asked directly, each worker on its own address."""

    def __init__(self, folder, idp, airflow, section=RUNS):
        folder.mkdir(parents=True, exist_ok=True)
        self.keys = folder / "airflow-jwks.json"
        self.keys.write_bytes(jwks_of([AIRFLOW_KEY]))
        runs = section.format(airflow=airflow.url, issuer=AIRFLOW_ISS)
        super().__init__(
            folder,
            idp,
            policy=POLICY + ANYBODY,
            settings=SETTINGS.replace("workers: 1", "workers: 2") + runs.replace("{", "{{").replace("}", "}}"),
        )

    def check(self, index, data):
        with grpc.insecure_channel(self.endpoints[index]) as channel:
            return read(channel.unary_unary(CHECK)(data, timeout=10, wait_for_ready=True))

    def ask(self, index, task, key=None, *, by=AIRFLOW_KEY):
        now = int(time.time())
        token = sign(task_claims(task, iat=now, nbf=now, exp=now + 600), by)
        holder = "proxy" if key is None else thumbprint(key)
        target = f"/execution/variables/__run_identity__/v1/{holder}/{described(task)}"
        headers = [("authorization", f"Bearer {token}".encode())]
        return self.check(index, message("GET", target, headers=headers, plane="execution", audience=""))

    def token_of(self, task, key=None):
        answer = self.ask(0, task, key)
        assert answer.http == 200, answer
        return json.loads(json.loads(answer.body)["value"])["token"]

    def call(self, index, token, proof):
        lines = [("x-run-identity", f"DPoP {token}".encode()), ("x-run-proof", proof)]
        told = {"plane": "egress", "host": HOST, "audience": "orders"}
        return self.check(index, message("GET", "/v1/orders", headers=lines, **told))


def proof_of(token):
    """Made a moment from now: a table that was just made takes nothing that may be older than itself."""
    return prove(TASK, token, iat=int(time.time()) + 2, htu=f"http://{HOST}/v1/orders")


@pytest.fixture(scope="module")
def airflow():
    with AirflowSimulator() as made:
        yield made


@pytest.fixture(scope="module")
def gate(tmp_path_factory, airflow):
    with IdP([KEY]) as idp, RunGate(tmp_path_factory.mktemp("runs"), idp, airflow) as made:
        yield made


def test_a_proof_is_good_once_for_all_workers_even_when_one_dies(gate, airflow):
    token = gate.token_of(airflow.add(), TASK)
    first, second = proof_of(token), proof_of(token)
    answer = gate.call(0, token, first)
    assert answer.allowed, answer
    assert answer.set["x-authz-identity"] == "verified"
    assert gate.call(1, token, first).reason == "proof_replayed"
    assert gate.call(1, token, second).allowed
    assert gate.call(0, token, second).reason == "proof_replayed"
    before = gate.workers[0]
    os.kill(before, signal.SIGKILL)
    gate.until(lambda: gate.workers.get(0) not in {None, before}, "nobody takes the place of a killed worker")
    assert gate.call(0, token, first).reason == "proof_replayed"
    assert gate.call(0, token, proof_of(token)).allowed


def test_metrics_readiness_and_records_report_run_identity_without_the_token(gate, airflow):
    task = airflow.add(task_id="counted")
    token = gate.token_of(task, TASK)
    assert gate.call(1, token, proof_of(token)).allowed
    assert gate.metric('authz_checks_total{decision="issue",plane="execution",reason="run_token_issued"}') >= 1
    assert gate.metric('authz_run_calls_total{decision="allow",level="verified"}') >= 1
    assert gate.metric('authz_airflow_questions_total{result="running"}') >= 2
    assert gate.metric("authz_airflow_question_seconds_count") >= 2
    assert 0 < gate.metric("authz_replays_used_ratio") < 0.01
    assert gate.get("/readyz").json()["run_identity"] == {"level": "verified"}
    assert "run identities have assurance level verified at most" in gate.log.read_text()
    gate.until(lambda: any(record.get("level") == "verified" for record in gate.decisions), "no record has a level")
    assert token not in (gate.folder / "decisions.jsonl").read_text()


def test_airflows_key_file_is_read_again_and_a_removed_key_is_refused_as_retired(gate, airflow):
    task = airflow.add(task_id="rotated")
    gate.keys.write_bytes(jwks_of([AIRFLOW_KEY, NEXT_AIRFLOW_KEY]))
    assert gate.ask(1, task, TASK, by=NEXT_AIRFLOW_KEY).http == 200
    gate.keys.write_bytes(jwks_of([NEXT_AIRFLOW_KEY]))
    gate.until(lambda: gate.ask(1, task, TASK).reason == "key_retired", "the key has not retired")
    gate.keys.write_bytes(jwks_of([AIRFLOW_KEY]))
    gate.until(lambda: gate.ask(1, task, TASK).http == 200, "the key is not back")


def test_a_task_token_is_of_an_unknown_issuer_on_inbound_and_egress(gate, airflow):
    now = int(time.time())
    token = sign(task_claims(airflow.add(task_id="inbound"), iat=now, nbf=now, exp=now + 600), AIRFLOW_KEY)
    headers = [("authorization", f"Bearer {token}".encode())]
    for plane in ("inbound", "egress"):
        assert gate.check(0, message("GET", "/api/v2/dags", headers=headers, plane=plane)).reason == "unknown_issuer"


def test_a_gate_whose_tasks_may_reach_the_key_says_why_nothing_is_verified(tmp_path, airflow):
    with IdP([KEY]) as idp, RunGate(tmp_path, idp, airflow, RUNS.replace("  signing_key_isolated: true\n", "")) as gate:
        told = gate.get("/readyz").json()["run_identity"]
        assert told["level"] == "asserted"
        assert "signing_key_isolated" in told["why"]
        assert "run identities have assurance level asserted at most: `signing_key_isolated`" in gate.log.read_text()
        body = json.loads(gate.ask(0, airflow.add(task_id="capped"), TASK).body)
        assert json.loads(body["value"])["level"] == "asserted"
        assert gate.stop() == 0
        assert "Traceback" not in gate.log.read_text()


def test_each_cause_of_a_503_stands_in_the_metrics_under_its_own_word(tmp_path):
    """What `overloaded` and `airflow_unavailable` stood for: each is brought about at a gate that serves."""
    tight = "limits:\n  parked: 1\n  wait: 1500ms\n"
    with AirflowSimulator() as slow, IdP([KEY]) as idp, RunGate(tmp_path, idp, slow, RUNS + tight) as gate:
        go = threading.Event()
        slow.hold(go)
        task, now = slow.add(), int(time.time())
        bearer = sign(task_claims(task, iat=now, nbf=now, exp=now + 600), AIRFLOW_KEY)
        line = [("authorization", f"Bearer {bearer}".encode())]
        places = [f"/execution/variables/__run_identity__/v1/proxy/{described(task, d=f'd{n}')}" for n in range(6)]
        asks = [message("GET", place, headers=line, plane="execution", audience="") for place in places]
        assert answers_of(gate, asks) == {"airflow_unavailable": 4, "tasks_wait_for_airflow": 2}
        go.set()
        idp.misbehave(silence())
        unknown = make_key("ES256", kid="never seen")
        tokens = [a_token(unknown, iss=idp.url, jti=f"{number}").encode() for number in range(3)]
        strangers = [message(headers=[("authorization", b"Bearer " + token)]) for token in tokens]
        found = answers_of(gate, strangers)
        assert found["overloaded"] == 2
        for reason, plane, number in (
            ("airflow_unavailable", "execution", 4),
            ("tasks_wait_for_airflow", "execution", 2),
            ("overloaded", "none", 2),
        ):
            sample = f'authz_checks_total{{decision="deny",plane="{plane}",reason="{reason}"}}'
            assert gate.metric(sample) == number


def answers_of(gate, messages):
    """How many answers have each reason, of calls of one worker that are under way at the same time."""
    with grpc.insecure_channel(gate.endpoints[1]) as channel:
        calls = [channel.unary_unary(CHECK).future(data, timeout=10, wait_for_ready=True) for data in messages]
        return Counter(read(call.result()).reason for call in calls)
