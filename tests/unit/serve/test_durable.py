"""With `audit.durability: machine` no answer leaves before its record is on the disk: the service as it is wired."""

import errno
import os
import threading
from pathlib import Path

import grpc
import pytest

from authz import settings
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
"""
ASKED = message()


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

    def ask(self):
        return read(self.call(ASKED, timeout=20, wait_for_ready=True))

    def later(self):
        return self.call.future(ASKED, timeout=20)

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
        assert not any(answer.done() for answer in answers), "one left before the disk had it"
        may.set()
        assert {read(answer.result()).http for answer in answers} == {401}
        assert len([path for path in synced if "worker-0" in path]) < 5, "one sync is for all that wait"


@pytest.mark.parametrize(("on_failure", "http"), [("deny", 503), ("allow", 401)])
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
        assert running.ask().http == 401
        assert running.app.sink.status().failed == ""
        assert segments(worker_folder(running.spool, 0))[-1] > before[-1], "the segment is not used any more"
