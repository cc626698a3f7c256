"""Records what happens to grants, follows what other processes record, and says to the serving thread what is held.

Law 1: an event is answered when it is on record in the file and in force in this process, in this order. One that could
not be written is in force nowhere.
Law 2: every process follows the file: within a second, what one of them recorded is in force in all of them, and what
has ended in one has ended in all. While the file cannot be read or followed, nothing is held here: an end could
be in it.
Law 3: an end that this process sees is recorded, so that it has ended after a restart too, whatever the clock says
then. It has ended here even if it cannot be recorded; that is reported, and tried again.
Law 4: each event has one line in the log of messages: who, what, until when and why. The file is bounded.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from authz.core.characters import one_line
from authz.core.clock import Clock
from authz.core.documents.moments import moment_text
from authz.core.errors import ConfigError, Problem
from authz.core.grants import Approved, Ended, Event, Grant, Granted, Ledger, Requested, State
from authz.core.policy import Policy
from authz.sessions.grants_file import GrantsFile
from authz.system.regular_file import why
from authz.system.threads import Background

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.2
_RECORD_S: Final = 1.0  # between attempts to record ends
_TIDY_S: Final = 60.0
_SLACK: Final = 64  # lines that a file may have beyond twice those that it needs
_LINES_OF_ONE: Final = 3
_HOLDS_NOTHING: Final = frozenset({"read", "follow"})  # failures in which an end may have been missed

Found = TypeVar("Found")


class Granter:
    """The grants of one process.

    Args:
        granted: what is held; checks read it.
        path: the grants file.
        clock: the time.
        announces: this process logs what no worker has logged: the events of `authz grant … --local`.
        saw: is called with each event that is logged here.

    Raises:
        ConfigError: the file cannot be made, locked, written or read.
    """

    def __init__(
        self,
        granted: Granted,
        path: Path,
        clock: Clock,
        *,
        announces: bool = True,
        saw: Callable[[Event], None] = lambda _event: None,
    ) -> None:
        self._saw = saw
        self._granted = granted
        self._path = path
        self._clock = clock
        self._announces = False  # not of what is there at the start
        self._file = GrantsFile(path, saw=self._see)
        self._lock = threading.Lock()
        self._published: tuple[Ledger, int] | None = None
        self._failures: dict[str, str] = {}
        self._over = threading.Event()
        self._thread = Background(self._run, name="granter")
        try:
            self._file.record(lambda _ledger: ())  # makes it, and shows that it can be written
        except OSError as error:
            problem = Problem(str(path), 0, 0, f"the grants file cannot be used: {why(error)}")
            raise ConfigError([problem]) from None
        self._announces = announces
        self._file.ledger.forget(clock.wall())
        self._publish()

    def start(self) -> None:
        """Begin to follow the file."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop following it."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def record(self, decide: Callable[[Ledger, int], Event | Grant]) -> tuple[Event | None, Grant]:
        """Record the event that `decide` returns for the ledger and the time in whole seconds; None if there is none.

        The grant is as it is afterwards. What `decide` raises is raised.

        Raises:
            OSError: it is not on record, and nothing has changed.
        """
        found: list[Event | Grant] = []

        def events(ledger: Ledger) -> Iterable[Event]:
            now = self._clock.wall()
            self._pass_time(ledger, now)
            one = decide(ledger, int(now))
            found.append(one)
            return () if isinstance(one, Grant) else (one,)

        with self._lock:
            try:
                self._file.record(events)
            except OSError as error:
                self._fail("write", f"grants cannot be recorded, asking for them is answered 503: {why(error)}")
                raise
            finally:
                self._publish()
            self._failures.pop("write", None)
            self._failures.pop("read", None)
            self._publish()
            [one] = found
            grant = self._file.ledger.get(one.id)
            if grant is None:
                raise ValueError("a grant that was just recorded is not there")
            if isinstance(one, Grant):
                return None, grant
            self._log(one)
            return one, grant

    def read(self, ask: Callable[[Ledger], Found]) -> Found:
        """What `ask` returns for the ledger as it is now.

        Raises:
            OSError: the file cannot be read.
        """
        with self._lock:
            self._refresh()
            for what in self._failures.keys() & _HOLDS_NOTHING:
                raise OSError(self._failures[what])
            self._pass_time(self._file.ledger, self._clock.wall())
            self._publish()
            return ask(self._file.ledger)

    def look(self) -> None:
        """Read what others recorded, and end what is over; the thread does it five times a second."""
        with self._lock:
            self._refresh()
            now = self._clock.wall()
            self._pass_time(self._file.ledger, now)
            self._publish()

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        found = list(self._failures.values())
        if self._file.is_open:
            found.append(f"{self._path}: others may use it, and it names people and gives access: chmod go=")
        if self._file.broken:
            found.append(f"{self._path}: {self._file.broken} line(s) are no events of grants and were skipped")
        return found

    def status(self, policy: Policy | None) -> tuple[int, int, int, bool]:
        """How many are in force under this policy, and wait; how many lines are broken; whether something failed.

        For the metrics. While nothing is held here, nothing is in force, and what waits is not known: 0.
        """
        failed = bool(self._failures)
        if self._failures.keys() & _HOLDS_NOTHING:
            return 0, 0, self._file.broken, failed
        grants = list(self._file.ledger)
        held = [grant.holding() for grant in grants if grant.state is State.ACTIVE]
        active = sum(policy.permits(one.held) for one in held) if policy is not None else 0
        return active, sum(grant.state is State.WAITING for grant in grants), self._file.broken, failed

    def record_ends(self) -> None:
        """Record the ends that were seen."""
        with self._lock:
            if not self._file.ledger.unrecorded():
                return
            made: list[Ended] = []

            def ends(ledger: Ledger) -> Iterable[Event]:
                self._pass_time(ledger, self._clock.wall())
                made.extend(ledger.unrecorded())
                return made

            try:
                self._file.record(ends)
            except OSError as error:
                self._fail("write", f"the end of grants cannot be recorded, they have ended here: {why(error)}")
            else:
                self._failures.pop("write", None)
                for event in made:
                    self._log(event)
            self._publish()

    def tidy(self) -> None:
        """Forget what ended long ago; rewrite the file when half of it is useless. The thread does it every minute."""
        now = self._clock.wall()
        with self._lock:
            self._file.ledger.forget(now)
            useless = self._file.lines - self._file.broken - 2 * _LINES_OF_ONE * len(self._file.ledger)
            if useless <= _SLACK:
                return
            try:
                self._file.compact(now)
            except OSError as error:
                log.warning("%s could not be compacted: %s", self._path, why(error))
            self._refresh()
            self._publish()

    def _run(self) -> None:
        """The thread."""
        recorded = tidied = self._clock.monotonic()
        while not self._over.wait(_LOOK_S):
            try:
                self.look()
                now = self._clock.monotonic()
                if now - recorded >= _RECORD_S:
                    self.record_ends()
                    recorded = now
                if now - tidied >= _TIDY_S:
                    self.tidy()
                    tidied = now
                self._go_on()
            except Exception as error:  # noqa: BLE001 the thread's outermost handler, which logs it
                # A look that fails must not be the last one, and nothing is held meanwhile.
                self._hold_nothing(error)

    def _go_on(self) -> None:
        """All of a round has succeeded."""
        with self._lock:
            if self._failures.pop("follow", None):
                self._publish()

    def _hold_nothing(self, error: Exception) -> None:
        """A round ended with an exception. It is logged once in a row."""
        text = f"following the grants failed, no grant is in force: {type(error).__name__}, see the log"
        with self._lock:
            if self._failures.get("follow") != text:
                log.error("following the grants", exc_info=error)
            self._fail("follow", text)
            self._publish()

    def _refresh(self) -> None:
        try:
            self._file.refresh()
        except OSError as error:
            self._fail("read", f"the grants file cannot be read, no grant is in force: {why(error)}")
        else:
            self._failures.pop("read", None)

    def _pass_time(self, ledger: Ledger, now: float) -> None:
        ledger.pass_time(now)
        ledger.close(self._granted.ended)

    def _publish(self) -> None:
        """Let checks use what is held now."""
        ledger = self._file.ledger
        ledger.close(self._granted.ended)  # the table forgets what is put no more
        if self._failures.keys() & _HOLDS_NOTHING:
            self._granted.put(())
            self._published = None
        elif self._published is None or self._published[0] is not ledger or self._published[1] != ledger.changes:
            self._granted.put(ledger.active())
            self._published = ledger, ledger.changes

    def _see(self, event: Event) -> None:
        """An event that another process recorded."""
        actor = event.holder if isinstance(event, Requested) else event.by
        is_local = event.local if isinstance(event, Requested) else actor is not None and actor.local
        if self._announces and is_local:
            self._log(event)

    def _log(self, event: Event) -> None:
        self._saw(event)
        grant = self._file.ledger.get(event.id)
        if grant is None:
            return
        asked = grant.request
        what = f"{one_line(asked.entry)} of {asked.holder}"
        if isinstance(event, Requested):
            by = f"local {one_line(asked.local)} for {asked.holder}" if asked.local else str(asked.holder)
            state = f"in force until {moment_text(grant.until)}" if asked.open else "waits for approval"
            log.info(
                "grant %s: %s requested %s for %d s, %s: %s",
                *(asked.id, by, one_line(asked.entry), asked.seconds, state, one_line(asked.reason)),
            )
        elif isinstance(event, Approved):
            until, reason = moment_text(grant.until), one_line(asked.reason)
            log.info("grant %s: %s approved %s until %s: %s", asked.id, event.by, what, until, reason)
        else:
            by = str(event.by) if event.by is not None else "the end of its time"
            log.info("grant %s: %s ended %s: %s", asked.id, by, what, one_line(asked.reason))

    def _fail(self, what: str, text: str) -> None:
        if self._failures.get(what) != text:
            log.error("%s", text)
        self._failures[what] = text
