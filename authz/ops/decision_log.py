"""Writes decision records to their target off the serving thread, in order, and counts what is lost.

Law 1: `put` never waits. It appends to a bounded queue or refuses at once (`deny`), or counts (`allow`).
Law 2: a record that was accepted is written, or counted as lost by `close`. A failed write is retried with the same
bytes, from where the last one ended. If another process wrote after a torn line, it has ended that line, and the whole
record is written again.
Law 3: if several processes write to one target, one writes at a time, whole lines only, and a wait for a turn never
goes unnoticed.
Law 4: records are refused while they cannot be written: a write failed, the file cannot be opened under its name, the
oldest record has waited for more than `LONGEST_WAIT_S`, or the writer ended. The writer reports the first two; a
second thread watches for the others, because a thread that hangs in the kernel reports nothing.

A killed process loses what its writer has not written yet: `put` wakes an idle writer, and a busy one writes again
after `GATHER_S`. The queue is counted in records of a few kilobytes each, so memory is bounded.
"""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Literal

from authz.core.errors import AuditUnavailableError
from authz.ops.log_files import LogFiles, NextFile
from authz.ops.log_target import Stream, Turn, first_file
from authz.system.regular_file import why
from authz.system.threads import Background

log = logging.getLogger(__name__)

GATHER_S: Final = 0.01
"""How long the writer gathers records between two writes: what a killed process loses at most."""
LONGEST_WAIT_S: Final = 2.0
"""How long a record may wait to be written before no more are accepted."""
_IDLE_S: Final = 1.0  # how often the file is looked for under its name
_RETRY_S: Final = 0.25
_LOOK_S: Final = 0.25  # how often the age of the oldest record is worked out
_QUIET_S: Final = 10.0  # between two lines about refused records
_BATCH: Final = 512
_ALONE: Final = 0  # stands for the size where no other process writes: asking for it costs as much as a write


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkStatus:
    """The sink's state. `failed` is why records are refused now, or ""; `oldest_s` the age of the oldest one."""

    failed: str = ""
    queued: int = 0
    written: int = 0
    dropped: int = 0
    oldest_s: float = 0.0


class WaitingAge:
    """The age of the oldest waiting record, by how many were accepted at each look. Pure: time is an argument.

    Records do not carry the time at which they were accepted: that would cost a clock reading for each.
    """

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque()

    def look(self, now: float, *, written: int, waiting: int) -> float:
        """Minimum wait of the oldest in seconds: since the look after its acceptance."""
        marks = self._marks
        if not waiting:
            marks.clear()
            return 0.0
        while marks and marks[0][1] <= written:
            marks.popleft()
        if not marks or marks[-1][1] < written + waiting:
            marks.append((now, written + waiting))
        return now - marks[0][0]


