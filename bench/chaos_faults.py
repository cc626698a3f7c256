"""Faults of the disks and of the time under load, with both values of `on_failure`.

Law: a fault is a real one of the system; what this machine does not allow is not run, and its row says so.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos_clients import OK, REFUSED, Answers, asking, pause, until
from bench.chaos_gate import ChaosGate, Log
from tests.integration.test_clock_set_back import HOUR, Clocks

_BEFORE_S, _DURING_S = 1.0, 3.0
_NOTICED_S = 15.0
_SLOW_US = 2_000_000
_BLOCK = bytes(1 << 16)


class NotPossibleError(Exception):
    """This machine does not allow the fault."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What begins and ends it, and the options of a gate that it is about.

    `quiet`: the gate need not notice it; `ends`: the gate is stopped meanwhile, so some answers that it counted never
    arrive.
    """

    begin: Callable[[ChaosGate], object]
    end: Callable[[ChaosGate], object]
    options: dict = field(default_factory=dict)
    quiet: bool = False
    ends: bool = False


@dataclass(kw_only=True)
class FaultRow:
    """What came of one. Times are in seconds; None: there was none.

    `missing`: answers without a record; `unrecorded`: those of them that are no 503; `allowed`: those that allow.
    """

    name: str
    on_failure: str
    answers: Answers = field(default_factory=Answers)
    not_run: str = ""
    ends: bool = False
    allowed: int = 0
    unrecorded: int = 0
    missing: int = 0
    gaps: int = 0
    doubled: int = 0
    verify: int = 0
    status: int = 0
    refused_after: float | None = None
    allowed_after: float | None = None
    reason: str = ""

    @property
    def bad(self):
        wrong = self.missing > self.gaps if self.ends else self.missing != self.gaps
        lost = self.unrecorded if self.on_failure == "deny" else wrong
        return not self.not_run and bool(lost or self.doubled or self.verify or self.status)


def _command(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPossibleError(done.stderr.strip() or f"{command[0]} failed")


@contextlib.contextmanager
def _mounted(place, *options):
    place.mkdir(parents=True)
    _command("mount", *options, place)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def _fill(path):
    """Write until there is no room."""
    with path.open("ab", buffering=0) as file:
        try:
            while file.write(_BLOCK):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


@contextlib.contextmanager
def full_disk(folder):
    """The file system of the log is full."""
    place = folder / "disk"
    with _mounted(place, "-t", "tmpfs", "-o", "size=32m", "tmpfs"):
        fill = place / "fill"
        yield Fault(
            begin=lambda _gate: _fill(fill), end=lambda _gate: fill.unlink(), options={"log": str(place / "audit")}
        )


@contextlib.contextmanager
def full_spool(folder):
    """The file system of the spool is full, and something fills it again whenever there is room."""
    place, over = folder / "memory", threading.Event()

    def fill():
        while not over.is_set():
            _fill(place / "fill")
            over.wait(0.01)

    filling = threading.Thread(target=fill)

    def end(_gate):
        over.set()
        filling.join()
        (place / "fill").unlink()

    with _mounted(place, "-t", "tmpfs", "-o", "size=16m", "tmpfs"):
        yield Fault(begin=lambda _gate: filling.start(), end=end, options={"spool": str(place / "spool")})


@contextlib.contextmanager
def read_only(folder):
    """The file system of the log has an error, so the kernel makes it read-only; the gate is stopped for the repair."""
    place, image = folder / "disk", folder / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    _command("mkfs.ext4", "-q", image)
    with _mounted(place, "-o", "loop,errors=remount-ro", image):
        device = Path(
            os.path.realpath(f"/sys/dev/block/{os.major(place.stat().st_dev)}:{os.minor(place.stat().st_dev)}")
        )
        switch = Path("/sys/fs/ext4", device.name, "trigger_fs_error")
        if not switch.exists():
            raise NotPossibleError(f"there is no {switch}")

        def repair(gate):
            gate.end()
            _command("umount", place)
            subprocess.run(["e2fsck", "-fy", image], capture_output=True, check=False)  # its status says what it mended
            _command("mount", "-o", "loop,errors=remount-ro", image, place)
            gate.start()

        options = {"log": str(place / "audit")}
        yield Fault(begin=lambda _gate: switch.write_text("1"), end=repair, options=options, ends=True)


@contextlib.contextmanager
def still_writer(_folder):
    """The log's writer stands still, as with a disk that does not answer."""
    stopped = []

    def begin(gate):
        stopped.append(gate.writer)
        os.kill(stopped[0], signal.SIGSTOP)

    yield Fault(begin=begin, end=lambda _gate: os.kill(stopped[0], signal.SIGCONT))


