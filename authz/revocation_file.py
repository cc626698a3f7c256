"""The revocation file: one JSON object per line, written by all workers and by the operator, read by all of them.

Law 1: `append` returns when the lines are on the disk (fsync, of the folder too where the file is new), or raises and
leaves the file as it was. One process writes at a time: the file is locked, and whoever got the lock of a file that was
replaced meanwhile takes the new one.
Law 2: a line that cannot be understood takes nothing else out of force. It is counted and stays where it is. Half a
line, which a crash or a full disk may leave, is closed by the next writer, so that it spoils no other.
Law 3: bounded. Beyond `MOST_BYTES` nothing is appended, and nothing is read. Compaction writes what is still in force
into a new file (mode 0600) that takes the old one's place in one step.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import EFBIG, ETIMEDOUT
from pathlib import Path
from typing import Final

from authz.revocation import Revocation, encode, parse

MOST_BYTES: Final = 16 << 20
_MODE: Final = 0o600
_LOCK_S: Final = 1.0
_RETRY_S: Final = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a file holds that was not read before. `lines` and `broken` count all of it, also what was read before."""

    revocations: tuple[Revocation, ...]
    lines: int
    broken: int


class RevocationFile:
    """One file. `append` and `compact` may be called from one thread, `news` from another.

    Args:
        path: where it is; made when it is missing.
        most_bytes: its largest size.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = path.resolve()
        self._most = most_bytes
        self._read: tuple[int, int] = (0, 0)  # of which file how much
        self._lines = self._broken = 0

    def append(self, revocations: Iterable[Revocation]) -> None:
        """Write these, and make sure that they stay.

        Raises:
            OSError: they are not on record.
        """
        data = b"".join(map(encode, revocations))
        with self._locked() as (descriptor, is_new):
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            if size + len(data) > self._most:
                raise OSError(EFBIG, f"{self._path.name} is full")
            try:
                _write(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            if is_new:
                self._sync_folder()

    def news(self) -> News:
        """What was added since the last call; the whole file when it is another one.

        Raises:
            OSError: it cannot be read, or is too large to be one of ours. What was read before stays true.
        """
        with self._path.open("rb") as file:
            with contextlib.suppress(
                OSError
            ):  # half of a batch may be taken back; whoever never lets go is not waited for
                _lock(file.fileno(), fcntl.LOCK_SH, time.monotonic() + _LOCK_S)
            status = os.fstat(file.fileno())
            if status.st_size > self._most:
                raise OSError(EFBIG, f"{self._path.name} is larger than {self._most} bytes")
            inode, offset = self._read
            # The same file with nothing more in it was changed in place: only all of it tells what is new.
            if inode != status.st_ino or status.st_size <= offset:
                offset = self._lines = self._broken = 0
            file.seek(offset)
            data = file.read(self._most - offset + 1)
        whole, _, rest = data.rpartition(b"\n")
        revocations, broken = _parse(whole)
        self._lines += whole.count(b"\n") + bool(whole)
        self._broken += broken
        self._read = status.st_ino, offset + len(data) - len(rest)
        # What has no newline (yet) is read again the next time; if it is one already, it counts at once.
        last, torn = _parse(rest)
        return News(revocations=(*revocations, *last), lines=self._lines + bool(rest), broken=self._broken + torn)

    def compact(self, now: float) -> None:
        """Drop what is over and what is said twice.

        Raises:
            OSError: the old file stays as it is.
        """
        draft = self._path.with_name(f".{self._path.name}.new")  # one at a time: whoever has the lock
        with self._locked() as (descriptor, _is_new):
            data = _read_all(descriptor, self._most)
            made = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
            try:
                _write(made, b"".join(_kept(data, now)))
                os.fsync(made)
                draft.replace(self._path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
            finally:
                os.close(made)
            self._sync_folder()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[tuple[int, bool]]:
        """The file's descriptor, locked, and whether the file is new."""
        deadline = time.monotonic() + _LOCK_S
        while True:
            is_new = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                _lock(descriptor, fcntl.LOCK_EX, deadline)
                if self._is_in_place(descriptor):
                    if is_new and os.geteuid() == 0:  # made by an operator as root: the gate must be able to use it
                        folder = self._path.parent.stat()
                        os.fchown(descriptor, folder.st_uid, folder.st_gid)
                    yield descriptor, is_new
                    return
            finally:
                os.close(descriptor)  # and with it the lock

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the file still has its name: a compaction may have put another one in its place."""
        try:
            now = self._path.stat()
        except OSError:
            return False
        held = os.fstat(descriptor)
        return (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino)

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _lock(descriptor: int, how: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(ETIMEDOUT, "somebody else holds its lock") from None
            time.sleep(_RETRY_S)
        else:
            return


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_all(descriptor: int, most: int) -> bytes:
    size = os.fstat(descriptor).st_size
    if size > most:
        raise OSError(EFBIG, f"larger than {most} bytes")
    return os.pread(descriptor, size, 0)


def _parse(data: bytes) -> tuple[list[Revocation], int]:
    """The revocations in whole lines, and how many lines are none."""
    found, broken = [], 0
    for line in data.split(b"\n"):
        if line.strip():
            try:
                found.append(parse(line))
            except ValueError:
                broken += 1
    return found, broken


def _kept(data: bytes, now: float) -> Iterator[bytes]:
    """The lines that stay: of those that name the same the one that lasts, and whatever cannot be understood."""
    lasting: dict[tuple[str, str, str], Revocation] = {}
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            revocation = parse(line)
        except ValueError:
            yield line + b"\n"
            continue
        name = revocation.issuer, revocation.kind.value, revocation.value
        known = lasting.get(name)
        if known is None or (revocation.before, revocation.until) > (known.before, known.until):
            lasting[name] = revocation
    yield from (encode(revocation) for revocation in lasting.values() if not revocation.is_over(now))
