"""Whatever someone does to a log, the first bad record is named; an untouched log verifies."""

import gzip
import os
import random
import shutil
import zlib

import pytest

from authz.audit.layout import CHECKPOINT, OPEN_FILE, closed_files
from authz.audit.log import Limits
from authz.audit.signing import signed
from authz.audit.verifying import Older, verify
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.entry import line_hashes
from authz.core.audit.frontier import Frontier
from authz.core.audit.tiles import Tile
from authz.core.errors import AuditBrokenError
from authz.ops import log_reader
from tests.support.factories.audit_logs import LOG, Key
from tests.support.factories.written_logs import (
    KEY,
    NEXT_KEY,
    checkpoint_of,
    copied,
    edit,
    findings,
    forged,
    line,
    older,
    opened,
    tile,
    written,
)

SIZE = 300 * 3 + 3 + 2 + 1  # three entries before the first records, one before those of each later file, `stop`
FIRSTS = (0, 303, 604)
RECORDS = (3, 150, 302, 303, 304, 500, 603, 604, 700, SIZE - 1)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Three files, the first one compressed."""
    return written(tmp_path_factory.mktemp("log") / "audit", pack=[0])


@pytest.fixture
def folder(log, tmp_path):
    return copied(log, tmp_path / "audit")


def place(folder, index):
    """The file that has a record, and the number of its line."""
    at = max(at for at, first in enumerate(FIRSTS) if first <= index)
    paths = [file.path for file in closed_files(folder)] + [folder / OPEN_FILE]
    return paths[at], index - FIRSTS[at] + 1


def test_an_untouched_log_verifies(folder):
    report = verify(folder, [LOG.public])
    assert report.findings == []
    assert (report.head.size, report.lines, report.first, report.unsigned, report.torn) == (SIZE, SIZE, 0, 0, False)
    assert report.signers == {LOG.public}


def test_what_was_read_is_reported(folder):
    read = []
    verify(folder, [LOG.public], advanced=read.append)
    paths = [file.path for file in closed_files(folder)] + [folder / OPEN_FILE]
    assert sum(read) == sum(path.stat().st_size for path in paths)


@pytest.mark.parametrize("index", RECORDS)
def test_an_edited_line_is_named(folder, index):
    path, number = place(folder, index)
    edit(path, lambda lines: lines.__setitem__(number - 1, lines[number - 1].replace(b'"v"', b'"w"')))
    assert findings(folder) == [f"{path}:{number}: record {index}: the line is not what was logged: it was changed"]


@pytest.mark.parametrize("index", RECORDS)
def test_a_removed_line_is_named(folder, index):
    path, number = place(folder, index)
    edit(path, lambda lines: lines.pop(number - 1))
    (found,) = findings(folder)
    assert f"record {index}: " in found
    assert "missing" in found
    if index + 1 not in {*FIRSTS, SIZE}:
        assert found.startswith(f"{path}:{number}: record {index}: record {index + 1} stands here")


@pytest.mark.parametrize("index", RECORDS)
@pytest.mark.parametrize("what", [line(7), b"{}", b"", b"text", line(9_999_999)])
def test_an_inserted_line_is_named(folder, index, what):
    path, number = place(folder, index)
    edit(path, lambda lines: lines.insert(number - 1, what))
    (found,) = findings(folder)
    assert found.startswith(f"{path}:{number}: record {index}: ")
    if what == line(9_999_999):
        assert found.endswith("1 line was inserted here")


@pytest.mark.parametrize("index", RECORDS[:-1])
def test_reordered_lines_are_named(folder, index):
    path, number = place(folder, index)

    def swap(lines):
        other = number if number < len(lines) else number - 2
        lines[number - 1], lines[other] = lines[other], lines[number - 1]

    edit(path, swap)
    (found,) = findings(folder)
    first = index if index + 1 not in FIRSTS else index - 1
    assert f"record {first}: " in found
    assert found.endswith("records were reordered")


def test_the_beginning_of_another_log_is_no_beginning(folder, tmp_path):
    """A splice: a file of the same gate's log of another day, with the same name."""
    other = opened(tmp_path / "other")
    for number in range(300):
        other.append([line(1000 + number)])
    other.rotate()
    other.close()
    path = closed_files(folder)[0].path
    data = closed_files(tmp_path / "other")[0].path.read_bytes()
    path.write_bytes(gzip.compress(data))
    assert findings(folder)[0].startswith(f"{path}:4: record 3: ")