@contextlib.contextmanager
def slow_disk(_folder):
    """Each `fsync` takes two seconds more."""
    if shutil.which("strace") is None:
        raise NotPossibleError("there is no strace")
    running = []

    def begin(gate):
        inject = f"inject=fsync,fdatasync:delay_enter={_SLOW_US}"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(gate.writer), "-e", inject]
        running.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

    def end(_gate):
        running[0].send_signal(signal.SIGINT)
        running[0].wait(20)

    yield Fault(begin=begin, end=end, quiet=True)


@contextlib.contextmanager
def clock_set_back(folder):
    """The clock goes back by an hour."""
    site = folder / "site"
    site.mkdir()
    clocks = Clocks(site)
    clocks.set(wall=0, monotonic=0)
    yield Fault(
        begin=lambda _gate: clocks.set(wall=-HOUR, monotonic=0),
        end=lambda _gate: clocks.set(wall=0, monotonic=0),
        options={"env": {"PYTHONPATH": str(site)}},
        quiet=True,
    )


FAULTS = {
    "full disk of the log": full_disk,
    "full disk of the spool": full_spool,
    "the log's disk becomes read-only": read_only,
    "a writer that stands still": still_writer,
    "2 s for each fsync": slow_disk,
    "clock set back by an hour": clock_set_back,
}


def run(name, folder, idp, on_failure, rate):
    """One fault; returns its row."""
    row = FaultRow(name=name, on_failure=on_failure)
    folder.mkdir(parents=True)
    try:
        with FAULTS[name](folder) as fault:
            return _run(row, fault, folder, idp, rate)
    except NotPossibleError as error:
        row.not_run = str(error)
        return row


def _run(row, fault, folder, idp, rate):
    row.ends = fault.ends
    gate, answers = ChaosGate(folder, idp, on_failure=row.on_failure, **fault.options), row.answers
    gate.start()
    try:
        with asking(gate.clients(answers, rate), answers):
            pause(_BEFORE_S)
            answers.mark()
            began = time.monotonic()
            fault.begin(gate)
            try:
                row.reason = "" if fault.quiet else _noticed(gate)
                pause(_DURING_S)
                first = answers.first(REFUSED)
                row.refused_after = first - began if first else None
            finally:
                fault.end(gate)
            ended = time.monotonic()
            answers.mark()
            until(lambda: answers.first(OK) and gate.is_ready(), "it does not go on", 30)
            row.allowed_after = answers.first(OK) - ended
            pause(_BEFORE_S)
        row.status = gate.end()
    finally:
        gate.kill() if gate.process.poll() is None else None
    log = Log(gate.audit)
    row.missing = log.without(answers.ids)
    row.unrecorded = log.without(answers.decided)
    row.allowed = log.without(name for name, status in answers.ids.items() if status == OK)
    row.gaps, row.doubled, row.verify = log.gaps, log.doubled, log.verified()
    gate.forget()
    return row


def _noticed(gate):
    """The reason that `/readyz` names."""
    found = []

    def look():
        found[:] = gate.reasons()
        return bool(found)

    with contextlib.suppress(TimeoutError):
        until(look, "it is not noticed", _NOTICED_S)
    return found[0] if found else "(none)"
