"""What came of decisions gets into the log at most once, whatever happens to the access logs and to the reader."""

import json
import os

import pytest

from authz.audit import followed_file, outcomes
from authz.audit.log import AuditLog, Limits
from authz.audit.outcomes import POSITION, Outcomes
from authz.core.record import ACCESS_LINE, OUTCOME_LINE
from authz.system.clock import SystemClock
from tests.support.factories.written_logs import KEY, findings, lines_of


def said(number, *, text="", **changed):
    line = {
        "time": "2026-11-30T12:00:00.000Z",
        "id": f"{number:024x}",
        "path": f"/people/alice{text}",
        "status": 200,
        "flags": "-",
        "details": "via_upstream",
        "upstream": "inbound.airflow",
        "upstream_host": "10.0.0.1:8080",
        "bytes_received": 0,
        "bytes_sent": number,
        "duration_ms": 1,
    }
    return json.dumps({**line, **changed}).encode() + b"\n"


class Time:
    """A clock that stands still."""

    def __init__(self):
        self.now, self.wall = 1000.0, SystemClock().wall

    def monotonic(self):
        return self.now


class Reader:
    """A log's writer that reads access logs; it may be killed, and started again."""

    def __init__(self, folder, *names):
        self.folder, self.time = folder / "audit", Time()
        self.paths = [folder / name for name in names or ["access.log"]]
        self.start()

    def start(self):
        self.log = AuditLog(self.folder, [KEY], gate="eu-1", clock=SystemClock(), limits=Limits(seconds=1e9))
        self.outcomes = Outcomes(self.paths, self.folder, self.log, self.time)

    def round(self):
        count = self.outcomes.drain()
        self.outcomes.tend()
        return count

    def all(self):
        while self.round():
            pass

    def sign(self):
        self.log.checkpoint()
        self.outcomes.tend()

    def kill(self):
        """As `kill -9`: nothing is written any more."""
        self.outcomes.close()
        self.log._close_file()
        os.close(self.log._lock)

    def again(self):
        self.kill()
        self.start()

    @property
    def logged(self):
        """The numbers of the outcomes in the log."""
        found = [json.loads(line) for line in lines_of(self.folder) if line.startswith(OUTCOME_LINE)]
        assert all(int(one["decision"], 16) == one["bytes_sent"] for one in found)
        return [one["bytes_sent"] for one in found]

    @property
    def read(self):
        """The names of what tasks read, in the log."""
        return [json.loads(line)["name"] for line in lines_of(self.folder) if line.startswith(ACCESS_LINE)]


@pytest.fixture
def reader(tmp_path):
    made = Reader(tmp_path)
    made.round()
    made.sign()
    yield made
    made.kill()


@pytest.fixture
def access(tmp_path):
    return tmp_path / "access.log"


def append(path, *lines):
    with path.open("ab") as file:
        file.write(b"".join(lines))


def numbers(begin, end):
    return [said(number) for number in range(begin, end)]


def test_each_line_about_a_decision_becomes_an_entry_and_the_log_verifies(reader, access):
    append(access, *numbers(0, 3), b"no JSON\n", said(9, id=None), said(3), b"\n")
    reader.all()
    assert reader.logged == [0, 1, 2, 3]
    assert (reader.outcomes.taken, reader.outcomes.skipped, reader.outcomes.lost) == (4, 3, 0)
    assert b"alice" not in b"".join(lines_of(reader.folder))
    reader.sign()
    assert findings(reader.folder) == []


def reading(number, **changed):
    """A task's request for a variable."""
    request = f"{number:08x}-0000-4000-8000-000000000000"
    known = {"id": None, "upstream": "execution.airflow", "request_id": request, "method": "GET"}
    return said(number, **known, **{"path": f"/execution/variables/{number}", **changed})


def test_what_tasks_read_becomes_entries_beside_outcomes(reader, access):
    heartbeat = reading(3, path="/execution/task-instances/x/heartbeat")
    append(access, reading(0), said(1), reading(2), heartbeat)
    reader.all()
    assert (reader.logged, reader.read) == ([1], ["0", "2"])
    assert (reader.outcomes.taken, reader.outcomes.accesses, reader.outcomes.skipped) == (1, 2, 1)
    reader.sign()
    assert findings(reader.folder) == []


