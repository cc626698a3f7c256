"""Revokes off the serving thread, and follows what others revoke.

Law 1: a revocation is confirmed only when it is on record in the file and in force in this process, in this order. One
that could not be written is in force nowhere, so that a retry is not answered as if it were done.
Law 2: what was read or written once stays in force until it expires, whatever happens to the file.
Law 3: limits apply to the revocations that wait, that are in force, and that are in force for one subject. The next one
is refused, and that is reported. Nothing else limits the sign-outs that wait: a queue that people without a token can
fill must not block them. Without a file there is only this process's memory.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from authz.core.clock import Clock
from authz.core.errors import ConfigError, Problem
from authz.core.revocation import MOST, PendingRevocation, Revocation, Revoked, Shares
from authz.sessions.revocation_file import RevocationFile
from authz.system.threads import Background

log = logging.getLogger(__name__)

_MOST_WAITING: Final = 1024
_TIDY_S: Final = 60.0
_SLACK: Final = 64  # lines that a file may have beyond twice the number in force

_Waiting = tuple[PendingRevocation, Callable[[], None]]


class Revoker:
    """Makes revocations for one process.

    Args:
        revoked: what is in force; checks read it.
        path: the revocation file; None keeps everything in memory.
        clock: the time, for expiry.
        saw: is called with each revocation that comes into force here, but not with those that are there at the start.

    Raises:
        ConfigError: the file cannot be made, locked, written or read.
    """

    def __init__(
        self,
        revoked: Revoked,
        path: Path | None,
        clock: Clock,
        saw: Callable[[Revocation], None] | None = None,
    ) -> None:
        self._revoked = revoked
        self._saw: Callable[[Revocation], None] | None = None
        self._path = path
        self._file = RevocationFile(path) if path is not None else None
        self._clock = clock
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(_MOST_WAITING)
        self._lock = threading.Lock()  # for the reader's place in the file, and the tables
        self._shares = Shares()
        self._counting = threading.Lock()  # for the shares: the other lock may be held for as long as a file is read
        self._lines = self._broken = 0
        self._failures: dict[str, str] = {}
        self._thread = Background(self._run, name="revoker")
        if self._file is not None:
            try:
                self._file.append([])  # makes it, and shows that it can be written
                self._read(self._file)
            except OSError as error:
                problem = Problem(str(path), 0, 0, f"the revocation file cannot be used: {error.strerror}")
                raise ConfigError([problem]) from None
        self._saw = saw

    def start(self) -> None:
        """Begin to write, and read what was added since this was made."""
        self._thread.start()
        self.refresh()

    def stop(self, timeout: float = 5.0) -> None:
        """Write the revocations that wait, and stop."""
        self._thread.end(self._queue, timeout)

    def revoke(self, attempt: PendingRevocation, done: Callable[[], None]) -> bool:
        """See `authz.check.parts.Revoker`."""
        if len(self._revoked) >= MOST:
            attempt.refused = f"{MOST} revocations are in force, there is no room for more"
            self._fail("write", attempt.refused)
            return False
        with self._counting:
            has_room = self._shares.take(attempt, self._clock.wall())
        if not has_room:
            attempt.refused = "this subject's share of the table is full: many of its sessions were ended"
            return False
        if self._file is None:
            with self._lock:
                self._add([attempt.revocation])
            attempt.made = True
            return False
        try:
            self._queue.put_nowait((attempt, done))
        except queue.Full:
            self._give_back([attempt])
            attempt.refused = f"{_MOST_WAITING} revocations wait to be written"
            return False
        return True

    def _give_back(self, attempts: list[PendingRevocation]) -> None:
        with self._counting:
            for attempt in attempts:
                self._shares.give_back(attempt)

    def refresh(self) -> None:
        """Read what was added to the file. Any thread."""
        if self._file is None:
            return
        try:
            self._read(self._file)
        except OSError as error:
            self._fail("read", f"the revocation file cannot be read, what was read before stays: {error.strerror}")
        else:
            self._failures.pop("read", None)

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        found = list(self._failures.values())
        if self._broken:
            found.append(f"{self._path}: {self._broken} line(s) are not revocations and were skipped")
        return found

    def status(self) -> tuple[int, int, bool]:
        """How many are in force, how many lines are broken, and whether something failed: for the metrics."""
        return len(self._revoked), self._broken, bool(self._failures)

    def _read(self, file: RevocationFile) -> None:
        with self._lock:
            news = file.news()
            now = self._clock.wall()
            self._add(revocation for revocation in news.revocations if not revocation.is_over(now))
            if news.broken > self._broken:
                log.error("%s: %d line(s) are not revocations and were skipped", self._path, news.broken)
            self._lines, self._broken = news.lines, news.broken

    def _add(self, revocations: Iterable[Revocation]) -> None:
        for revocation in self._revoked.add(revocations):
            if self._saw is not None:
                self._saw(revocation)

    def _run(self) -> None:
        """The thread: everything that waits is written at once."""
        tidied = self._clock.monotonic()
        while True:
            if self._clock.monotonic() - tidied >= _TIDY_S:
                tidied = self._clock.monotonic()
                self.tidy()
            try:
                first = self._queue.get(timeout=_TIDY_S)
            except queue.Empty:
                continue
            waiting = [first]
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            try:
                self._write([item for item in waiting if item is not None])
            except Exception:
                # The thread's outermost handler: a revocation that failed is not confirmed, and the next one may
                # succeed.
                log.exception("writing revocations")
            if None in waiting:
                return

    def _write(self, waiting: list[_Waiting]) -> None:
        revocations = [attempt.revocation for attempt, _done in waiting]
        try:
            if self._file is not None and revocations:
                self._file.append(revocations)
        except OSError as error:
            self._fail("write", f"revocations cannot be written, sign-out is answered 503: {error.strerror}")
        else:
            self._failures.pop("write", None)
            with self._lock:
                self._add(revocations)
            for attempt, _done in waiting:
                attempt.made = True
        finally:
            self._give_back([attempt for attempt, _done in waiting if not attempt.made])
            for _attempt, done in waiting:
                done()

    def tidy(self) -> None:
        """Forget what has expired; rewrite the file when half of it is useless. The thread does it every minute."""
        self.refresh()
        now = self._clock.wall()
        with self._counting:
            self._shares.forget(now)
        with self._lock:
            self._revoked.forget(now)
            useless = self._lines - self._broken - 2 * len(self._revoked)
        if self._file is None or useless <= _SLACK:
            return
        try:
            self._file.compact(now)
        except OSError as error:
            log.warning("%s could not be compacted: %s", self._path, error.strerror)
        self.refresh()

    def _fail(self, what: str, text: str) -> None:
        if self._failures.get(what) != text:
            log.error("%s", text)
        self._failures[what] = text
