"""A gate that signs its log, as real processes: what an answer promises is in the log, whichever process is killed."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest

from authz.core.edge import META_DECISION
from authz.engine.contract import CHECK
from tests.e2e.envoy_harness import wait_for, whole_lines
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.rigs.service import message, read
from tests.support.simulators.idp import IdP

SIGNED = TWO.replace(
    "log: {{decisions: decisions.jsonl}}",
    "audit: {{log: audit, keys: [audit.pem], spool: {spool}, checkpoints: {{every: 500ms}}}}\n"
    "revocation: {{file: revoked}}",
)
AUTHZ = Path(sys.executable).with_name("authz")
pause = threading.Event().wait


class Signed(Pair):
    """Two workers and the log's writer."""

    def __init__(self, folder, idp, settings=SIGNED, **options):
        self.spool = folder / "spool"
        settings = settings.replace("{spool}", str(self.spool))
        super().__init__(folder, idp, settings=settings, **options)

    def records(self):
        files = sorted((self.folder / "audit").glob("decisions*.jsonl"))
        return [line for path in files for line in whole_lines(path)]

    def entries(self, event):
        """The entries of the log about this."""
        return [record for record in self.records() if record.get("event") == event]

    def logged(self):
        return {record["id"] for record in self.records() if record["type"] == "decision"}

    def verified(self):
        """What `authz audit verify` says."""
        done = subprocess.run(
            [AUTHZ, "audit", "verify", self.folder / "audit"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture
def gate(tmp_path, idp):
    with Signed(tmp_path, idp) as gate:
        yield gate


def id_of(answer):
    return answer.metadata[META_DECISION]


class Load(threading.Thread):
    """Asks one worker without a pause, and keeps the ids of all answers that allow."""

    def __init__(self, gate, index):
        super().__init__()
        self.endpoint, self.ids, self.over = gate.endpoints[index], [], False
        self.asked = message(headers=[("authorization", f"Bearer {gate.token()}".encode())])

    def run(self):
        while not self.over:
            with contextlib.suppress(grpc.RpcError), grpc.insecure_channel(self.endpoint) as channel:
                call = channel.unary_unary(CHECK)
                while not self.over:  # until the worker is killed
                    answer = read(call(self.asked, timeout=10))
                    self.ids += [id_of(answer)] if answer.http == 200 else []

    def more(self, count):
        """Wait for so many more answers."""
        wanted = len(self.ids) + count
        wait_for(lambda: len(self.ids) >= wanted, "no answers come", pause=pause, seconds=30)


@contextlib.contextmanager
def load(gate):
    made = [Load(gate, index) for index in range(2)]
    for one in made:
        one.start()
    try:
        yield made
    finally:
        for one in made:
            one.over = True
        for one in made:
            one.join()


def test_every_answer_is_in_the_log_and_the_log_verifies(gate):
    ids = {id_of(gate.check(number % 2)) for number in range(50)}
    wait_for(lambda: ids <= gate.logged(), "records are not logged", pause=pause)
    assert gate.stop() == 0
    assert "verified" in gate.verified()
    assert [record["event"] for record in gate.records() if record["type"] == "log"][-1] == "stop"
    assert not (gate.folder / "decisions.jsonl").exists()


def test_no_answer_is_missing_whichever_process_is_killed(gate):
    """Worker and writer are killed in turn under load, then the supervisor; each answer that left is logged once."""
    with load(gate) as made:
        for turn in range(6):
            victim = gate.writer if turn % 2 == 0 else gate.workers[turn // 2 % 2]
            os.kill(victim, signal.SIGKILL)
            gate.until_gone([victim])
            wait_for(lambda: gate.writer and len(gate.workers) == 2, "it is not replaced", pause=pause)
            for one in made:
                one.more(20)
        gate.kill()
        for one in made:
            one.over = True
    gate.verified()
    found = [record["id"] for record in gate.records() if record["type"] == "decision"]
    assert len(found) == len(set(found)), "each is there once"
    assert {name for one in made for name in one.ids} <= set(found)
    gate.start()
    gate.connect_again()
    last = id_of(gate.check(0))
    assert gate.stop() == 0
    assert last in gate.logged()
    gate.verified()


def test_a_gate_that_ends_while_its_writer_is_away_has_logged_all(gate):
    """The writer was killed a moment before SIGTERM: another one logs what is left, before the gate ends."""
    os.kill(gate.writer, signal.SIGSTOP)
    ids = {id_of(gate.check(number % 2)) for number in range(20)}
    os.kill(gate.writer, signal.SIGKILL)
    assert gate.stop() == 0
    assert ids <= gate.logged()
    assert gate.entries("stop")
    gate.verified()


@pytest.mark.parametrize("writer_too", [False, True], ids=["supervisor", "supervisor and writer"])
def test_a_gate_that_is_started_while_the_one_before_still_drains_waits_for_it(gate, writer_too):
    """`kill -9`, and the next one starts at once: same log, same spool, same numbers of workers."""
    before = {id_of(gate.check(number % 2)) for number in range(10)}
    slow, writer = gate.workers[0], gate.writer
    os.kill(slow, signal.SIGSTOP)  # it drains until the next gate has to wait for it

    def go_on():
        try:
            # As long as the gate may take to start: on a busy machine it gets there late.
            wait_for(lambda: "another process holds" in gate.log.read_text(), "no one waits", pause=pause, seconds=60)
        finally:
            os.kill(slow, signal.SIGCONT)

    going = threading.Thread(target=go_on)
    if writer_too:
        os.kill(writer, signal.SIGKILL)
    gate.process.kill()
    gate.process.wait()
    going.start()
    try:
        gate.start()
    finally:
        going.join()
    gate.connect_again()
    after = {id_of(gate.check(number % 2)) for number in range(10)}
    assert gate.stop() == 0
    found = [record["id"] for record in gate.records() if record["type"] == "decision"]
    assert len(found) == len(set(found)), "each is there once"
    assert before | after <= set(found)
    gate.verified()


def test_a_writer_that_stands_still_is_noticed_and_nothing_is_allowed_until_it_goes_on(gate):
    gate.check(0)
    writer = gate.writer
    os.kill(writer, signal.SIGSTOP)
    try:
        for index in range(2):
            wait_for(lambda index=index: gate.check(index).http == 503, "it is not noticed", pause=pause, seconds=20)
        ready = httpx.get(f"{gate.admin}/readyz")
        assert ready.status_code == 503
        assert "the log's writer has said nothing" in ready.text
    finally:
        os.kill(writer, signal.SIGCONT)
    wait_for(lambda: gate.check(0).http == 200, "it does not go on", pause=pause, seconds=20)


def test_allow_counts_what_it_could_not_record_and_the_log_says_so(tmp_path, idp):
    settings = SIGNED.replace("audit: {{", "audit: {{on_failure: allow, ")
    with Signed(tmp_path, idp, settings) as gate:
        gate.check(0)
        writer = gate.writer
        os.kill(writer, signal.SIGSTOP)
        try:
            wait_for(lambda: gate.check(0).http == 200 and dropped(gate), "nothing is counted", pause=pause, seconds=20)
        finally:
            os.kill(writer, signal.SIGCONT)
        wait_for(lambda: gate.entries("gap"), "no gap", pause=pause)
        count = dropped(gate)
        assert gate.stop() == 0
        assert counted_in_gaps(gate) == count
        assert {one["worker"] for one in gate.entries("gap")} == {0}
        gate.verified()


def counted_in_gaps(gate):
    return sum(one["count"] for one in gate.entries("gap"))


def dropped(gate):
    return gate.metric("authz_sink_dropped_total")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(disk):
    with (disk / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize(("on_failure", "http"), [("deny", 503), ("allow", 200)])
def test_a_disk_that_is_full_at_the_start_is_waited_for(tmp_path, idp, small_disk, on_failure, http):
    settings = SIGNED.replace("audit: {{log: audit,", f"audit: {{{{on_failure: {on_failure}, log: {small_disk}/audit,")
    (tmp_path / "audit").symlink_to(small_disk / "audit")
    fill(small_disk)
    with Signed(tmp_path, idp, settings, ready=False) as gate:
        wait_for(lambda: gate.check(0).http == http, "the answer is another", pause=pause, seconds=20)
        assert "No space left on device" in gate.get("/readyz").text
        (small_disk / "fill").unlink()
        wait_for(lambda: gate.get("/readyz").status_code == 200, "it does not recover", pause=pause, seconds=20)
        wait_for(lambda: gate.check(0).http == 200 and gate.logged(), "no record", pause=pause)
        wait_for(lambda: counted_in_gaps(gate) == dropped(gate), "the log does not say so", pause=pause)
        assert (dropped(gate) > 0) == (on_failure == "allow")
        assert gate.stop() == 0
        gate.verified()


def test_an_older_copy_of_the_log_is_not_continued_after_its_disk_was_full(tmp_path, idp, small_disk):
    settings = SIGNED.replace("audit: {{log: audit,", f"audit: {{{{log: {small_disk}/audit,")
    (tmp_path / "audit").symlink_to(small_disk / "audit")
    with Signed(tmp_path, idp, settings) as gate:
        shutil.copytree(small_disk / "audit", tmp_path / "older")
        gate.check(0)
        wait_for(gate.logged, "no record", pause=pause)
        gate.stop()
    shutil.rmtree(small_disk / "audit")
    shutil.copytree(tmp_path / "older", small_disk / "audit")
    fill(small_disk)
    with Signed(tmp_path, idp, settings, ready=False) as gate:
        wait_for(lambda: gate.check(0).http == 503, "the answer is another", pause=pause, seconds=20)
        (small_disk / "fill").unlink()
        wait_for(lambda: "it is another log, or an older copy" in gate.log.read_text(), "it goes on", pause=pause)
        assert gate.check(0).http == 503


def test_a_log_that_was_changed_is_not_continued_and_the_gate_does_not_start(tmp_path, idp):
    with Signed(tmp_path, idp) as gate:
        gate.check(0)
        gate.stop()
    path = gate.folder / "audit" / "decisions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"allow"', b'"deny" '))
    done = subprocess.run(
        [AUTHZ, "serve", "--settings", gate.settings], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "the log cannot be continued" in done.stderr
    assert "decisions.jsonl:" in done.stderr


def test_the_checkpoint_is_on_standard_output_in_readyz_and_in_the_metrics(gate):
    count = len({id_of(gate.check(0)) for _ in range(5)})
    wait_for(lambda: len(gate.logged()) == count, "records are not logged", pause=pause)

    def all_are_signed():
        return gate.metric("authz_log_records") == gate.metric("authz_log_checkpoint_records") > count

    wait_for(all_are_signed, "there is no checkpoint", pause=pause)
    head = (gate.folder / "audit" / "checkpoint").read_text()
    shown = httpx.get(f"{gate.admin}/readyz").json()["log"]
    assert shown == {"records": len(gate.records()), "checkpoint": head}
    root = base64.b64decode(head.splitlines()[2])
    assert gate.metric("authz_log_checkpoint_root") == int.from_bytes(root[:6])
    assert gate.metric("authz_log_checkpoint_timestamp_seconds") == pytest.approx(time.time(), abs=30)
    assert gate.metric("authz_log_failed") == gate.metric("authz_log_writer_restarts_total") == 0
    assert gate.stop() == 0
    printed = [json.loads(line) for line in gate.log.read_text().splitlines() if line.startswith('{"v": 1')]
    assert printed[-1]["checkpoint"] == (gate.folder / "audit" / "checkpoint").read_text()


def test_what_decides_is_in_the_log_beside_the_decisions(gate):
    """The policies of both workers, and a subject that an operator revoked, once."""
    old = {(one["worker"], one["revision"]) for one in gate.entries("policy")}
    assert len({revision for _, revision in old}) == 1
    assert {worker for worker, _ in old} == {0, 1}
    gate.policy.write_text(gate.policy.read_text().replace("pools:*", "pools:read"))
    wait_for(lambda: len(gate.entries("policy")) == 4, "no new policy", pause=pause)
    command = [AUTHZ, "revoke", "--settings", gate.settings, "--issuer", "corp", "--subject", "mallory"]
    subprocess.run(command, check=True, timeout=30, capture_output=True)
    wait_for(lambda: gate.entries("revocation"), "no revocation", pause=pause)
    assert gate.stop() == 0
    [revocation] = gate.entries("revocation")
    assert (revocation["kind"], revocation["issuer"], revocation["value"]) == ("subject", gate.idp.url, "mallory")


def test_an_access_log_that_cannot_be_read_is_a_note_and_the_gate_is_ready(tmp_path, idp):
    settings = SIGNED.replace("keys: [audit.pem],", "keys: [audit.pem], access_logs: [access.log],")
    with Signed(tmp_path, idp, settings) as gate:
        absent = f"{tmp_path}/access.log: No such file or directory"
        wait_for(lambda: gate.get("/readyz").json()["log"].get("unread") == absent, "it is not said", pause=pause)
        assert gate.get("/readyz").status_code == 200
        assert gate.metric("authz_log_outcomes_unread") == 1
        decision = id_of(gate.check(0))
        (tmp_path / "access.log").write_text(json.dumps({"id": decision, "status": 200, "flags": "UF"}) + "\n{}\n")
        wait_for(lambda: gate.metric("authz_log_outcomes_total") == 1, "it is not read", pause=pause)
        wait_for(lambda: gate.metric("authz_log_outcomes_skipped_total") == 1, "it is not counted", pause=pause)
        assert "unread" not in gate.get("/readyz").json()["log"]
        assert gate.stop() == 0
        (outcome,) = [record for record in gate.records() if record["type"] == "outcome"]
        assert (outcome["decision"], outcome["ended_by"]) == (decision, "envoy")
        gate.verified()
