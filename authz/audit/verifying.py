"""Is a log what its checkpoint says, and the continuation of older checkpoints?

Law 1: everything is read and nothing is changed. Files are compared with the tiles, the tiles of each level with those
below, and the tree with the checkpoint; the signature says that the log's key made that.
Law 2: the first bad record is named. Where lines and tiles were changed together, only a checkpoint can tell: then the
range is named in which it is.
Law 3: what cannot be known is no success. Records after the checkpoint are counted apart, and so are those whose files
were removed: of these there are the hashes only.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from authz.audit.comparing import Finding, compare
from authz.audit.layout import CHECKPOINT, OPEN_FILE, ClosedFile, closed_files
from authz.audit.signing import read_signed
from authz.audit.tile_files import TileFiles
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.entry import line_hashes
from authz.core.audit.frontier import Frontier
from authz.core.audit.hashing import HASH_BYTES
from authz.core.audit.keys import VerifierKey
from authz.core.audit.note import MOST_BYTES
from authz.core.audit.tiles import TILE_BYTES, WIDTH, Tile
from authz.core.errors import AuditBrokenError
from authz.core.record import Event
from authz.core.record.log_entries import LOG_LINE, log_entry_in
from authz.ops.log_reader import LogReader
from authz.system.regular_file import read_regular

_TRIES: Final = 20  # while files are closed, compressed and removed
_STEP: Final = 64 * WIDTH
"""Leaf hashes that are added to a tree at once."""
_TORN: Final = "it has no end, and the file was closed: it was put here, or its end was cut off"


@dataclass(slots=True, kw_only=True)
class Report:
    """What was found.

    Attributes:
        head: the log's checkpoint.
        signers: which of the given keys have signed it.
        findings: what is wrong, the first bad record first; none if nothing is.
        first: the index of the first record whose line is there.
        lines: how many lines were compared with the tree; None if that is not what was signed, or not what an older
            checkpoint signed: then no line is known to be what was logged.
        unsigned: how many whole lines there are after the checkpoint.
        torn: whether the open file ends within a line: it is being written, or was when a process was killed. Only the
            open one may: in a closed one it is a finding.
    """

    head: Checkpoint
    signers: frozenset[VerifierKey]
    findings: list[Finding] = field(default_factory=list)
    first: int = 0
    lines: int | None = 0
    unsigned: int = 0
    torn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """A checkpoint that someone kept, the file or URL where it is, and who cosigned it, in seconds since the epoch."""

    path: Path | str
    head: Checkpoint
    cosigned: Mapping[VerifierKey, int] = field(default_factory=dict)


def first_index(line: bytes) -> tuple[int, str] | None:
    """The index and the time that the first line of a file says; None if it is no such line."""
    entry = log_entry_in(line)
    return (entry["index"], entry["time"]) if entry is not None and entry["event"] == Event.FILE else None


def verify(
    folder: Path,
    keys: Sequence[VerifierKey],
    *,
    since: Sequence[Older] = (),
    advanced: Callable[[int], None] = lambda _bytes: None,
) -> Report:
    """Verify the log in a folder with its keys. `advanced` gets the number of bytes of files that were read.

    A writer may go on meanwhile. If it closes, compresses or removes a file just then, what is found wrong may be wrong
    itself: all is verified again.

    Raises:
        AuditBrokenError: it has no checkpoint that one of the keys signed.
        OSError: something cannot be read, or a file is not read to its end, which does not say that it was changed.
    """
    for _ in range(_TRIES - 1):
        before = _files_of(folder)
        try:
            report = _verified(folder, keys, since, advanced)
        except FileNotFoundError:
            continue
        if not report.findings or _files_of(folder) == before:
            return report
    return _verified(folder, keys, since, advanced)


def _files_of(folder: Path) -> tuple[list[ClosedFile], int]:
    """The files as they are now: the closed ones, and which one is open."""
    closed = closed_files(folder)
    try:
        return closed, (folder / OPEN_FILE).stat().st_ino
    except FileNotFoundError:
        return closed, 0


def _verified(
    folder: Path, keys: Sequence[VerifierKey], since: Sequence[Older], advanced: Callable[[int], None]
) -> Report:
    path = folder / CHECKPOINT
    try:
        head, signers = read_signed(read_regular(path, MOST_BYTES), keys)
    except FileNotFoundError:
        raise AuditBrokenError(f"{path} is missing: this is no log, or its checkpoint was removed") from None
    except AuditBrokenError as error:
        raise AuditBrokenError(f"{path}: {error}") from None
    report = Report(head=head, signers=signers)
    tree = _Tree(folder, head, since)
    lines = _Lines(folder, report, advanced)
    finding = lines.compare()
    is_signed = tree.is_signed
    if tree.is_signed:
        report.findings += [*([finding] if finding is not None else []), *tree.findings]
    elif finding is None:
        report.findings.append(tree.together())
    elif finding.index is not None and finding.index < head.size and lines.are_signed():
        report.findings.append(tree.at(finding.index))
        is_signed = True
    else:
        report.findings.append(finding)
    report.findings += tree.older
    report.lines = lines.compared if is_signed and not tree.is_replaced else None
    return report


class _Tree:
    """The tiles, against the checkpoint and the older ones.

    Attributes:
        is_signed: whether the leaf hashes have the root of the checkpoint.
        findings: tiles of upper levels that do not go with the leaf hashes, if these are signed.
        older: what older checkpoints show.
        is_replaced: whether an older checkpoint signed other records than these.
    """

    def __init__(self, folder: Path, head: Checkpoint, since: Sequence[Older]) -> None:
        self.is_signed = self.is_replaced = False
        self.findings: list[Finding] = []
        self.older: list[Finding] = []
        self._files = TileFiles(folder)
        self._folder, self._head = folder, head
        self._low, self._high = 0, head.size  # a record that was changed is within
        self._upper: list[bytearray] = []
        self._problem = ""
        try:
            self._fold(since)
        except AuditBrokenError as error:
            self._problem = str(error)
            return
        if self.is_signed:
            for level in range(1, len(self._upper)):
                self.findings += self._differing(level)
        elif self._upper[1:]:
            self._narrow()

    def at(self, index: int) -> Finding:
        """What is wrong with the tile that has the hash of a record, whose line is as it was signed."""
        path = self._files.path(Tile(0, index // WIDTH, min(WIDTH, self._head.size - index // WIDTH * WIDTH)))
        text = (
            self._problem or "the tile has another hash than the line, which is what was logged: the tile was changed"
        )
        return Finding(path=path, index=index, text=text)

    def together(self) -> Finding:
        """Where a record is whose line and leaf hash were changed together, or whose line is not there any more."""
        if self._problem:
            return Finding(path=self._folder / "tile", text=self._problem)
        text = (
            f"it, or one up to record {self._high - 1}, was changed together with its hash in the tiles: they do not"
            " have the root that the checkpoint signed"
        )
        return Finding(path=self._folder / "tile", index=self._low, text=text)

    def _fold(self, since: Sequence[Older]) -> None:
        size = self._head.size
        roots: dict[int, bytes] = {}
        frontier = Frontier()
        for stop in sorted({size, *(one.head.size for one in since if one.head.size <= size)}):
            while frontier.size < stop:
                end = min(frontier.size + _STEP, stop)
                for level, hashes in enumerate(frontier.append(self._files.leaves(frontier.size, end, size))):
                    if level == len(self._upper):
                        self._upper.append(bytearray())
                    self._upper[level] += hashes if level else b""
            roots[stop] = frontier.root()
        self.is_signed = roots[size] == self._head.root
        for one in since:
            self.older += self._compare_older(one, roots)

    def _compare_older(self, one: Older, roots: dict[int, bytes]) -> Iterator[Finding]:
        size = one.head.size
        if one.head.origin != self._head.origin:
            yield Finding(path=one.path, text="it is the checkpoint of another log")
        elif size > self._head.size:
            text = f"the log had {size} records, and has {self._head.size} now: it was cut or rolled back"
            yield Finding(path=one.path, text=text)
        elif roots[size] == one.head.root:
            self._low = max(self._low, size)
        else:
            self._high, self.is_replaced = min(self._high, size), True
            text = f"the first {size} records of the log are not those of this checkpoint: the log was replaced"
            yield Finding(path=one.path, text=text)

    def _tiles(self, level: int) -> Iterator[tuple[Tile, bytes, bytes]]:
        """Each tile of a level, with the hashes that it should have, from the tiles of level 0, and those it has."""
        made = self._upper[level]
        for index in range(-(-len(made) // TILE_BYTES)):
            wanted = bytes(made[index * TILE_BYTES : (index + 1) * TILE_BYTES])
            tile = Tile(level, index, len(wanted) // HASH_BYTES)
            yield tile, wanted, self._files.read(level, index, tile.width)

    def _differing(self, level: int) -> Iterator[Finding]:
        for tile, wanted, stored in self._tiles(level):
            if stored != wanted:
                text = "the tile does not have the hashes of the tiles below it: it is missing, or was changed"
                yield Finding(path=self._files.path(tile), text=text)

    def _narrow(self) -> None:
        """Find the first tile of level 0 that the tiles of level 1 do not know."""
        for tile, wanted, stored in self._tiles(1):
            for at in range(tile.width):
                if len(stored) == len(wanted) and _hash(stored, at) != _hash(wanted, at):
                    begin = (tile.index * WIDTH + at) * WIDTH
                    self._low, self._high = max(self._low, begin), min(self._high, begin + WIDTH)
                    return


def _hash(tile: bytes, at: int) -> bytes:
    return tile[at * HASH_BYTES : (at + 1) * HASH_BYTES]


class _Lines:
    """The lines of all files, against the leaf hashes in the tiles; `compared` is how many have theirs."""

    def __init__(self, folder: Path, report: Report, advanced: Callable[[int], None]) -> None:
        self._folder = folder
        self._report = report
        self._size = report.head.size
        self.compared = 0
        self._tiles = TileFiles(folder)
        self._reader = LogReader(advanced)
        # The index after the last record that an entry says is removed. Entries about those before may be removed too.
        self._dropped = 0

    def compare(self) -> Finding | None:
        """Compare all lines, up to the first bad one."""
        report, expected = self._report, -1
        for path, first in self._files():
            start = max(expected, 0) if first is None else first
            if start != expected and path.name != OPEN_FILE and self._is_strange(path, start, expected):
                text = f"it is not of this log: by its name it begins with record {start}, and the log has no such file"
                return Finding(path=path, text=text)
            if expected < 0:
                expected = report.first = start
            if start != expected:
                return _gap(path, start, expected)
            found, expected = self._compare_file(path, expected)
            if found is not None:
                return found
        return self._missing(max(expected, 0))

    def _is_strange(self, path: Path, start: int, expected: int) -> bool:
        """Whether a closed file that does not follow another one is none: empty, or behind the open one's begin."""
        current = self._folder / OPEN_FILE
        opened = self._said(current) if current.exists() else None
        end = self._size if opened is None else opened
        return start > end or (expected >= 0 and not path.stat().st_size)

    def _compare_file(self, path: Path, begin: int) -> tuple[Finding | None, int]:
        """What is wrong with a file whose first line has the index `begin`, and the index after its last line."""
        index = begin
        for number, lines in self._batches(path):
            differs = self._compare_batch(path, number, index, lines)
            if differs is not None:
                return differs, index
            index += len(lines)
        if self._reader.damages:
            damage = self._reader.damages[0]
            if damage.is_left:
                raise OSError(errno.EFBIG, damage.text, str(path))
            return Finding(path=path, line=damage.line, index=index, text=damage.text), index
        if self._reader.is_torn and path.name != OPEN_FILE:  # each file ended with a whole line when it was closed
            return Finding(path=path, line=index - begin + 1, index=index, text=_TORN), index
        return None, index

    def _missing(self, end: int) -> Finding | None:
        """What is missing from the log, whose files have all lines up to before `end`."""
        report = self._report
        report.unsigned = max(0, end - self._size)
        if end < self._size:
            text = f"it and all up to record {self._size - 1} are missing"
            return Finding(path=self._folder / OPEN_FILE, index=end, text=text)
        if report.first > self._dropped:
            text = f"it and all up to record {report.first - 1} are missing, and no entry says that they were removed"
            return Finding(path=self._folder, index=self._dropped, text=text)
        return None

    def _compare_batch(self, path: Path, number: int, index: int, lines: list[bytes]) -> Finding | None:
        leaves = b""
        if index < self._size:
            try:
                leaves = self._tiles.leaves(index, min(index + len(lines), self._size), self._size)
            except AuditBrokenError as error:
                return Finding(path=path, line=number, index=index, text=f"it cannot be compared: {error}")
        differs = compare(lines, leaves, path=path, line=number, index=index)
        self.compared += len(leaves) // HASH_BYTES if differs is None else differs.line - number
        if self._report.first:
            for line in lines[: len(leaves) // HASH_BYTES]:
                self._learn(line)
        return differs

    def _learn(self, line: bytes) -> None:
        entry = log_entry_in(line) if line.startswith(LOG_LINE) else None
        if entry is not None and entry["event"] == Event.DROPPED:
            self._dropped = max(self._dropped, entry["index"] + entry["count"])

    def _files(self) -> Iterator[tuple[Path, int | None]]:
        """The files in their order, each with the index of its first line; of the open one, if it says so."""
        current = self._folder / OPEN_FILE
        closed = closed_files(self._folder)
        for file in closed:
            yield file.path, file.first
        if current.exists():
            yield current, self._said(current)

    def _said(self, path: Path) -> int | None:
        """The index that the first line of a file says; None if it says none, or that record is another one."""
        for _number, lines in LogReader().batches(path):
            said = first_index(lines[0])
            if said is None or said[0] >= self._size:
                return None
            with contextlib.suppress(AuditBrokenError):
                leaf = self._tiles.leaves(said[0], said[0] + 1, self._size)
                return said[0] if leaf == line_hashes(lines[:1]) else None
            return None
        return None

    def _batches(self, path: Path) -> Iterator[tuple[int, list[bytes]]]:
        for number, lines in self._reader.batches(path):
            if self._reader.is_torn:
                self._report.torn = path.name == OPEN_FILE
                return
            yield number, lines

    def are_signed(self) -> bool:
        """Whether the lines alone have the root of the checkpoint; those that were removed count by their hashes."""
        frontier = Frontier()
        try:
            if self._report.first:
                frontier.append(self._tiles.leaves(0, self._report.first, self._size))
            for path, _first in self._files():
                for _number, lines in self._batches(path):
                    frontier.append(line_hashes(lines[: self._size - frontier.size]))
        except (AuditBrokenError, ValueError):
            return False
        return frontier.size == self._size and frontier.root() == self._report.head.root


def _gap(path: Path, start: int, expected: int) -> Finding:
    if start > expected:
        text = f"it and all up to record {start - 1} are missing: this file begins after them"
    else:
        text = f"the file says that it begins with record {start}, and all before record {expected} are in others"
    return Finding(path=path, line=1, index=expected, text=text)
