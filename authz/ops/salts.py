"""The salts of the people whose names are hashed in the decision log: one per subject, in a side file.

Law 1: a salt is on the disk before a record uses it, and all workers use the same one: a worker that makes one looks
for it in the locked file first. Of two lines about a subject the first one counts, in every worker; a last line without
its newline counts too. The serving thread only reads a dictionary; one thread uses the file.
Law 2: deleting the line of a subject erases the person: what is in the log cannot be computed from the name any more.
This process forgets the salt when it sees the change, and makes a new one if the person comes again. It says that a
salt has gone only when checks can use what came in its place.
Law 3: the file names people, so it is for the gate's account alone; a file that others may use is refused at the start
and reported later. A line that cannot be parsed does no harm.
Law 4: bounded. Beyond `MOST_BYTES` no salt is made, and that is reported.
"""

import contextlib
import logging
import queue
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import orjson

from authz.core.errors import ConfigError, Problem
from authz.core.record import valid
from authz.system.regular_file import why
from authz.system.shared_file import SharedFile, Unread
from authz.system.threads import Background

log = logging.getLogger(__name__)

MOST_BYTES: Final = 16 << 20  # some 100,000 subjects
_MOST_WAITING: Final = 1024
_SALT_BYTES: Final = 16
_LOOK_S: Final = 1.0
_OPEN: Final = "others may read it, and it names people: chmod go="

Subject = tuple[str, str]
"""The issuer and the subject of a token."""
COMMON: Final[Subject] = ("", "")
"""Whose salt serves for those that have no subject of an issuer: anonymous callers, refused tokens, runs."""

_Waiting = tuple[Subject, Callable[[], None]]


