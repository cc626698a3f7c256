"""The log's writer, with real files: what an append promises, when checkpoints are signed, how files are closed."""

import gzip
import json
import os
from pathlib import Path

import pytest

from authz.audit.closed_files import compress_one
from authz.audit.layout import CHECKPOINT, OPEN_FILE, VERIFIER_KEYS, closed_files
from authz.audit.log import Limits
from authz.audit.signing import LogKey, read_signed
from authz.audit.tile_files import TileFiles
from authz.core.audit import proving
from authz.core.audit.entry import entry_of, line_hashes
from authz.core.errors import AuditBrokenError, ConfigError
from tests.support.factories.audit_logs import LOG, Key, StoredLog
from tests.support.factories.written_logs import (
    KEY,
    NEXT_KEY,
    OTHER,
    checkpoint_of,
    findings,
    line,
    lines_of,
    opened,
    written,
)
from tests.support.simulators.idp import SimClock

LINES = [line(number) for number in range(40)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


def head_of(folder, *keys):
    return read_signed(checkpoint_of(folder), keys or (LOG.public,))[0]


def events(folder):
    return [json.loads(one)["event"] for one in lines_of(folder) if b'"type":"log"' in one]


def test_a_log_begins_with_entries_about_itself_and_is_signed_at_once(folder):
    log = opened(folder)
    first, second, third = map(json.loads, lines_of(folder))
    assert (first["event"], first["index"], first["file"]) == ("file", 0, "")
    assert (second["event"], second["unsigned"], second["cut"]) == ("start", 0, 0)
    assert (third["event"], third["keys"]) == ("keys", [str(LOG.public)])
    assert {one["gate"] for one in (first, second, third)} == {"eu-1"}
    assert (folder / VERIFIER_KEYS).read_text() == f"{LOG.public}\n"
    assert head_of(folder).size == log.size == log.signed == 3
    log.close()
    assert events(folder)[3:] == ["stop"]
    assert findings(folder) == []


def test_an_append_returns_the_index_of_its_first_line_and_the_lines_are_in_the_file(folder):
    log = opened(folder)
    assert log.append(LINES[:2]) == 3
    assert log.append(LINES[2:]) == 5
    assert lines_of(folder)[3:] == LINES
    log.close()


def test_the_tree_is_that_of_the_lines(folder):
    written(folder, [700, 200])
    stored = StoredLog(lines_of(folder))
    head = head_of(folder)
    assert (head.size, head.root) == (stored.frontier.size, stored.root(head.size))
    files = TileFiles(folder)
    assert proving.root(head.size, files.read) == head.root
    for index in (0, 255, 256, 600, head.size - 1):
        assert proving.inclusion(index, head.size, files.read) == stored.inclusion(index, head.size)
    assert (folder / "tile/0/000").stat().st_size == 8192
    assert not (folder / "tile/0/000.p").exists(), "a partial tile stays until its tile is full"
    assert (folder / f"tile/0/003.p/{head.size - 768}").exists()
    assert sorted(path.name for path in (folder / "tile").iterdir()) == ["0", "1"]


def test_older_checkpoints_keep_their_partial_tiles_until_the_tile_is_full(folder):
    log = opened(folder)
    log.append(LINES[:7])
    log.checkpoint()
    log.append(LINES[7:9])
    log.checkpoint()
    assert sorted(path.name for path in (folder / "tile/0/000.p").iterdir()) == ["10", "12", "3"]
    assert proving.root(10, TileFiles(folder).read) == StoredLog(lines_of(folder)[:10]).root(10)
    log.close()


def test_a_checkpoint_is_signed_after_so_many_records_or_so_much_time(folder):
    clock = SimClock()
    log = opened(folder, clock=clock, limits=Limits(records=10, seconds=5.0))
    log.append(LINES[:9])
    log.tend()
    assert log.signed == 3
    log.append(LINES[9:10])
    log.tend()
    assert log.signed == 13
    log.append(LINES[10:11])
    clock.advance(4.9)
    log.tend()
    assert log.signed == 13
    clock.advance(0.2)
    log.tend()
    assert log.signed == 14 == head_of(folder).size
    before = (folder / CHECKPOINT).stat().st_ino
    clock.advance(100)
    log.tend()
    assert (folder / CHECKPOINT).stat().st_ino == before, "nothing new, nothing signed"
    log.close()


def test_a_file_is_closed_when_it_is_large_or_old(folder):
    clock = SimClock()
    log = opened(folder, clock=clock, limits=Limits(file_bytes=2000, file_seconds=60))
    log.append([line(0, 2000)])
    log.tend()
    (closed,) = closed_files(folder)
    assert (closed.first, closed.path.name) == (0, "decisions-00000000000000000000.jsonl")
    assert not (folder / OPEN_FILE).exists()
    assert log.signed == log.size == head_of(folder).size == 4
    assert log.append([line(1)]) == 5, "the first line of a file says its index"
    clock.advance(61)
    clock.set_wall(clock.wall() + 61)
    log.tend()
    assert [file.first for file in closed_files(folder)] == [0, 4]
    log.append([line(2)])
    entry = json.loads((folder / OPEN_FILE).read_bytes().split(b"\n")[0])
    assert (entry["event"], entry["index"], entry["file"]) == ("file", 6, "decisions-00000000000000000004.jsonl")
    log.close()
    assert findings(folder) == []


def test_the_age_of_a_file_is_known_after_a_restart(folder):
    clock = SimClock()
    opened(folder, clock=clock).close()
    clock.set_wall(clock.wall() + 61)
    log = opened(folder, clock=clock, limits=Limits(file_seconds=60))
    log.tend()
    assert [file.first for file in closed_files(folder)] == [0]
    log.close()


def test_closed_files_are_compressed_to_the_same_lines(folder):
    written(folder)
    before = lines_of(folder)
    plain, _ = (file.path for file in closed_files(folder))
    times = plain.stat().st_mtime_ns
    assert compress_one(folder) == plain.with_name(plain.name + ".gz")
    assert not plain.exists()
    assert plain.with_name(plain.name + ".gz").stat().st_mtime_ns == times
    assert compress_one(folder) is not None
    assert compress_one(folder) is None
    assert lines_of(folder) == before
    assert findings(folder) == []
    log = opened(folder)
    log.close()
    assert findings(folder) == []


def test_a_file_in_both_forms_is_one_file(folder):
    """A process that compressed was killed before it removed the other form."""
    written(folder)
    path = closed_files(folder)[0].path
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    assert findings(folder) == []
    compress_one(folder)
    assert not path.exists()


def test_old_files_are_removed_by_size_and_an_entry_says_so(folder):
    written(folder)
    sizes = [file.path.stat().st_size for file in closed_files(folder)]
    limits = Limits(keep_bytes=sum(sizes) - 1)
    clock = SimClock()
    log = opened(folder, clock=clock, limits=limits)
    clock.advance(60)
    log.tend()
    (left,) = closed_files(folder)
    entry = json.loads(next(one for one in lines_of(folder) if b'"dropped"' in one))
    assert (entry["index"], entry["count"]) == (0, left.first)
    assert findings(folder) == []
    log.close()
    opened(folder).close()
    assert findings(folder) == []


def test_old_files_are_removed_by_age(folder):
    clock = SimClock()
    log = opened(folder, clock=clock, limits=Limits(keep_seconds=1000, file_seconds=1e12))
    for number in range(3):
        log.append([line(number)])
        log.rotate()
    for age, file in zip((2000, 1001, 10), closed_files(folder), strict=True):
        os.utime(file.path, (clock.wall() - age,) * 2)
    log.tend()
    assert [file.first for file in closed_files(folder)] == [6]
    entries = [json.loads(one) for one in lines_of(folder) if b'"dropped"' in one]
    assert [(one["index"], one["count"]) for one in entries] == [(0, 4), (4, 2)]
    log.close()
    assert findings(folder) == []


def test_files_with_entries_about_removed_files_are_removed_too(folder):
    log = opened(folder, limits=Limits(keep_bytes=1, file_bytes=1))
    for number in range(4):
        log.append([line(number)])
        log.tend()
    log.close()
    assert closed_files(folder) == []
    assert len([one for one in lines_of(folder) if b'"dropped"' in one]) == 1
    assert findings(folder) == []
    opened(folder).close()
    assert findings(folder) == []


def test_the_entry_is_signed_before_the_file_is_removed(folder, monkeypatch):
    """A process that is killed in between leaves a file that is removed later, not one whose removal no entry names."""
    written(folder)

    def killed(_path, **_options):
        raise KeyboardInterrupt

    log = opened(folder, limits=Limits(keep_bytes=1))
    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        log.remove_old()
    monkeypatch.undo()
    assert head_of(folder).size == log.size
    assert findings(folder) == []
    log.remove_old()
    assert closed_files(folder) == []
    log.close()
    assert findings(folder) == []


def test_another_process_cannot_write_the_same_log(folder):
    log = opened(folder)
    with pytest.raises(ConfigError, match="another process writes this log"):
        opened(folder)
    log.close()
    opened(folder).close()


def test_a_restart_continues_the_same_tree(folder):
    opened(folder).close()
    older = head_of(folder)
    log = opened(folder)
    log.append(LINES)
    log.close()
    stored = StoredLog(lines_of(folder))
    assert stored.root(older.size) == older.root
    assert head_of(folder).root == stored.root(head_of(folder).size)


def test_a_new_key_signs_beside_the_old_one_and_an_entry_says_so(folder):
    opened(folder).close()
    log = opened(folder, keys=(NEXT_KEY, KEY))
    log.append(LINES)
    log.close()
    for keys in ([LOG.public], [OTHER.public]):
        assert findings(folder, *keys) == []
    assert (folder / VERIFIER_KEYS).read_text() == f"{OTHER.public}\n{LOG.public}\n"
    opened(folder, keys=(NEXT_KEY,)).close()
    assert findings(folder, OTHER.public) == []
    with pytest.raises(AuditBrokenError, match="no known key signed"):
        findings(folder, LOG.public)
    keys = [json.loads(one)["keys"] for one in lines_of(folder) if b'"keys"' in one]
    assert keys == [[str(LOG.public)], [str(OTHER.public), str(LOG.public)], [str(OTHER.public)]]
    opened(folder, keys=(NEXT_KEY,)).close()
    assert len([one for one in lines_of(folder) if b'"event":"keys"' in one]) == 3, "the same keys are no news"


def test_a_log_that_a_foreign_key_signed_is_not_continued(folder):
    opened(folder).close()
    before = lines_of(folder)
    with pytest.raises(AuditBrokenError, match="no known key signed the note"):
        opened(folder, keys=(NEXT_KEY,))
    assert lines_of(folder) == before
    opened(folder).close()


def test_a_log_is_not_continued_under_another_name(folder):
    """The gate or the issuer was renamed: no old key would help."""
    opened(folder).close()
    renamed = Key("gate.example/audit/eu-2", 1)
    with pytest.raises(AuditBrokenError) as caught:
        opened(folder, keys=(LogKey(renamed.public, renamed.sign),))
    text = (
        "the log is of gate.example/audit/eu-1, and the key is of gate.example/audit/eu-2 (a log is continued under its"
    )
    assert str(caught.value).startswith(f"{folder / CHECKPOINT}: {text}")
    assert "change of keys" not in str(caught.value)


def test_a_line_longer_than_an_entry_is_stored_whole(folder):
    """An identity entry of a user with very many groups: the tree has its length and hash."""
    long = line(0, 70_000)
    log = opened(folder)
    index = log.append([line(1), long, line(2)]) + 1
    log.close()
    assert lines_of(folder)[index] == long
    assert entry_of(long).startswith(b"line of 70")
    assert TileFiles(folder).leaves(index, index + 1, log.size) == line_hashes([long])
    assert findings(folder) == []
    data = (folder / OPEN_FILE).read_bytes()
    (folder / OPEN_FILE).write_bytes(data.replace(long, entry_of(long)))
    assert f":{index + 1}: record {index}: " in findings(folder)[0], "nothing but the line passes for the line"


@pytest.mark.parametrize("wrong", [b"", b"text", b'{"a":\n1}', b"{" + b"x" * (4 << 20), entry_of(line(0, 70_000))])
def test_what_is_no_line_is_refused_with_all_that_comes_with_it(folder, wrong):
    log = opened(folder)
    before = lines_of(folder)
    with pytest.raises(ValueError, match="not a line"):
        log.append([line(1), wrong])
    assert lines_of(folder) == before
    assert log.append([line(1)]) == len(before)
    log.close()
    assert findings(folder) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda path: path.unlink(), "was removed"),
        (lambda path: path.rename(path.with_name("elsewhere")), "was removed"),
        (lambda path: (path.rename(path.with_name("x")), path.write_bytes(b"")), "was replaced"),
        (lambda path: path.write_bytes(path.read_bytes() + b"{}\n"), "bytes, and"),
        (lambda path: os.truncate(path, 10), "has 10 bytes"),
    ],
)
def test_what_something_else_does_to_the_file_is_noticed_before_the_next_line(folder, change, text):
    log = opened(folder)
    log.append(LINES)
    change(folder / OPEN_FILE)
    with pytest.raises(AuditBrokenError, match=text):
        log.append(LINES)
    with pytest.raises(AuditBrokenError, match=text):
        log.close()
    other = folder.parent / "other"
    opened(other).close()


