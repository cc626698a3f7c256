"""The worker processes: spawned, identified, reaped.

Law: each is a fresh interpreter that runs the same code as this one; nothing is forked with gRPC inside. Only processes
that were spawned here are ever signalled. A worker's index is its slot; a slot has several workers over time, which
their number distinguishes.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import authz
from authz.serve.supervisor.aggregate import Worker
from authz.serve.supervisor.backoff import BackOff
from authz.serve.supervisor.worker import LISTENING
from authz.serve.supervisor.worker_context import WorkerContext

_BLOCK: Final = 64 * 1024


@dataclass(slots=True, kw_only=True)
class WorkerSlot:
    """One worker's slot, and the worker in it.

    `listened` says whether a worker in it ever started to listen; `due` is when the next worker starts in an empty one.
    """

    index: int
    name: str
    process: subprocess.Popen[bytes] | None = None
    lifeline: socket.socket | None = None
    number: int = 0
    started_at: float = 0.0
    due: float = 0.0
    listened: bool = False
    restarts: int = 0
    output: bytearray = field(default_factory=bytearray, repr=False)
    back_off: BackOff = field(default_factory=BackOff)

    @property
    def worker(self) -> Worker:
        """The worker in the slot."""
        return self.index, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A worker that ended: its exit status (negative: the signal), whether it ever listened, its last metrics."""

    slot: WorkerSlot
    worker: Worker
    status: int
    served: bool
    last_metrics: str


class Fleet:
    """All slots.

    Args:
        folder: what the workers share.
        count: how many that answer Envoy.
        http: how many more that answer checks over HTTP.
        arguments: of the command, as the supervisor's own (`serve --settings …`).
        signing_keys: descriptors that every worker inherits.
        writes_log: these are no workers: it is the one process that writes the signed log.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        arguments: Sequence[str],
        signing_keys: tuple[int, ...] = (),
        *,
        http: int = 0,
        writes_log: bool = False,
    ) -> None:
        self._folder = folder
        self._count, self._http = count, http
        self._arguments = tuple(arguments)
        self._signing_keys = signing_keys
        self._writes_log = writes_log
        name = "the log's writer" if writes_log else "worker {}"
        self.slots = tuple(WorkerSlot(index=index, name=name.format(index)) for index in range(count + http))

    def context(self, slot: WorkerSlot, lifeline: int = -1) -> WorkerContext:
        """What a worker in that slot is given."""
        return WorkerContext(
            index=slot.index,
            count=self._count,
            folder=str(self._folder),
            lifeline=lifeline,
            signing_keys=self._signing_keys,
            http=self._http,
            writes_log=self._writes_log,
        )

    def spawn(self, slot: WorkerSlot, now: float) -> None:
        """Start a worker in an empty slot.

        Raises:
            OSError: no process can be started.
        """
        slot.number += 1  # first: another thread that sees the process must not take it for the one before
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                slot.process = subprocess.Popen(  # noqa: S603 our own interpreter and arguments
                    [sys.executable, *_own_code(), "-m", "authz", *self._arguments],
                    env={**os.environ, **self.context(slot, theirs.fileno()).environment()},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno(), *self._signing_keys],
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        slot.lifeline, slot.started_at = ours, now
        slot.output.clear()

    def reap(self) -> list[Ended]:
        """The workers that have ended since the last look; their slots are empty now."""
        ended = []
        for slot in self.slots:
            _listen(slot)
            if slot.process is None or (status := slot.process.poll()) is None:
                continue
            _listen(slot)
            served = slot.output.startswith(LISTENING)
            words = bytes(slot.output).removeprefix(LISTENING).decode(errors="replace")
            slot.process = None
            if slot.lifeline is not None:
                slot.lifeline.close()
                slot.lifeline = None
            ended.append(Ended(slot=slot, worker=slot.worker, status=status, served=served, last_metrics=words))
        return ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every worker that runs."""
        for slot in self.running():
            if slot.process is not None:
                slot.process.send_signal(number)

    def running(self) -> list[WorkerSlot]:
        """The slots with a worker."""
        return [slot for slot in self.slots if slot.process is not None]


def _listen(slot: WorkerSlot) -> None:
    """Read what the worker has reported, without blocking."""
    try:
        while slot.lifeline is not None and (data := slot.lifeline.recv(_BLOCK)):
            slot.output += data
    except OSError:  # nothing more for now, or it was killed in the middle of a word
        pass
    slot.listened = slot.listened or slot.output.startswith(LISTENING)


def _own_code() -> list[str]:
    """The interpreter's flags: code is loaded from the working folder only if our own code came from it."""
    return [] if Path(authz.__file__).parents[1] == Path.cwd() else ["-P"]
