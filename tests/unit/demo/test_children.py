"""Children of the demo: started, watched, and ended whatever happens."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from demo.children import ChildDiedError, Children, NotReadyError

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
# Starts a grandchild, tells its pid, and ignores SIGTERM itself.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid, flush=True)
time.sleep(600)
"""
POLITE = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("bye", flush=True), sys.exit(0)))
print("up", flush=True)
time.sleep(600)
"""


def up(child):
    return lambda: child.log.read_bytes().endswith(b"\n")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def eventually(wanted):
    deadline = time.monotonic() + 10
    while not wanted():
        assert time.monotonic() < deadline
        os.sched_yield()


def test_all_are_asked_to_end_when_the_block_is_left(tmp_path):
    with Children(tmp_path / "logs") as children:
        started = [children.start(name, [sys.executable, "-c", POLITE], os.environ) for name in ("first", "second")]
        for child in started:
            children.wait(child.name, up(child), 10)
    assert [child.process.returncode for child in started] == [0, 0]
    assert all(child.log.read_text() == "up\nbye\n" for child in started)


def test_a_child_that_ignores_sigterm_and_its_children_are_killed(tmp_path):
    with Children(tmp_path, stop_timeout_s=0.3) as children:
        child = children.start("stubborn", [sys.executable, "-c", STUBBORN], os.environ)
        children.wait("stubborn", up(child), 10)
        grandchild = int(child.log.read_text())
        assert alive(grandchild)
    assert child.process.returncode == -signal.SIGKILL
    eventually(lambda: not alive(grandchild))


def test_a_child_that_dies_early_is_an_error_with_the_tail_of_its_log(tmp_path):
    code = "import sys; print('\\n'.join(f'line {n}' for n in range(100))); sys.exit(3)"
    with Children(tmp_path) as children:
        children.start("steady", SLEEP, os.environ)
        children.start("fragile", [sys.executable, "-c", code], os.environ)
        with pytest.raises(ChildDiedError) as died:
            children.wait("something", lambda: False, 10)
    assert "fragile ended early with status 3" in str(died.value)
    assert str(tmp_path / "fragile.log") in str(died.value)
    assert "line 99" in str(died.value)
    assert "line 10\n" not in str(died.value)


def test_a_child_that_is_to_end_may_end_well(tmp_path):
    with Children(tmp_path) as children:
        children.finish(children.start("quick", [sys.executable, "-c", ""], os.environ, ends=True), 10)
        children.check()
        failing = children.start("failing", [sys.executable, "-c", "raise SystemExit(5)"], os.environ, ends=True)
        with pytest.raises(ChildDiedError, match="status 5"):
            children.finish(failing, 10)


def test_a_child_that_is_to_end_may_end_while_others_are_waited_for(tmp_path):
    with Children(tmp_path) as children:
        quick = children.start("quick", [sys.executable, "-c", ""], os.environ, ends=True)
        eventually(lambda: quick.status() is not None)
        children.check()
        children.finish(quick, 10)
        failing = children.start("failing", [sys.executable, "-c", "raise SystemExit(5)"], os.environ, ends=True)
        eventually(lambda: failing.status() is not None)
        with pytest.raises(ChildDiedError, match="status 5"):
            children.check()


def test_what_never_gets_ready_is_an_error(tmp_path):
    with Children(tmp_path) as children, pytest.raises(NotReadyError, match="the moon"):
        children.wait("the moon", lambda: False, 0.2)


def test_signals_wait_while_everything_is_ended_and_work_again_afterwards(tmp_path):
    seen = []
    previous = signal.signal(signal.SIGTERM, lambda *_: seen.append("late"))
    try:
        with Children(tmp_path) as children:
            child = children.start("steady", SLEEP, os.environ)
            children.wait("steady", up(child), 10)
        os.kill(os.getpid(), signal.SIGTERM)
        eventually(lambda: seen == ["late"])
    finally:
        signal.signal(signal.SIGTERM, previous)
