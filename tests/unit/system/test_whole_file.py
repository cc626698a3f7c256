"""Files that are written whole or not at all, by writers that are killed at every step."""

import fcntl
import subprocess
import sys
import threading

import pytest

from authz.system.whole_file import write_whole

# One interpreter, which forks a child for every step: the child is killed (SIGKILL) at that line of the writer, then a
# new writer does the same. Prints how many steps there were.
KILLED_AT_EVERY_STEP = """
import os, pathlib, signal, sys
from authz.system import whole_file
folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]
path = folder / "file"

def write():
    if what == "key":
        from authz.core import assertion
        from authz.serve import signing_keys
        if not path.exists():
            signing_keys._make_key(path)
        assertion.load_signing_key(path.read_bytes())
    elif what == "cookie":
        from authz.envoy_config import files
        files.make_cookie_secret(str(path))
        assert len(path.read_bytes()) == 43
    elif what == "sds":
        from authz.envoy_config import files
        files.write_sds({str(path): "new" * 1000})
        assert path.read_text() == "new" * 1000
    elif what == "replays":
        from authz.runs.replay_table import Replays
        table = Replays(path, 1000)
        assert table.first(b"d" * 16, 200.0, 100.0)
        table.close()
    elif what == "revocations":
        from authz.core.revocation import Kind, Revocation
        from authz.sessions.revocation_file import RevocationFile
        RevocationFile(path).compact(10_000.0)
        [kept] = RevocationFile(path).news().revocations
        assert kept.value == "lasts"

def before():
    for name in os.listdir(folder):
        (folder / name).unlink()
    if what == "sds":
        path.write_text("old")
    elif what == "revocations":
        from authz.core.revocation import Kind, Revocation
        from authz.sessions.revocation_file import RevocationFile
        one = dict(issuer="i", kind=Kind.SID, before=0, note="")
        RevocationFile(path).append(
            [Revocation(value="over", until=1, **one), Revocation(value="lasts", until=10**9, **one)]
        )

def killed_at(step):
    left = step
    def trace(frame, event, _argument):
        nonlocal left
        if frame.f_code.co_filename != whole_file.__file__:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    write()
    os._exit(0)

step = 0
while True:
    before()
    pid = os.fork()
    if pid == 0:
        killed_at(step)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    step += 1
    if what == "sds":
        assert path.read_text() in {"old", "new" * 1000}, "half a file"
    elif path.exists() and what in {"key", "cookie"}:
        assert path.read_bytes().rstrip(), "half a file"
    is_written = what in {"sds", "revocations"} or not path.exists()
    write()
    left = [name for name in os.listdir(folder) if name != "file"]
    assert left == [] or not is_written, left
print(step)
"""


@pytest.mark.parametrize("what", ["key", "cookie", "sds", "replays", "revocations"])
def test_a_writer_killed_at_any_step_does_not_hinder_the_next_writer(tmp_path, what):
    command = [sys.executable, "-c", KILLED_AT_EVERY_STEP, str(tmp_path), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= 15


def test_the_draft_is_private_from_its_first_byte_on_and_left_overs_are_removed(tmp_path):
    path, seen = tmp_path / "file", []
    (left := tmp_path / f".file.{'a' * 16}.draft").write_bytes(b"half")
    (other := tmp_path / ".file.mine").touch()

    def pieces():
        [draft] = [one for one in tmp_path.iterdir() if one != other]
        seen.append(draft.stat().st_mode & 0o777)
        yield b"a"
        yield b"b"

    assert write_whole(path, pieces())
    assert (seen, path.read_bytes(), path.stat().st_mode & 0o777) == ([0o600], b"ab", 0o600)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([path, other])


def test_a_file_that_is_there_stays_unless_it_may_be_replaced(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    assert not write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert write_whole(path, b"new", replace=True)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_draft_whose_writer_lives_is_left_alone(tmp_path):
    draft = tmp_path / f".file.{'a' * 16}.draft"
    with draft.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert write_whole(tmp_path / "file", b"x")
        assert draft.exists()
    assert write_whole(tmp_path / "file", b"y", replace=True)
    assert not draft.exists()


def test_what_fails_leaves_nothing(tmp_path):
    def pieces():
        yield b"a"
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        write_whole(tmp_path / "file", pieces())
    assert list(tmp_path.iterdir()) == []


def test_many_writers_at_once_make_one_whole_file(tmp_path):
    path, made = tmp_path / "file", []

    def write(letter):
        made.append(write_whole(path, [letter] * 1000))

    threads = [threading.Thread(target=write, args=(bytes([65 + number]),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(made) == [False] * 7 + [True]
    assert len(set(path.read_bytes())) == 1
    assert list(tmp_path.iterdir()) == [path]