@pytest.mark.parametrize("signed", [0, 2, 4])
def test_accesses_are_not_doubled_or_lost_by_a_kill(reader, access, signed):
    lines = [reading(number) if number % 2 else said(number) for number in range(6)]
    append(access, *lines[:signed])
    reader.all()
    reader.sign()
    append(access, *lines[signed:])
    reader.all()
    reader.again()
    reader.all()
    assert (reader.logged, reader.read) == ([0, 2, 4], ["1", "3", "5"])


def test_a_line_is_waited_for_until_it_is_whole(reader, access):
    line = said(1)
    append(access, said(0), line[:40])
    reader.all()
    assert reader.logged == [0]
    append(access, line[40:])
    reader.all()
    assert (reader.logged, reader.outcomes.skipped) == ([0, 1], 0)


def test_a_file_that_was_there_before_anyone_looked_is_read_from_its_end(tmp_path, access):
    append(access, *numbers(0, 3), said(3)[:20])
    made = Reader(tmp_path)
    made.all()
    append(access, b"rest\n", said(4))
    made.all()
    assert made.logged == [4]
    made.kill()


def test_a_renamed_file_is_read_to_its_end_and_then_the_next_one(reader, access):
    append(access, *numbers(0, 3))
    reader.all()
    renamed = access.rename(access.with_name("access.log.1"))
    append(renamed, said(3))
    append(access, said(4))
    reader.all()
    append(renamed, said(5))
    reader.all()
    assert reader.logged == [0, 1, 2, 3, 4, 5]
    reader.time.now += followed_file.QUIET_S
    reader.round()
    assert len(reader.outcomes._files[0]._files) == 1, "it is let go of"
    assert reader.outcomes.lost == 0


def test_a_renamed_file_that_ends_within_a_line_is_counted(reader, access):
    append(access, said(0)[:30])
    reader.all()
    access.rename(access.with_name("access.log.1"))
    append(access, said(1))
    reader.all()
    reader.time.now += followed_file.QUIET_S
    reader.round()
    assert (reader.logged, reader.outcomes.lost) == ([1], 1)


def test_a_truncated_file_is_read_from_its_beginning(reader, access):
    """As copytruncate does it."""
    append(access, *numbers(0, 3))
    reader.all()
    os.truncate(access, 0)
    reader.all()
    append(access, *numbers(3, 5))
    reader.all()
    assert (reader.logged, reader.outcomes.lost) == ([0, 1, 2, 3, 4], 0)


def test_a_truncated_file_that_has_grown_beyond_its_old_place_is_noticed(reader, access):
    append(access, said(0))
    reader.all()
    os.truncate(access, 0)
    append(access, *numbers(1, 20))
    reader.all()
    assert reader.logged == [*range(20)]


def test_what_a_truncation_took_is_counted(reader, access):
    append(access, said(0), said(1)[:30])
    reader.all()
    os.truncate(access, 0)
    append(access, said(2))
    reader.all()
    assert (reader.logged, reader.outcomes.lost) == ([0, 2], 1)


@pytest.mark.parametrize("signed", [0, 3, 5])
def test_a_reader_that_is_killed_doubles_nothing_and_loses_nothing(reader, access, signed):
    """The places are those of the last checkpoint; what the log has beyond it is known by its decisions."""
    append(access, *numbers(0, signed))
    reader.all()
    reader.sign()
    append(access, *numbers(signed, 6))
    reader.all()
    reader.again()
    append(access, *numbers(6, 8))
    reader.all()
    reader.again()
    reader.all()
    assert reader.logged == [*range(8)]
    assert (reader.outcomes.lost, reader.outcomes.skipped) == (0, 0)


def test_files_that_were_rotated_while_no_one_read_are_found(reader, access):
    append(access, *numbers(0, 2))
    reader.all()
    reader.sign()
    reader.kill()
    append(access, said(2))
    access.rename(access.with_name("access.log-20261130"))
    append(access, said(3))
    reader.start()
    reader.all()
    assert (reader.logged, reader.outcomes.lost) == ([0, 1, 2, 3], 0)


@pytest.mark.parametrize("how", ["removed", "truncated", "another"])
def test_files_that_were_lost_while_no_one_read_are_counted(reader, access, how):
    append(access, *numbers(0, 4))
    reader.all()
    reader.sign()
    reader.kill()
    if how == "removed":
        access.unlink()
    elif how == "truncated":
        os.truncate(access, 0)
    else:
        access.write_bytes(b"".join(said(number, text="other") for number in range(10, 14)))
    append(access, said(20))
    reader.start()
    reader.all()
    assert reader.logged[:4] == [0, 1, 2, 3]
    assert reader.logged[-1] == 20
    assert reader.outcomes.lost == 1