def test_the_lines_and_tiles_of_another_log_do_not_have_the_root(folder, tmp_path):
    other = written(tmp_path / "other", [400, 300, 200])
    shutil.copy(folder / CHECKPOINT, other / CHECKPOINT)
    (found,) = findings(other)
    assert "they do not have the root that the checkpoint signed" in found


@pytest.mark.parametrize("at", [0, 1])
def test_a_missing_file_is_named(folder, at):
    closed_files(folder)[at].path.unlink()
    (found,) = findings(folder)
    if at:
        assert found == (
            f"{folder / OPEN_FILE}:1: record 303: it and all up to record 603 are missing: this file begins after them"
        )
    else:
        assert "record 0: it and all up to record 302 are missing, and no entry says that they were removed" in found


def test_a_missing_open_file_is_named(folder):
    (folder / OPEN_FILE).unlink()
    assert findings(folder) == [f"{folder / OPEN_FILE}: record 604: it and all up to record {SIZE - 1} are missing"]


@pytest.mark.parametrize("name", ["decisions-00000000000000000100.jsonl", "decisions-00000000000000000303.jsonl.gz"])
def test_a_file_too_many_is_named(folder, name):
    (folder / name).write_bytes(gzip.compress(line(1) + b"\n") if name.endswith("gz") else line(1) + b"\n")
    assert f"{folder / name}:1: record 303: " in findings(folder)[0]


def test_a_renamed_file_is_named(folder):
    path = closed_files(folder)[1].path
    path.rename(folder / "decisions-00000000000000000400.jsonl")
    assert "record 303: it and all up to record 399 are missing" in findings(folder)[0]


@pytest.mark.parametrize("left", [0, 1, 20, 5000])
def test_a_truncated_file_is_named(folder, left):
    path = folder / OPEN_FILE
    os.truncate(path, left)
    (found,) = findings(folder)
    whole = path.read_bytes().count(b"\n")
    assert f"record {604 + whole}: it and all up to record {SIZE - 1} are missing" in found


@pytest.mark.parametrize("cut", [1, 8, 100])
def test_a_truncated_compressed_file_is_named(folder, cut):
    path = closed_files(folder)[0].path
    os.truncate(path, path.stat().st_size - cut)
    (found,) = findings(folder)
    assert found.startswith(f"{path}:")
    assert "damaged or cut" in found


def test_a_file_that_is_not_read_to_its_end_is_not_called_changed(folder, monkeypatch):
    monkeypatch.setattr(log_reader, "_ANY_LINES", 0)
    monkeypatch.setattr(log_reader, "_LEAST_LINE", 1 << 20)
    with pytest.raises(OSError, match="the rest is not read"):
        verify(folder, [LOG.public])


def test_every_changed_byte_of_a_compressed_file_changes_the_answer_or_no_line(folder):
    path = closed_files(folder)[0].path
    data = path.read_bytes()
    lines = gzip.decompress(data)
    rng = random.Random(93)  # noqa: S311 the same bytes in each run
    for at in sorted({*range(12), *rng.sample(range(len(data)), 40), *range(len(data) - 8, len(data))}):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :])
        try:
            same = gzip.decompress(path.read_bytes()) == lines
        except (OSError, EOFError, zlib.error):
            same = False
        assert bool(findings(folder)) != same, at


@pytest.mark.parametrize("region", [(0, 1), (100, 200), (8191, 8192)])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_changed_tile_is_named_where_the_lines_are_as_they_were(folder, region, index):
    path = tile(folder, Tile(0, index))
    data = bytearray(path.read_bytes())
    for at in range(*region):
        data[at] ^= 0xFF
    path.write_bytes(data)
    (found,) = findings(folder)
    assert found.startswith(f"{path}: record {index * 256 + region[0] // 32}: ")
    assert "the tile was changed" in found


