"""The file that lines are appended to.

Law 1: a batch is in the file whole, or not at all. What a failed write left is cut off before anything else is written.
Law 2: nothing else writes here. If the name leads to another file, or the file has another size than what was written,
the log is broken: other lines would be in it than those that were counted.
Law 3: calls that return errors, never a mapping of memory: a full disk is an errno.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from authz.audit.layout import FILE_MODE
from authz.core.errors import AuditBrokenError
from authz.system.regular_file import open_regular
from authz.system.whole_file import sync_folder

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class LineFile:
    """An open file. One thread uses it.

    Args:
        path: where it is; made when it is missing.
        size: its bytes up to the end of its last whole line. What is behind them is cut off.

    Attributes:
        size: the bytes of all batches in it.

    Raises:
        OSError: it cannot be opened, or not be cut.
        AuditBrokenError: it is shorter than that.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self._path = path
        self.size = size
        self._descriptor = open_regular(path, _FLAGS, FILE_MODE)
        with contextlib.ExitStack() as failing:
            failing.callback(os.close, self._descriptor)
            status = os.fstat(self._descriptor)
            self._identity = status.st_dev, status.st_ino
            if status.st_size < size:
                raise AuditBrokenError(f"{path} was cut while it was read")
            os.ftruncate(self._descriptor, size)
            sync_folder(path.parent)
            failing.pop_all()
        self._has_rest = False  # of a write that failed

    def append(self, data: bytes) -> None:
        """Write a batch of whole lines.

        Raises:
            OSError: nothing of it counts; it may be tried again.
            AuditBrokenError: something else wrote to the file, moved or removed it.
        """
        self._check()
        rest = memoryview(data)
        self._has_rest = True
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self.size += len(data)
        finally:
            if rest:
                self._cut()
            else:
                self._has_rest = False

    def sync(self) -> None:
        """Have all batches on the disk; OSError if they may not be."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _check(self) -> None:
        if self._has_rest:
            os.ftruncate(self._descriptor, self.size)
            self._has_rest = False
        try:
            status = self._path.stat(follow_symlinks=False)
        except FileNotFoundError:
            raise AuditBrokenError(f"{self._path} was removed by something else") from None
        if (status.st_dev, status.st_ino) != self._identity:
            raise AuditBrokenError(f"{self._path} was replaced by something else")
        if status.st_size != self.size:
            raise AuditBrokenError(f"{self._path} has {status.st_size} bytes, and {self.size} were written")

    def _cut(self) -> None:
        """Cut off the rest of a batch. If even that fails, it is cut off before the next one."""
        try:
            os.ftruncate(self._descriptor, self.size)
        except OSError:
            return
        self._has_rest = False
