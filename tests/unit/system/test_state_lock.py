"""One gate per state folder, whatever became of the one before."""

import os
import signal
import subprocess
import sys

import pytest

from authz.core.errors import ConfigError
from authz.system.state_folder import Item, StateFolder
from authz.system.state_lock import held

HOLDER = """
import sys, time
from pathlib import Path
from authz.system.state_lock import held
with held(Path(sys.argv[1]), "authz.yaml"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def other(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_the_second_gate_is_refused_and_the_error_says_who_has_the_folder_and_what_to_do(path, other):
    with pytest.raises(ConfigError) as refused, held(path, "authz.yaml"):
        pytest.fail("both have it")
    [problem] = refused.value.problems
    assert problem.file == "authz.yaml"
    assert f"another gate has the folder {path}: pid {other.pid} on " in problem.message
    assert problem.hint == "give each gate a folder of its own, or end the other one first"


def test_after_a_kill_the_next_gate_has_it(path, other):
    other.send_signal(signal.SIGKILL)
    other.wait(30)
    with held(path, "authz.yaml"):
        assert (path / ".lock").read_text().startswith(f"pid {os.getpid()} on ")


def test_it_is_given_back(path):
    for _ in range(2):
        with held(path, "authz.yaml"):
            StateFolder(path).keep("item", Item(about={}, data=b"x"))
    assert StateFolder(path).read("item", 10).data == b"x"


def test_children_of_the_gate_do_not_have_it(path):
    """Workers are replaced, and may outlive a supervisor that was killed."""
    with held(path, "authz.yaml"):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        with held(path, "authz.yaml"):  # refused if the child had it
            assert child.poll() is None
    finally:
        child.communicate()


def test_without_a_folder_there_is_nothing_to_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with held(None, "authz.yaml"), held(None, "authz.yaml"):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_does_not_stop_the_gate(path, caplog):
    path.mkdir(0o770)
    path.chmod(0o770)
    with held(path, "authz.yaml"):
        assert "cannot be locked: the folder is open to others (mode 0770)" in caplog.text
