"""The process that writes the signed log: what it says while it cannot write, and what it leaves for the next start."""

import errno
import json
import os
import threading

import pytest

from authz import settings
from authz.audit import drain, log, witnesses
from authz.audit.spool import SpoolWriter
from authz.audit.status import read_status
from authz.core.audit import checkpoint
from authz.core.audit.checkpoint import Trust
from authz.core.audit.keys import VerifierKey
from authz.core.errors import ConfigError
from authz.fetching.limits import Limits
from authz.serve import log_writer
from authz.serve.log_writer import LogWriter
from authz.system.clock import SystemClock
from tests.support.rigs.killed_drain import record
from tests.support.simulators.witness import Witness, hanging, status
from tests.support.waiting import wait_for

FILE = """
version: 1
gate: eu-1
assertion: {issuer: "https://gate.test", keys: [assertion.pem]}
audit: {log: audit, keys: [audit.pem], spool: spool, checkpoints: {every: 100ms}}
"""


class Process:
    """The writer in a thread."""

    def __init__(self, folder, text=FILE):
        (folder / "authz.yaml").write_text(text)
        self.settings = settings.load(folder / "authz.yaml")
        self.folder, self.spool = folder / "audit", folder / "spool"
        self.shown, self.over, self.status = [], False, None
        self.writer = LogWriter(self.settings, SystemClock(), self.shown.append)
        self.writer.begin()
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        self.status = self.writer.run(lambda: self.over, 1.0)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_exc):
        self.over = True
        self.thread.join(30)

    def says(self):
        return read_status(self.spool)

    def logged(self):
        lines = (self.folder / "decisions.jsonl").read_bytes().splitlines()
        return [json.loads(line)["id"] for line in lines if b'"type":"decision"' in line]


def failing(number):
    def fail(*_arguments, **_named):
        raise OSError(number, os.strerror(number))

    return fail


def test_records_are_logged_and_signed_and_the_last_checkpoint_is_shown(tmp_path):
    with Process(tmp_path) as process:
        worker = SpoolWriter(process.spool, 0)
        for number in range(20):
            worker.put(record(0, number))
        wait_for(lambda: process.says().signed >= 20)
        worker.close()
    assert process.status == 0
    assert len(process.logged()) == 20
    assert json.loads(process.shown[-1])["checkpoint"] == (process.folder / "checkpoint").read_text()


def test_it_waits_for_the_last_worker_but_not_for_ever(tmp_path):
    with Process(tmp_path) as process:
        worker = SpoolWriter(process.spool, 0)
        process.over = True
        worker.put(record(0, 1))
        wait_for(lambda: (process.folder / "decisions.jsonl").exists() and process.logged())
        assert process.status is None, "a worker may still write"
        process.thread.join(20)
    assert process.status == 0, "it hangs: the next start takes what it writes"
    worker.close()


def test_while_the_disk_is_full_it_says_so_and_goes_on_when_there_is_room(tmp_path, monkeypatch):
    with Process(tmp_path) as process:
        worker = SpoolWriter(process.spool, 0)
        with monkeypatch.context() as patch:
            patch.setattr(log.LineFile, "append", failing(errno.ENOSPC))
            worker.put(record(0, 1))
            wait_for(lambda: process.says().failed)
            assert process.says().failed == "the decision log cannot be written: No space left on device"
            assert process.says().behind
        wait_for(lambda: not process.says().failed)
        wait_for(process.logged)
        worker.close()
    assert process.status == 0


