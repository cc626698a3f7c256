"""`authz who-can --gate` against a real `authz serve`: before an edit is served, and after."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.gate import Gate
from tests.support.factories.tokens import make_key
from tests.support.simulators.idp import IdP

KEY = make_key("ES256", kid="k1")


@pytest.fixture
def gate(tmp_path):
    with IdP([KEY]) as idp, Gate(tmp_path / "gate", idp) as gate:
        yield gate


def who_can(gate, policy):
    command = [
        Path(sys.executable).with_name("authz"),
        "who-can",
        "pools:read",
        "--policy",
        policy,
        "--gate",
        gate.admin,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_only_the_policy_that_the_gate_serves_has_an_answer(gate, tmp_path):
    served = who_can(gate, gate.policy)
    assert (served.returncode, served.stdout) == (0, "group `data-ops`: yes  (rule operators)\n"), served.stderr
    edited = tmp_path / "edited.yaml"
    edited.write_text(gate.policy.read_text().replace("[data-ops]", "[data-ops, interns]"))
    refused = who_can(gate, edited)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"the gate at {gate.admin} serves revision {gate.get('/readyz').json()['revision'][:12]}" in refused.stderr
    before = gate.get("/readyz").json()["revision"]
    edited.replace(gate.policy)
    gate.until(lambda: gate.get("/readyz").json()["revision"] != before, "the edit is not served")
    answered = who_can(gate, gate.policy)
    assert (answered.returncode, "`interns`" in answered.stdout) == (0, True), answered.stderr