def test_too_many_lines_without_a_checkpoint_make_one(folder, monkeypatch):
    monkeypatch.setattr("authz.audit.log.MOST_UNSIGNED", 50)
    log = opened(folder)
    log.append(LINES)
    assert log.signed == 3
    log.append(LINES[:20])
    assert log.signed == 43
    log.close()


def test_a_folder_with_lines_and_no_checkpoint_is_not_begun_again(folder):
    opened(folder).close()
    (folder / CHECKPOINT).unlink()
    with pytest.raises(AuditBrokenError, match="no checkpoint"):
        opened(folder)


def test_files_are_for_the_group_and_no_one_else(folder):
    written(folder)
    assert {path.stat().st_mode & 0o027 for path in folder.rglob("*") if path.is_file()} == {0}
    assert folder.stat().st_mode & 0o027 == 0


def test_a_link_in_place_of_a_closed_file_is_not_compressed(tmp_path):
    """The writer may read what the one that put the link there may not."""
    folder, secret = written(tmp_path / "audit"), tmp_path / "secret"
    secret.write_text("secret")
    path = closed_files(folder)[0].path
    path.unlink()
    path.symlink_to(secret)
    log = opened(folder)
    with pytest.raises(OSError, match="symbolic links"):
        log.compress()
    log.close()
    assert not path.with_name(f"{path.name}.gz").exists()