def test_a_file_that_comes_while_no_one_reads_is_read_from_its_beginning(reader, access):
    reader.again()
    append(access, said(0))
    reader.again()
    reader.all()
    assert reader.logged == [0]


def test_what_cannot_be_appended_is_by_the_next_round(reader, access, monkeypatch):
    append(access, *numbers(0, 3))

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(AuditLog, "append", full)
        with pytest.raises(OSError, match="No space"):
            reader.round()
    reader.all()
    assert (reader.logged, reader.outcomes.taken) == ([0, 1, 2], 3)


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_read(tmp_path):
    made = Reader(tmp_path, "folder", "absent.log", "pipe", "access.log")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    made.round()
    append(tmp_path / "access.log", said(1))
    made.all()
    assert made.logged == [1]
    problems = made.outcomes.problem
    assert f"{tmp_path}/folder: it is a folder, not a regular file" in problems
    assert f"{tmp_path}/absent.log: No such file or directory" in problems
    assert f"{tmp_path}/pipe: it is a FIFO" in problems
    assert "access.log: " not in problems.replace("absent.log", "")
    append(tmp_path / "absent.log", said(2))
    made.all()
    assert made.logged == [1, 2]
    assert "absent" not in made.outcomes.problem
    made.kill()


def test_a_round_reads_so_much_and_each_file_has_its_turn(tmp_path):
    made = Reader(tmp_path, "a.log", "b.log")
    made.round()
    for name, begin in (("a.log", 0), ("b.log", 2000)):
        append(tmp_path / name, *numbers(begin, begin + 2000))
    read = made.round()
    assert 0 < read * len(said(1)) <= outcomes.ROUND_BYTES
    read += made.round()
    assert {number // 2000 for number in made.logged} == {0, 1}
    made.all()
    assert sorted(made.logged) == [*range(4000)]
    made.kill()


def test_a_line_that_is_too_long_is_passed_over_in_bounded_memory(reader, access):
    append(access, said(0), b"x" * (outcomes.ROUND_BYTES * 2), b"\n", said(1), b'{"id":"', b"y" * 70_000)
    reader.all()
    append(access, b'"}\n', said(2))
    reader.all()
    assert (reader.logged, reader.outcomes.skipped) == ([0, 1, 2], 2)


def test_places_that_cannot_be_read_lose_rather_than_double(reader, access, caplog):
    append(access, *numbers(0, 3))
    reader.all()
    reader.sign()
    (reader.folder / POSITION).write_text("{")
    reader.again()
    reader.round()
    assert "are read from their end on" in caplog.text
    append(access, said(3))
    reader.all()
    reader.sign()
    assert (reader.logged, reader.outcomes.problem) == ([0, 1, 2, 3], "")


def test_places_that_cannot_be_saved_do_not_stop_the_log(reader, access, monkeypatch):
    append(access, said(0))

    def fail(*_arguments, **_named):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "write_whole", fail)
        reader.all()
        reader.sign()
        assert reader.outcomes.problem == "the places in access logs cannot be saved: Read-only file system"
    reader.sign()
    assert reader.outcomes.problem == ""


def test_places_name_no_one(reader, access):
    """The beginning of an access log has paths and subjects: only its hash is kept."""
    append(access, said(0))
    reader.all()
    reader.sign()
    assert "alice" not in (reader.folder / POSITION).read_text()


def test_at_the_end_what_is_there_is_logged_and_signed(reader, access):
    append(access, *numbers(0, 3000))
    reader.outcomes.finish()
    assert reader.logged == [*range(3000)]
    assert reader.log.signed == reader.log.size
    reader.again()
    reader.all()
    assert len(reader.logged) == 3000


def test_many_renamed_files_are_let_go_of(reader, access):
    for number in range(20):
        append(access, said(number))
        reader.all()
        access.rename(access.with_name(f"access.log.{number}"))
        append(access, b"")
    access.touch()
    reader.all()
    assert len(reader.outcomes._files[0]._files) <= 8
    assert (reader.logged, reader.outcomes.lost) == ([*range(20)], 0)
