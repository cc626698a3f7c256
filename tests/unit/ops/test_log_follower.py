"""Lines that are added to a log are handed out once each, through renames, truncation and lines that come in parts."""

import os
from pathlib import Path

import pytest

from authz.ops import log_follower
from authz.ops.log_follower import LogFollower


@pytest.fixture
def path(tmp_path):
    return tmp_path / "decisions.jsonl"


@pytest.fixture
def follower(path):
    made = LogFollower(path)
    yield made
    made.close()


def add(path, text):
    with path.open("ab") as file:
        file.write(text)


def open_files():
    return len([*Path("/proc/self/fd").iterdir()])


def lines(follower):
    return [line for _number, line in follower.look()]


def test_lines_come_when_they_are_whole(path, follower):
    assert lines(follower) == []
    add(path, b"1\n2\n3")
    assert [*follower.look()] == [(1, b"1"), (2, b"2")]
    assert lines(follower) == []
    add(path, b"3\n\n")
    assert [*follower.look()] == [(3, b"33"), (4, b"")]


def test_a_renamed_file_is_read_beside_the_new_one(path, follower):
    add(path, b"1\n")
    assert lines(follower) == [b"1"]
    with path.open("ab") as worker:
        path.rename(path.with_name("decisions.jsonl.1"))
        worker.write(b"2\n")
        worker.flush()
        assert lines(follower) == [b"2"]
        add(path, b"3\n")
        worker.write(b"4\n")
        worker.flush()
        assert lines(follower) == [b"4", b"3"]
        path.with_name("decisions.jsonl.1").unlink()
        worker.write(b"5\n")
    assert lines(follower) == [b"5"]
    assert [*follower.look()] == []


def test_a_quiet_renamed_file_is_closed(path, follower, monkeypatch):
    monkeypatch.setattr(log_follower, "_QUIET", 2)
    before = open_files()
    add(path, b"1\n")
    lines(follower)
    path.rename(path.with_name("a"))
    add(path, b"2\n")
    assert lines(follower) == [b"2"]
    assert open_files() == before + 2
    for _ in range(3):
        assert lines(follower) == []
    assert open_files() == before + 1
    add(path, b"3\n")
    assert [*follower.look()] == [(2, b"3")]


def test_few_renamed_files_stay_open(path, follower):
    before = open_files()
    for number in range(20):
        add(path, b"%d\n" % number)
        assert lines(follower) == [b"%d" % number]
        path.rename(path.with_name(f"old{number}"))
    assert open_files() <= before + 9


def test_a_truncated_file_begins_again(path, follower):
    add(path, b"1\n2\nhalf")
    lines(follower)
    os.truncate(path, 0)
    add(path, b"3\n")
    assert [*follower.look()] == [(1, b"3")]


def test_a_line_that_is_too_long_is_left_out_and_counted(path, follower, monkeypatch):
    monkeypatch.setattr(log_follower, "LONGEST_LINE", 8)
    add(path, b"1\n123456789")
    assert lines(follower) == [b"1"]
    add(path, b"rest")
    assert lines(follower) == []
    add(path, b"end\n4\n")
    assert [*follower.look()] == [(3, b"4")]
    assert follower.too_long == 1


def test_what_is_no_file_is_refused(path, follower):
    os.mkfifo(path)
    with pytest.raises(OSError, match="FIFO"):
        lines(follower)
