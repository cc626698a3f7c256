"""An access log that another process writes, renames and truncates: its new lines, each at most once.

Law 1: reading changes nothing in the file or its folder, and never waits. Each call reads a bounded number of bytes.
Law 2: a place is a device, an inode, an offset and a hash of the file's first bytes. A file that does not begin as it
did is another one, even with the same inode: it was truncated, or its number was given away. So what lies behind a
place was never handed out.
Law 3: what may be lost is counted: a file that is gone, or was truncated, before it was known to be read to its end.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from authz.system.clock import Clock
from authz.system.regular_file import open_regular, why

MOST_LINE_BYTES: Final = 64 * 1024
"""Bytes of the longest line that is read: several times what Envoy's format can have."""
QUIET_S: Final = 60.0
"""A renamed file is let go of when so long nothing was added to it, and the next one is there."""
_MOST_OPEN: Final = 8  # files of one name, renamed ones included
_MOST_BESIDE: Final = 1000  # names beside it that are looked at for one that was renamed
_HEAD: Final = 256


class Place(NamedTuple):
    """Where a reader is in a file; `length` and `digest` are of the file's first bytes."""

    device: int
    inode: int
    offset: int
    length: int
    digest: str


class Piece(NamedTuple):
    """What was read: whole lines, how many bytes they and what was passed over are, and lines that are too long."""

    lines: list[bytes]
    size: int
    too_long: int
    cut: bool


@dataclass(slots=True)
class _Open:
    """An open file. `cut`: the reader is within a line that is not wanted. `end`: its size when it was last read."""

    descriptor: int
    identity: tuple[int, int]
    offset: int = 0
    head: bytes = b""
    cut: bool = False
    end: int = 0
    changed: float = 0.0

    def is_truncated(self) -> tuple[bool, bool]:
        """Whether it was truncated, and is read from its beginning; and whether what was lost is known to be there."""
        self.end, before = os.fstat(self.descriptor).st_size, self.end
        head = os.pread(self.descriptor, _HEAD, 0)
        same = self.end >= self.offset and head.startswith(self.head)
        self.head = head
        if same:
            return False, False
        lost = before > self.offset
        self.offset, self.cut = 0, False
        return True, lost

    def piece(self, most: int) -> Piece:
        """What comes next, at most so many bytes; a line without its end is waited for, unless it is too long.

        `most` is more than the longest line.
        """
        data = os.pread(self.descriptor, most, self.offset)
        whole = data.rfind(b"\n") + 1
        if not whole:
            long = len(data) >= MOST_LINE_BYTES
            return Piece([], len(data) if long or self.cut else 0, int(long and not self.cut), cut=long or self.cut)
        lines = data[:whole].split(b"\n")[:-1]
        return Piece(lines[self.cut :], whole, 0, cut=False)

    def place(self) -> Place:
        head = self.head[: self.offset]
        return Place(*self.identity, self.offset, len(head), sha256(head).hexdigest())


class FollowedFile:
    """Follows what has a name, and what had it before.

    Args:
        path: the name.
        places: where the reader was, the oldest file first; None if it never looked: then only what is added to a file
            that is there now is read.
        clock: tells when a renamed file is done.

    Attributes:
        problem: why the file cannot be read, "" if it can.
        lost: files that are gone or were truncated, and may not have been read to their end.
        moved: whether `where` has changed since this was last set to False.
    """

    def __init__(self, path: Path, places: Sequence[Place] | None, clock: Clock) -> None:
        self.path, self.problem, self.lost, self.moved = path, "", 0, True
        self._clock = clock
        self._is_new = places is None
        self._files: list[_Open] = []
        beside: dict[tuple[int, int], Path] = {}
        try:
            beside = self._beside() if places else {}
        except OSError as error:
            self.problem = why(error)
        for place in places or ():
            found = beside.get((place.device, place.inode))
            file = self._resumed(found, place) if found is not None else None
            if file is None:
                self.lost += 1
            else:
                self._files.append(file)

    def look(self) -> None:
        """Open what has the name now, and let go of what is done."""
        try:
            self._look()
        except OSError as error:
            self.problem = why(error)
        else:
            self.problem = ""

    def next(self, most: int) -> tuple[_Open, Piece] | None:
        """The file that has new lines first, and these; `took` says that they are done. None if there are none."""
        for file in self._files:
            try:
                truncated, lost = file.is_truncated()
                self.lost, self.moved = self.lost + lost, self.moved or truncated
                piece = file.piece(most)
            except OSError as error:
                self.problem = why(error)
                continue
            if piece.size:
                return file, piece
        return None

    def took(self, file: _Open, piece: Piece) -> None:
        """Go on behind a piece."""
        file.offset, file.cut, file.changed = file.offset + piece.size, piece.cut, self._clock.monotonic()
        self.moved = True

    def where(self) -> list[Place] | None:
        """The places to go on from after a restart; None as long as nothing is known of the file."""
        return None if self._is_new else [file.place() for file in self._files]

    def close(self) -> None:
        """Let go of all files."""
        while self._files:
            os.close(self._files.pop().descriptor)

    def _look(self) -> None:
        now = self._clock.monotonic()
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self.moved, self._is_new = self.moved or self._is_new, False  # what comes is new from its beginning on
            raise
        if not self._files or self._files[-1].identity != (status.st_dev, status.st_ino):
            file = _opened(self.path, now)
            if self._is_new:
                file.offset = file.end
                file.cut = file.end > 0 and os.pread(file.descriptor, 1, file.end - 1) != b"\n"
            self._files.append(file)
            self.moved, self._is_new = True, False
        while len(self._files) > 1:
            file = self._files[0]
            if len(self._files) <= _MOST_OPEN and now - file.changed < QUIET_S:
                break
            self.lost += os.fstat(file.descriptor).st_size > file.offset
            os.close(self._files.pop(0).descriptor)
            self.moved = True

    def _beside(self) -> dict[tuple[int, int], Path]:
        """The files whose names begin with this one's: what it may have been renamed to."""
        with os.scandir(self.path.parent) as entries:
            names = (entry.name for entry in entries if entry.name.startswith(self.path.name))
            some = [self.path.name, *islice(names, _MOST_BESIDE)]
        found = {}
        for name in some:
            with contextlib.suppress(FileNotFoundError):
                status = self.path.with_name(name).stat()
                found[status.st_dev, status.st_ino] = self.path.with_name(name)
        return found

    def _resumed(self, path: Path, place: Place) -> _Open | None:
        """The file at its place; None if it is another one by now, or cannot be read."""
        try:
            file = _opened(path, self._clock.monotonic())
        except OSError as error:
            self.problem = why(error)
            return None
        head = file.head[: place.length]
        same = file.identity == (place.device, place.inode) and sha256(head).hexdigest() == place.digest
        if not same or file.end < place.offset or len(head) < place.length:
            os.close(file.descriptor)
            return None
        file.offset = place.offset
        return file


def _opened(path: Path, now: float) -> _Open:
    descriptor = open_regular(path)
    status = os.fstat(descriptor)
    head = os.pread(descriptor, _HEAD, 0)
    return _Open(descriptor, (status.st_dev, status.st_ino), head=head, end=status.st_size, changed=now)
