"""The salts of the people whose names are hashed in the decision log: one per subject, in a side file.

Law 1: a salt is on the disk before a record uses it, and all workers use the same one: a worker that makes one looks
for it in the locked file first. The serving thread only reads a dictionary; one thread uses the file.
Law 2: deleting the line of a subject erases the person: what is in the log cannot be computed from the name any more.
This process forgets the salt when it sees the change, and makes a new one if the person comes again.
Law 3: the file names people, so it is for the gate's account alone. A line that cannot be parsed does no harm.
Law 4: bounded. Beyond `MOST_BYTES` no salt is made, and that is reported.
"""

import logging
import queue
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import orjson

from authz.core.errors import ConfigError, Problem
from authz.system.regular_file import why
from authz.system.shared_file import Look, SharedFile
from authz.system.threads import Background

log = logging.getLogger(__name__)

MOST_BYTES: Final = 16 << 20  # some 100,000 subjects
_MOST_WAITING: Final = 1024
_SALT_BYTES: Final = 16
_LOOK_S: Final = 1.0
_OTHERS: Final = 0o077

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
        self._queue: queue.Queue[_Waiting | None] = queue.Queue(_MOST_WAITING)
        self._seen: Look | None = None
        self._broken = 0
        self._failed = ""
        self._thread = Background(self._run, name="salts")
        try:
            self._make([])
            is_open = stat.S_IMODE(path.stat().st_mode) & _OTHERS
        except OSError as error:
            raise _unusable(path, why(error)) from None
        if is_open:
            raise _unusable(path, "others may read it, and it names people: chmod go=")

    def start(self) -> None:
        """Begin to make salts, and to look for what others changed."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Make what waits, and stop."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(timeout)

    def of(self, issuer: str, subject: str) -> str | None:
        """The subject's salt; None if it is not known here."""
        return self._known.get((issuer, _plain(subject)))

    def make(self, issuer: str, subject: str, done: Callable[[], None]) -> bool:
        """Find or make the subject's salt; see `authz.core.parked.Begin`."""
        try:
            self._queue.put_nowait(((issuer, _plain(subject)), done))
        except queue.Full:
            self._fail(f"{_MOST_WAITING} subjects wait for a salt")
            return False
        return True

    def look(self) -> None:
        """Read what others changed; the thread does it every second while it has nothing else to do."""
        try:
            look = self._file.look() if self._file.path.exists() else None
            if look == self._seen:
                return
            if look is not None:
                self._read()
                self._seen = look
            if look is None or COMMON not in self._known:  # everyone was erased
                self._make([])
            self.common = self._known[COMMON]
        except OSError as error:
            self._fail(f"the file of the salts cannot be read, what was read before stays: {why(error)}")
        else:
            self._failed = ""

    def why(self) -> str:
        """Why the last salt could not be made; "" if it could."""
        return self._failed

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        broken = f"{self._file.path}: {self._broken} line(s) are no salts and were passed over" if self._broken else ""
        return [text for text in (self._failed, broken) if text]

    def _run(self) -> None:
        """The thread: all that wait are served at once."""
        while True:
            try:
                waiting = [self._queue.get(timeout=_LOOK_S)]
            except queue.Empty:
                self.look()
                continue
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            items = [item for item in waiting if item is not None]
            try:
                self._make([subject for subject, _done in items])
            except OSError as error:
                self._fail(f"salts cannot be stored: {why(error)}")
            except Exception:
                # The thread's door: those that wait are answered without a salt, and the next may go better.
                log.exception("making salts")
                self._fail("salts cannot be stored: internal error")
            else:
                self._failed = ""
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

        def lines(descriptor: int, size: int) -> bytes:
            if self._file.has_unread(descriptor, size):
                self._read(lock=False)
            new = {COMMON, *subjects} - self._known.keys()
            made.update({subject: secrets.token_hex(_SALT_BYTES) for subject in sorted(new)})
            return b"".join(_line(subject, salt) for subject, salt in made.items())

        self._seen = self._file.append(lines, is_read=True)
        self._known |= made
        self.common = self._known[COMMON]

    def _read(self, *, lock: bool = True) -> None:
        """Take what is new in the file."""
        unread = self._file.unread(lock=lock)
        found = list(_parsed(unread.lines))
        salts = {subject: salt for subject, salt in reversed(found) if salt}  # of two lines the first one counts
        broken = sum(1 for _subject, salt in found if not salt)
        if unread.anew:
            lost = any(salts.get(subject) != salt for subject, salt in self._known.items())
            self._known, self._broken = salts, broken
            self.erased += lost
            return
        for subject, salt in salts.items():
            self._known.setdefault(subject, salt)
        self._broken += broken

    def _fail(self, text: str) -> None:
        if self._failed != text:
            log.error("%s", text)
        self._failed = text


def _unusable(path: Path, text: str) -> ConfigError:
    return ConfigError([Problem(str(path), 0, 0, f"the file of the salts cannot be used: {text}")])


def _line(subject: Subject, salt: str) -> bytes:
    issuer, name = subject
    return orjson.dumps({"issuer": issuer, "subject": name, "salt": salt}, option=orjson.OPT_APPEND_NEWLINE)


def _plain(subject: str) -> str:
    """The subject as the file can hold it: a claim may hold half of a surrogate pair."""
    return subject if subject.isascii() else subject.encode("utf-8", "replace").decode()


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
