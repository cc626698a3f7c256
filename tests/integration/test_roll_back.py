"""What this gate has kept, read by the gate before it, and the other way round: an upgrade, and the way back."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support import revisions
from tests.support.simulators.idp import IdP

OURS = Path(sys.executable).with_name("authz")
KEPT = TWO.replace("workers: 2", "workers: 1") + "state: kept\nrevocation: {{file: revoked}}\n"
SIGNED = KEPT.replace(
    "log: {{decisions: decisions.jsonl}}",
    "audit: {{log: audit, keys: [audit.pem], spool: {spool}, checkpoints: {{every: 500ms}}}}",
)
WORD = POLICY + '  - {{id: word, plane: inbound, roles: [viewer], operations: ["variables:change"]}}\n'


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


def before(pinned, folder):
    """The command `authz` of the revision before this one."""
    return revisions.program(revisions.unpacked(revisions.before(pinned), folder / "tree"), folder)


def replaced(gate, program):
    """Another revision takes its place."""
    assert gate.stop() == 0
    gate.program = program
    gate.start()
    gate.connect_again()


def reasons(gate):
    return "\n".join(gate.get("/readyz").json()["reasons"])


def ran(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_either_gate_goes_on_with_the_signed_log_the_revocations_and_the_state_of_the_other(tmp_path, idp):
    old = before(revisions.BEFORE_TAGS_SIGNED, tmp_path)
    settings = SIGNED.replace("{spool}", str(tmp_path / "spool"))
    with Pair(tmp_path / "gate", idp, settings=settings) as gate:
        for number, (program, other) in enumerate(((OURS, old), (old, OURS))):
            ended = gate.token(jti=f"ended-{number}")
            assert gate.check(0, ended).http == 200
            which = ("--settings", gate.settings, "--issuer", "corp", "--jti", f"ended-{number}")
            ran(program, "revoke", *which)
            gate.until(lambda token=ended: gate.check(0, token).http == 401, "it is not revoked")
            replaced(gate, other)
            assert gate.check(0, ended).http == 401
            assert gate.check(0).http == 200
            assert reasons(gate) == ""
            ran(other, "audit", "verify", gate.folder / "audit")


def test_a_gate_that_is_rolled_back_before_its_policy_denies_everything_and_names_the_word(tmp_path, idp):
    old = before(revisions.BEFORE_TAGS, tmp_path)
    with Pair(tmp_path / "gate", idp, settings=KEPT, policy=WORD) as gate:
        if revisions.takes(old, gate.policy.read_text(), tmp_path):
            pytest.skip(f"{revisions.before()} knows the word")
        assert gate.check(0).http == 200
        gate._wait_ready = False
        replaced(gate, old)
        assert "variables:change" in reasons(gate)
        assert gate.get("/readyz").status_code == 503
        assert gate.check(0).http == 503
