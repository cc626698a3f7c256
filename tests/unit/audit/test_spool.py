"""The hand-over from workers to the log: each record once, whoever is killed when; what cannot be taken is refused."""

import contextlib
import errno
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from itertools import count

import pytest

from authz.audit import drain
from authz.audit.drain import POSITION, Drain
from authz.audit.spool import (
    MOST_SEGMENTS,
    SpoolWriter,
    announce,
    current_file,
    has_writers,
    made_spool,
    segment_path,
    segments,
    worker_folder,
    workers,
)
from authz.audit.status import LogStatus, write_status
from authz.core.errors import AuditBrokenError, AuditUnavailableError
from tests.support.factories.written_logs import findings, lines_of, opened
from tests.support.rigs.killed_drain import RECORDS, put_all, record
from tests.support.simulators.idp import SimClock

RIG = "tests.support.rigs.killed_drain"


@pytest.fixture
def place(in_memory):
    made_spool(in_memory / "spool")
    return in_memory


class Reader:
    """A reader with its log."""

    def __init__(self, place):
        self.folder = place / "audit"
        self.log = opened(self.folder)
        try:
            self.drain = Drain(place / "spool", self.folder, self.log, SimClock(), turn_s=2)
        except AuditBrokenError:
            self.die()
            raise

    def finish(self):
        """Take what is there, and end."""
        self.drain.finish()
        self.log.close()

    def die(self):
        """End as a killed process does."""
        os.close(self.log._lock)


def logged(folder):
    """Worker and number of each record of the log, in their order."""
    ids = [re.search(rb'"id":"(\d+)-(\d+)"', line) for line in lines_of(folder)]
    return [tuple(map(int, found.groups())) for found in ids if found]


def of_worker(folder, worker):
    return [number for one, number in logged(folder) if one == worker]


def test_only_names_that_a_worker_writes_are_workers_and_segments(tmp_path):
    own = worker_folder(tmp_path, 1)
    own.mkdir()
    worker_folder(tmp_path, "\u0661").mkdir()
    segment_path(own, 7).touch()
    segment_path(own, 8).with_name(segment_path(own, 8).name.replace("8", "\u0668")).touch()
    assert workers(tmp_path) == [1]
    assert segments(own) == [7]


def test_records_of_all_workers_are_in_the_log_once_and_in_their_order(place):
    reader = Reader(place)
    writers = [SpoolWriter(place / "spool", worker, segment_bytes=500) for worker in range(3)]
    for number in range(60):
        for worker, writer in enumerate(writers):
            writer.put(record(worker, number))
        if number % 7 == 0:
            reader.drain.drain()
        if number % 20 == 0:
            reader.drain.save()
    reader.finish()
    for worker in range(3):
        assert of_worker(place / "audit", worker) == list(range(60))
        assert len(segments(worker_folder(place / "spool", worker))) == 1, (
            "read segments are removed but for the newest"
        )
    assert findings(place / "audit") == []


def test_lines_that_belong_together_stay_together(place):
    reader = Reader(place)
    writer = SpoolWriter(place / "spool", 0)
    assert writer.put(record(0, 1) + record(0, 2)) is True
    reader.finish()
    assert of_worker(place / "audit", 0) == [1, 2]


def test_a_record_as_long_as_any_may_be_is_taken(place):
    reader = Reader(place)
    writer = SpoolWriter(place / "spool", 0)
    long = b'{"worker":0,"text":"' + b"x" * (4 * 1024 * 1024 - 22) + b'"}\n'
    writer.put(long)
    writer.put(record(0, 1))
    reader.finish()
    assert len(lines_of(place / "audit")[3]) == 4 * 1024 * 1024
    assert of_worker(place / "audit", 0) == [1]


def test_what_is_longer_than_a_reader_reads_at_once_is_refused(place):
    reader = Reader(place)
    writer = SpoolWriter(place / "spool", 0)
    with pytest.raises(AuditUnavailableError, match="a record of 4194306 bytes is too long"):
        writer.put(b"{" * (4 * 1024 * 1024 + 1) + b"\n")
    writer.put(record(0, 1))
    reader.finish()
    assert of_worker(place / "audit", 0) == [1]


@pytest.mark.parametrize("what", ["link", "open to others", "file"])
def test_a_folder_that_others_could_write_to_is_no_spool(tmp_path, what):
    spool = tmp_path / "spool"
    if what == "file":
        spool.touch()
    elif what == "link":
        (tmp_path / "elsewhere").mkdir(0o700)
        spool.symlink_to(tmp_path / "elsewhere")
    else:
        spool.mkdir()
        spool.chmod(0o777)
    with pytest.raises(OSError, match="not a folder that only our own user may write to"):
        made_spool(spool)


