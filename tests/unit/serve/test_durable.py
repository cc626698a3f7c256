"""With `audit.durability: machine` no answer leaves before its record is on the disk: the service as it is wired."""

import errno
import os
import threading
from pathlib import Path

import grpc
import pytest

from authz import settings
from authz.audit import spool_sync
from authz.audit.spool import segment_path, segments, worker_folder
from authz.engine.contract import CHECK
from authz.serve.app import App
from authz.serve.log_writer import LogWriter
from authz.system.clock import SystemClock
from tests.support.rigs.service import POLICY, message, read
from tests.support.waiting import wait_for

FILE = """
version: 1
workers: 1
listen: ["unix:{folder}/authz.sock"]
admin: {{listen: "unix:{folder}/admin.sock"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
audit: {{log: audit, keys: [audit.pem], durability: machine, on_failure: {on_failure}}}
shutdown: {{drain_delay: 1ms}}
limits: {{wait: 20s}}
"""
ALLOWED, DENIED = message(target="/api/v2/monitor/health"), message()


class Running:
    """One worker, and the log's writer in a thread of its own."""

    def __init__(self, folder, on_failure="deny"):
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "authz.yaml").write_text(FILE.format(folder=folder, on_failure=on_failure))
        made = settings.load(folder / "authz.yaml")
        self.spool = folder / "audit" / "spool"
        self.writer = LogWriter(made, SystemClock(), lambda _text: None)
        self.writer.begin()
        self.app = App(made)
        self.over = False
        self.threads = [
            threading.Thread(target=self.writer.run, args=(lambda: self.over, 5.0)),
            threading.Thread(target=self.app.run),
        ]
        self.channel = grpc.insecure_channel(f"unix:{folder}/authz.sock")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.call = self.channel.unary_unary(CHECK)
        self.ask()
        return self

    def __exit__(self, *_exc):
        self.channel.close()
        self.app.engine.stop()
        self.threads[1].join()
        self.over = True
        self.threads[0].join()

    def ask(self, asked=ALLOWED):
        return read(self.call(asked, timeout=20, wait_for_ready=True))

    def later(self):
        return self.call.future(ALLOWED, timeout=20)

    def accepted(self):
        folder = worker_folder(self.spool, 0)
        return sum(segment_path(folder, one).read_bytes().count(b'"type":"decision"') for one in segments(folder))


def test_an_answer_waits_until_its_record_is_on_the_disk(tmp_path, monkeypatch):
    may, sync, synced = threading.Event(), os.fdatasync, []

    def slow(descriptor):
        if threading.current_thread().name == "spool-sync":
            assert may.wait(20)
            synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    with Running(tmp_path) as running:
        before = running.accepted()
        monkeypatch.setattr(os, "fdatasync", slow)
        answers = [running.later() for _ in range(5)]
        wait_for(lambda: running.accepted() == before + 5)
        assert running.ask(DENIED).http == 401, "a denial does not wait; the allows before it still do"
        assert not any(answer.done() for answer in answers), "one left before the disk had it"
        may.set()
        assert {read(answer.result()).http for answer in answers} == {200}
        assert 1 <= len([path for path in synced if "/worker-0/" in path]) < 5, "one sync is for all that wait"


@pytest.mark.parametrize(("on_failure", "http"), [("deny", 503), ("allow", 200)])
def test_a_record_that_does_not_reach_the_disk(tmp_path, monkeypatch, on_failure, http):
    sync = os.fdatasync

    def broken(descriptor):
        if threading.current_thread().name == "spool-sync":
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    with Running(tmp_path, on_failure) as running:
        before = segments(worker_folder(running.spool, 0))
        monkeypatch.setattr(os, "fdatasync", broken)
        assert running.ask().http == http
        assert running.app.sink.status().failed == "records do not reach the disk: Input/output error"
        monkeypatch.undo()
        assert running.ask().http == 200
        assert segments(worker_folder(running.spool, 0))[-1] > before[-1], "the segment is not used any more"


def test_a_record_beside_a_sync_that_failed_is_not_safe_by_the_next_one(tmp_path, monkeypatch):
    """The system may have dropped its bytes with the others', and says nothing about them the second time."""
    may, began, sync = threading.Event(), threading.Event(), os.fdatasync
    outcomes = iter([OSError(errno.EIO, "Input/output error")])

    def first_fails(descriptor):
        if threading.current_thread().name == "spool-sync":
            began.set()
            assert may.wait(20)
            if (error := next(outcomes, None)) is not None:
                raise error
        sync(descriptor)

    with Running(tmp_path) as running:
        before = running.accepted()
        monkeypatch.setattr(os, "fdatasync", first_fails)
        first = running.later()
        assert began.wait(20)
        second = running.later()
        wait_for(lambda: running.accepted() == before + 2)
        may.set()
        assert [read(answer.result()).http for answer in (first, second)] == [503, 503]
        assert running.ask().http == 200


def test_with_too_many_that_wait_the_next_one_is_refused(tmp_path, monkeypatch):
    with Running(tmp_path) as running:
        monkeypatch.setattr(spool_sync, "MOST_WAITING", 0)
        assert running.ask().http == 503
