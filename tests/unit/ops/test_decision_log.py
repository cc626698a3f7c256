"""The sink: order, bounds, failures of the writer, logrotate, and the end."""

import errno
import fcntl
import io
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from authz.core.errors import AuditUnavailableError, ConfigError
from authz.ops.decision_log import LONGEST_WAIT_S, DecisionSink, WaitingAge
from tests.support.simulators.idp import PATIENCE_S
from tests.support.waiting import wait_for as until


class Stream:
    """A binary stream that fails, blocks or takes only a few bytes at a time, as told."""

    def __init__(self, *, at_most=1 << 30):
        self.data = bytearray()
        self.at_most = at_most
        self.error = None
        self.attempts = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def write(self, data):
        self.attempts.release()
        assert self.open.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        data = bytes(data[: self.at_most])
        self.data += data
        return len(data)

    def flush(self):
        pass

    def until_tried(self, times=1):
        for _ in range(times):
            assert self.attempts.acquire(timeout=PATIENCE_S)


def current(sink):
    """The number of the file that the next record goes to; asking is what the recorder does before each record."""
    sink.turn()
    return sink.file


@pytest.fixture
def sink_of():
    made = []

    def make(target, **options):
        made.append(DecisionSink(target, **options))
        return made[-1]

    yield make
    for sink in made:
        sink.close(PATIENCE_S)
        assert not sink._thread.is_alive()


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_records_arrive_in_order(sink_of):
    stream = io.BytesIO()
    sink = sink_of(stream)
    lines = [b"%d\n" % n for n in range(3000)]
    for line in lines:
        sink.put(line)
    assert sink.flush(PATIENCE_S)
    assert stream.getvalue() == b"".join(lines)
    status = sink.status()
    assert (status.failed, status.queued, status.written, status.dropped) == ("", 0, 3000, 0)


def test_a_file_is_appended_to_and_private(sink_of, tmp_path):
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(b"before\n")
    sink = sink_of(path)
    sink.put(b"after\n")
    assert sink.flush(PATIENCE_S)
    assert path.read_bytes() == b"before\nafter\n"
    new = tmp_path / "new.jsonl"
    sink_of(new)
    assert new.stat().st_mode & 0o007 == 0


def test_records_arrive_without_a_flush(sink_of):
    stream = Stream()
    sink_of(stream).put(b"x\n")
    stream.until_tried()


def test_standard_output_is_written_through_its_descriptor(sink_of):
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream, os.fdopen(reader, "rb") as source:
        sink = sink_of(stream)
        sink.put(b"x\n")
        assert source.read(2) == b"x\n"
        sink.reopen()
        assert sink.flush(PATIENCE_S)
        assert sink.close(PATIENCE_S) == 0
        assert not stream.closed


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigError, match=r"missing.x: the decision log cannot be opened: No such file"):
        DecisionSink(tmp_path / "missing" / "x")


class TestFull:
    def test_a_full_queue_refuses_and_never_waits(self, sink_of):
        stream = Stream()
        stream.open.clear()
        sink = sink_of(stream, capacity=10)
        sink.put(b"0\n")
        stream.until_tried()
        for n in range(10):
            sink.put(b"%d\n" % n)
        with pytest.raises(AuditUnavailableError, match="10 decision records wait"):
            sink.put(b"one too many\n")  # the stream is shut: who waited for a place would never return
        assert sink.status().queued == 11
        stream.open.set()
        assert sink.flush(PATIENCE_S)
        sink.put(b"again\n")
        assert sink.flush(PATIENCE_S)
        assert bytes(stream.data).count(b"\n") == 12
        assert b"too many" not in stream.data

    def test_a_full_queue_drops_and_counts_with_on_failure_allow(self, sink_of):
        stream = Stream()
        stream.open.clear()
        sink = sink_of(stream, capacity=10, on_failure="allow")
        sink.put(b"0\n")
        stream.until_tried()
        for n in range(15):
            sink.put(b"%d\n" % n)
        assert sink.status().dropped == 5
        stream.open.set()
        assert sink.flush(PATIENCE_S)
        assert sink.status().written == 11


