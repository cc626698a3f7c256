"""The grants file: one event per line, written by all workers and by the operator, read by all of them.

Law 1: `record` decides under the file's lock, with everything in it that others wrote before, and returns when the
event is on the disk; or it raises and leaves the file as it was (see `authz.system.shared_file`).
Law 2: the file says what is held. A grant whose lines have gone is held no more; what was seen to be over stays over,
even if the line that says so has gone.
Law 3: a line counts when it is whole: half a line may be taken back, and so may a line without its newline. Only an end
counts without it. A line that is no event does not affect the others. It is counted and stays where it is.
Law 4: bounded. Beyond `MOST_BYTES` nothing is appended, and nothing is read. Compaction writes what still matters into
a new file (mode 0600) that replaces the old one in one step.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from authz.core.grants import Ended, Event, Ledger, encode, parse
from authz.system.shared_file import MODE, SharedFile, Unread
from authz.system.whole_file import write_whole

MOST_BYTES: Final = 16 << 20


class GrantsFile:
    """One file, and the ledger that it makes. Used under one lock.

    Args:
        path: where it is; made when it is missing. The folder may be a symbolic link, the file may not.
        saw: called once with each event that others wrote, after it changed the ledger.
        most_bytes: its largest size.

    Attributes:
        ledger: what the file said when it was last read, and what was recorded since.
        broken: lines that are no events.
        lines: lines in all.
    """

    def __init__(
        self, path: Path, *, saw: Callable[[Event], None] = lambda _event: None, most_bytes: int = MOST_BYTES
    ) -> None:
        self.path = path
        self.ledger = Ledger()
        self.broken = self.lines = 0
        self._file = SharedFile(path, most_bytes=most_bytes)
        self._saw = saw
        self._rest_broken = 0
        self._whole_broken = 0
        self._whole_lines = 0

    @property
    def is_open(self) -> bool:
        """Whether others than its owner may use the file, as it was last read."""
        return self._file.is_open

    def refresh(self) -> None:
        """Read what others changed.

        Raises:
            OSError: it is missing, cannot be read, or is too large to be one of ours.
        """
        if not self._file.is_as_read():
            self._take(self._file.unread())

    def record(self, decide: Callable[[Ledger], Iterable[Event]]) -> None:
        """Append the events that `decide` returns for what the file says, durably. What `decide` raises is raised.

        Raises:
            OSError: they are not on record.
            ValueError: no line can say one of them; none is on record.
        """
        made: list[Event] = []

        def lines(descriptor: int, _size: int) -> bytes:
            if self._file.has_unread(descriptor):
                self._take(self._file.unread(lock=False))
            made.extend(decide(self.ledger))
            return b"".join(map(_line, made))

        self._file.append(lines, is_read=True)
        self._whole_lines += len(made)
        self._count()
        for event in made:
            self.ledger.apply(event)

    def compact(self, now: float) -> None:
        """Drop the lines of grants that ended long ago, and those that change nothing.

        Raises:
            OSError: the old file stays as it is.
        """
        with self._file.locked() as (descriptor, _is_new):
            self._take(self._file.unread(lock=False, whole=True))
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            write_whole(self._file.path, self._kept(data, now), mode=MODE, replace=True)

    def _kept(self, data: bytes, now: float) -> Iterator[bytes]:
        *lines, rest = data.split(b"\n")
        for line in lines:
            if line.strip() and _event(line) is None:
                yield line + b"\n"
        yield from map(encode, self.ledger.events(now))
        if rest.strip():
            yield rest + b"\n"

    def _take(self, unread: Unread) -> None:
        before = self.ledger
        if unread.anew:
            self.ledger = self.ledger.replaced()
            self._whole_lines = self._whole_broken = 0
        for line in unread.lines.split(b"\n"):
            if line.strip():
                self._whole_lines += 1
                event = _event(line)
                if event is None:
                    self._whole_broken += 1
                else:
                    self._apply(event, before)
        self._rest_broken = 0
        if unread.rest.strip():
            last = _event(unread.rest)
            self._rest_broken = int(last is None)
            if isinstance(last, Ended):
                self._apply(last, before)
        self._count()

    def _apply(self, event: Event, before: Ledger) -> None:
        """Take in one event that was read; in another file most are known from the one `before`."""
        is_known = before is not self.ledger and before.knows(event)
        if self.ledger.apply(event) and not is_known:
            self._saw(event)

    def _count(self) -> None:
        self.lines, self.broken = self._whole_lines, self._whole_broken + self._rest_broken


def _line(event: Event) -> bytes:
    """The event's line. One that no process could read back would be in force here, and nowhere else."""
    line = encode(event)
    if _event(line) != event:
        raise ValueError("an event that no line can say")
    return line


def _event(line: bytes) -> Event | None:
    try:
        return parse(line)
    except ValueError:
        return None