def test_the_reader_knows_when_the_last_worker_is_gone(place):
    assert not has_writers(place / "spool")
    first, second = SpoolWriter(place / "spool", 0), SpoolWriter(place / "spool", 1)
    first.close()
    assert has_writers(place / "spool")
    second.close()
    assert not has_writers(place / "spool")


def test_a_worker_of_the_gate_before_that_still_writes_is_waited_for(place):
    before = SpoolWriter(place / "spool", 0)
    with pytest.raises(BlockingIOError):
        SpoolWriter(place / "spool", 0, wait_s=0.1)
    SpoolWriter(place / "spool", 1).close()
    reader, ended = Reader(place), threading.Event()

    def end():
        reader.drain.drain()
        before.put(record(0, 0))  # after the other one has asked, and has not begun
        before.close()
        ended.set()

    later = threading.Timer(0.1, end)
    later.start()
    after = SpoolWriter(place / "spool", 0, wait_s=20)
    assert ended.wait(0), "it began only then"
    later.join()
    after.put(record(0, 1))
    reader.finish()
    assert of_worker(place / "audit", 0) == [0, 1]


def test_what_a_worker_left_is_logged_also_when_there_are_fewer_workers_now(place):
    for worker in range(3):
        put_all(place / "spool", worker)
    reader = Reader(place)
    put_all(place / "spool", 0, records=1)
    reader.finish()
    for worker in range(1, 3):
        assert of_worker(place / "audit", worker) == list(range(RECORDS))
    assert of_worker(place / "audit", 0) == [*range(RECORDS), 0]


def test_a_spool_that_lost_its_end_with_the_power_loses_and_doubles_nothing_that_comes_after(place, monkeypatch):
    """The log is on the disk, a spool there was not yet: its last segment is shorter, or is not there."""
    boots = count()
    monkeypatch.setattr(drain, "_boot", lambda: str(next(boots)))
    for lost in ("bytes", "segment", "all", "the announced file"):
        put_all(place / "spool", 0, records=3)
        reader = Reader(place)
        reader.drain.save()
        put_all(place / "spool", 0, records=3)
        if lost != "bytes":
            reader.drain.drain()
            reader.drain.save()
        reader.drain.drain()
        reader.die()
        folder = worker_folder(place / "spool", 0)
        newest = segment_path(folder, segments(folder)[-1])
        if lost == "bytes":
            newest.write_bytes(newest.read_bytes()[:-20])
        elif lost == "the announced file":
            announce(place / "spool", 1)
        else:
            newest.unlink()
            if lost == "all":
                for number in segments(folder):
                    segment_path(folder, number).unlink()
        reader = Reader(place)
        before = of_worker(place / "audit", 0)
        writer = SpoolWriter(place / "spool", 0)
        writer.put(record(0, 7), current_file(place / "spool"))
        writer.put(record(0, 8), current_file(place / "spool"))
        writer.close()
        reader.finish()
        assert of_worker(place / "audit", 0) == [*before, 7, 8], lost
        assert before[-3:] == [0, 1, 2]
        announce(place / "spool", current_file(place / "spool") + 1)  # the next round is in a later file
        reader = Reader(place)
        reader.finish()


FORGED = record(0, 66).rstrip(b"\n")


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (FORGED, "worker 0 "),
        (record(7, 1).rstrip(b"\n"), "no worker has handed it over"),
        (b"{}", "it is none of a gate"),
        (b'{"worker":true}', "it is none of a gate"),
    ],
)
@pytest.mark.parametrize("more", [False, True])
def test_a_line_that_no_worker_has_handed_over_is_not_taken_for_a_record(place, forged, why, more):
    """Someone who can write to the log's file appends one; it would stand for a record that is then not logged."""
    reader = Reader(place)
    put_all(place / "spool", 0, records=3)
    reader.drain.drain()
    reader.die()
    with (place / "audit" / "decisions.jsonl").open("ab") as file:
        file.write(forged + b"\n")
    if more:
        put_all(place / "spool", 0, records=3)
    with pytest.raises(AuditBrokenError, match=f"a line after the last checkpoint was not logged: {why}"):
        Reader(place)


