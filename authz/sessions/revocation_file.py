"""The revocation file: one JSON object per line, written by all workers and by the operator, read by all of them.

Law 1: `append` returns when the lines are on the disk (fsync, of the folder too if the file is new), or raises and
leaves the file as it was. One process writes at a time: the file is locked, and a process that got the lock of a file
that has been replaced locks the new one.
Law 2: a line that cannot be parsed does not affect the others. It is counted and stays where it is. The next writer
ends an incomplete line, which a crash or a full disk may leave, so that it spoils no other.
Law 3: bounded. Beyond `MOST_BYTES` nothing is appended, and nothing is read. Compaction writes what is still in force
into a new file (mode 0600) that replaces the old one in one step.
Law 4: the folder may belong to another account (`authz revoke` run by root), so its names are not trusted: links are
not followed, nothing is written into a file that has another name too, and only what we made changes owner.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from errno import EFBIG, EINVAL, ELOOP, ETIMEDOUT
from pathlib import Path
from typing import Final

from authz.core.revocation import Revocation, encode, parse
from authz.system.regular_file import open_regular
from authz.system.whole_file import sync_folder, write_whole

MOST_BYTES: Final = 16 << 20
_MODE: Final = 0o600
_LOCK_S: Final = 1.0
_RETRY_S: Final = 0.005
_TAIL_BYTES: Final = 1024  # more than a line: they identify the file that was read
_RECENT_BYTES: Final = 256 << 10  # in which a writer looks for the lines that it is about to write
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """The part of a file that was not read before. `lines` and `broken` count the whole file."""

    revocations: tuple[Revocation, ...]
    lines: int
    broken: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The position up to which a file was read. Inode numbers are reused, so the bytes before it are compared too."""

    device: int
    inode: int
    offset: int = 0
    tail: bytes = b""

    def is_in(self, descriptor: int, status: os.stat_result) -> bool:
        """Whether it is the same file, and has only been appended to."""
        if (self.device, self.inode) != (status.st_dev, status.st_ino) or status.st_size <= self.offset:
            return False  # the same file with nothing more in it was changed in place
        return os.pread(descriptor, len(self.tail), self.offset - len(self.tail)) == self.tail


