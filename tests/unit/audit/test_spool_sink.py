"""What a worker hands over: accepted is in the spool; refused, or counted and said, is what cannot be."""

import errno
import json
import os
import shutil
import threading

import pytest

from authz.audit.spool import announce, made_spool, segment_path, segments, worker_folder
from authz.audit.spool_sink import SpoolSink
from authz.audit.status import SILENT_S, LogStatus, read_status, write_status
from authz.core.errors import AuditUnavailableError, ConfigError
from authz.core.record import Event
from tests.support.simulators.idp import SimClock
from tests.support.waiting import wait_for

LINE = b'{"worker":3,"id":"%d"}\n'


@pytest.fixture
def clock():
    return SimClock()


@pytest.fixture
def spool(in_memory):
    made_spool(in_memory / "spool")
    return in_memory / "spool"


@pytest.fixture
def opened(spool, clock):
    made = []

    def opened(**options):
        sink = SpoolSink(spool, 3, gate="eu-1", clock=clock, **options)
        sink._over.set()  # the test looks by itself
        sink._thread.join()
        made.append(sink)
        return sink

    yield opened
    for sink in made:
        sink.close()


def lines(spool):
    folder = worker_folder(spool, 3)
    data = b"".join(segment_path(folder, number).read_bytes() for number in segments(folder))
    return [json.loads(line) for line in data.splitlines()]


def whole(spool):
    """Lines that have their newline."""
    folder = worker_folder(spool, 3)
    return [line for number in segments(folder) for line in segment_path(folder, number).read_bytes().split(b"\n")[:-1]]


def test_what_is_accepted_is_in_the_spool(opened, spool):
    sink = opened()
    assert sink.put(LINE % 1) is True
    assert lines(spool) == [{"worker": 3, "id": "1"}]
    assert sink.status().written == 1
    assert sink.close() == 0
    with pytest.raises(AuditUnavailableError, match="closed"):
        sink.put(LINE % 2)


def test_a_later_file_is_offered_once_and_taken_between_two_records(opened, spool):
    sink = opened()
    sink.put(LINE % 1)
    announce(spool, 4)
    sink._look()
    sink._look()
    assert (len(sink.offers), sink.file) == (1, 1)
    sink.turn()
    assert (len(sink.offers), sink.file) == (0, 4)
    sink.put(LINE % 2)
    assert segments(worker_folder(spool, 3)) == [100000000, 400000000]


def test_a_worker_that_starts_writes_for_the_file_that_was_announced(opened, spool):
    announce(spool, 7)
    assert opened().file == 7


def test_nothing_is_accepted_while_the_log_cannot_be_written(opened, spool, clock):
    sink = opened()
    write_status(spool, LogStatus(beat=clock.monotonic(), failed="the disk is full"))
    sink._look()
    with pytest.raises(AuditUnavailableError, match="the disk is full"):
        sink.put(LINE % 1)
    assert sink.status().failed == "the disk is full"
    write_status(spool, LogStatus(beat=clock.monotonic()))
    sink._look()
    sink.put(LINE % 2)
    assert [line["id"] for line in lines(spool)] == ["2"]


def test_nothing_is_accepted_when_the_writer_is_silent_for_too_long(opened, spool, clock):
    sink = opened()
    clock.advance(SILENT_S)
    sink._look()
    sink.put(LINE % 1)
    clock.advance(0.1)
    sink._look()
    with pytest.raises(AuditUnavailableError, match="has said nothing for 5 s"):
        sink.put(LINE % 2)


def test_a_status_that_cannot_be_read_is_none(spool):
    assert read_status(spool) is None
    (spool / "status").write_bytes(b'{"beat":')
    assert read_status(spool) is None
    (spool / "status").write_bytes(b'{"other": 1}')
    assert read_status(spool) is None


def test_with_allow_the_gap_is_in_the_log_before_the_next_record(opened, spool, clock):
    sink = opened(on_failure="allow")
    write_status(spool, LogStatus(beat=clock.monotonic(), failed="the disk is full"))
    sink._look()
    assert [sink.put(LINE % number) for number in range(3)] == [False] * 3
    assert sink.status().dropped == 3
    sink._refusal = ""
    assert sink.put(LINE % 9) is True
    gap, record = lines(spool)
    assert (gap["event"], gap["worker"], gap["count"], gap["reason"]) == ("gap", 3, 3, "the disk is full")
    assert record["id"] == "9"
    sink.put(LINE % 10)
    assert len(lines(spool)) == 3, "a gap is said once"