def test_what_cannot_be_logged_at_the_end_is_by_the_next_start(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(log_writer, "_MARGIN_S", 0.3)
    with monkeypatch.context() as patch, Process(tmp_path) as process:
        worker = SpoolWriter(process.spool, 0)
        patch.setattr(log.LineFile, "append", failing(errno.EIO))
        worker.put(record(0, 1))
        worker.close()
        process.over = True
        process.thread.join(20)
    assert process.status == 1
    assert "the next start logs it" in caplog.text
    os.close(process.writer._log._lock)  # as the end of a process does
    with Process(tmp_path) as again:
        pass
    assert again.status == 0
    assert len(again.logged()) == 1


def test_a_position_that_cannot_be_saved_is_tried_again(tmp_path, monkeypatch):
    with Process(tmp_path) as process:
        worker = SpoolWriter(process.spool, 0)
        with monkeypatch.context() as patch:
            patch.setattr(drain, "write_whole", failing(errno.EROFS))
            worker.put(record(0, 1))
            wait_for(lambda: process.says().failed)
        wait_for(lambda: not process.says().failed)
        worker.close()
    assert process.status == 0
    assert len(process.logged()) == 1


def test_a_log_that_was_changed_is_an_error_that_names_the_place(tmp_path):
    with Process(tmp_path) as process:
        worker = SpoolWriter(process.spool, 0)
        worker.put(record(0, 1))
        worker.close()
    path = process.folder / "decisions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id":"0-1"', b'"id":"0-7"'))
    with pytest.raises(ConfigError, match=r"the log cannot be continued: .*decisions.jsonl:\d+: record \d+"):
        LogWriter(process.settings, SystemClock(), print)


def test_a_log_below_a_folder_that_is_missing_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"No such file or directory \(make the folder above"):
        Process(tmp_path, FILE.replace("log: audit", "log: missing/audit"))


def test_another_gates_name_is_another_log(tmp_path):
    with Process(tmp_path):
        pass
    with pytest.raises(ConfigError, match="the log cannot be continued"):
        Process(tmp_path, FILE.replace("eu-1", "eu-2"))


OUTCOMES = FILE.replace("audit.pem],", "audit.pem], access_logs: [access.log],")


def access_line(number):
    return b'{"id":"%024x","status":200,"upstream_host":"10.0.0.1:80","details":"via_upstream"}\n' % number


def test_what_came_of_decisions_is_logged_by_the_same_process(tmp_path):
    access = tmp_path / "access.log"
    with Process(tmp_path, OUTCOMES) as process:
        wait_for(lambda: process.says().unread)
        assert process.says().unread == f"{access}: No such file or directory"
        assert not process.says().failed, "that is a note"
        access.write_bytes(access_line(1) + b"no line of Envoy's\n")
        wait_for(lambda: process.says().outcomes == 1)
        assert (process.says().skipped, process.says().unread, process.says().lost) == (1, "", 0)
        wait_for(lambda: process.says().signed == process.says().size)
    assert process.status == 0
    with Process(tmp_path, OUTCOMES) as again, access.open("ab") as file:
        file.write(access_line(2))
        file.flush()
        wait_for(lambda: again.says().outcomes == 1)
    lines = (process.folder / "decisions.jsonl").read_bytes().splitlines()
    found = [json.loads(line)["decision"] for line in lines if b'"type":"outcome"' in line]
    assert found == [f"{number:024x}" for number in (1, 2)]


def test_access_logs_never_hold_up_records(tmp_path, monkeypatch):
    """However much has come in an access log, each round begins with the records, and reads so much of the other."""
    monkeypatch.setattr(log_writer, "_BUSY_S", 0)
    with Process(tmp_path, OUTCOMES) as process:
        wait_for(lambda: process.says().unread)
        (tmp_path / "access.log").write_bytes(b"".join(map(access_line, range(20_000))))
        worker = SpoolWriter(process.spool, 0)
        for number in range(200):
            worker.put(record(0, number))
        wait_for(lambda: len(process.logged()) == 200)
        lines = (process.folder / "decisions.jsonl").read_bytes().splitlines()
        last = max(at for at, line in enumerate(lines) if b'"type":"decision"' in line)
        before = sum(b'"type":"outcome"' in line for line in lines[:last])
        assert before < 20_000, "records did not wait for all of it"
        wait_for(lambda: process.says().outcomes == 20_000)
        worker.close()


ORIGIN = "gate.test/audit/eu-1"


def witnessed(*served, quorum=1):
    listed = json.dumps([{"key": one.key, "url": one.url} for one in served])
    return FILE.replace("keys: [audit.pem],", f"keys: [audit.pem], quorum: {quorum}, witnesses: {listed},")