class RevocationFile:
    """One file. `append` and `compact` may be called from one thread, `news` from another.

    Args:
        path: where it is; made when it is missing. The folder may be a symbolic link, the file may not.
        most_bytes: its largest size.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = path.parent.resolve() / path.name
        self._most = most_bytes
        self._place = _Place(device=0, inode=0)
        self._lines = self._broken = 0

    def append(self, revocations: Iterable[Revocation]) -> None:
        """Write these durably. What is already in the file's last lines is not written again.

        Raises:
            OSError: they are not on record.
        """
        lines = [(encode(revocation), revocation) for revocation in revocations]
        with self._locked() as (descriptor, is_new):
            size = os.fstat(descriptor).st_size
            data = b"".join(_unsaid(lines, _recent(descriptor, size)))
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
                sync_folder(self._path.parent)

    def news(self) -> News:
        """What was added since the last call; the whole file if it is a different one.

        Raises:
            OSError: it cannot be read, or is too large to be one of ours. What was read before stays valid.
        """
        with os.fdopen(self._opened(os.O_RDONLY), "rb") as file:
            with contextlib.suppress(
                OSError
            ):  # half a batch may be undone; a process that never unlocks is not waited for
                _lock(file.fileno(), fcntl.LOCK_SH, time.monotonic() + _LOCK_S)
            status = os.fstat(file.fileno())
            if status.st_size > self._most:
                raise OSError(EFBIG, f"{self._path.name} is larger than {self._most} bytes")
            place = self._place
            if not place.is_in(file.fileno(), status):
                place = _Place(device=status.st_dev, inode=status.st_ino)
                self._lines = self._broken = 0
            file.seek(place.offset)
            data = file.read(self._most - place.offset + 1)
        whole, _, rest = data.rpartition(b"\n")
        revocations, broken = _parse(whole)
        self._lines += whole.count(b"\n") + bool(whole)
        self._broken += broken
        read = data[: len(data) - len(rest)]
        self._place = replace(place, offset=place.offset + len(read), tail=(place.tail + read)[-_TAIL_BYTES:])
        # Text without a newline (yet) is read again the next time; if it is a revocation already, it counts at once.
        last, torn = _parse(rest)
        return News(revocations=(*revocations, *last), lines=self._lines + bool(rest), broken=self._broken + torn)

    def compact(self, now: float) -> None:
        """Drop expired and duplicate lines.

        Raises:
            OSError: the old file stays as it is.
        """
        with self._locked() as (descriptor, _is_new):
            data = _read_all(descriptor, self._most)
            write_whole(self._path, _kept(data, now), mode=_MODE, replace=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[tuple[int, bool]]:
        """The file's descriptor, locked, and whether the file is new."""
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                descriptor, is_new = self._opened(os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL), True
            except FileExistsError:
                try:
                    descriptor, is_new = self._opened(os.O_RDWR | os.O_APPEND), False
                except FileNotFoundError:  # it went away just now
                    continue
            try:
                _lock(descriptor, fcntl.LOCK_EX, deadline)
                if self._is_in_place(descriptor):
                    if os.fstat(descriptor).st_nlink != 1:
                        raise OSError(EINVAL, f"{self._path} has another name too (a hard link)")
                    if is_new and os.geteuid() == 0:  # made by an operator as root: the gate must be able to use it
                        folder = self._path.parent.stat()
                        os.fchown(descriptor, folder.st_uid, folder.st_gid)
                    yield descriptor, is_new
                    return
            finally:
                os.close(descriptor)  # and with it the lock

    def _opened(self, flags: int) -> int:
        """The file's descriptor; OSError if the name is that of a link, a pipe or something else."""
        try:
            return open_regular(self._path, flags | _FLAGS, _MODE)
        except OSError as error:
            if error.errno == ELOOP:
                raise OSError(ELOOP, f"{self._path} is a symbolic link") from None
            raise

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the file still has its name: a compaction may have put another one in its place."""
        try:
            now = self._path.lstat()
        except OSError:
            return False
        held = os.fstat(descriptor)
        return (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino)


def _lock(descriptor: int, how: int, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(ETIMEDOUT, "another process holds its lock") from None
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


def _recent(descriptor: int, size: int) -> bytes:
    """The last whole lines, as many as a writer looks at."""
    start = max(0, size - _RECENT_BYTES)
    data = os.pread(descriptor, size - start, start)
    return data.partition(b"\n")[2] if start else data


def _subject_of(line: bytes) -> bytes:
    """The subject of a line of ours: all before its `until`, whose quotes cannot occur in a value."""
    return line.partition(b',"until":')[0]


def _unsaid(lines: list[tuple[bytes, Revocation]], recent: bytes) -> Iterator[bytes]:
    """The lines that say more than any single line in the file or before them.

    Any single one, not all together: of two lines about a subject the one with the later `before` may expire first.
    Many sign-outs at once with one token would write a line each. A line that others wrote in another form is not
    found; then there is a duplicate.
    """
    wanted = {_subject_of(line) for line, _revocation in lines}
    said: dict[bytes, list[Revocation]] = {}
    for line in recent.split(b"\n"):
        about = _subject_of(line)
        if about in wanted:
            with contextlib.suppress(ValueError):  # half a line says nothing
                said.setdefault(about, []).append(parse(line))
    for line, revocation in lines:
        known = said.setdefault(_subject_of(line), [])
        if not any(one.until >= revocation.until and one.before >= revocation.before for one in known):
            known.append(revocation)
            yield line


def _both(known: Revocation | None, other: Revocation) -> Revocation:
    """Merge two lines about the same subject, as in `Revoked.add`."""
    if known is None:
        return other
    return replace(other, before=max(known.before, other.before), until=max(known.until, other.until))


def _parse(data: bytes) -> tuple[list[Revocation], int]:
    """The revocations in whole lines, and how many lines are not revocations."""
    found, broken = [], 0
    for line in data.split(b"\n"):
        if line.strip():
            try:
                found.append(parse(line))
            except ValueError:
                broken += 1
    return found, broken


def _kept(data: bytes, now: float) -> Iterator[bytes]:
    """The lines that stay: one for those about the same subject, and those that cannot be parsed."""
    lasting: dict[tuple[str, str, str], Revocation] = {}
    for line in data.split(b"\n"):
        if not line.strip():
            continue
        try:
            revocation = parse(line)
        except ValueError:
            yield line + b"\n"
            continue
        if not revocation.is_over(now):
            name = revocation.issuer, revocation.kind.value, revocation.value
            lasting[name] = _both(lasting.get(name), revocation)
    yield from map(encode, lasting.values())