def test_a_spool_is_not_drained_into_another_log_or_an_older_copy(place):
    put_all(place / "spool", 0)
    reader = Reader(place)
    shutil.copytree(place / "audit", place / "copy")
    reader.drain.drain()
    reader.drain.save()
    write_status(place / "spool", LogStatus(beat=0.0, size=reader.log.size, signed=reader.log.signed))
    reader.finish()
    shutil.move(place / "audit", place / "kept")
    with pytest.raises(AuditBrokenError, match=r"it is another log, or an older copy\. If"):
        Reader(place)
    shutil.rmtree(place / "audit")
    shutil.move(place / "copy", place / "audit")
    with pytest.raises(AuditBrokenError, match=r"has \d lines, and .* is the spool of one with 1\d"):
        Reader(place)
    shutil.rmtree(place / "audit")
    shutil.move(place / "kept", place / "audit")
    Reader(place).finish()
    (place / "audit" / POSITION).unlink()
    with pytest.raises(AuditBrokenError, match=r"is missing, so what of .* is in the log cannot"):
        Reader(place)
    shutil.rmtree(place / "spool")
    made_spool(place / "spool")
    Reader(place).finish()
    assert of_worker(place / "audit", 0) == list(range(RECORDS))


@pytest.mark.parametrize(
    "text",
    [
        *(b"[]", b"{}", b'"x"', b'{"spool":"a","boot":"","size":-1,"file":1,"workers":{}}'),
        b'{"spool":"a","boot":"","size":1,"file":1,"workers":{"0":[1]}}',
        b'{"spool":"a","boot":"","size":1,"file":true,"workers":{}}',
        b'{"spool":"a","boot":"","size":1e30,"file":1,"workers":{}}',
    ],
)
def test_a_position_of_another_form_is_refused(place, text):
    Reader(place).finish()
    (place / "audit" / POSITION).write_bytes(text)
    with pytest.raises(AuditBrokenError, match="is not what was written there"):
        Reader(place)


def test_what_is_in_the_log_can_be_forgotten_and_the_next_worker_goes_on(place):
    reader = Reader(place)
    put_all(place / "spool", 0)
    reader.drain.finish()
    reader.drain.forget()
    reader.log.close()
    folder = worker_folder(place / "spool", 0)
    assert [segment_path(folder, number).stat().st_size for number in segments(folder)] == [0]
    put_all(place / "spool", 0)
    Reader(place).finish()
    assert of_worker(place / "audit", 0) == [*range(RECORDS)] * 2


def test_a_worker_is_refused_while_no_one_reads_and_goes_on_later(place):
    writer = SpoolWriter(place / "spool", 0, segment_bytes=100, most_segments=5)
    accepted = []
    with contextlib.suppress(AuditUnavailableError):
        for number in range(100):
            writer.put(record(0, number))
            accepted.append(number)
    assert 4 < len(accepted) < 12
    with pytest.raises(AuditUnavailableError, match="5 segments of records wait to be logged"):
        writer.put(record(0, 100))
    reader = Reader(place)
    reader.drain.drain()
    reader.drain.save()
    writer.put(record(0, 200))
    reader.finish()
    assert of_worker(place / "audit", 0) == [*accepted, 200]
    assert MOST_SEGMENTS > 5


def test_what_a_full_file_system_does_not_take_is_refused_and_what_follows_is_read(place, monkeypatch):
    writer = SpoolWriter(place / "spool", 0)
    writer.put(record(0, 1))
    write = os.write
    reader = Reader(place)
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) - 5]))
    with pytest.raises(AuditUnavailableError, match="no room"):
        writer.put(record(0, 2) + record(0, 3))
    monkeypatch.undo()
    reader.drain.drain()

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(AuditUnavailableError, match="No space left on device"):
        writer.put(record(0, 4))
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(AuditUnavailableError, match="No space left on device"):
        writer.put(record(0, 4))
    monkeypatch.undo()
    writer.put(record(0, 5))
    writer.put(record(0, 6))
    reader.finish()
    assert of_worker(place / "audit", 0) == [1, 2, 5, 6], "a whole line of what was refused does no harm"


def test_a_worker_that_comes_again_goes_on_behind_its_segments(place):
    reader = Reader(place)
    for turn in range(4):
        writer = SpoolWriter(place / "spool", 0, segment_bytes=200)
        for number in range(5):
            writer.put(record(0, turn * 5 + number))
        writer.close()
        reader.drain.drain()
        reader.drain.save()
    reader.finish()
    assert of_worker(place / "audit", 0) == list(range(20))


@pytest.mark.parametrize("saved", [0, 1, 2])
def test_a_reader_that_was_killed_doubles_nothing(place, saved):
    for worker in range(2):
        put_all(place / "spool", worker)
    reader = Reader(place)
    if saved:
        reader.drain.save()
    for _ in range(saved):
        reader.drain.drain()
        put_all(place / "spool", 2, records=3)
    reader.drain.drain()
    reader.die()
    Reader(place).finish()
    Reader(place).finish()
    assert of_worker(place / "audit", 0) == of_worker(place / "audit", 1) == list(range(RECORDS))
    assert of_worker(place / "audit", 2) == [*range(3)] * saved