@pytest.fixture
def key(tmp_path):
    """The log's verifier key; its private key is there for the writer."""
    return str(log_writer.load_keys([tmp_path / "audit.pem"], ORIGIN)[0].public)


def trusted(key, *served, quorum=1):
    public = tuple(VerifierKey.parse(one.key) for one in served)
    return Trust(log=VerifierKey.parse(key), witnesses=public, quorum=quorum)


def test_what_a_quorum_cosigned_is_kept_and_the_last_checkpoint_is_cosigned_before_the_end(tmp_path, key, monkeypatch):
    monkeypatch.setattr(log_writer, "_LAST_COSIGNATURES_S", 30)
    with Witness("witness.example/w1", 1, [key]) as one, Witness("witness.example/w2", 2, [key]) as two:
        with Process(tmp_path, witnessed(one, two, quorum=2)) as process:
            wait_for(lambda: process.says().witnessed)
            assert {said.name: said.problem for said in process.says().witnesses} == {one.name: "", two.name: ""}
            worker = SpoolWriter(process.spool, 0)
            worker.put(record(0, 1))
            worker.close()
            wait_for(process.logged)
        assert process.status == 0
        found = checkpoint.verify((process.folder / "witnessed").read_bytes(), trusted(key, one, two, quorum=2))
        last = (process.folder / "checkpoint").read_text()
        assert last.startswith(found.checkpoint.text), "the end of the log is covered"
        assert one.latest[ORIGIN].size == found.checkpoint.size


def test_a_disk_that_has_no_room_yet_leaves_the_log_to_the_next_try(tmp_path, monkeypatch):
    """Also where the log could be opened, and only what belongs to it could not be written."""
    with Process(tmp_path):
        pass

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(drain.Drain, "__init__", full)
        with pytest.raises(OSError, match="No space left"):
            Process(tmp_path)
    with Process(tmp_path) as process:  # at once: no one else holds the log
        wait_for(lambda: process.says().signed)


@pytest.mark.parametrize("how", [hanging, status(500)])
def test_a_bad_witness_holds_up_neither_records_nor_the_end(tmp_path, key, how, monkeypatch):
    monkeypatch.setattr(witnesses, "LIMITS", Limits(timeout_s=0.2))
    with Witness("witness.example/w1", 1, [key]) as one:
        one.misbehave(how)
        with Process(tmp_path, witnessed(one)) as process:
            wait_for(lambda: process.says().witnesses[0].problem)
            worker = SpoolWriter(process.spool, 0)
            for number in range(20):
                worker.put(record(0, number))
            wait_for(lambda: process.says().signed >= 20)
            assert (process.says().failed, process.says().witnessed) == ("", 0)
            worker.close()
        assert process.status == 0
        assert not (process.folder / "witnessed").exists()
        one.behave()
        with Process(tmp_path, witnessed(one)) as again:
            wait_for(lambda: again.says().witnessed >= 20)
        assert again.status == 0


def test_a_witnessed_checkpoint_that_cannot_be_written_is_tried_again_and_records_go_on(tmp_path, key, monkeypatch):
    with Witness("witness.example/w1", 1, [key]) as one, Process(tmp_path, witnessed(one)) as process:
        with monkeypatch.context() as patch:
            patch.setattr(log.AuditLog, "keep_witnessed", failing(errno.ENOSPC))
            worker = SpoolWriter(process.spool, 0)
            worker.put(record(0, 1))
            wait_for(process.logged)
            wait_for(lambda: one.latest)
            assert (process.says().failed, process.says().witnessed) == ("", 0)
        wait_for(lambda: process.says().witnessed)
        worker.close()


def test_a_witness_with_a_key_of_the_log_is_refused(tmp_path):
    (made,) = log_writer.load_keys([tmp_path / "audit.pem"], ORIGIN)
    key = VerifierKey("witness.example/w1", 4, made.public.public_key)
    listed = json.dumps([{"key": str(key), "url": "https://w.test"}])
    text = FILE.replace("keys: [audit.pem],", f"keys: [audit.pem], quorum: 1, witnesses: {listed},")
    with pytest.raises(ConfigError, match="have the same public key"):
        Process(tmp_path, text)
