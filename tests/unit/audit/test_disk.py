"""A disk that is full or broken: the caller gets the error, nothing is half counted, and it goes on later."""

import errno
import os
import resource
import shutil
import subprocess

import pytest

from authz.audit.closed_files import compress_one
from authz.audit.layout import OPEN_FILE, closed_files
from authz.audit.log import Limits
from tests.support.factories.written_logs import findings, line, lines_of, opened, written

LINES = [line(number, 200) for number in range(50)]
CALLS = ("open", "write", "fsync", "ftruncate", "rename", "replace", "link", "mkdir")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_an_error_and_the_log_goes_on_when_there_is_room(small_disk):
    folder, accepted, refused = small_disk / "audit", [], 0
    log = opened(folder)
    fill = small_disk / "fill"
    fill.write_bytes(bytes(60_000))
    for number in range(400):
        lines = [line(number, 300), line(number, 500)]
        try:
            log.append(lines)
            accepted += lines
            log.tend()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            refused += 1
            if refused == 20:
                with pytest.raises(OSError, match="No space left"):
                    log.checkpoint()
                fill.unlink()
                log.checkpoint()
        if refused > 40:
            break
    assert len(accepted) > 0
    assert refused > 40
    assert [one for one in lines_of(folder) if b'"decision"' in one] == accepted
    with pytest.raises(OSError, match="No space left"):
        log.close()
    assert findings(folder) == []
    (small_disk / "room").touch()


def test_a_file_that_may_not_grow_is_an_error(folder):
    log = opened(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (folder / OPEN_FILE).stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 500, hard))
        with pytest.raises(OSError, match="File too large"):
            log.append(LINES)
        assert (folder / OPEN_FILE).stat().st_size == size, "half a batch is cut off"
        index = log.append(LINES[:1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.append(LINES) == index + 1
    log.close()
    assert findings(folder) == []


def test_a_write_that_takes_a_part_is_finished(folder, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
    written(folder, [300, 10])
    monkeypatch.undo()
    assert findings(folder) == []


def test_what_could_not_be_cut_back_is_cut_before_the_next_append(folder, monkeypatch):
    log = opened(folder)
    before = lines_of(folder)
    write = os.write

    def broken(*_arguments):
        raise OSError(errno.EIO, "Input/output error")

    def half(descriptor, data):
        write(descriptor, bytes(data)[: len(data) // 2])
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", half)
    monkeypatch.setattr(os, "ftruncate", broken)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            log.append(LINES)
    monkeypatch.undo()
    assert log.append(LINES) == len(before)
    assert lines_of(folder) == before + LINES
    log.close()
    assert findings(folder) == []


def scenario(folder):
    """What a writer does in its life, with an error now and then; each step is tried again, as its caller does."""
    limits = Limits(records=4, seconds=1e9, file_bytes=900, keep_bytes=1500)
    log = again(lambda: opened(folder, limits=limits))
    for number in range(8):
        again(lambda number=number: log.append([line(number), line(number, 100)]))
        again(log.tend)
        if number % 4 == 3:
            again(log.remove_old)
            again(log.compress)
    again(log.checkpoint)
    os.close(log._lock)


def again(step):
    for _ in range(3):
        try:
            return step()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    raise AssertionError("one error, and it does not go on")


@pytest.mark.parametrize("times", [1, 2])
def test_an_error_of_any_call_of_the_system_can_be_tried_again(in_memory, monkeypatch, times):
    real = {name: getattr(os, name) for name in CALLS}
    left = [0]

    def failing(name):
        def instead(*arguments, **options):
            left[0] -= 1
            if -times < left[0] <= 0:
                if name == "write" and len(arguments[1]) > 1:
                    real["write"](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return real[name](*arguments, **options)

        return instead

    wanted = [one for number in range(8) for one in (line(number), line(number, 100))]
    number = 0
    while left[0] <= 0:
        number += 1
        folder = in_memory / "audit"
        shutil.rmtree(folder, ignore_errors=True)
        left[0] = number
        for name in CALLS:
            monkeypatch.setattr(os, name, failing(name))
        scenario(folder)
        monkeypatch.undo()
        assert findings(folder) == [], number
        found = [one for one in lines_of(folder) if b'"decision"' in one]
        assert found == wanted[len(wanted) - len(found) :], number
        assert len(found) > 3
    assert number > 100


def test_a_closed_file_that_cannot_be_compressed_stays(folder, monkeypatch):
    written(folder)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        compress_one(folder)
    monkeypatch.undo()
    assert [file.path.suffix for file in closed_files(folder)] == [".jsonl"] * 2
    assert [path.name for path in folder.iterdir() if path.name.endswith(".draft")] == []
    assert findings(folder) == []