@pytest.mark.parametrize("wanted", [Tile(0, 1), Tile(0, 3, SIZE - 768), Tile(1, 0, 3)])
@pytest.mark.parametrize("way", ["missing", "cut", "changed"])
def test_every_tile_that_is_missing_or_damaged_is_named(folder, wanted, way):
    path = tile(folder, wanted)
    data = path.read_bytes()
    if way == "missing":
        path.unlink()
    else:
        path.write_bytes(data[:-1] if way == "cut" else data[:-1] + bytes([data[-1] ^ 1]))
    (found,) = findings(folder)
    assert str(path) in found


@pytest.mark.parametrize("index", [3, 256, 600, 800])
def test_a_line_that_was_changed_with_its_tile_is_narrowed_down(folder, index):
    """The tiles above still have the old hash; of the last, partial tile nothing does."""
    path, number = place(folder, index)
    edit(path, lambda lines: lines.__setitem__(number - 1, line(12345)))
    width = min(256, SIZE - index // 256 * 256)
    stored = tile(folder, Tile(0, index // 256, width))
    data, at = stored.read_bytes(), index % 256 * 32
    stored.write_bytes(data[:at] + line_hashes([line(12345)]) + data[at + 32 :])
    (found,) = findings(folder)
    low = index // 256 * 256 if width == 256 else 0
    assert f"record {low}: it, or one up to record {low + 255 if width == 256 else SIZE - 1}, was changed" in found


def test_lines_that_were_changed_with_all_tiles_do_not_have_the_root(folder, tmp_path):
    path, number = place(folder, 500)
    edit(path, lambda lines: lines.__setitem__(number - 1, line(12345)))
    forged(folder)
    (found,) = findings(folder)
    assert f"record 0: it, or one up to record {SIZE - 1}, was changed together with its hash" in found


def test_an_older_checkpoint_narrows_it_down(tmp_path):
    folder = written(tmp_path / "audit", [200])
    kept = older(folder, tmp_path / "kept")
    log = opened(folder)
    log.append([line(number) for number in range(300, 400)])
    log.close()
    edit(folder / OPEN_FILE, lambda lines: lines.__setitem__(250, line(12345)))
    size = forged(folder).size
    (found,) = findings(folder, since=[kept])
    assert f"record {kept.head.size}: it, or one up to record {size - 1}, was changed" in found


def test_a_forged_checkpoint_is_not_signed(folder):
    edit(folder / OPEN_FILE, lambda lines: lines.pop())
    frontier = forged(folder)
    head = Checkpoint(LOG.public.name, frontier.size, frontier.root())
    (folder / CHECKPOINT).write_bytes(signed(head, [NEXT_KEY]))
    with pytest.raises(AuditBrokenError, match=f"{CHECKPOINT}: no known key signed the note"):
        findings(folder)


def test_every_changed_byte_of_the_checkpoint_is_found(folder):
    data = checkpoint_of(folder)
    for at in range(len(data)):
        (folder / CHECKPOINT).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(AuditBrokenError):
            findings(folder)


@pytest.mark.parametrize("left", [0, 10, 100])
def test_a_truncated_or_missing_checkpoint_is_found(folder, left):
    os.truncate(folder / CHECKPOINT, left)
    with pytest.raises(AuditBrokenError, match=CHECKPOINT):
        findings(folder)
    (folder / CHECKPOINT).unlink()
    with pytest.raises(AuditBrokenError, match="is missing"):
        findings(folder)


def test_the_checkpoint_of_another_log_is_found(folder, tmp_path):
    other = written(tmp_path / "other", [10])
    shutil.copy(other / CHECKPOINT, folder / CHECKPOINT)
    (found,) = findings(folder)
    assert "record 0: " in found
    strange = Key("elsewhere.example/audit/eu-1", 1)
    (folder / CHECKPOINT).write_bytes(signed(Checkpoint(LOG.public.name, 0, Frontier().root()), [KEY]))
    with pytest.raises(AuditBrokenError, match="and the key is of elsewhere"):
        findings(folder, strange.public)


def test_an_older_checkpoint_of_the_same_log_leaves_lines_that_are_not_signed(tmp_path):
    """Someone who puts back yesterday's checkpoint may change what came after it: only `since` can tell."""
    folder = written(tmp_path / "audit", [200])
    before = checkpoint_of(folder)
    log = opened(folder)
    log.append([line(number) for number in range(300, 400)])
    log.close()
    kept = older(folder, tmp_path / "kept")
    (folder / CHECKPOINT).write_bytes(before)
    report = verify(folder, [LOG.public])
    assert report.findings == []
    assert report.unsigned == 102
    (found,) = findings(folder, since=[kept])
    assert found.startswith(str(tmp_path / "kept"))
    assert "it was cut or rolled back" in found


def test_a_cut_tail_and_a_log_that_was_rolled_back_are_found_with_an_older_checkpoint(tmp_path):
    folder = written(tmp_path / "audit", [200])
    yesterday = copied(folder, tmp_path / "yesterday")
    log = opened(folder)
    log.append([line(number) for number in range(300, 400)])
    log.close()
    kept = older(folder, tmp_path / "kept")
    assert findings(folder, since=[kept]) == []
    assert findings(yesterday) == [], "nothing in the folder shows it"
    (found,) = findings(yesterday, since=[kept])
    assert "the log had 306 records, and has 204 now: it was cut or rolled back" in found
    opened(yesterday).close()
    log = opened(yesterday)
    log.append([line(number) for number in range(500, 700)])
    log.close()
    (found,) = findings(yesterday, since=[kept])
    assert "the first 306 records of the log are not those of this checkpoint: the log was replaced" in found


def test_every_older_checkpoint_is_continued(tmp_path):
    folder, kept = tmp_path / "audit", []
    for number in range(6):
        written(folder, [number * 83])
        kept.append(older(folder, tmp_path / str(number)))
    assert findings(folder, since=kept) == []


def test_a_checkpoint_of_another_origin_is_not_compared(folder, tmp_path):
    head = Checkpoint("elsewhere.example/audit/eu-1", 0, Frontier().root())
    (found,) = findings(folder, since=[Older(path=tmp_path / "kept", head=head)])
    assert found.endswith("it is the checkpoint of another log")


def test_lines_after_the_checkpoint_are_counted_and_a_torn_one_is_named(folder):
    with (folder / OPEN_FILE).open("ab") as file:
        file.write(line(1) + b"\n" + line(2) + b"\n" + line(3)[:10])
    report = verify(folder, [LOG.public])
    assert report.findings == []
    assert (report.lines, report.unsigned, report.torn) == (SIZE, 2, True)


@pytest.mark.parametrize(("at", "index"), [(0, 303), (1, 604)])
@pytest.mark.parametrize("rest", [b"{", line(7)])
def test_a_torn_line_of_a_closed_file_was_put_there(folder, at, index, rest):
    path = closed_files(folder)[at].path
    with gzip.open(path, "ab") if path.suffix == ".gz" else path.open("ab") as file:
        file.write(rest)
    report = verify(folder, [LOG.public])
    (found,) = map(str, report.findings)
    number = index - FIRSTS[at] + 1
    assert found.startswith(f"{path}:{number}: record {index}: it has no end, and the file was closed")
    assert not report.torn


def test_removed_files_count_by_their_hashes(tmp_path):
    folder = written(tmp_path / "audit")
    log = opened(folder)
    log.rotate()
    log.close()
    names = [file.path for file in closed_files(folder)]
    log = opened(folder, limits=Limits(keep_bytes=names[-1].stat().st_size))
    log.remove_old()
    log.close()
    report = verify(folder, [LOG.public])
    assert report.findings == []
    assert report.first == 604
    path = tile(folder, Tile(0, 1))
    path.write_bytes(bytes(8192))
    (found,) = findings(folder)
    assert "record 256: it, or one up to record 511, was changed" in found
    names[-1].unlink()
    assert "and no entry says that they were removed" in findings(folder)[0]


def test_a_log_without_a_line_verifies(tmp_path):
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(signed(Checkpoint(LOG.public.name, 0, Frontier().root()), [KEY]))
    assert findings(folder) == []
