"""Where decision records go: off the serving thread, in order, and never silently lost.

Law 1: `put` does not wait, for anything. It appends to a bounded queue or says at once that it cannot.
Law 2: a record that was accepted is written, or counted as lost by `close`. A write that fails is tried again with the
very same bytes, from where the last one ended; nothing is written twice and no line is torn by a retry or a reopening.
Law 3: what cannot be accepted is refused (`deny`) or counted (`allow`); which one is the operator's setting.
Law 4: where several processes write to one target, each writes whole lines only, one process at a time (`lock`): not
even a line that is longer than a pipe takes at once is broken by another's.

The queue is counted in records, and a record has at most a few kilobytes, so memory is bounded. Nothing is signalled to
the writer on `put` (waking it would cost more than the append); it looks every 20 ms.
"""

import contextlib
import fcntl
import logging
import os
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from authz.errors import AuditUnavailableError, ConfigError, Problem

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.02
_RETRY_S: Final = 0.25
_BATCH: Final = 512
_FILE_MODE: Final = 0o640
_LOCK_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """How the sink is doing. `failed` is why records cannot be written now, or ""."""

    failed: str
    queued: int
    written: int
    dropped: int


class _File:
    """A file that is appended to, and can be opened again under its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._descriptor = self._open()
        except OSError as error:
            problem = Problem(str(path), 0, 0, f"the decision log cannot be opened: {error.strerror}")
            raise ConfigError([problem]) from None

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)

    def write(self, data: bytes) -> int:
        return os.write(self._descriptor, data)

    def reopen(self) -> None:
        descriptor = self._open()
        os.close(self._descriptor)
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)


class _Stream:
    """A binary stream that somebody else owns: standard output, or a buffer in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._descriptor = -1
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
            self._descriptor = stream.fileno()

    def write(self, data: bytes) -> int:
        if self._descriptor >= 0:
            return os.write(self._descriptor, data)
        written = self._stream.write(data)
        self._stream.flush()
        return written

    def reopen(self) -> None:
        """A stream has no name to open again."""

    def close(self) -> None:
        """The stream is not ours to close."""


class _Turn:
    """The right to write, shared with other processes through a locked file; the kernel gives it back for the dead."""

    def __init__(self, path: Path | None) -> None:
        self._descriptor = -1 if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
        self._held = False

    def take(self) -> None:
        if self._descriptor >= 0 and not self._held:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._held = True

    def give(self) -> None:
        if self._held:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._held = False

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


class DecisionSink:
    """A bounded queue and the thread that empties it into a file or a stream.

    Args:
        target: a path (opened for appending, created when missing) or a binary stream.
        capacity: records that may wait.
        on_failure: what `put` does when a record cannot be accepted: `deny` raises, `allow` counts and goes on.
        lock: a file that all processes lock which write to the same target; none where this one is alone.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        *,
        capacity: int = 10_000,
        on_failure: Literal["deny", "allow"] = "deny",
        lock: Path | None = None,
    ) -> None:
        self._target = _File(target) if isinstance(target, Path) else _Stream(target)
        self._turn = _Turn(lock)
        self._capacity = capacity
        self._deny = on_failure == "deny"
        self._queue: deque[bytes | threading.Event] = deque()
        self._pending: list[bytes] = []
        self._failed = ""
        self._dropped = 0
        self._written = 0
        self._torn = 0  # bytes of the batch's first record that are already written
        self._reopen = False
        self._closing = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decision-sink", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Accept one record, a line with its newline. Called on the serving thread.

        Raises:
            AuditUnavailableError: the record cannot be accepted, and `on_failure` is `deny`.
        """
        if self._failed or len(self._queue) >= self._capacity:
            self._refuse()
        else:
            self._queue.append(line)

    def _refuse(self) -> None:
        if self._deny:
            raise AuditUnavailableError(self._failed or f"{self._capacity} records wait to be written")
        self._dropped += 1

    def status(self) -> SinkStatus:
        """How the sink is doing, for metrics and readiness."""
        queued = len(self._queue) + len(self._pending)
        return SinkStatus(failed=self._failed, queued=queued, written=self._written, dropped=self._dropped)

    def reopen(self) -> None:
        """Open the file again under its name (logrotate). Only sets a flag: safe in a signal handler."""
        self._reopen = True

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every record accepted so far is written; False when that takes longer than `timeout` seconds."""
        mark = threading.Event()
        self._queue.append(mark)
        self._wake.set()
        return mark.wait(timeout)

    def close(self, timeout: float = 5.0) -> int:
        """Write what waits, for at most `timeout` seconds, and end. Returns how many accepted records are lost."""
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)
        lost = len(self._pending) + sum(isinstance(item, bytes) for item in tuple(self._queue))
        self._failed = self._failed or "the decision log is closed"
        if not self._thread.is_alive():
            self._target.close()
            self._turn.close()
        return lost

    def _run(self) -> None:
        """The writer thread."""
        while True:
            closing = self._closing
            if self._reopen:
                self._renew_target()
            self._take()
            pause = self._write() if self._pending else _LOOK_S
            if pause:
                if closing:
                    return
                self._wake.wait(pause)
                self._wake.clear()

    def _take(self) -> None:
        """Move records from the queue to the batch, up to a mark; a mark whose turn has come tells its `flush`."""
        while self._queue and len(self._pending) < _BATCH:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                self._pending.append(item)
            elif self._pending:
                self._queue.appendleft(item)
                return
            else:
                item.set()

    def _write(self) -> float:
        """Write the batch in our turn, which lasts until the last line begun is whole. Returns how long to wait now."""
        self._turn.take()
        try:
            return self._write_batch()
        finally:
            if not self._torn:
                self._turn.give()

    def _write_batch(self) -> float:
        """Write the batch; records leave it once they are written whole. Returns how long to wait now."""
        try:
            written = self._target.write(b"".join(self._pending)[self._torn :])
        except BlockingIOError:  # a pipe whose reader is slow and which somebody made non-blocking
            return _LOOK_S
        except OSError as error:
            self._fail(error.strerror or type(error).__name__)
            return _RETRY_S
        if self._failed:
            log.warning("the decision log can be written again; %d records were dropped so far", self._dropped)
            self._failed = ""
        written += self._torn
        whole = 0
        for record in self._pending:
            if written < len(record):
                break
            written -= len(record)
            whole += 1
        del self._pending[:whole]
        self._torn = written
        self._written += whole
        return 0.0

    def _fail(self, why: str) -> None:
        if not self._failed:
            log.error("the decision log cannot be written: %s", why)
        self._failed = f"the decision log cannot be written: {why}"

    def _renew_target(self) -> None:
        """Open the file again; a torn line is begun anew in the new file. The old one is kept if that fails."""
        self._reopen = False
        try:
            self._target.reopen()
        except OSError as error:
            log.error("the decision log cannot be opened again, the old file is kept: %s", error.strerror)  # noqa: TRY400 the text says it all
        else:
            self._torn = 0
            self._turn.give()