class DecisionSink:
    """A bounded queue, the thread that writes it to a file or a stream, and the thread that watches the writer.

    Args:
        target: a path (opened for appending, created when missing) or a binary stream.
        capacity: records that may wait.
        on_failure: what `put` does when a record cannot be accepted: `deny` raises, `allow` counts and goes on.
        lock: a file that all processes which write to the same target lock; none if this one is alone.

    Attributes:
        file: the number of the file, from 1, that the next record goes to. It changes only in `turn`.
        offers: not empty while the next file is open, and `turn` was not called since.

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
        self._files = LogFiles(first_file(target) if isinstance(target, Path) else Stream(target))
        self.offers = self._files.offers
        self.file = 1
        self._turn = Turn(lock)
        self._capacity = capacity
        self._deny = on_failure == "deny"
        self._queue: deque[bytes | threading.Event | NextFile] = deque()
        self._pending: list[bytes] = []
        self._refusal = ""  # why nothing is accepted: the first of the next three
        self._closed = ""
        self._failed = ""  # set by the writer
        self._stalled = ""  # set by the watch
        self._refused = self._dropped = self._written = 0
        self._refused_why = ""  # the last time
        self._age = WaitingAge()
        self._oldest_s = 0.0
        self._reported, self._reported_at = 0, float("-inf")
        self._torn = 0  # bytes of the batch's first record that are already written
        # The target's size after the last write, which tells whether others wrote since; -1: look how it ends.
        self._shared, self._left_at = lock is not None, -1
        self._looked_at = time.monotonic()
        self._closing = self._given_up = False
        self._asleep = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()  # unlike an event, safe in a signal handler
        self._over = threading.Event()
        self._thread = Background(self._guarded(self._write_on), name="decision-log")
        self._watch = Background(self._guarded(self._watch_on), name="decision-log-watch")
        self._thread.start()
        self._watch.start()

    def turn(self) -> None:
        """Take the next file if one is offered: records go there from now on. Called on the serving thread."""
        with contextlib.suppress(IndexError):  # there is none, or the writer took it back, for a newer one
            following = self.offers.popleft()
            self._queue.append(following)
            self.file = following.number

    def put(self, line: bytes) -> bool:
        """Accept one record, a line with its newline, or lines that belong together. Called on the serving thread.

        Returns:
            Whether it was accepted: if not, it is lost and counted.

        Raises:
            AuditUnavailableError: the record cannot be accepted, and `on_failure` is `deny`.
        """
        if self._refusal or len(self._queue) >= self._capacity:
            return self._refuse()
        self._queue.append(line)
        if self._asleep:
            self._asleep = False
            self._wake.put(None)
        return True

    def _refuse(self) -> Literal[False]:
        self._refused += 1
        self._refused_why = self._why()
        if self._deny:
            raise AuditUnavailableError(self._refused_why)
        self._dropped += 1
        return False

    def _why(self) -> str:
        full = len(self._queue) >= self._capacity
        return self._refusal or (f"{self._capacity} decision records wait to be written" if full else "")

    def status(self) -> SinkStatus:
        """The sink's state, for metrics and readiness."""
        return SinkStatus(
            failed=self._why(),
            queued=len(self._queue) + len(self._pending),
            written=self._written,
            dropped=self._dropped,
            oldest_s=self._oldest_s,
        )

    def reopen(self) -> None:
        """Look for the file under its name now (logrotate). Takes no Python lock: safe in a signal handler."""
        self._looked_at = float("-inf")
        self._wake.put(None)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every record accepted so far is written; False when that takes longer than `timeout` seconds."""
        mark = threading.Event()
        self._queue.append(mark)
        self._wake.put(None)
        return mark.wait(timeout)

    def close(self, timeout: float = 5.0) -> int:
        """Write what waits, for at most `timeout` seconds, and stop. Returns how many accepted records are lost."""
        self._over.set()
        self._closing = True
        self._wake.put(None)
        self._thread.join(timeout)
        self._given_up = True
        self._watch.join(timeout)
        lost = len(self._pending) + sum(isinstance(item, bytes) for item in tuple(self._queue))
        self._closed = "the decision log is closed"
        self._renew_refusal()
        if not self._thread.is_alive():
            self._files.close()
            self._turn.close()
        return lost

    def _guarded(self, work: Callable[[], bool]) -> Callable[[], None]:
        """A thread's main function: it continues until `work` says that it is over, whatever goes wrong."""

        def run() -> None:
            while True:
                try:
                    if work():
                        return
                except Exception as error:
                    # A bug must not end the thread in silence: nothing is accepted until a write succeeds.
                    if not self._failed:
                        log.exception("a thread of the decision log")
                    self._fail(f"the decision log cannot be written: internal error ({type(error).__name__})")
                    if self._over.wait(_RETRY_S):
                        return

        return run

    # --- the writer

    def _write_on(self) -> bool:
        """Run one round of the writer. Returns whether it was the last one."""
        closing = self._closing
        if self._given_up:
            return True
        in_place = self._is_in_place()
        self._take()
        if not in_place:
            pause = _RETRY_S
        elif self._pending:
            pause = self._write()
        else:
            self._recover()
            pause = 0.0 if self._queue else _IDLE_S
        if closing and (self._failed or not (self._pending or self._queue)):
            return True
        if pause:
            self._sleep(pause)
        return False

    def _sleep(self, pause: float) -> None:
        """Wait. The next record wakes an idle writer; `flush` and `close` wake any that is not just gathering."""
        if pause == GATHER_S:  # without the event, which costs a busy server three times as much
            time.sleep(pause)
            return
        self._asleep = pause >= _IDLE_S
        with contextlib.suppress(queue.Empty):
            if not (self._asleep and self._queue):
                self._wake.get(timeout=pause)
            while True:
                self._wake.get_nowait()
        self._asleep = False

    def _take(self) -> None:
        """Move records from the queue to the batch, up to a mark: the end of a `flush`, or a change of files."""
        while self._queue and len(self._pending) < _BATCH:
            item = self._queue.popleft()
            if isinstance(item, bytes):
                self._pending.append(item)
            elif self._pending:
                self._queue.appendleft(item)
                return
            elif isinstance(item, NextFile):
                self._changed(self._files.turn_to(item))
            else:
                item.set()

    def _write(self) -> float:
        """Write the batch in our turn, which lasts until the last started line is whole. Returns the time to wait."""
        pause, keeps_turn = GATHER_S, False
        try:
            if not self._turn.take():
                return GATHER_S
            try:
                pause = self._write_batch()
                keeps_turn = bool(self._torn)
            except BlockingIOError:  # a pipe whose reader is slow, and which is not blocking
                keeps_turn = bool(self._torn)
            finally:
                if not keeps_turn:
                    self._turn.give()
        except OSError as error:
            self._fail(f"the decision log cannot be written: {why(error)}")
            return _RETRY_S
        return pause

    def _write_batch(self) -> float:
        """Write the batch; records leave it once they are written whole. Returns the time to wait."""
        target = self._files.target
        is_as_left = self._left_at == (target.size() if self._shared else _ALONE)
        self._torn = self._torn if is_as_left else 0  # another writer has ended our torn line: it is written again
        end = b"" if is_as_left or not target.is_torn() else b"\n"
        written = target.write(end + b"".join(self._pending)[self._torn :]) - len(end)
        written = max(0, written) + self._torn
        whole = 0
        for record in self._pending:
            if written < len(record):
                break
            written -= len(record)
            whole += 1
        del self._pending[:whole]
        self._torn = written
        self._left_at = target.size() if self._shared else _ALONE
        self._written += whole
        if whole:
            self._recover()
        return 0.0 if self._pending or len(self._queue) >= _BATCH else GATHER_S

    def _is_in_place(self) -> bool:
        """Whether a file has the log's name; each second, and on request, it is opened if none of ours has."""
        now = time.monotonic()
        if now - self._looked_at < _IDLE_S:
            return True
        try:
            is_new = self._files.look()
        except OSError as error:
            self._fail(f"the decision log cannot be opened again: {why(error)}")
            return False
        if is_new:
            log.info("the decision log was moved or removed, and is opened again under its name")
        self._changed(self._files.give_up(failed=bool(self._failed)))
        self._looked_at = now
        return True

    def _changed(self, is_changed: bool) -> None:  # noqa: FBT001 what `turn_to` and `give_up` return
        if is_changed:
            self._torn, self._left_at = 0, -1  # a torn line is written again in the new file

    def _fail(self, text: str) -> None:
        if self._failed != text:
            log.error("%s", text)
        self._failed = text
        self._renew_refusal()

    def _recover(self) -> None:
        if self._failed:
            log.warning("the decision log can be written again; %d records were dropped so far", self._dropped)
            self._failed = ""
            self._renew_refusal()

    # --- the watch

    def _watch_on(self) -> bool:
        """Look at the writer once. Returns whether it was the last time."""
        if self._over.wait(_LOOK_S):
            return True
        now = time.monotonic()
        # In this order: a record that moves on meanwhile is missed, and none is counted twice.
        written, waiting = self._written, len(self._pending) + len(self._queue)
        self._oldest_s = self._age.look(now, written=written, waiting=waiting)
        stalled = ""
        if not self._thread.is_alive() and not self._closing:
            stalled = "the thread that writes the decision log has ended"
        elif self._oldest_s > LONGEST_WAIT_S:
            stalled = f"the decision log takes no records: the oldest has waited for {self._oldest_s:.0f} s"
        if bool(stalled) != bool(self._stalled):
            log.error("%s", stalled or "the decision log takes records again")
        self._stalled = stalled
        self._renew_refusal()
        self._report(now)
        return False

    def _report(self, now: float) -> None:
        """Log how many records were refused, once in a while: a line for each would fill another log."""
        if self._refused > self._reported and now - self._reported_at >= _QUIET_S:
            what = "checks were denied" if self._deny else "decision records were dropped"
            log.error("%d %s: %s", self._refused - self._reported, what, self._refused_why)
            self._reported, self._reported_at = self._refused, now

    def _renew_refusal(self) -> None:
        """If two threads set this at once, one may be a look late; the next look corrects it."""
        self._refusal = self._closed or self._failed or self._stalled
