"""With `durability: machine` the spool is in the log's folder, so a disk that is full is full for both."""

import errno
import socket
from pathlib import Path

import pytest

from authz import settings
from authz.audit import spool
from authz.audit.spool_sink import SpoolSink
from authz.serve import log_writer
from authz.serve.log_writer import LogWriter, say_unwritable
from authz.serve.supervisor import log_process
from authz.system.clock import SystemClock
from tests.unit.serve.test_log_writer import FILE, failing

ON_DISK = FILE.replace(" spool: spool,", " durability: machine, on_failure: allow,")


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "authz.yaml").write_text(ON_DISK)
    made = settings.load(tmp_path / "authz.yaml")
    LogWriter(made, SystemClock(), lambda _text: None)._log.close()
    assert Path(made.spool).parent == tmp_path / "audit"
    return made


def test_a_full_disk_that_has_the_spool_too_is_waited_for(loaded, monkeypatch):
    """Else a restart on a full disk takes Airflow away, also where `on_failure` is `allow`."""
    monkeypatch.setattr(log_writer, "write_status", failing(errno.ENOSPC))
    monkeypatch.setattr(spool, "write_whole", failing(errno.ENOSPC))
    monkeypatch.setattr(log_writer, "AuditLog", failing(errno.ENOSPC))
    error = OSError(errno.ENOSPC, "No space left on device")
    assert "No space left" in say_unwritable(Path(loaded.spool), SystemClock(), error)


def test_a_spool_on_a_full_disk_is_no_mistake_in_the_settings(loaded, monkeypatch):
    monkeypatch.setattr(spool, "write_whole", failing(errno.ENOSPC))
    LogWriter(loaded, SystemClock(), lambda _text: None)._log.close()  # what is there is not written again
    (Path(loaded.spool) / spool._ID).unlink()
    with pytest.raises(OSError, match=r"No space left") as told:
        LogWriter(loaded, SystemClock(), lambda _text: None)
    assert told.value.errno in log_writer.NOT_NOW


def test_the_process_ends_at_the_end_while_it_waits(loaded, monkeypatch):
    class Ending:
        asked = 0

        @property
        def now(self):
            Ending.asked += 1
            return Ending.asked > 2

    monkeypatch.setattr(log_process, "_RETRY_S", 0.0)
    monkeypatch.setattr(log_writer, "AuditLog", failing(errno.ENOSPC))
    here, there = socket.socketpair()
    with here, there:
        assert log_process._opened(loaded, Ending(), log_process._Listens(there)) is None
        there.close()
        assert here.recv(100) == log_process.LISTENING, "it is said once"


def test_the_log_is_opened_also_when_the_end_comes_first(loaded):
    """One that takes the place of another at the end still has to log what the workers left."""
    ending = log_process._Ending()
    ending.set()
    here, there = socket.socketpair()
    with here, there:
        writer = log_process._opened(loaded, ending, log_process._Listens(there))
    assert isinstance(writer, LogWriter)
    writer._log.close()


def test_a_worker_starts_while_the_disk_of_its_spool_is_full(loaded, monkeypatch):
    monkeypatch.setattr(spool, "write_whole", failing(errno.ENOSPC))
    sink = SpoolSink(Path(loaded.spool), 0, gate="eu-1", clock=SystemClock(), on_failure="allow", durable=True)
    try:
        assert sink.status().written == 0
        assert sink.put(b'{"v":1}\n')
        assert (sink.status().written, sink.status().dropped) == (1, 0)
    finally:
        sink.close()
