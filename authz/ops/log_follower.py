"""The lines that are added to logs while someone looks on.

Law: what is appended to a file is handed out once, whole line by whole line, whatever the file is renamed to meanwhile.
A renamed file is read until nothing has come for a while: workers may still write what they had accepted. Only a file
that got its name and lost it between two looks is missed. Reading changes nothing; memory and open files are bounded.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from authz.ops.log_reader import LONGEST_LINE
from authz.system.regular_file import open_regular

_CHUNK: Final = 1024 * 1024
_MOST_RENAMED: Final = 8
"""Files of one name that stay open after they were renamed; with more, the oldest are closed."""
_QUIET: Final = 50
"""A renamed file is closed after so many looks without a new line."""


class _Open:
    """One open file, and the beginning of a line that is not complete."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._begun = b""
        self._skipping = False
        self._number = 0
        self.quiet = 0
        self.cut = 0

    def identity(self) -> tuple[int, int]:
        """What tells it from other files, whatever their names."""
        status = os.fstat(self._file.fileno())
        return status.st_dev, status.st_ino

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The whole lines that were added, with their numbers. From the beginning, if the file was truncated."""
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._begun, self._skipping, self._number = b"", False, 0
        self.quiet += 1
        while chunk := self._file.read(_CHUNK):
            self.quiet = 0
            *found, rest = chunk.split(b"\n")
            if found:
                found[0], self._begun = self._begun + found[0], b""
                first, self._number = self._number + 1, self._number + len(found)
                left_out, self._skipping = int(self._skipping), False
                yield from enumerate(found[left_out:], first + left_out)
            self._begun = b"" if self._skipping else self._begun + rest
            if len(self._begun) > LONGEST_LINE:
                self._begun, self._skipping = b"", True
                self.cut += 1

    def close(self) -> None:
        """Close it."""
        self._file.close()


class LogFollower:
    """Follows the file that has a name now, and those that had it before.

    Attributes:
        too_long: lines that were left out, because they were longer than any that the gate writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.too_long = 0
        self._files: list[_Open] = []

    def look(self) -> Iterator[tuple[int, bytes]]:
        """The whole lines that were added since the last look, with their numbers; at the first one, all of the file.

        They have no newlines.

        Raises:
            OSError: the file is there, and cannot be read.
        """
        for file in [*self._files, *self._next()]:
            yield from file.lines()
            self.too_long, file.cut = self.too_long + file.cut, 0
        renamed = self._files[:-1]
        for file in renamed:
            if file.quiet > _QUIET or len(self._files) > _MOST_RENAMED:
                file.close()
                self._files.remove(file)

    def _next(self) -> Iterator[_Open]:
        """The file that has the name now, if it is another one."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return
        if self._files and self._files[-1].identity() == (status.st_dev, status.st_ino):
            return
        try:
            made = _Open(os.fdopen(open_regular(self.path), "rb", buffering=0))
        except FileNotFoundError:
            return
        if self._files and self._files[-1].identity() == made.identity():
            made.close()
            return
        self._files.append(made)
        yield made

    def close(self) -> None:
        """Close all of its files."""
        for file in self._files:
            file.close()
        self._files.clear()
