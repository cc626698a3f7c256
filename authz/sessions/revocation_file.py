"""The revocation file: one JSON object per line, written by all workers and by the operator, read by all of them.

Law 1: `append` returns when the lines are on the disk, or raises and leaves the file as it was (see
`authz.system.shared_file`).
Law 2: a line that cannot be parsed does not affect the others. It is counted and stays where it is.
Law 3: bounded. Beyond `MOST_BYTES` nothing is appended, and nothing is read. Compaction writes what is still in force
into a new file (mode 0600) that replaces the old one in one step.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from errno import EFBIG
from pathlib import Path
from typing import Final

from authz.core.revocation import Revocation, encode, parse
from authz.system.shared_file import MODE, SharedFile
from authz.system.whole_file import write_whole

MOST_BYTES: Final = 16 << 20
_RECENT_BYTES: Final = 256 << 10  # in which a writer looks for what it is about to say


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """The part of a file that was not read before. `lines` and `broken` count the whole file."""

    revocations: tuple[Revocation, ...]
    lines: int
    broken: int


class RevocationFile:
    """One file. `append` and `compact` may be called from one thread, `news` from another.

    Args:
        path: where it is; made when it is missing. The folder may be a symbolic link, the file may not.
        most_bytes: its largest size.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._file = SharedFile(path, most_bytes=most_bytes)
        self._most = most_bytes
        self._lines = self._broken = 0

    def append(self, revocations: Iterable[Revocation]) -> None:
        """Write these durably. What the file's last lines say already is not written again.

        Raises:
            OSError: they are not on record.
        """
        lines = [(encode(revocation), revocation) for revocation in revocations]
        self._file.append(lambda descriptor, size: b"".join(_unsaid(lines, _recent(descriptor, size))))

    def news(self) -> News:
        """What was added since the last call; the whole file when it is another one.

        Raises:
            OSError: it cannot be read, or is too large to be one of ours. What was read before stays valid.
        """
        unread = self._file.unread()
        if unread.anew:
            self._lines = self._broken = 0
        revocations, broken = _parse(unread.lines)
        self._lines += unread.lines.count(b"\n")
        self._broken += broken
        # What has no newline (yet) is read again the next time; if it is one already, it counts at once.
        last, torn = _parse(unread.rest)
        return News(
            revocations=(*revocations, *last), lines=self._lines + bool(unread.rest), broken=self._broken + torn
        )

    def compact(self, now: float) -> None:
        """Drop expired and duplicate lines.

        Raises:
            OSError: the old file stays as it is.
        """
        with self._file.locked() as (descriptor, _is_new):
            data = _read_all(descriptor, self._most)
            write_whole(self._file.path, _kept(data, now), mode=MODE, replace=True)


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
    """Those of the lines that say more than any single line in the file or before them.

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
