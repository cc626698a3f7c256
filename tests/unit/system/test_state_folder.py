"""The state folder: whole files, ours alone, and nothing that was changed is used."""

import errno
import os
import subprocess
import sys
import threading
from hashlib import sha256

import pytest

from authz.system.state_folder import Item, StateFolder
from tests.e2e.envoy_harness import wait_for

ITEM = Item(about={"revision": "abc", "at": 1.5}, data=b"bytes\nof any kind \x00\xff")
MOST = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def kept(path):
    StateFolder(path).keep("item", ITEM)
    return path / "item"


def read(path):
    """What a process that begins anew reads, and what it reports."""
    state = StateFolder(path)
    return state.read("item", MOST), state.problems()


def full(*_arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_what_was_kept_is_read_after_a_restart(path, kept):
    item, problems = read(path)
    assert (item.data, item.about["revision"], item.about["at"]) == (ITEM.data, "abc", 1.5)
    assert problems == []


def test_folder_and_files_are_ours_alone(path, kept):
    assert path.stat().st_mode & 0o777 == 0o700
    assert kept.stat().st_mode & 0o777 == 0o600


def test_nothing_kept_is_no_problem(path):
    assert read(path) == (None, [])
    path.mkdir(0o700)
    assert read(path) == (None, [])


def test_what_cannot_be_replaced_is_removed(path, kept, monkeypatch):
    """An older policy or key set must not come back after a newer one was in force."""
    state = StateFolder(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        state.keep("item", Item(about={}, data=b"newer"))
    assert "No space left on device" in state.problems()[0]
    assert list(path.iterdir()) == []
    assert read(path) == (None, [])


def test_what_is_written_again_for_its_time_alone_stays(path, kept, monkeypatch):
    """A key set that did not change is as good as it was: a full disk must not take it."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        StateFolder(path).keep("item", Item(about={"at": 2.5}, data=ITEM.data))
    assert read(path)[0].data == ITEM.data


@pytest.mark.parametrize("header", [b"[]", b"7", b"null", b"{", b"{}", b"[" * 3000])
def test_a_header_of_another_form_is_not_used(path, kept, header):
    body = header + b"\n"
    kept.write_bytes(sha256(body).hexdigest().encode() + b"\n" + body)
    item, problems = read(path)
    assert item is None
    assert len(problems) == 1


def test_a_folder_that_others_may_write_is_not_written_either(path, kept):
    path.chmod(0o770)
    state = StateFolder(path)
    state.keep("item", Item(about={}, data=b"newer"))
    assert "the folder is open to others (mode 0770)" in state.problems()[0]
    path.chmod(0o700)
    assert read(path)[0].data == ITEM.data


def test_what_could_not_be_kept_is_tried_again_until_it_is(path, kept, caplog):
    """A folder that became unwritable keeps an older policy, which a restart would serve: that is said, and mended."""
    caplog.set_level("INFO")
    path.chmod(0o770)
    state = StateFolder(path, retry_s=0.01)
    state.keep("item", Item(about={}, data=b"newer"))
    [problem] = state.problems()
    assert "cannot be kept, tried again every 0.01 s: the folder is open to others (mode 0770): chmod go=" in problem
    assert problem.endswith("; the older one is still there, and would serve after a restart")
    assert state.failed()
    state.keep("item", Item(about={}, data=b"newest"))
    path.chmod(0o700)
    wait_for(lambda: "item is kept" in caplog.text, "it was not tried again", pause=threading.Event().wait)
    assert read(path)[0].data == b"newest"
    assert (state.failed(), state.problems()) == (False, [])


def test_a_newer_item_takes_the_place_of_the_old(path, kept):
    StateFolder(path).keep("item", Item(about={}, data=b"newer"))
    assert read(path)[0].data == b"newer"
    assert [file.name for file in path.iterdir()] == ["item"]


def test_no_flipped_bit_is_used(path, kept):
    good = kept.read_bytes()
    for position in range(len(good)):
        kept.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        item, problems = read(path)
        assert item is None, position
        assert len(problems) == 1
        assert "is not used" in problems[0]
    for length in range(len(good)):
        kept.write_bytes(good[:length])
        assert read(path)[0] is None


def open_to_others(path, kept):
    kept.chmod(0o640)


def open_folder(path, kept):
    path.chmod(0o750)


def linked(path, kept):
    kept.rename(path / "elsewhere")
    kept.symlink_to("elsewhere")


def hard_linked(path, kept):
    os.link(kept, path.parent / "other-name")


def linked_folder(path, kept):
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def fifo(path, kept):
    kept.unlink()
    os.mkfifo(kept)


def huge(path, kept):
    os.truncate(kept, 3 << 30)


@pytest.mark.parametrize("spoil", [open_to_others, open_folder, linked, hard_linked, linked_folder, fifo, huge])
def test_what_others_could_have_made_is_not_used(path, kept, spoil):
    spoil(path, kept)
    item, problems = read(path)
    assert item is None
    assert len(problems) == 1
    assert str(path) in problems[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("foreign", ["state", "state/item"])
def test_what_belongs_to_another_account_is_not_used(path, kept, foreign):
    os.chown(path.parent / foreign, 12345, 12345)
    item, problems = read(path)
    assert item is None
    assert "belongs to another account (uid 12345)" in problems[0]


def test_a_folder_that_cannot_be_made_is_reported_and_raises_nothing(tmp_path):
    state = StateFolder(tmp_path / "missing" / "state")
    state.keep("item", ITEM)
    assert "cannot be kept, tried again every 10 s: No such file or directory" in state.problems()[0]


def test_a_problem_is_over_when_it_could_be_written_again(path, kept):
    kept.write_bytes(b"broken")
    state = StateFolder(path)
    assert state.read("item", MOST) is None
    assert state.problems()
    state.keep("item", ITEM)
    assert state.problems() == []
    assert state.read("item", MOST).data == ITEM.data


KILLED = """
import os, sys
from pathlib import Path
from authz.system.state_folder import Item, StateFolder
left = int(sys.argv[2])
def dying(real):
    def step(*args, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1
        return real(*args, **options)
    return step
for name in ("open", "fsync", "replace", "unlink"):
    setattr(os, name, dying(getattr(os, name)))
StateFolder(Path(sys.argv[1])).keep("item", Item(about={}, data=b"newer"))
"""


def test_killed_at_any_step_it_leaves_the_old_item_or_the_new_one(path, kept):
    left = 0
    while True:
        ended = subprocess.run([sys.executable, "-c", KILLED, path, str(left)], check=False, timeout=60)
        item, problems = read(path)
        assert item.data in {ITEM.data, b"newer"}
        assert problems == []
        if ended.returncode == 0:
            break
        assert ended.returncode == -9
        left += 1
    assert left >= 4
    assert item.data == b"newer"
    assert [file.name for file in path.iterdir()] == ["item"]