class TestFailing:
    def test_a_full_disk_is_noticed_and_refuses(self, sink_of, caplog):
        stream = Stream()
        stream.error = FULL
        sink = sink_of(stream)
        sink.put(b"first\n")
        stream.until_tried(3)
        assert sink.status().failed == "the decision log cannot be written: No space left on device"
        with pytest.raises(AuditUnavailableError, match="No space left"):
            sink.put(b"second\n")
        assert not sink.flush(0.01)
        assert sink.status().queued >= 1
        said = [record for record in caplog.records if record.getMessage() == sink.status().failed]
        assert len(said) == 1, "said once, not at every attempt"

    def test_a_full_disk_drops_and_counts_with_on_failure_allow(self, sink_of):
        stream = Stream()
        stream.error = FULL
        sink = sink_of(stream, on_failure="allow")
        sink.put(b"first\n")
        stream.until_tried(2)
        sink.put(b"second\n")
        assert sink.status().dropped == 1
        stream.error = None
        assert sink.flush(PATIENCE_S)
        sink.put(b"third\n")
        assert sink.flush(PATIENCE_S)
        assert stream.data == b"first\nthird\n"

    def test_it_recovers_by_itself_and_loses_nothing_that_was_accepted(self, sink_of):
        stream = Stream()
        stream.error = FULL
        sink = sink_of(stream)
        for n in range(5):
            sink.put(b"%d\n" % n)
        stream.until_tried(2)
        stream.error = None
        until(lambda: not sink.status().failed)
        sink.put(b"5\n")
        assert sink.flush(PATIENCE_S)
        assert stream.data == b"0\n1\n2\n3\n4\n5\n"

    def test_the_real_full_device(self, sink_of, tmp_path):
        """ENOSPC from the kernel; recovery when the name leads to a disk with room, as after a SIGHUP."""
        path = tmp_path / "decisions.jsonl"
        path.symlink_to("/dev/full")
        sink = sink_of(path)
        sink.put(b"kept\n")
        until(lambda: sink.status().failed)
        with pytest.raises(AuditUnavailableError):
            sink.put(b"refused\n")
        path.unlink()
        sink.reopen()
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b"kept\n"
        assert sink.status().failed == ""

    def test_a_reader_that_went_away(self, sink_of):
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") as stream:
            sink = sink_of(stream)
            sink.put(b"x\n")
            until(lambda: sink.status().failed)
            with pytest.raises(AuditUnavailableError, match="Broken pipe"):
                sink.put(b"y\n")
            assert sink.close(PATIENCE_S) == 1

    def test_a_slow_reader_of_a_non_blocking_pipe_is_no_failure(self, sink_of):
        stream = Stream()
        stream.error = BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        sink = sink_of(stream)
        sink.put(b"x\n")
        stream.until_tried(3)
        assert sink.status().failed == ""
        stream.error = None
        assert sink.flush(PATIENCE_S)
        assert stream.data == b"x\n"

    @pytest.mark.parametrize("at_most", [1, 3, 7])
    def test_writes_that_take_a_part_are_continued(self, sink_of, at_most):
        stream = Stream(at_most=at_most)
        sink = sink_of(stream)
        lines = [b"record %d\n" % n for n in range(50)]
        for line in lines:
            sink.put(line)
        assert sink.flush(PATIENCE_S)
        assert stream.data == b"".join(lines)


