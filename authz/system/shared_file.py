"""A file of lines that several processes append to and read: revocations, salts.

Law 1: `append` returns when the lines are on the disk (fsync, of the folder too if the file is new), or raises and
leaves the file as it was. One process writes at a time: the file is locked, and a process that got the lock of a file
that was replaced meanwhile takes the new one. Half a line, which a crash or a full disk may leave, is closed first.
Law 2: a reader sees every change. The file is unchanged only while its whole status is that of the last read, which a
process's own lines alone move on; it was appended to only if all that was read before is still in it.
Law 3: bounded. Beyond its largest size nothing is appended, and nothing is read.
Law 4: the folder may belong to another account, so its names are not trusted: links are not followed, nothing is
written into a file that has another name too, and only what we made changes owner.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from errno import EFBIG, EINVAL, ELOOP, ETIMEDOUT
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from authz.system.regular_file import open_regular
from authz.system.whole_file import sync_folder

MODE: Final = 0o600
_LOCK_S: Final = 1.0
_RETRY_S: Final = 0.005
_OTHERS: Final = 0o077
_CHUNK_BYTES: Final = 1 << 20
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW


class _Look(NamedTuple):
    """What differs when others have changed the file. An edit may keep its size, and a copy may keep its time."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    mode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What was not read before: whole lines, and after them what has no newline (yet), which is read again.

    `anew`: it is the whole of another file, or of one that was changed otherwise than by appending.
    """

    lines: bytes
    rest: bytes
    anew: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Up to where a file was read, and the hash of all before that: inode numbers are reused, and files edited."""

    device: int = 0
    inode: int = 0
    offset: int = 0
    read: blake2b = field(default_factory=blake2b)

    def is_in(self, descriptor: int, status: os.stat_result) -> bool:
        """Whether it is the same file, and has only been appended to."""
        if (self.device, self.inode) != (status.st_dev, status.st_ino) or status.st_size < self.offset:
            return False
        now = blake2b()
        for at in range(0, self.offset, _CHUNK_BYTES):
            now.update(os.pread(descriptor, min(_CHUNK_BYTES, self.offset - at), at))
        return now.digest() == self.read.digest()

    def after(self, data: bytes) -> "_Place":
        """The place when these bytes, which follow, were read too."""
        read = self.read.copy()
        read.update(data)
        return replace(self, offset=self.offset + len(data), read=read)


class SharedFile:
    """One file. One thread appends, another may read.

    Args:
        path: where it is; made when it is missing. The folder may be a symbolic link, the file may not.
        most_bytes: its largest size.
    """

    def __init__(self, path: Path, *, most_bytes: int) -> None:
        self.path = path.parent.resolve() / path.name
        self._most = most_bytes
        self._place = _Place()
        self._seen: _Look | None = None

    def append(self, make: Callable[[int, int], bytes], *, is_read: bool = False) -> None:
        """Write lines durably. `make` gets the locked file's descriptor and size, and returns them.

        With `is_read` the lines are not read again, if all before them was read.

        Raises:
            OSError: they are not in the file.
        """
        with self.locked() as (descriptor, is_new):
            size = os.fstat(descriptor).st_size
            data = make(descriptor, size)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            if size + len(data) > self._most:
                raise OSError(EFBIG, f"{self.path.name} is full")
            follows = is_read and self._place.offset == size and not self.has_unread(descriptor)
            try:
                _write(descriptor, data)
                look = _look(os.fstat(descriptor))  # at once: what others change from now on differs from it
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
            if is_new:
                sync_folder(self.path.parent)
            if follows and look.size == size + len(data):
                self._place, self._seen = self._place.after(data), look

    def is_as_read(self) -> bool:
        """Whether the file looks as it did when it was last read, or written to here; False if it is not there.

        Raises:
            OSError: its status cannot be had.
        """
        try:
            return _look(self.path.lstat()) == self._seen
        except FileNotFoundError:
            return False

    @property
    def is_open(self) -> bool:
        """Whether others than its owner may use the file, as it was last read."""
        return self._seen is not None and bool(self._seen.mode & _OTHERS)

    def has_unread(self, descriptor: int) -> bool:
        """Whether others have changed the locked file since the last `unread`."""
        return _look(os.fstat(descriptor)) != self._seen

    def unread(self, *, lock: bool = True, whole: bool = False) -> Unread:
        """What was added since the last call; the whole file when it is another one, or with `whole`.

        Without `lock` it does not wait for a writer, because the caller is the writer.

        Raises:
            OSError: it cannot be read, or is too large to be one of ours.
        """
        with os.fdopen(self._opened(os.O_RDONLY), "rb") as file:
            if lock:
                with contextlib.suppress(OSError):  # half of a batch may be taken back; it waits only so long
                    _lock(file.fileno(), fcntl.LOCK_SH, time.monotonic() + _LOCK_S)
            status = os.fstat(file.fileno())
            if status.st_size > self._most:
                raise OSError(EFBIG, f"{self.path.name} is larger than {self._most} bytes")
            place = self._place
            anew = whole or not place.is_in(file.fileno(), status)
            if anew:
                place = _Place(device=status.st_dev, inode=status.st_ino)
            file.seek(place.offset)
            data = file.read(self._most - place.offset + 1)
        _whole, _, rest = data.rpartition(b"\n")
        read = data[: len(data) - len(rest)]
        self._place, self._seen = place.after(read), _look(status)
        return Unread(lines=read, rest=rest, anew=anew)

    @contextlib.contextmanager
    def locked(self) -> Iterator[tuple[int, bool]]:
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
                        raise OSError(EINVAL, f"{self.path} has another name too (a hard link)")
                    if is_new and os.geteuid() == 0:  # made by an operator as root: the gate must be able to use it
                        folder = self.path.parent.stat()
                        os.fchown(descriptor, folder.st_uid, folder.st_gid)
                    yield descriptor, is_new
                    return
            finally:
                os.close(descriptor)  # and with it the lock

    def _opened(self, flags: int) -> int:
        """The file's descriptor; OSError if the name is that of a link, a pipe or another thing."""
        try:
            return open_regular(self.path, flags | _FLAGS, MODE)
        except OSError as error:
            if error.errno == ELOOP:
                raise OSError(ELOOP, f"{self.path} is a symbolic link") from None
            raise

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the file still has its name: a compaction may have put another one in its place."""
        try:
            now = self.path.lstat()
        except OSError:
            return False
        held = os.fstat(descriptor)
        return (held.st_dev, held.st_ino) == (now.st_dev, now.st_ino)


def _look(status: os.stat_result) -> _Look:
    return _Look(
        device=status.st_dev,
        inode=status.st_ino,
        size=status.st_size,
        modified=status.st_mtime_ns,
        changed=status.st_ctime_ns,
        mode=status.st_mode,
    )


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
