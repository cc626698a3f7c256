"""Tasks that call out through two real workers: a token of one is good at the other, and a proof is good once at both.

Whatever happens to the workers meanwhile: one that is killed in the middle, or the whole gate that starts again.
"""

import json
import os
import signal
import threading
import time

import grpc
import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.factories.proofs import prove, task_key, thumbprint
from tests.support.factories.tokens import jwks_of, sign
from tests.support.rigs.run import AIRFLOW_ISS, AIRFLOW_KEY, HOST, described, task_claims
from tests.support.simulators.airflow import AirflowSimulator
from tests.support.simulators.idp import IdP

TASK = task_key("worker")
URL = f"http://{HOST}/v1/orders"
RULES = (
    "rules:\n  - {{id: runs, plane: egress, roles: [authenticated], hosts: [orders.internal], paths: [/v1/orders]}}\n"
)
OPEN = POLICY.replace("rules:\n", RULES)
assert OPEN != POLICY


class Runs(Pair):
    """Two workers that know an Airflow, and one task that runs there."""

    def __init__(self, folder, idp, airflow):
        folder.joinpath("airflow-jwks.json").write_bytes(jwks_of([AIRFLOW_KEY]))
        section = {
            "airflow": airflow.url,
            "issuer": AIRFLOW_ISS,
            "jwks_file": "airflow-jwks.json",
            "signing_key_isolated": True,
        }
        text = json.dumps(section).replace("{", "{{").replace("}", "}}")
        super().__init__(folder, idp, settings=f"{TWO}run_identity: {text}\n", policy=OPEN)
        self.task = airflow.add()

    def ask_identity(self, index):
        """The token that the worker gives to the task."""
        now = int(time.time())
        token = sign(task_claims(self.task, iat=now, nbf=now, exp=now + 600), AIRFLOW_KEY, {"typ": "JWT"})
        target = f"/execution/variables/__run_identity__/v1/{thumbprint(TASK)}/{described(self.task)}"
        answer = self.check(index, token, target=target, plane="execution", audience="")
        assert answer.http == 200, answer
        return json.loads(json.loads(answer.body)["value"])["token"]

    def proof(self, token):
        return prove(TASK, token, htu=URL, iat=int(time.time()))

    def call(self, index, token, proof):
        """What a call is answered with: None where it is let through, else the reason."""
        headers = [("x-run-identity", f"DPoP {token}".encode()), ("x-run-proof", proof)]
        parts = {"plane": "egress", "host": HOST, "audience": "", "destination": "orders"}
        answer = self.check(index, headers=headers, target="/v1/orders", **parts)
        assert answer.http in {200, 401} or answer.reason == "replay_cache_locked", answer.reason
        return None if answer.http == 200 else answer.reason


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    with IdP([KEY]) as idp, AirflowSimulator() as airflow, Runs(folder, idp, airflow) as runs:
        token = runs.ask_identity(0)
        wait_for(
            lambda: runs.call(0, token, runs.proof(token)) is None,
            "a new table refuses what may be older than it is, for a second",
            pause=time.sleep,
        )
        yield runs


def test_a_proof_is_good_once_at_all_workers_together(runs):
    token = runs.ask_identity(0)
    proofs = [runs.proof(token) for _ in range(200)]
    answers = {0: [], 1: []}
    together = threading.Barrier(2)

    def calls(index):
        for proof in proofs:
            together.wait(10)
            answers[index].append(runs.call(index, token, proof))

    threads = [threading.Thread(target=calls, args=(index,)) for index in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pair in zip(answers[0], answers[1], strict=True):
        assert pair.count(None) == 1
        # On a busy machine the worker that is first may be held up with the lock, for longer than the other waits.
        assert set(pair) - {None} <= {"proof_replayed", "replay_cache_locked"}
    assert len(answers[0]) == len(proofs)


def test_a_worker_that_is_killed_takes_nothing_with_it(runs):
    token = runs.ask_identity(1)
    proofs = [runs.proof(token) for _ in range(2000)]
    used, sent = [], []
    enough = threading.Event()

    def calls():
        for proof in proofs:
            sent.append(proof)
            try:
                if runs.call(0, token, proof) is None:
                    used.append(proof)
            except grpc.RpcError:
                return
            if len(used) == 50:
                enough.set()

    caller = threading.Thread(target=calls)
    caller.start()
    assert enough.wait(20)
    old = runs.workers[0]
    os.kill(old, signal.SIGKILL)
    caller.join(30)
    runs.until(lambda: runs.workers.get(0) not in {None, old} and runs.is_ready(), "the worker is replaced")
    runs.connect_again()
    assert len(used) >= 50
    for index in (0, 1):
        assert {runs.call(index, token, proof) for proof in used} == {"proof_replayed"}
    for proof in sent:  # one of them may have got no answer: it is good once more at most
        answers = [runs.call(index, token, proof) for index in (0, 1, 0)]
        assert answers.count(None) <= (0 if proof in used else 1)
    assert runs.call(0, token, runs.proof(token)) is None


def test_a_gate_that_starts_again_takes_no_proof_from_before(runs):
    token = runs.ask_identity(0)
    used, unused = runs.proof(token), runs.proof(token)
    assert runs.call(0, token, used) is None
    assert runs.stop() == 0
    assert "Traceback" not in runs.log.read_text(), "the workers' last words are their metrics"
    runs.start()
    runs.connect_again()
    for index in (0, 1):
        assert runs.call(index, token, used) == "proof_replayed"
        assert runs.call(index, token, unused) == "proof_replayed", "it may have been used: nobody can know"
    runs.until(lambda: runs.call(1, token, runs.proof(token)) is None, "a proof from now on is taken")