class TestReopening:
    def test_logrotate(self, sink_of, tmp_path):
        path, old = tmp_path / "log", tmp_path / "log.1"
        sink = sink_of(path)
        sink.put(b"one\n")
        assert sink.flush(PATIENCE_S)
        path.rename(old)
        sink.put(b"two\n")
        assert sink.flush(PATIENCE_S)
        sink.reopen()
        until(lambda: current(sink) == 2)
        sink.put(b"three\n")
        assert sink.flush(PATIENCE_S)
        assert (old.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")

    @pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
    def test_a_file_that_loses_its_name_is_opened_again_without_a_signal(self, sink_of, tmp_path, how):
        path, old = tmp_path / "log", tmp_path / "old"
        sink = sink_of(path)
        sink.put(b"before\n")
        assert sink.flush(PATIENCE_S)
        {"removed": path.unlink, "renamed": lambda: path.rename(old), "replaced": lambda: replace(path)}[how]()
        until(lambda: current(sink) == 2)
        sink.put(b"after\n")
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b"after\n"

    def test_nothing_is_accepted_while_it_cannot_be_opened_under_its_name(self, sink_of, tmp_path, caplog):
        folder, moved = tmp_path / "folder", tmp_path / "moved"
        folder.mkdir()
        sink = sink_of(folder / "log")
        folder.rename(moved)
        sink.reopen()
        until(lambda: sink.status().failed)
        with pytest.raises(AuditUnavailableError, match="cannot be opened again: No such file"):
            sink.put(b"x\n")
        assert caplog.text.count("cannot be opened again") == 1
        moved.rename(folder)
        until(lambda: not sink.status().failed)
        sink.put(b"y\n")
        assert sink.flush(PATIENCE_S)
        assert (folder / "log").read_bytes() == b"y\n"

    def test_a_signal_wakes_an_idle_writer(self, sink_of, tmp_path, monkeypatch):
        """What is accepted after logrotate's signal belongs into the new file: the old one is compressed soon."""
        monkeypatch.setattr("authz.ops.decision_log._IDLE_S", 3600.0)  # it does not look by itself
        path = tmp_path / "log"
        sink = sink_of(path)
        until(lambda: sink._asleep)
        path.rename(tmp_path / "log.1")
        sink.reopen()
        until(lambda: current(sink) == 2)


def replace(path):
    other = path.with_name("other")
    other.touch()
    other.replace(path)


class TestFilesInTurn:
    """A line is in the file that was current when it was accepted: what it refers to is in that file too."""

    def moved(self, sink, path, to):
        """The file gets another name, and the writer has opened the next one."""
        path.rename(to)
        sink.reopen()
        until(lambda: sink.offers)

    def test_the_next_file_begins_when_it_is_asked_for_and_not_before(self, sink_of, tmp_path):
        path, old = tmp_path / "log", tmp_path / "log.1"
        sink = sink_of(path)
        assert current(sink) == 1
        self.moved(sink, path, old)
        sink.put(b"asked before\n")  # the writer opened the next file between the question and the line
        assert current(sink) == 2
        sink.put(b"asked after\n")
        assert sink.flush(PATIENCE_S)
        assert (old.read_bytes(), path.read_bytes()) == (b"asked before\n", b"asked after\n")

    def test_what_waits_goes_to_the_old_file_which_stays_open(self, tmp_path, sink_of):
        path, old, lock = tmp_path / "log", tmp_path / "log.1", tmp_path / "lock"
        sink = sink_of(path, lock=lock)
        with lock.open("rb+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)  # another process writes: ours waits
            sink.put(b"one\n")
            self.moved(sink, path, old)
            sink.put(b"two\n")
            assert current(sink) == 2
            sink.put(b"three\n")
        assert sink.flush(PATIENCE_S)
        assert (old.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")

    def test_a_file_that_is_moved_before_it_has_a_line_is_closed(self, tmp_path, sink_of):
        path = tmp_path / "log"
        sink = sink_of(path)
        self.moved(sink, path, tmp_path / "log.1")
        unused = sink.offers[0]
        path.rename(tmp_path / "log.2")
        sink.reopen()
        until(path.exists)
        until(lambda: sink.offers and sink.offers[0] is not unused)
        assert current(sink) == 3
        sink.put(b"x\n")
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b"x\n"
        with pytest.raises(OSError, match="Bad file descriptor"):
            unused.target.size()

    def test_three_files_in_the_queue_at_once(self, tmp_path, sink_of):
        path, lock = tmp_path / "log", tmp_path / "lock"
        sink = sink_of(path, lock=lock)
        with lock.open("rb+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            for number in (1, 2, 3):
                assert current(sink) == number
                sink.put(b"%d\n" % number)
                self.moved(sink, path, tmp_path / f"log.{number}")
        assert sink.flush(PATIENCE_S)
        assert [(tmp_path / f"log.{number}").read_bytes() for number in (1, 2, 3)] == [b"1\n", b"2\n", b"3\n"]

    def test_lines_of_a_removed_file_go_to_the_next_one(self, tmp_path, sink_of):
        """Law 2: what is written to a file without a name is lost."""
        path, lock = tmp_path / "log", tmp_path / "lock"
        sink = sink_of(path, lock=lock)
        with lock.open("rb+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            sink.put(b"one\n")
            path.unlink()
            sink.reopen()
            until(lambda: sink.offers)
            sink.put(b"two\n")
        assert sink.flush(PATIENCE_S)
        assert current(sink) == 2
        sink.put(b"three\n")
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b"one\ntwo\nthree\n"

    def test_a_file_that_was_emptied_is_another_one(self, tmp_path, sink_of):
        """As logrotate's `copytruncate` does it."""
        path = tmp_path / "log"
        sink = sink_of(path)
        sink.put(b"one\n")
        assert sink.flush(PATIENCE_S)
        sink._files.target.is_in_place()  # seen with its line
        os.truncate(path, 0)
        sink.reopen()
        until(lambda: current(sink) == 2)
        sink.put(b"two\n")
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b"two\n"

    def test_an_offer_that_the_writer_takes_back_is_not_taken(self, tmp_path, sink_of):
        sink = sink_of(tmp_path / "log")

        class TakenBack(list):
            def popleft(self):
                raise IndexError  # between the look and the grip

        sink.offers = TakenBack([object()])
        assert current(sink) == 1

    def test_a_closed_sink_has_no_file_open(self, tmp_path):
        path = tmp_path / "log"
        sink = DecisionSink(path)
        self.moved(sink, path, tmp_path / "log.1")
        offered = sink.offers[0]
        assert sink.close(PATIENCE_S) == 0
        for target in (offered.target, sink._files.target):
            with pytest.raises(OSError, match="Bad file descriptor"):
                target.size()


class TestStalled:
    """A write that never returns reports nothing: the watch does."""

    @pytest.mark.parametrize("on_failure", ["deny", "allow"])
    def test_a_pipe_that_is_not_read_is_a_failure_after_some_seconds(self, sink_of, on_failure, caplog):
        reader, writer = os.pipe()
        with os.fdopen(writer, "wb") as stream, os.fdopen(reader, "rb", 0) as source:
            sink = sink_of(stream, on_failure=on_failure)
            sink.put(b"x" * (1 << 20) + b"\n")
            until(lambda: sink.status().failed)
            assert sink.status().failed.startswith("the decision log takes no records: the oldest has waited for")
            assert sink.status().oldest_s > LONGEST_WAIT_S
            if on_failure == "deny":
                with pytest.raises(AuditUnavailableError, match="takes no records"):
                    sink.put(b"y\n")
            else:
                sink.put(b"y\n")
                assert sink.status().dropped == 1
            received = b""
            while not received.endswith(b"\n"):
                received += source.read(1 << 20)
            until(lambda: not sink.status().failed)
            sink.put(b"z\n")
            assert source.read(10) == b"z\n"
            assert sink.flush(PATIENCE_S)
            assert sink.status().oldest_s < LONGEST_WAIT_S
        assert "takes records again" in caplog.text

    def test_another_process_that_keeps_the_turn_is_a_failure_after_some_seconds(self, sink_of, tmp_path):
        lock = tmp_path / "lock"
        sink = sink_of(tmp_path / "log", lock=lock)
        with lock.open("rb+") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            sink.put(b"x\n")
            until(lambda: sink.status().failed)
            with pytest.raises(AuditUnavailableError, match="takes no records"):
                sink.put(b"y\n")
        until(lambda: not sink.status().failed)
        assert sink.flush(PATIENCE_S)
        assert (tmp_path / "log").read_bytes() == b"x\n"

    def test_a_slow_target_that_keeps_up_is_no_failure(self):
        age = WaitingAge()
        looks = [age.look(now, written=now * 10, waiting=20) for now in range(100)]
        assert max(looks) <= 2

    def test_the_age_is_that_of_the_oldest_and_not_of_the_last_write(self):
        age = WaitingAge()
        assert [age.look(now, written=now, waiting=100) for now in range(5)] == [0, 1, 2, 3, 4]
        assert age.look(5, written=100, waiting=4) == 5 - 1
        assert age.look(6, written=104, waiting=0) == 0


class TestThreads:
    """No thread ends unseen."""

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
    def test_a_lock_that_fails_is_a_failure_like_any_other(self, sink_of, tmp_path, monkeypatch, number):
        fails = threading.Event()
        fails.set()
        flock = fcntl.flock

        def failing(descriptor, how):
            if fails.is_set():
                raise OSError(number, os.strerror(number))
            flock(descriptor, how)

        monkeypatch.setattr("authz.ops.log_target.fcntl.flock", failing)
        sink = sink_of(tmp_path / "log", lock=tmp_path / "lock")
        sink.put(b"x\n")
        until(lambda: sink.status().failed)
        with pytest.raises(AuditUnavailableError, match=os.strerror(number)):
            sink.put(b"y\n")
        fails.clear()
        until(lambda: not sink.status().failed)
        assert (tmp_path / "log").read_bytes() == b"x\n"

    def test_a_bug_in_the_writer_is_a_failure_and_it_goes_on(self, sink_of, caplog):
        stream = Stream()
        stream.error = ValueError("a bug")
        sink = sink_of(stream)
        sink.put(b"x\n")
        until(lambda: sink.status().failed)
        with pytest.raises(AuditUnavailableError, match=r"internal error \(ValueError\)"):
            sink.put(b"y\n")
        stream.error = None
        until(lambda: not sink.status().failed)
        assert stream.data == b"x\n"
        assert "Traceback" in caplog.text

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_a_writer_that_ended_is_seen(self, sink_of):
        stream = Stream()
        stream.error = SystemExit()  # the one exception that ends a thread without a word
        sink = sink_of(stream)
        sink.put(b"x\n")
        until(lambda: "has ended" in sink.status().failed)
        with pytest.raises(AuditUnavailableError, match="has ended"):
            sink.put(b"y\n")

    def test_refused_records_are_reported_with_their_number_and_not_one_by_one(self, sink_of, caplog):
        stream = Stream()
        stream.error = FULL
        sink = sink_of(stream)
        sink.put(b"first\n")
        until(lambda: sink.status().failed)
        for _ in range(1000):
            with pytest.raises(AuditUnavailableError):
                sink.put(b"refused\n")
        until(lambda: "checks were denied" in caplog.text)
        lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert len(lines) == 2
        assert lines[1].endswith(" checks were denied: the decision log cannot be written: No space left on device")
        stream.error = None
        assert sink.flush(PATIENCE_S)


class TestNoFile:
    """What stands in the place of the file, and is none."""

    def test_a_fifo_is_refused_at_once(self, tmp_path):
        os.mkfifo(tmp_path / "log")
        with pytest.raises(ConfigError, match="it is a FIFO, not a regular file"):
            DecisionSink(tmp_path / "log")

    def test_a_folder_and_a_socket_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="a folder"):
            DecisionSink(tmp_path)
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(str(tmp_path / "log"))
            with pytest.raises(ConfigError, match="a socket"):
                DecisionSink(tmp_path / "log")

    def test_a_fifo_that_takes_the_place_later_is_a_failure(self, sink_of, tmp_path):
        path = tmp_path / "log"
        sink = sink_of(path)
        path.unlink()
        os.mkfifo(path)
        sink.reopen()
        until(lambda: sink.status().failed)
        with pytest.raises(AuditUnavailableError, match="a FIFO"):
            sink.put(b"x\n")

    def test_dev_null_takes_records(self, sink_of):
        sink = sink_of(Path("/dev/null"))
        sink.put(b"x\n")
        assert sink.flush(PATIENCE_S)


class TestEnding:
    def test_what_waits_is_written_first(self, tmp_path):
        path = tmp_path / "log"
        sink = DecisionSink(path)
        for _ in range(2000):
            sink.put(b"x\n")
        assert sink.close(PATIENCE_S) == 0
        assert path.read_bytes() == b"x\n" * 2000
        with pytest.raises(AuditUnavailableError, match="closed"):
            sink.put(b"late\n")

    def test_what_cannot_be_written_is_counted(self):
        stream = Stream()
        stream.error = FULL
        sink = DecisionSink(stream)
        for _ in range(3):
            sink.put(b"x\n")
        assert sink.close(PATIENCE_S) == 3

    def test_a_writer_that_hangs_does_not_hang_the_end(self):
        stream = Stream()
        stream.open.clear()
        sink = DecisionSink(stream)
        sink.put(b"x\n")
        stream.until_tried()
        began = time.monotonic()
        assert sink.close(0.05) == 1
        assert time.monotonic() - began < 2
        stream.open.set()
        sink._thread.join(PATIENCE_S)


# --- several processes, one target


def test_whole_lines_only_on_a_pipe_that_two_share(sink_of, tmp_path):
    """Lines longer than a pipe holds: without the lock they would be cut by each other's."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb", 0) as one, os.fdopen(os.dup(writer), "wb", 0) as two:
        sinks = [sink_of(stream, lock=tmp_path / "lock") for stream in (one, two)]
        for number in range(20):
            for letter, sink in zip(b"ab", sinks, strict=True):
                sink.put(bytes([letter]) * (100_000 + number) + b"\n")
        lines = []
        with os.fdopen(reader, "rb") as lines_of_both:
            while len(lines) < 40:
                lines.append(lines_of_both.readline())
        assert all(sink.flush() for sink in sinks)
    assert all(len(set(line)) == 2 for line in lines), "one letter and the newline"
    assert sorted(map(len, lines)) == sorted([100_001 + number for number in range(20)] * 2)


def test_a_torn_line_is_made_whole_before_another_process_writes(sink_of, tmp_path):
    stream = Stream(at_most=3)
    first = sink_of(stream, lock=tmp_path / "lock")
    stream.open.clear()
    first.put(b"first\n")
    stream.until_tried()
    second = sink_of(stream, lock=tmp_path / "lock")
    second.put(b"second\n")
    stream.open.set()
    assert first.flush(PATIENCE_S)
    assert second.flush(PATIENCE_S)
    assert stream.data == b"first\nsecond\n"


def test_a_turn_is_given_back_when_a_write_fails(sink_of, tmp_path):
    broken, good = Stream(), Stream()
    broken.error = OSError(errno.ENOSPC, "full")
    first = sink_of(broken, lock=tmp_path / "lock")
    first.put(b"first\n")
    broken.until_tried(2)
    second = sink_of(good, lock=tmp_path / "lock")
    second.put(b"second\n")
    assert second.flush(PATIENCE_S)
    broken.error = None


def test_two_reopened_sinks_with_one_lock_both_write_after_a_rename(sink_of, tmp_path):
    path, lock = tmp_path / "log", tmp_path / "lock"
    first, second = sink_of(path, lock=lock), sink_of(path, lock=lock)
    first.put(b"first\n")
    assert first.flush()
    path.rename(tmp_path / "log.1")
    first.reopen()
    second.reopen()
    until(lambda: (current(first), current(second)) == (2, 2))
    first.put(b"again\n")
    second.put(b"second\n")
    until(lambda: path.exists() and len(path.read_bytes().splitlines()) == 2)
    assert sorted(path.read_bytes().splitlines()) == [b"again", b"second"]


class TestTornLines:
    """Real files: a limit on their size ends a write within a line, as a full disk does. In processes of their own."""

    CHILD = """
import os, pathlib, resource, sys
from authz.ops.decision_log import DecisionSink
folder, letter = pathlib.Path(sys.argv[1]), sys.argv[2].encode()
sink = DecisionSink(folder / "log", lock=folder / "lock")
print("ready", flush=True)
for order in sys.stdin:
    word, number = order.split()
    if word == "limit":
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(number) if number != "none" else hard, hard))
    elif word == "put":
        sink.put(letter * int(number) + b"\\n")
    elif word == "flush":
        print(sink.flush(float(number)), flush=True)
    elif word == "failed":
        print(bool(sink.status().failed), flush=True)
"""

    @pytest.fixture
    def writer(self, tmp_path):
        made = []

        def start(letter):
            command = [sys.executable, "-c", self.CHILD, str(tmp_path), letter]
            made.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            assert made[-1].stdout.readline() == "ready\n"

            def tell(order, *, answers=False):
                child.stdin.write(order + "\n")
                child.stdin.flush()
                return child.stdout.readline().strip() if answers else None

            child = made[-1]
            return tell

        yield start
        for child in made:
            child.kill()
            child.communicate()

    def torn(self, tell, path):
        """One whole line, and then one that is torn."""
        tell("limit 15")
        tell("put 9")
        assert tell("flush 10", answers=True) == "True"
        tell("put 20")
        until(lambda: tell("failed 0", answers=True) == "True")
        assert path.stat().st_size == 15

    def test_the_writer_that_tore_a_line_finishes_it_if_no_other_wrote_since(self, writer, tmp_path):
        one, path = writer("a"), tmp_path / "log"
        self.torn(one, path)
        one("limit none")
        assert one("flush 10", answers=True) == "True"
        assert path.read_bytes().split(b"\n") == [b"a" * 9, b"a" * 20, b""]

    def test_a_writer_that_tore_a_line_gives_the_turn_back_and_another_ends_the_line(self, writer, tmp_path):
        one, two, path = writer("a"), writer("b"), tmp_path / "log"
        self.torn(one, path)
        two("put 3")
        assert two("flush 10", answers=True) == "True", "the turn was given back"
        one("limit none")
        assert one("flush 10", answers=True) == "True"
        assert path.read_bytes().split(b"\n") == [b"a" * 9, b"a" * 5, b"bbb", b"a" * 20, b""]

    def test_a_line_that_a_dead_process_left_torn_is_ended_by_the_next(self, sink_of, tmp_path):
        path = tmp_path / "log"
        path.write_bytes(b'{"id":')
        sink = sink_of(path)
        sink.put(b"whole\n")
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b'{"id":\nwhole\n'