def test_a_position_that_is_saved_before_its_records_are_passed_over_doubles_nothing(place):
    put_all(place / "spool", 0)
    reader = Reader(place)
    reader.drain.save()
    reader.drain.drain()
    reader.die()
    reader = Reader(place)
    reader.drain.save()
    reader.die()
    Reader(place).finish()
    assert of_worker(place / "audit", 0) == list(range(RECORDS))


def test_a_new_spool_is_read_from_its_beginning(place):
    """The machine was restarted: what was in memory is gone, and numbers begin again."""
    put_all(place / "spool", 0)
    reader = Reader(place)
    reader.finish()
    (place / "spool").rename(place / "old")
    made_spool(place / "spool")
    put_all(place / "spool", 0)
    Reader(place).finish()
    assert of_worker(place / "audit", 0) == [*range(RECORDS)] * 2


def test_a_position_of_another_log_is_refused(place):
    put_all(place / "spool", 0)
    Reader(place).finish()
    path = place / "audit" / POSITION
    good = path.read_bytes()
    path.write_bytes(re.sub(rb'"size":\d+', b'"size":999999', good))
    with pytest.raises(AuditBrokenError, match="is of a log with 999999 records"):
        Reader(place)


def test_a_position_that_is_none_is_refused(place):
    Reader(place).finish()
    (place / "audit" / POSITION).write_bytes(b"{")
    with pytest.raises(AuditBrokenError, match="is not what was written there"):
        Reader(place)


def rows(what, folder):
    done = subprocess.run(
        [sys.executable, "-m", RIG, what, folder], capture_output=True, text=True, timeout=250, check=True
    )
    found = [list(map(int, row.split())) for row in done.stdout.splitlines()]
    assert [killed for _, killed, _ in found] == [1] * (len(found) - 1) + [0]
    return found


def test_a_reader_that_is_killed_at_any_call_of_the_system_loses_and_doubles_nothing(in_memory):
    found = rows("reader", in_memory)
    assert len(found) > 100
    for number, _, _ in found:
        place = in_memory / str(number)
        Reader(place).finish()
        for worker in range(2):
            assert of_worker(place / "audit", worker) == list(range(RECORDS)), number
        for worker in range(2, 4):  # one that the killed process was itself may not have written all
            numbers = of_worker(place / "audit", worker)
            assert numbers == list(range(len(numbers))), number
        assert findings(place / "audit") == [], number


def test_a_worker_that_is_killed_at_any_call_of_the_system_loses_nothing_that_it_handed_over(in_memory):
    found = rows("worker", in_memory)
    assert len(found) > 20
    for number, _, returned in found:
        place = in_memory / str(number)
        if (place / "spool" / "worker-0").exists():
            put_all(place / "spool", 1)
        Reader(place).finish()
        numbers = of_worker(place / "audit", 0)
        assert numbers[:returned] == list(range(returned)), number
        assert len(numbers) <= returned + 1, number
        assert findings(place / "audit") == []


@pytest.mark.full  # the calls of the system are each tried in `make test`
def test_readers_and_workers_that_are_killed_again_and_again_lose_and_double_nothing(in_memory):
    """30 kills: of the reader, then of a worker, while the others go on."""
    rng = random.Random(93)  # noqa: S311 how many records come before a kill
    made_spool(in_memory / "spool")
    accepted = {0: [], 1: []}
    processes = {}

    def start(what):
        arguments = ["drain", in_memory] if what == "drain" else ["put", in_memory, str(what)]
        begin = str(accepted[what][-1] + 2 if what != "drain" and accepted[what] else 0)
        processes[what] = subprocess.Popen(
            [sys.executable, "-m", RIG, *arguments], stdout=subprocess.PIPE, env={**os.environ, "BEGIN": begin}
        )

    def kill(what):
        process = processes.pop(what)
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait(20) == -9
        if what != "drain":
            accepted[what] += map(int, rest.split(b"\n")[:-1])

    try:
        for what in ("drain", 0, 1):
            start(what)
        for turn in range(30):
            for worker in range(2):
                for _ in range(rng.randint(1, 60)):
                    accepted[worker].append(int(processes[worker].stdout.readline()))
            victim = ("drain", 0, "drain", 1)[turn % 4]
            kill(victim)
            start(victim)
    finally:
        for what in list(processes):
            kill(what)
    Reader(in_memory).finish()
    for worker, numbers in accepted.items():
        found = of_worker(in_memory / "audit", worker)
        assert len(found) == len(set(found)), "none is doubled"
        assert found == sorted(found)
        assert set(numbers) <= set(found), "none is lost"
        assert len(numbers) > 300
    assert findings(in_memory / "audit") == []
