"""A file that several processes append to: whatever others change is read, and nothing is read twice."""

import os
import stat

import pytest

from authz.system import shared_file
from authz.system.shared_file import SharedFile

MOST = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines"


@pytest.fixture
def file(path):
    return SharedFile(path, most_bytes=MOST)


def add(file, *lines, is_read=True):
    """Append lines, after what is unread was read; what was read."""
    found = []

    def make(descriptor, _size):
        if file.has_unread(descriptor):
            found.append(file.unread(lock=False))
        return b"".join(lines)

    file.append(make, is_read=is_read)
    return found


def in_place(path, text):
    """Write over the file's beginning, with the same size; the clock of the file system has moved then."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        with path.open("rb+") as edited:
            edited.write(text)


def test_a_process_does_not_read_its_own_lines_again(file, path):
    add(file, b"a\n")
    for line in (b"b\n", b"c\n"):
        assert file.is_as_read()
        assert add(file, line) == []
    assert file.is_as_read()
    assert path.read_bytes() == b"a\nb\nc\n"
    assert file.unread().lines == b""


def test_the_folder_of_a_new_file_is_synced_and_that_of_an_old_one_is_not(file, path, monkeypatch):
    synced = []
    monkeypatch.setattr(shared_file.os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_mode))
    for _ in range(2):
        add(file, b"a\n")
    assert [stat.S_ISDIR(mode) for mode in synced] == [False, True, False]


@pytest.mark.parametrize("kept", ["nothing kept", "modification time kept"])
def test_an_edit_of_the_same_size_is_read(file, path, kept):
    add(file, b"a\n", b"b\n")
    status = path.stat()
    in_place(path, b"x")
    if kept == "modification time kept":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not file.is_as_read()
    unread = file.unread()
    assert (unread.lines, unread.anew) == (b"x\nb\n", True)
    assert file.is_as_read()


def test_an_edit_of_the_same_size_is_read_before_a_line_is_appended_and_not_covered_by_it(file, path):
    add(file, b"a\n", b"b\n")
    in_place(path, b"x")
    [unread] = add(file, b"c\n")
    assert (unread.lines, unread.anew) == (b"x\nb\n", True)
    assert file.is_as_read()


def test_an_edit_between_the_write_and_its_sync_is_read(file, path, monkeypatch):
    add(file, b"a\n", b"b\n")
    sync = os.fsync

    def edited(descriptor):
        in_place(path, b"x")
        os.utime(path, ns=(0, 0))
        sync(descriptor)

    with monkeypatch.context() as disk:
        disk.setattr(shared_file.os, "fsync", edited)
        add(file, b"c\n")
    assert not file.is_as_read()
    assert file.unread().lines == b"x\nb\nc\n"


def test_what_is_written_without_reading_what_others_wrote_is_read_with_it(file, path):
    other = SharedFile(path, most_bytes=MOST)
    add(file, b"a\n")
    add(other, b"b\n")
    file.append(lambda _descriptor, _size: b"c\n", is_read=True)
    assert not file.is_as_read()
    unread = file.unread()
    assert (unread.lines, unread.anew) == (b"b\nc\n", False)


@pytest.mark.parametrize("size", [2, 4000])
def test_an_edit_far_from_the_end_is_read_when_others_have_appended_since(file, path, size):
    """The end that was read is still there, and the file only seems to have grown."""
    add(file, b"alice\n", b"b" * size + b"\n")
    in_place(path, b"-----")
    add(SharedFile(path, most_bytes=MOST), b"c\n")
    unread = file.unread()
    assert unread.anew
    assert unread.lines == b"-----\n" + b"b" * size + b"\nc\n"


def test_a_file_that_was_only_touched_has_no_news(file, path):
    add(file, b"a\n")
    os.utime(path, ns=(0, 0))
    assert not file.is_as_read()
    unread = file.unread()
    assert (unread.lines, unread.rest, unread.anew) == (b"", b"", False)
    assert file.is_as_read()


def test_the_whole_file_is_read_again_on_demand(file):
    add(file, b"a\n")
    unread = file.unread(whole=True)
    assert (unread.lines, unread.anew) == (b"a\n", True)


def test_a_last_line_without_its_newline_is_closed_and_read_as_a_line(file, path):
    path.write_bytes(b"a\nb")
    [unread] = add(file, b"c\n")
    assert (unread.lines, unread.rest) == (b"a\n", b"b")
    assert path.read_bytes() == b"a\nb\nc\n"
    assert not file.is_as_read()
    unread = file.unread()
    assert (unread.lines, unread.rest, unread.anew) == (b"b\nc\n", b"", False)


def test_a_file_that_went_away_is_not_as_read(file, path):
    add(file, b"a\n")
    path.unlink()
    assert not file.is_as_read()


def test_who_may_use_the_file_is_seen_again_with_each_read(file, path):
    add(file, b"a\n")
    assert not file.is_open
    path.chmod(0o640)
    assert not file.is_as_read()
    file.unread()
    assert file.is_open
    path.chmod(0o600)
    add(file, b"b\n")
    assert not file.is_open
