"""The state folder of a real `authz serve`: what served before a restart serves after it."""

import contextlib
import os
import subprocess
import sys
import threading

import pytest

from authz.system.state_folder import Item, StateFolder
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.simulators.idp import IdP

WITH_STATE = TWO + "state: kept\n"
FAILS = "tests:\n  - {who: anonymous, request: GET /api/v2/dags, expect: allow}\n"
BROKEN = POLICY.replace("roles: [viewer]", "roles: [veiwer]")

FULL = pytest.mark.full  # `make test` runs one of each kind of restart


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


class Restarted(Pair):
    """A gate that serves once, ends, and is started again in another world."""

    def __init__(self, folder, idp, *, workers=2, **options):
        settings = options.pop("settings", WITH_STATE).replace("workers: 2", f"workers: {workers}")
        super().__init__(folder, idp, settings=settings, **options)
        self.count = workers

    def check_all(self):
        return [self.check(index) for index in range(self.count)]

    @contextlib.contextmanager
    def ended(self):
        """The gate has served and ended; what happens inside happens before it starts again."""
        assert {answer.http for answer in self.check_all()} == {200}
        wait_for(lambda: len(self.kept()) == 2, f"not kept: {self.kept()}", pause=threading.Event().wait)
        self.stop()
        yield
        self.start()
        self.connect_again()

    def kept(self):
        folder = self.folder / "kept"
        return sorted(path for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []

    def reasons(self):
        return "\n".join(self.get("/readyz").json()["reasons"])


@pytest.mark.parametrize("workers", [pytest.param(1, marks=FULL), 2])
def test_with_a_dead_provider_a_restart_serves_with_known_keys(tmp_path, idp, workers):
    with Restarted(tmp_path, idp, workers=workers) as gate:
        with gate.ended():
            idp.misbehave(lambda handler: handler.send_error(500))
        gate.until(
            lambda: gate.reasons().count("kept from before the restart, are in use: ") == workers, "it is not said"
        )
        assert {answer.http for answer in gate.check_all()} == {200}
        assert gate.get("/readyz").status_code == 200
        assert "keys of issuer corp: those from 2" in gate.reasons()
        idp.behave()
        gate.until(lambda: gate.reasons() == "", "the provider is back and nobody notices")


@FULL
def test_beyond_max_stale_kept_keys_are_not_used(tmp_path, idp):
    with Restarted(tmp_path, idp) as gate:
        with gate.ended():
            idp.misbehave(lambda handler: handler.send_error(500))
            [keys] = [path.name for path in gate.kept() if path.name.startswith("keys-")]
            state = StateFolder(tmp_path / "kept")
            item = state.read(keys, 1 << 20)
            old = item.about["fetched_at"] - 25 * 3600
            state.keep(keys, Item(about={**item.about, "fetched_at": old}, data=item.data))
            gate._wait_ready = False
        gate.until(lambda: "`keys.max_stale` is 86400 s" in gate.reasons(), "it is not said")
        assert {answer.http for answer in gate.check_all()} == {503}


@pytest.mark.parametrize(
    "spoil", ["broken", *(pytest.param(one, marks=FULL) for one in ("missing", "fifo", "test fails"))]
)
def test_with_a_broken_policy_a_restart_serves_the_old_one(tmp_path, idp, spoil):
    with Restarted(tmp_path, idp) as gate:
        revision = gate.get("/readyz").json()["revision"]
        good = gate.policy.read_text()
        with gate.ended():
            gate.policy.unlink()
            if spoil == "broken":
                gate.policy.write_text(BROKEN.format(issuer=idp.url))
            elif spoil == "fifo":
                os.mkfifo(gate.policy)
            elif spoil == "test fails":
                gate.policy.write_text(good + FAILS)
        told = f"the policy {revision[:12]}, in force since 2"
        gate.until(lambda: gate.reasons().count(told) == 2, "it is not said")
        assert {answer.http for answer in gate.check_all()} == {200}
        answer = gate.get("/readyz")
        assert (answer.status_code, answer.json()["revision"]) == (200, revision)
        assert gate.metric('authz_policy_reloads_total{result="restored"}') == 2
        assert gate.metric('authz_policy_reloads_total{result="ok"}') == 0
        draft = gate.policy.with_suffix(".new")
        draft.write_text(good)
        draft.replace(gate.policy)
        gate.until(lambda: gate.reasons() == "", "the policy is whole again and nobody notices")


@FULL
@pytest.mark.parametrize("which", ["policy", "keys-"])
def test_what_was_changed_in_the_state_is_not_used(tmp_path, idp, which):
    with Restarted(tmp_path, idp) as gate:
        with gate.ended():
            gate.policy.write_text(BROKEN.format(issuer=idp.url))
            idp.misbehave(lambda handler: handler.send_error(500))
            [path] = [path for path in gate.kept() if path.name.startswith(which)]
            data = bytearray(path.read_bytes())
            data[-10] ^= 1
            path.write_bytes(data)
            gate._wait_ready = False
        said = "it is not what was written there (its checksum differs)"
        assert {answer.http for answer in gate.check_all()} == {503}  # also waits until the workers serve
        gate.until(lambda: said in gate.reasons(), "it is not said")
        assert gate.get("/readyz").status_code == 503


@FULL
def test_the_folder_and_its_files_are_for_the_gates_account_alone(tmp_path, idp):
    with Restarted(tmp_path, idp) as gate:
        with gate.ended():
            pass
        assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
        assert [path.name[:5] for path in gate.kept()] == ["keys-", "polic"]
        assert {path.stat().st_mode & 0o777 for path in gate.kept()} == {0o600}
        assert gate.reasons() == ""


@FULL
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_gate_on_the_folder_does_not_start_and_says_who_has_it(tmp_path, idp, workers):
    with Restarted(tmp_path, idp, workers=workers) as gate:
        second = subprocess.run(
            [sys.executable, "-m", "authz", "serve", "--settings", gate.settings],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 2
        assert f"another gate has the folder {tmp_path / 'kept'}: pid {gate.process.pid} on " in second.stderr
        assert "give each gate a folder of its own" in second.stderr
        assert {answer.http for answer in gate.check_all()} == {200}


@FULL
@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_that_becomes_unwritable_is_reported_and_tried_again(tmp_path, idp, workers):
    with Restarted(tmp_path, idp, workers=workers) as gate:
        wait_for(lambda: len(gate.kept()) == 2, "not kept", pause=threading.Event().wait)
        (tmp_path / "kept").chmod(0o750)
        gate.policy.write_text(gate.policy.read_text() + "# newer\n")
        gate.until(lambda: "policy cannot be kept, tried again" in gate.reasons(), "it is not said")
        assert "\nauthz_state_failed 1.0" in gate.get("/metrics").text
        assert {answer.http for answer in gate.check_all()} == {200}
        (tmp_path / "kept").chmod(0o700)
        gate.until(lambda: "cannot be kept" not in gate.reasons(), "it was not tried again")
        assert "\nauthz_state_failed 0.0" in gate.get("/metrics").text
