"""The sink: order, bounds, failures of the writer, logrotate, and the end."""

import errno
import io
import os
import threading
import time

import pytest

from authz.errors import AuditUnavailableError, ConfigError
from authz.sink import DecisionSink
from tests.simulators import PATIENCE_S


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


def until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it never happened"
        threading.Event().wait(0.005)


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
        began = time.monotonic()
        with pytest.raises(AuditUnavailableError, match="10 records wait"):
            sink.put(b"one too many\n")
        assert time.monotonic() - began < 0.1
        assert sink.status().queued == 11
        stream.open.set()
        assert sink.flush(PATIENCE_S)
        sink.put(b"again\n")
        assert sink.flush(PATIENCE_S)
        assert bytes(stream.data).count(b"\n") == 12
        assert b"too many" not in stream.data

    def test_or_counts(self, sink_of):
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
        assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 1, "said once, not at every attempt"

    def test_or_counts(self, sink_of):
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

    def test_a_torn_line_is_begun_anew_in_the_new_file(self, sink_of, tmp_path):
        path = tmp_path / "log"
        sink = sink_of(path)
        sink._torn = 4  # as after a write that took four bytes of the first record
        sink.reopen()
        sink.put(b"whole\n")
        assert sink.flush(PATIENCE_S)
        assert path.read_bytes() == b"whole\n"


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
        until(path.exists)
        sink.put(b"three\n")
        assert sink.flush(PATIENCE_S)
        assert (old.read_bytes(), path.read_bytes()) == (b"one\ntwo\n", b"three\n")

    def test_the_old_file_is_kept_when_the_new_one_cannot_be_opened(self, sink_of, tmp_path, caplog):
        folder = tmp_path / "folder"
        folder.mkdir()
        path = folder / "log"
        sink = sink_of(path)
        moved = tmp_path / "moved"
        folder.rename(moved)
        sink.reopen()
        until(lambda: "cannot be opened again" in caplog.text)
        sink.put(b"x\n")
        assert sink.flush(PATIENCE_S)
        assert (moved / "log").read_bytes() == b"x\n"


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


def test_a_reopened_log_gives_the_turn_back_with_a_line_begun_anew(sink_of, tmp_path):
    path, lock = tmp_path / "log", tmp_path / "lock"
    first, second = sink_of(path, lock=lock), sink_of(path, lock=lock)
    first.put(b"first\n")
    assert first.flush()
    first.reopen()
    second.reopen()
    path.rename(tmp_path / "log.1")
    first.put(b"again\n")
    second.put(b"second\n")
    until(lambda: path.exists() and len(path.read_bytes().splitlines()) == 2)
    assert sorted(path.read_bytes().splitlines()) == [b"again", b"second"]
