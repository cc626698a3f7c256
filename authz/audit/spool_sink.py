"""The decision log of a worker whose gate signs its log: records go to the spool before their answers leave.

Law 1: a record that was accepted survives the death of every process. `put` never waits for the log's writer: it
appends to the worker's segment, or refuses (`deny`), or counts (`allow`).
Law 2: refused is everything while the log's writer cannot log, or says nothing: what waits in memory is bounded in time
(`SILENT_S`) and in size (`spool.MOST_SEGMENTS`).
Law 3: what `allow` let go is in the log as an entry `gap` with its count, before the next record.
"""

import contextlib
import threading
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from authz.audit.spool import LOOK_S, SpoolWriter, current_file, made_spool, sync_all
from authz.audit.status import SILENT_S, LogStatus, read_status
from authz.core.errors import AuditUnavailableError, ConfigError, Problem
from authz.core.record import Event, log_line
from authz.ops.decision_log import SinkStatus
from authz.system.clock import Clock
from authz.system.regular_file import why
from authz.system.threads import Background

_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class SpoolSink:
    """Hands the lines of one worker over.

    Args:
        spool: the folder that all processes of the gate share; made when it is missing.
        worker: the number of this one.
        gate: the gate's name.
        clock: tells the time.
        durable: `sync` is used.
        on_failure: what `put` does when a record cannot be accepted: `deny` raises, `allow` counts and goes on.
        wait_s: so long another process that still writes as this worker is waited for.

    Attributes:
        era: how many syncs had failed when the last record was put: what a later sync says is nothing about it.
        file: the number of the log's file that the next record is for. It changes only in `turn`.
        offers: not empty if a later file was announced, and `turn` was not called since.

    Raises:
        ConfigError: the spool cannot be used.
    """

    def __init__(
        self,
        spool: Path,
        worker: int,
        *,
        gate: str,
        clock: Clock,
        on_failure: Literal["deny", "allow"] = "deny",
        durable: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        self._spool, self._worker, self._gate, self._clock = spool, worker, gate, clock
        self._deny = on_failure == "deny"
        self.offers: deque[int] = deque()
        self._lock = threading.Lock()  # entries come from other threads than records
        self._refusal = ""
        self._era = self.era = 0
        self._trouble, self._troubled_at = "", float("-inf")  # the last record that could not be handed over
        self._written = self._dropped = self._missing = 0
        self._missing_why = ""
        try:
            made_spool(spool)
            self.file = self._offered = current_file(spool)
            self._writer = SpoolWriter(spool, worker, durable=durable, wait_s=wait_s)
        except BlockingIOError:
            hint = "end the gate that still runs; each gate has a log and a spool of its own"
            text = f"another process hands over records as worker {worker}"
            raise ConfigError([Problem(str(spool), 0, 0, text, hint)]) from None
        except OSError as error:
            problem = Problem(
                str(spool), 0, 0, f"records cannot be handed over here: {why(error)}", "set `audit.spool`"
            )
            raise ConfigError([problem]) from None
        self._status = LogStatus(beat=clock.monotonic())
        self._over = threading.Event()
        self._thread = Background(self._follow, name="log-status")
        self._thread.start()

    def turn(self) -> None:
        """Take the file that was announced last: records are for it from now on. Called on the serving thread."""
        while self.offers:
            self.file = self.offers.popleft()

    def put(self, lines: bytes) -> bool:
        """Accept a record, or lines that belong together, with their newlines; False if they are lost and counted.

        Raises:
            AuditUnavailableError: they cannot be accepted, and `on_failure` is `deny`.
        """
        with self._lock:
            if self._refusal:
                return self._refuse(self._refusal)
            try:
                self._enter_gap()
                self._writer.put(lines, self.file)
            except AuditUnavailableError as error:
                self._note(str(error))
                return self._refuse(str(error))
            self._written += 1
            self.era = self._era
        return True

    def enter(self, event: Event, **fields: object) -> None:
        """Log an entry about what decides. Any thread.

        It says what has happened, so it cannot be refused: where it cannot be handed over, it is counted as missing.
        """
        line = self._own(event, **fields)
        with self._lock:
            try:
                self._writer.put(line, self.file)
            except AuditUnavailableError as error:
                self._note(str(error))
                self._count(str(error))

    def sync(self) -> int:
        """Wait until all that was accepted in this era is on the disk; returns the era. Not for the serving thread.

        Raises:
            OSError: some of it may not be. Another era begins, with another segment: the system may have dropped what
                it could not write, so the next sync of the old one would succeed.
        """
        try:
            with self._lock:
                era, descriptors = self._era, self._writer.unsynced()
            sync_all(descriptors)
        except OSError as error:
            with self._lock:
                self._era += 1
                self._writer.begin_anew()
                self._note(f"records do not reach the disk: {why(error)}")
            raise
        return era

    def status(self) -> SinkStatus:
        """The sink's state, for metrics and readiness."""
        now = self._clock.monotonic()
        oldest, trouble = self._status.oldest_s(now), self._trouble if now - self._troubled_at <= SILENT_S else ""
        return SinkStatus(
            failed=self._refusal or trouble, written=self._written, dropped=self._dropped, oldest_s=oldest
        )

    def reopen(self) -> None:
        """Nothing to do: no other program renames these files."""

    def close(self) -> int:
        """Stop; returns how many accepted records are lost, which is none: the log's writer takes what is there."""
        self._over.set()
        self._thread.join()
        with self._lock:
            with contextlib.suppress(AuditUnavailableError):  # also while none can be logged: the next start logs it
                self._enter_gap()
            self._writer.close()
        return 0

    def _note(self, text: str) -> None:
        """It is shown for `SILENT_S`: a caller that stops for it must hear when it may be over."""
        self._trouble, self._troubled_at = text, self._clock.monotonic()

    def _refuse(self, text: str) -> Literal[False]:
        if self._deny:
            raise AuditUnavailableError(text)
        self._count(text)
        return False

    def _count(self, text: str) -> None:
        self._dropped += 1
        self._missing += 1
        self._missing_why = text

    def _own(self, event: Event, **fields: object) -> bytes:
        time = datetime.fromtimestamp(self._clock.wall(), UTC).strftime(_TIME)
        return log_line(event, gate=self._gate, time=time, worker=self._worker, **fields) + b"\n"

    def _enter_gap(self) -> None:
        """Log how many are missing. A write of its own: a write that takes only a part must not count them twice."""
        if self._missing:
            self._writer.put(self._own(Event.GAP, count=self._missing, reason=self._missing_why), self.file)
            self._missing = 0

    def _follow(self) -> None:
        """Look at what the log's writer says."""
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        self._status = read_status(self._spool) or self._status
        refusal = self._status.problem(self._clock.monotonic())
        try:
            announced = current_file(self._spool)
            with self._lock:
                refusal = refusal or ("" if self._writer.is_in_place() else "the spool was removed")
        except OSError as error:
            self._refusal = refusal or f"the spool cannot be read: {why(error)}"
            return
        self._refusal = refusal
        if announced > self._offered:
            self._offered = announced
            self.offers.append(announced)
        with self._lock, contextlib.suppress(AuditUnavailableError):
            if not self._refusal:
                self._enter_gap()
