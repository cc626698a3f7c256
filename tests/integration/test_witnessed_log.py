"""A gate whose log is cosigned by witnesses, as real processes: they may be away, hang or lie, and answers go on."""

import os
import shutil
import signal
import subprocess

import pytest

from tests.e2e.envoy_harness import wait_for
from tests.integration.pair_of_workers import KEY
from tests.integration.test_signed_log import AUTHZ, SIGNED, Signed, id_of, pause
from tests.support.simulators.idp import IdP
from tests.support.simulators.witness import Witness, dripping, hanging


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture
def witnesses():
    """Two witnesses that do not know the log yet; the ports stay theirs while they are away."""
    with Witness("witness.example/w1", 1) as one, Witness("witness.example/w2", 2) as two:
        yield one, two


@pytest.fixture
def gate(tmp_path, idp, witnesses):
    with Cosigned(tmp_path, idp, witnesses) as gate:
        yield gate


class Cosigned(Signed):
    def __init__(self, folder, idp, witnesses):
        self.witnesses = witnesses
        listed = ", ".join(f'{{{{key: "{one.key}", url: "{one.url}"}}}}' for one in witnesses)
        settings = SIGNED.replace("audit: {{", f"audit: {{{{quorum: 2, witnesses: [{listed}], ")
        super().__init__(folder, idp, settings)

    @property
    def log_key(self):
        return (self.folder / "audit" / "verifier-keys").read_text().strip()

    def known_to(self, *witnesses):
        for one in witnesses:
            one.logs = [one._log(self.log_key)]

    def log_of(self):
        return self.get("/readyz").json()["log"]

    def problem(self, at):
        return self.log_of()["witnesses"][self.witnesses[at].name].get("problem", "")

    def has_quorum(self, least=1):
        return self.metric("authz_log_witness_records") >= least

    def verified_by_witnesses(self, *options):
        given = [part for one in self.witnesses for part in ("--witness", one.key)]
        command = [AUTHZ, "audit", "verify", self.folder / "audit", "--key", self.log_key, *given, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def requests(gate, result, at=0):
    name = gate.witnesses[at].name
    return gate.metric(f'authz_log_witness_requests_total{{result="{result}",witness="{name}"}}')


def conflict(gate, at=0):
    return gate.metric(f'authz_log_witness_conflict{{witness="{gate.witnesses[at].name}"}}')


def test_answers_go_on_without_witnesses_and_the_log_is_cosigned_when_they_are_back(gate):
    wait_for(lambda: requests(gate, "refused") and requests(gate, "refused", 1), "they are not asked", pause=pause)
    assert "does not know this log" in gate.problem(0)
    one, two = gate.witnesses
    gate.known_to(one)
    two.misbehave(hanging)
    ids = {id_of(gate.check(number % 2)) for number in range(50)}
    wait_for(lambda: requests(gate, "cosigned"), "the one that is well does not cosign", pause=pause)
    wait_for(lambda: requests(gate, "unreachable", 1), "the one that hangs is waited for", pause=pause, seconds=30)
    assert "takes too long" in gate.problem(1)
    assert gate.get("/readyz").status_code == 200
    assert gate.metric("authz_log_witness_records") == 0, "one is no quorum of two"
    assert ids <= gate.logged()
    assert not (gate.folder / "audit" / "witnessed").exists()
    two.behave()
    gate.known_to(two)
    wait_for(gate.has_quorum, "there is no quorum", pause=pause, seconds=60)
    assert gate.problem(0) == gate.problem(1) == ""
    assert gate.log_of()["witnessed"] == gate.metric("authz_log_witness_records")
    assert conflict(gate) == conflict(gate, 1) == 0
    two.misbehave(dripping)
    id_of(gate.check(0))
    assert gate.stop() == 0
    done = gate.verified_by_witnesses()
    assert done.returncode == 0, done.stderr
    assert "cosigned by witness.example/w1 at" in done.stdout


def test_a_killed_writer_goes_on_where_the_witnesses_are(gate):
    gate.known_to(*gate.witnesses)
    for _ in range(3):
        gate.check(0)
        wait_for(gate.has_quorum, "there is no quorum", pause=pause, seconds=60)
        before, writer = gate.metric("authz_log_records"), gate.writer
        os.kill(writer, signal.SIGKILL)
        gate.until_gone([writer])
        wait_for(
            lambda before=before: gate.writer and gate.has_quorum(before), "no quorum any more", pause=pause, seconds=60
        )
    assert gate.stop() == 0
    done = gate.verified_by_witnesses("--ask-witness", gate.witnesses[0].url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(set(one.statuses) <= {200, 404, 409} for one in gate.witnesses)


def test_a_log_that_was_rolled_back_while_the_gate_was_down_is_said_and_the_gate_serves(gate, tmp_path):
    """An old copy of the whole folder is what the log was once: only the witnesses know that it has been more."""
    gate.known_to(*gate.witnesses)
    wait_for(gate.has_quorum, "there is no quorum", pause=pause, seconds=60)
    assert gate.stop() == 0
    folder = gate.folder / "audit"
    shutil.copytree(folder, tmp_path / "old")
    gate.start()
    gate.connect_again()
    gate.check(0)
    assert gate.stop() == 0
    sizes = [next(iter(one.latest.values())).size for one in gate.witnesses]
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "old", folder)
    shutil.rmtree(gate.spool)  # as after a restart of the machine
    gate.start()
    gate.connect_again()
    wait_for(lambda: conflict(gate) and conflict(gate, 1), "no one notices", pause=pause, seconds=60)
    assert "cut or rolled back" in gate.problem(0)
    assert gate.check(0).http == 200
    assert gate.get("/readyz").status_code == 200
    assert gate.stop() == 0
    assert [next(iter(one.latest.values())).size for one in gate.witnesses] == sizes
    assert gate.verified_by_witnesses().returncode == 0, "its own folder cannot show it"
    done = gate.verified_by_witnesses("--ask-witness", gate.witnesses[0].url)
    assert done.returncode == 1
