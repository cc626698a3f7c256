"""The target of decision records: a file under its name, or a stream, shared with other processes by turns.

Law 1: opening never waits, and only a regular file or a device is opened: a FIFO would block the start for ever.
Law 2: a file is written under the name in the settings. If the name is gone or leads to another file, the next file is
opened under it (`authz.ops.log_files`); if that fails, nothing is accepted.
Law 3: a turn is requested and never waited for. The kernel releases it when a process dies. The next writer detects a
torn line in a file, and ends it.
"""

import contextlib
import fcntl
import os
from errno import EACCES
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from authz.core.errors import ConfigError, Problem
from authz.system.regular_file import open_regular, why

_FILE_MODE: Final = 0o640
_LOCK_MODE: Final = 0o600
_FLAGS: Final = os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Target(Protocol):
    """Where lines go."""

    def size(self) -> int:
        """Its size, if that can be known; it shows whether another process wrote since."""
        ...

    def is_torn(self) -> bool:
        """Whether it ends within a line, as far as that can be known."""
        ...

    def write(self, data: bytes) -> int:
        """Write, and return how many bytes were taken."""
        ...

    def is_in_place(self) -> bool:
        """Whether it still has its name, and all that was in it."""
        ...

    def is_gone(self) -> bool:
        """Whether no name leads to it any more: what is written there is lost."""
        ...

    def next(self) -> "Target":
        """What has its name now, opened; this one stays open.

        Raises:
            OSError: it cannot be opened.
        """
        ...

    def close(self) -> None:
        """Close it."""
        ...


def first_file(path: Path) -> "File":
    """The file at the path, opened.

    Raises:
        ConfigError: it cannot be opened.
    """
    try:
        return File(path)
    except OSError as error:
        hint = "name a regular file, or `stdout` for standard output"
        problem = Problem(str(path), 0, 0, f"the decision log cannot be opened: {why(error)}", hint)
        raise ConfigError([problem]) from None


class File:
    """A file that is appended to.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor, self._readable = self._open()
        self._seen = 0  # bytes in it at the last look

    def _open(self) -> tuple[int, bool]:
        """The descriptor, and whether it can be read too: an account may be allowed to write only."""
        try:
            return open_regular(self._path, os.O_RDWR | _FLAGS, _FILE_MODE, devices=True), True
        except OSError as error:
            if error.errno != EACCES:
                raise
        return open_regular(self._path, os.O_WRONLY | _FLAGS, _FILE_MODE, devices=True), False

    def size(self) -> int:
        """Bytes in it."""
        return os.fstat(self._descriptor).st_size

    def is_torn(self) -> bool:
        """Whether its last byte does not end a line. False if it is empty, a device, or cannot be read."""
        size = self.size() if self._readable else 0
        return size > 0 and os.pread(self._descriptor, 1, size - 1) not in {b"\n", b""}

    def write(self, data: bytes) -> int:
        """See `Target.write`."""
        return os.write(self._descriptor, data)

    def is_in_place(self) -> bool:
        """Whether the name leads to the open file, and nothing was cut off (logrotate's `copytruncate`)."""
        try:
            named = self._path.stat()
        except OSError:
            return False
        held = os.fstat(self._descriptor)
        before, self._seen = self._seen, held.st_size
        return (held.st_dev, held.st_ino) == (named.st_dev, named.st_ino) and held.st_size >= before

    def is_gone(self) -> bool:
        """Whether it was removed."""
        return os.fstat(self._descriptor).st_nlink == 0

    def next(self) -> "File":
        """See `Target.next`."""
        return File(self._path)

    def close(self) -> None:
        """See `Target.close`."""
        os.close(self._descriptor)


class Stream:
    """A binary stream that its owner closes: standard output, or a buffer in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._descriptor = -1
        with contextlib.suppress(OSError, AttributeError):
            stream.flush()
            self._descriptor = stream.fileno()

    def size(self) -> int:
        """Its size is not known."""
        return 0

    def is_torn(self) -> bool:
        """What others wrote is not known."""
        return False

    def write(self, data: bytes) -> int:
        """See `Target.write`."""
        if self._descriptor >= 0:
            return os.write(self._descriptor, data)
        written = self._stream.write(data)
        self._stream.flush()
        return written

    def is_in_place(self) -> bool:
        """A stream has no name."""
        return True

    def is_gone(self) -> bool:
        """A stream has no name to lose."""
        return False

    def next(self) -> "Stream":
        """There is no other one."""
        return self

    def close(self) -> None:
        """The stream is not ours to close."""


class Turn:
    """The right to write, shared with other processes through a locked file."""

    def __init__(self, path: Path | None) -> None:
        self._descriptor = -1 if path is None else os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _LOCK_MODE)
        self._held = False

    def take(self) -> bool:
        """Whether it is ours now; never waits.

        Raises:
            OSError: the system cannot lock (no locks left, a network file system in trouble).
        """
        if self._descriptor >= 0 and not self._held:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            self._held = True
        return True

    def give(self) -> None:
        """Let the next one write.

        Raises:
            OSError: the system cannot unlock.
        """
        if self._held:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self._held = False

    def close(self) -> None:
        """Close the lock file, which also releases the turn."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