class Salts:
    """The salts of one process.

    Args:
        path: the side file.
        required: a check is denied whose caller's salt cannot be stored; otherwise its record has no hashes.

    Attributes:
        common: the salt of those that have no subject.
        erased: how often salts that were in use have gone from the file.

    Raises:
        ConfigError: the file cannot be made, locked, written or read, or others may read it.
    """

    def __init__(self, path: Path, *, required: bool) -> None:
        self.required = required
        self.erased = 0
        self._file = SharedFile(path, most_bytes=MOST_BYTES)
        self._known: dict[Subject, str] = {}
        self.common = ""
        # What the file says. The same dictionary, except while the thread takes a file that was changed otherwise.
        self._found = self._known
        self._lost = False
        self._rest = b""
        self._broken = 0
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(_MOST_WAITING)
        self._failures: dict[str, str] = {}
        self._thread = Background(self._run, name="salts")
        try:
            self._make([])
        except OSError as error:
            raise _unusable(path, why(error)) from None
        if self._file.is_open:
            raise _unusable(path, _OPEN)

    def start(self) -> None:
        """Begin to make salts, and to look for what others changed."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Make what waits, and stop."""
        self._thread.end(self._queue, timeout)

    def of(self, issuer: str, subject: str) -> str | None:
        """The subject's salt; None if it is not known here."""
        return self._known.get((issuer, valid(subject)))

    def make(self, issuer: str, subject: str, done: Callable[[], None]) -> bool:
        """Find or make the subject's salt; see `authz.core.parked.Begin`."""
        try:
            self._queue.put_nowait(((issuer, valid(subject)), done))
        except queue.Full:
            self._fail("wait", f"{_MOST_WAITING} subjects wait for a salt")
            return False
        return True

    def look(self) -> None:
        """Read what others changed; the thread does it every second while it has nothing else to do."""
        try:
            if not self._file.is_as_read():
                self._take()
        except OSError as error:
            self._fail("read", f"the file of the salts cannot be read, what was read before stays: {why(error)}")
        else:
            self._failures.pop("read", None)

    def why(self) -> str:
        """Why the last salt could not be made; "" if it could."""
        return self._failures.get("make") or self._failures.get("wait", "")

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        found = list(self._failures.values())
        if self._file.is_open:
            found.append(f"{self._file.path}: {_OPEN}")
        broken = self._broken + _broken(self._rest)
        if broken:
            found.append(f"{self._file.path}: {broken} line(s) are no salts and were passed over")
        return found

    def _run(self) -> None:
        """The thread: all that wait are served at once."""
        while True:
            try:
                waiting = [self._queue.get(timeout=_LOOK_S)]
            except queue.Empty:
                self._failures.pop("wait", None)
                self.look()
                continue
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            items = [item for item in waiting if item is not None]
            try:
                self._make([subject for subject, _done in items])
            except OSError as error:
                self._fail("make", f"salts cannot be stored: {why(error)}")
            except Exception:
                # The thread's door: those that wait are answered without a salt, and the next may go better.
                log.exception("making salts")
                self._fail("make", "salts cannot be stored: internal error")
            else:
                self._failures.pop("make", None)
                self._failures.pop("wait", None)
            finally:
                for _subject, done in items:
                    done()
            if None in waiting:
                return

    def _make(self, subjects: Iterable[Subject]) -> None:
        """Find or make salts, and the common one; use those that are on the disk.

        Raises:
            OSError: they are not.
        """
        made: dict[Subject, str] = {}

        def lines(descriptor: int, _size: int) -> bytes:
            if self._file.has_unread(descriptor):
                self._read(lock=False)
            new = {COMMON, *subjects} - self._found.keys()
            made.update({subject: secrets.token_hex(_SALT_BYTES) for subject in sorted(new)})
            return b"".join(_line(subject, salt) for subject, salt in made.items())

        try:
            self._file.append(lines, is_read=True)
            self._found |= made
        finally:
            self._publish()

    def _take(self) -> None:
        """Take what others changed; the common salt is made again if it was erased."""
        try:
            with contextlib.suppress(FileNotFoundError):
                self._read()
                if COMMON in self._found:
                    return
            self._make([])
        finally:
            self._publish()

    def _publish(self) -> None:
        """Let checks use what was found, and only then tell that salts have gone."""
        self._known = self._found
        common = self._found.get(COMMON, self.common)
        lost = self._lost or common != (self.common or common)
        self.common, self._lost = common, False
        self.erased += lost

    def _read(self, *, lock: bool = True) -> None:
        """Take what is new in the file."""
        # What had no newline, and is another text now, was perhaps deleted.
        unread = self._file.unread(lock=lock, whole=bool(self._rest))
        salts = _salts(unread)
        if any(self._found.get(subject, salt) != salt for subject, salt in salts.items()) and not unread.anew:
            unread = self._file.unread(lock=lock, whole=True)  # it says which line is the first one
            salts = _salts(unread)
        if unread.anew:
            here = ((subject, salt) for subject, salt in self._found.items() if subject != COMMON)
            self._lost |= any(salts.get(subject) != salt for subject, salt in here)
            self._found, self._broken = salts, 0
        else:
            self._found |= salts
        self._broken += _broken(unread.lines)
        self._rest = unread.rest

    def _fail(self, what: str, text: str) -> None:
        if self._failures.get(what) != text:
            log.error("%s", text)
        self._failures[what] = text


def _unusable(path: Path, text: str) -> ConfigError:
    return ConfigError([Problem(str(path), 0, 0, f"the file of the salts cannot be used: {text}")])


def _line(subject: Subject, salt: str) -> bytes:
    issuer, name = subject
    return orjson.dumps({"issuer": issuer, "subject": name, "salt": salt}, option=orjson.OPT_APPEND_NEWLINE)


def _salts(unread: Unread) -> dict[Subject, str]:
    """The salts in what was read: of two lines about a subject the first one counts."""
    found = [*_parsed(unread.lines), *_parsed(unread.rest)]
    return {subject: salt for subject, salt in reversed(found) if salt}


def _broken(data: bytes) -> int:
    """How many lines are no salts."""
    return sum(1 for _subject, salt in _parsed(data) if not salt)


def _parsed(data: bytes) -> Iterator[tuple[Subject, str]]:
    """Subject and salt of each line; an empty salt for a line that is none."""
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
            subject, salt = (found["issuer"], found["subject"]), found["salt"]
            right = all(isinstance(text, str) for text in (*subject, salt)) and bool(salt)
        except (ValueError, TypeError, KeyError):
            right = False
        yield (subject, salt) if right else (COMMON, "")
