"""Child processes of the demo: started with a log each, watched, and ended in reverse order by process group.

Law: children never outlive this. Each has its own session, so that Ctrl-C in the terminal reaches only us, and we end
them; a child that ends early is an error that shows the tail of its log. Only processes started here are signalled.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_TIMEOUT_S = 10.0
POLL_S = 0.1
TAIL_LINES = 25


class ChildDiedError(Exception):
    """A child ended although it should run."""

    def __init__(self, child: "Child", status: int) -> None:
        super().__init__(f"{child.name} ended early with status {status}; the end of {child.log}:\n\n{child.tail()}")


class NotReadyError(Exception):
    """A child did not become ready in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """One running child. `ends`: it is meant to end by itself, which is not an error unless it fails."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ends: bool = False

    def status(self) -> int | None:
        """Return its exit status (or signal) once it has ended; it stays a zombie until it is reaped on purpose."""
        ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return None if ended is None else ended.si_status

    def tail(self) -> str:
        """Return the last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


class Children:
    """All children. Use as a context manager: leaving it ends them."""

    def __init__(self, logs: Path, *, stop_timeout_s: float = STOP_TIMEOUT_S) -> None:
        self._logs = logs
        self._stop_timeout_s = stop_timeout_s
        self._running: list[Child] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        ends: bool = False,
        user: int | None = None,
        folder: Path | None = None,
    ) -> Child:
        """Start a child; its output goes to `<logs>/<name>.log`. Wait with `finish` for one that `ends`.

        `user`: the user and group id that it runs under instead of ours; needs root. `folder`: where it starts.
        """
        log = self._logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )
        child = Child(name=name, process=process, log=log, ends=ends)
        self._running.append(child)
        return child

    def finish(self, child: Child, timeout_s: float) -> None:
        """Wait until a child that is meant to end has ended successfully."""
        self.wait(child.name, lambda: child.status() is not None, timeout_s)
        if (status := child.status()) != 0:
            raise ChildDiedError(child, status or 0)
        self._running.remove(child)
        child.process.wait()

    def check(self) -> None:
        """Raise if a child that should run has ended, or one that was meant to end has failed."""
        for child in self._running:
            status = child.status()
            if status is not None and not (child.ends and status == 0):
                raise ChildDiedError(child, status)

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Poll until `ready`; raise when a child dies or time is up."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise NotReadyError(f"{what}: not done within {timeout_s:.0f} s; see the logs in {self._logs}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End all children, the last started first. Ctrl-C and SIGTERM wait until this is done."""
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for child in reversed(self._running):
                _signal_group(child, signal.SIGTERM)
            for child in reversed(self._running):
                deadline = time.monotonic() + self._stop_timeout_s
                while child.status() is None and time.monotonic() < deadline:
                    time.sleep(POLL_S)
                _signal_group(child, signal.SIGKILL)  # whatever is left of its group
                child.process.wait()
            self._running.clear()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _signal_group(child: Child, number: signal.Signals) -> None:
    """Signal the child's process group. The child is not reaped yet, so its id cannot belong to another process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)