def test_a_gap_is_logged_without_another_record(opened, spool, clock):
    sink = opened(on_failure="allow")
    write_status(spool, LogStatus(beat=clock.monotonic(), failed="the disk is full"))
    sink._look()
    sink.put(LINE % 1)
    sink._look()
    assert lines(spool) == [] if segments(worker_folder(spool, 3)) else True
    write_status(spool, LogStatus(beat=clock.monotonic()))
    sink._look()
    assert [line["count"] for line in lines(spool)] == [1]


def test_a_gap_is_counted_once_when_there_is_room_for_a_part_of_what_follows(opened, spool, monkeypatch):
    sink = opened(on_failure="allow")
    sink._refusal = "the disk is full"
    sink.put(LINE % 1)
    sink._refusal = ""
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: write(to, data[:-3] if b'"id"' in data else data))
    assert sink.put(LINE % 2) is False
    monkeypatch.undo()
    assert sink.put(LINE % 3) is True
    gaps = [json.loads(line) for line in whole(spool) if b"gap" in line]
    assert sum(gap["count"] for gap in gaps) == 2


def test_a_gap_is_in_the_spool_when_the_gate_ends_before_records_can_be_logged_again(opened, spool, clock):
    sink = opened(on_failure="allow")
    write_status(spool, LogStatus(beat=clock.monotonic(), failed="the disk is full"))
    sink._look()
    sink.put(LINE % 1)
    sink.close()
    assert [line["count"] for line in lines(spool)] == [1]


def test_a_full_spool_refuses_and_an_entry_that_is_lost_is_a_gap(opened, spool, clock, monkeypatch):
    sink = opened()

    def full(*_arguments):
        raise AuditUnavailableError("64 segments of records wait to be logged")

    monkeypatch.setattr(sink._writer, "put", full)
    with pytest.raises(AuditUnavailableError, match="64 segments"):
        sink.put(LINE % 1)
    assert sink.status().failed == "64 segments of records wait to be logged", "`/readyz` names it"
    clock.advance(SILENT_S + 0.1)
    write_status(spool, LogStatus(beat=clock.monotonic()))
    assert sink.status().failed == "", "a gate that is asked no more because of it would else never serve again"
    sink.enter(Event.POLICY, revision="r", by="")
    sink._look()
    monkeypatch.undo()
    sink._look()
    assert [(line["event"], line["count"]) for line in lines(spool)] == [("gap", 1)]


def test_entries_come_from_any_thread(opened, spool):
    sink = opened()
    threads = [threading.Thread(target=lambda: [sink.enter(Event.POLICY, revision="r", by="") for _ in range(50)])]
    for thread in threads:
        thread.start()
    for number in range(50):
        sink.put(LINE % number)
    for thread in threads:
        thread.join()
    assert len(lines(spool)) == 100


def test_a_place_that_is_no_folder_is_an_error_that_names_it(in_memory, clock):
    (in_memory / "file").touch()
    with pytest.raises(ConfigError, match="records cannot be handed over here"):
        SpoolSink(in_memory / "file", 0, gate="eu-1", clock=clock)


def test_the_thread_follows_what_the_writer_says(spool, clock):
    sink = SpoolSink(spool, 3, gate="eu-1", clock=clock)
    write_status(spool, LogStatus(beat=clock.monotonic(), failed="the disk is full"))
    wait_for(lambda: sink.status().failed == "the disk is full")
    sink.close()


def test_a_spool_that_was_removed_takes_nothing(opened, spool):
    sink = opened()
    sink.put(LINE % 1)
    shutil.rmtree(spool)
    sink._look()
    with pytest.raises(AuditUnavailableError, match="the spool was removed"):
        sink.put(LINE % 2)


def test_a_status_of_a_time_before_the_machine_was_restarted_says_nothing(opened, spool, clock):
    write_status(spool, LogStatus(beat=clock.monotonic() + 1000))
    sink = opened()
    sink._look()
    with pytest.raises(AuditUnavailableError, match="has not begun"):
        sink.put(LINE % 1)


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(("name", "number"), [("listdir", errno.ENOENT), ("open", errno.EMFILE)])
def test_a_segment_that_cannot_be_begun_refuses_the_record_and_keeps_the_descriptors(  # noqa: PLR0917 cases
    opened, spool, monkeypatch, durable, name, number
):
    sink = opened(durable=durable)
    sink.put(LINE % 1)
    before = sink._writer._descriptor, [*sink._writer._left]
    sink._writer.begin_anew()

    def fails(*_arguments, **_named):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fails)
        with pytest.raises(AuditUnavailableError, match="cannot be handed over"):
            sink.put(LINE % 2)
        sink.enter(Event.POLICY, revision="r", by="")
        sink._look()
    assert (sink._writer._descriptor, sink._writer._left) == before
    sink._look()
    sink.put(LINE % 3)
    assert [line["id"] for line in lines(spool) if "id" in line] == ["1", "3"]
    assert [line["count"] for line in lines(spool) if "count" in line] == [1]
