"""A writer that starts again: it continues the same tree, or says what is wrong and changes nothing."""

import gzip
import json
import os
import shutil

import pytest

from authz.audit.layout import CHECKPOINT, OPEN_FILE, closed_files
from authz.core.audit.tiles import Tile
from authz.core.errors import AuditBrokenError
from tests.support.factories.audit_logs import LOG
from tests.support.factories.written_logs import (
    checkpoint_of,
    copied,
    edit,
    findings,
    forged,
    line,
    lines_of,
    older,
    opened,
    tile,
    written,
)

LINES = [line(number) for number in range(1000, 1600)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


def crashed(folder, lines=LINES, after=()):
    """A log whose writer was killed: the last checkpoint is older than the last lines."""
    log = opened(folder)
    log.append(lines)
    log.checkpoint()
    if after:
        log.append(after)
    os.close(log._lock)
    return log.size


def entry_of_start(folder):
    return json.loads([one for one in lines_of(folder) if b'"event":"start"' in one][-1])


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_lines_after_the_checkpoint_are_in_the_tree_again(folder, tmp_path, count):
    size = crashed(folder, after=[line(number) for number in range(count)])
    kept = older(folder, tmp_path / "kept")
    before = lines_of(folder)
    log = opened(folder)
    assert log.append(LINES) == size + 1
    log.close()
    assert lines_of(folder)[:size] == before
    assert entry_of_start(folder)["unsigned"] == count
    assert findings(folder, since=[kept]) == []


@pytest.mark.parametrize("rest", [b"{", line(7), b"\0" * 5000])
def test_a_torn_line_is_cut_off_and_a_whole_one_never(folder, rest):
    crashed(folder, after=[line(1), line(2)])
    before = lines_of(folder)
    with (folder / OPEN_FILE).open("ab") as file:
        file.write(rest)
    opened(folder).close()
    assert lines_of(folder)[: len(before)] == before
    assert (entry_of_start(folder)["cut"], entry_of_start(folder)["unsigned"]) == (len(rest), 2)
    assert findings(folder) == []


def assert_refused(folder, text):
    """The log is not continued, and nothing of it changes."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(AuditBrokenError) as caught:
        opened(folder)
    assert text in str(caught.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("index", [0, 1, 2, 3, 300, 602])
def test_a_bad_line_that_was_signed_is_named(folder, index):
    crashed(folder, after=[line(1)])
    edit(folder / OPEN_FILE, lambda lines: lines.__setitem__(index, line(7)))
    assert_refused(folder, f"{folder / OPEN_FILE}:{index + 1}: " + (f"record {index}: " if index else ""))


def test_a_line_that_is_none_is_named_though_it_was_not_signed(folder):
    crashed(folder, after=[line(1), line(2)])
    edit(folder / OPEN_FILE, lambda lines: lines.__setitem__(-1, b"text"))
    assert_refused(folder, f"{folder / OPEN_FILE}:605: record 604: it is no line that a log has")


@pytest.mark.parametrize("left", [0, 1, 5000])
def test_a_file_that_lost_signed_lines_is_named(folder, left):
    crashed(folder)
    os.truncate(folder / OPEN_FILE, left)
    whole = (folder / OPEN_FILE).read_bytes().count(b"\n")
    assert_refused(folder, f"record {whole}: it and all up to record 602 are missing")


def test_a_missing_open_file_is_named(folder):
    written(folder, [300, 100])
    (folder / OPEN_FILE).unlink()
    assert_refused(folder, "record 303: it and all up to record 404 are missing")


def test_a_missing_open_file_is_none_where_the_last_one_was_closed(folder):
    """The writer was killed between closing one and beginning the next."""
    log = opened(folder)
    log.append(LINES)
    log.rotate()
    os.close(log._lock)
    assert not (folder / OPEN_FILE).exists()
    log = opened(folder)
    assert [file.first for file in closed_files(folder)] == [0]
    log.close()
    assert findings(folder) == []
    (folder / OPEN_FILE).unlink()
    assert_refused(folder, "record 603: it and all up to record 605 are missing")


def test_an_empty_open_file_is_begun(folder):
    log = opened(folder)
    log.append(LINES)
    log.rotate()
    os.close(log._lock)
    (folder / OPEN_FILE).touch()
    log = opened(folder)
    log.append(LINES)
    log.close()
    assert findings(folder) == []


def test_a_bad_tile_at_the_edge_is_named(folder):
    crashed(folder)
    for wanted in (Tile(0, 2, 91), Tile(1, 0, 2)):
        path = tile(folder, wanted)
        data = path.read_bytes()
        path.write_bytes(bytes(len(data)))
        assert_refused(folder, str(path))
        path.unlink()
        assert_refused(folder, str(path))
        path.write_bytes(data)
    opened(folder).close()


def test_a_log_that_was_changed_with_all_its_tiles_is_refused(folder):
    crashed(folder)
    edit(folder / OPEN_FILE, lambda lines: lines.__setitem__(300, line(7)))
    forged(folder)
    assert_refused(folder, "was changed together with its hash in the tiles")


def test_an_older_copy_of_the_checkpoint_is_a_crash_that_cannot_be_told_apart(folder, tmp_path):
    """What comes after it is not signed by it: the entry says how many lines these are."""
    opened(folder).close()
    before = checkpoint_of(folder)
    crashed(folder)
    (folder / CHECKPOINT).write_bytes(before)
    opened(folder).close()
    assert entry_of_start(folder)["unsigned"] == 601


def test_two_files_with_the_same_records_are_refused(folder):
    crashed(folder)
    shutil.copy(folder / OPEN_FILE, folder / "decisions-00000000000000000000.jsonl")
    assert_refused(folder, "has records that")


def test_a_line_that_is_too_long_is_named(folder):
    crashed(folder)
    with (folder / OPEN_FILE).open("ab") as file:
        file.write(b"{" + b"x" * (5 << 20) + b"\n")
    assert_refused(folder, f"{folder / OPEN_FILE}:604: the line is longer than")


def test_a_compressed_open_file_is_refused(folder):
    crashed(folder)
    data = (folder / OPEN_FILE).read_bytes()
    (folder / OPEN_FILE).write_bytes(gzip.compress(data))
    assert_refused(folder, "is compressed: only closed files are")


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("put", "kind"), [(os.mkfifo, "a FIFO"), (lambda path: path.symlink_to("/dev/zero"), "a device")]
)
def test_what_is_no_file_in_place_of_one_is_refused_at_once(folder, put, kind):
    log = opened(folder)
    log.append(LINES)
    log.rotate()
    os.close(log._lock)
    place = closed_files(folder)[0].path
    for path in (folder / OPEN_FILE, place):
        path.unlink(missing_ok=True)
        put(path)
        with pytest.raises(OSError, match=f"it is {kind}, not a regular file") as caught:
            opened(folder)
        assert caught.value.filename == str(path)
        path.unlink()


def test_a_checkpoint_that_is_none_is_named(folder):
    crashed(folder)
    (folder / CHECKPOINT).write_bytes(b"")
    assert_refused(folder, f"{folder / CHECKPOINT}: ")


def test_a_copy_of_the_whole_log_is_continued(folder, tmp_path):
    crashed(folder, after=[line(1)])
    moved = copied(folder, tmp_path / "moved")
    opened(moved).close()
    assert findings(moved, LOG.public) == []
