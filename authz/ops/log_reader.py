"""The lines of decision logs that were renamed, compressed and written by many workers.

Law: reading changes nothing, and memory is bounded whatever a file holds. A file that ends within its compression or
within a line, and a line that is too long, are reported with their places; the lines before them are read. A compressed
file that holds far more than a log could is read no further: the time that a file takes is bounded by its size.
"""

import bz2
import glob
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Final, Protocol

from authz.core.errors import ConfigError, Problem
from authz.system.regular_file import open_regular

LONGEST_LINE: Final = 4 * 1024 * 1024
"""Bytes: an identity entry has all groups of the largest token, each character escaped."""
_CHUNK: Final = 120 * 1024  # malloc maps and unmaps larger blocks each time
_MOST_MEMORY: Final = 128 * 1024 * 1024
"""Bytes that decompressing xz may take: twice what `xz -9` asks for. gzip and bzip2 never ask for much."""
_MOST_RATIO: Final = 100
_ANY_RATIO: Final = 4 * 1024 * 1024
_LONG_LINE: Final = 16 * 1024
_LEAST_LINE: Final = 4
_ANY_LINES: Final = 10_000
"""Compressed, a decision is no less than the twelve random bytes of its id, and a log a tenth or a thirtieth of its
size, or less than a hundredth where a caller filled it with one long name. What is a hundredth of more than 4 MiB in
longer lines than that, or has a line in four bytes and 10,000 lines, was made to take time."""
_CUT: Final = "the compressed file is damaged or cut"
_BOMB: Final = "it is compressed better than any log of the gate: the rest is not read"


class _DamagedError(Exception):
    """A compressed file ends early, is not what its beginning says, or asks for too much memory."""


class _Source(Protocol):
    """What bytes are read from. `read1` hands out what was read before an error, `read` would lose it."""

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class _Part:
    """The lines of a file that begin from `begin` on and before `end`, and the line that `begin - 1` stands in."""

    def __init__(self, file: _Source, begin: int, end: int) -> None:
        self._file, self._at, self._end = file, max(0, begin - 1), end
        self._over = False

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        if self._over:
            return b""
        chunk = self._file.read1(size)
        if (stop := chunk.find(b"\n", max(0, self._end - 1 - self._at))) >= 0:
            chunk, self._over = chunk[: stop + 1], True
        self._at += len(chunk)
        return chunk


class _Xz:
    """An xz file, one stream after another, in bounded memory: `lzma.open` takes what the file asks for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._stream: lzma.LZMADecompressor | None = None
        self._left = b""

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end. Raises LZMAError or EOFError."""
        while True:
            if self._stream is not None and self._stream.eof:
                self._left, self._stream = self._stream.unused_data, None
            waiting = self._stream is not None and not self._stream.needs_input
            data = b"" if waiting else self._left or self._file.read(_INPUT)
            self._left = b""
            if self._stream is None:
                data = data.lstrip(b"\0")  # padding between streams
                if not data and not (data := self._file.read(_INPUT).lstrip(b"\0")):
                    return b""
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MOST_MEMORY)
            elif not data and not waiting:
                raise EOFError("it ends within a stream")
            try:
                found = self._stream.decompress(data, size)
            except lzma.LZMAError as error:
                if "Memory usage limit" in str(error):  # it has no class of its own
                    raise _DamagedError(f"decompressing it takes more than {_MOST_MEMORY >> 20} MiB") from None
                raise
            if found:
                return found


class _Gzip:
    """A gzip file, one member after another: `gzip.open` takes half as long again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False
        self._left = b""

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end. Raises zlib.error or EOFError."""
        while True:
            if self._member.eof:
                self._left, self._begun = self._member.unused_data, False
                self._member = zlib.decompressobj(_GZIP)
            data = self._left or self._file.read(_INPUT)
            self._left = b""
            if not self._begun:
                if not data:
                    return b""
                data = data.lstrip(b"\0")  # padding between members
                self._begun = bool(data)
                if not data:
                    continue
            found = self._member.decompress(data, size)
            self._left = self._member.unconsumed_tail
            if found:
                return found
            if not data and not self._member.eof:
                raise EOFError("it ends within a member")


_KINDS: Final[Mapping[bytes, Callable[[IO[bytes]], _Source]]] = MappingProxyType(
    {b"\x1f\x8b": _Gzip, b"BZh": bz2.open, b"\xfd7zXZ\x00": _Xz}
)
_GZIP: Final = 16 + zlib.MAX_WBITS
_INPUT: Final = 64 * 1024  # what stands in one part with damage is lost
_ZSTANDARD: Final = b"\x28\xb5\x2f\xfd"
_MAGIC: Final = 6
# decisions.jsonl, decisions.jsonl.1, decisions.jsonl-20261129.gz; the salts beside a log are no part of it.
_of_a_log: Final = re.compile(r".+\.jsonl(?:[.-][0-9][0-9A-Za-z_-]*)*(?:\.(?:gz|bz2|xz|zst))?").fullmatch


@dataclass(frozen=True, slots=True)
class Damage:
    """A part of a file that could not be read; `line` is where it begins."""

    path: Path
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """The lines of a file that begin from `begin` on and before `end`, in bytes; None is the end of the file.

    `opened` is another name of the same file, which it keeps when it is renamed. A part of a compressed file is all of
    it.
    """

    path: Path
    begin: int = 0
    end: int | None = None
    opened: str = ""


class Block:
    """Lines of a file with a newline between each two, and the number of the first."""

    __slots__ = ("_count", "first", "lines", "path")

    def __init__(self, path: Path, first: int, lines: bytes) -> None:
        self.path, self.first, self.lines = path, first, lines
        self._count = 0

    @property
    def count(self) -> int:
        """How many lines they are."""
        if not self._count:
            self._count = self.lines.count(b"\n") + 1
        return self._count

    @count.setter
    def count(self, known: int) -> None:
        self._count = known

    def number(self, start: int) -> int:
        """The number of the line that begins there."""
        return self.first + self.lines.count(b"\n", 0, start)


def is_compressed(path: Path) -> bool:
    """Whether the file begins as a compressed one.

    Raises:
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        return file.read(_MAGIC).startswith(tuple(_KINDS))


def find(names: Iterable[str]) -> list[Path]:
    """The files that are meant: files, patterns (`decisions.jsonl*`), and the logs in folders. Each file once.

    Raises:
        ConfigError: a name stands for no file, or for one that cannot be read.
    """
    found: dict[tuple[int, int], Path] = {}
    problems: list[Problem] = []
    for name in names:
        try:
            paths = _named(name)
            if not paths:
                problems.append(Problem(name, 0, 0, "there is no decision log", "name files, patterns or a folder"))
            for path in paths:
                about = path.stat()
                found.setdefault((about.st_dev, about.st_ino), path)
                problems += _unreadable(path, about.st_mode)
        except OSError as error:
            problems.append(Problem(str(error.filename or name), 0, 0, f"cannot be read: {error.strerror}"))
    if problems:
        raise ConfigError(problems)
    return [*found.values()]


def rotated(path: Path) -> list[str]:
    """The names of a log and of the files that it was renamed to."""
    beside = path.parent.glob(f"{glob.escape(path.name)}*")
    ending = re.compile(re.escape(path.name) + r"(?:[.-][0-9][0-9A-Za-z_-]*)*(?:\.(?:gz|bz2|xz|zst))?")
    return sorted(str(one) for one in beside if ending.fullmatch(one.name))


def _named(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return sorted(one for one in path.iterdir() if _of_a_log(one.name) and one.is_file())
    if path.exists() or not glob.has_magic(name):
        return [path]
    return sorted(one for one in map(Path, glob.glob(name, recursive=True)) if one.is_file())  # noqa: PTH207 any path


def _unreadable(path: Path, mode: int) -> Iterator[Problem]:
    if not stat.S_ISREG(mode):
        yield Problem(str(path), 0, 0, "is not a file", "it is read twice: give a file, not a pipe")
        return
    with path.open("rb") as file:
        if file.read(len(_ZSTANDARD)) == _ZSTANDARD:
            yield Problem(str(path), 0, 0, "is compressed with zstd", "decompress it first: unzstd FILE")


class LogReader:
    """Reads the lines of files.

    Args:
        advanced: called with the number of bytes of a file that were read, compressed as they are.

    Attributes:
        damages: the parts that could not be read.
        is_torn: whether the last line that was handed out had no newline: it was the last one of its file.
        passed: lines of the file or part that was read last, also those that were too long.
    """

    def __init__(self, advanced: Callable[[int], None] = lambda _bytes: None) -> None:
        self.damages: list[Damage] = []
        self.is_torn = False
        self.passed = 0
        self._advanced = advanced

    def lines(self, path: Path) -> Iterator[tuple[int, bytes]]:
        """The lines of a file, without their newlines, with their numbers from 1; the last one may have had none.

        Raises:
            OSError: the file cannot be read, or is none: a FIFO, a device.
        """
        for number, lines in self.batches(path):
            yield from enumerate(lines, number)

    def batches(self, path: Path) -> Iterator[tuple[int, list[bytes]]]:
        """As `lines`, many at a time, each time with the number of the first; a line without a newline is alone.

        Raises:
            OSError: the file cannot be read, or is none: a FIFO, a device.
        """
        for block in self.blocks(Part(path)):
            yield block.first, block.lines.split(b"\n")

    def blocks(self, part: Part) -> Iterator["Block"]:
        """As `batches`, not split. In a part of a file, the first line has number 1.

        Raises:
            OSError: the file cannot be read, or is none: a FIFO, a device.
        """
        begun, skipping = b"", part.begin > 0
        number, path = 1 - skipping, part.path
        self.is_torn, self.passed = False, 0
        try:
            for chunk in self._chunks(part):
                if (cut := chunk.rfind(b"\n")) < 0:
                    begun = b"" if skipping else begun + chunk
                else:
                    from_ = 0
                    if skipping:
                        number, skipping, from_ = number + 1, False, chunk.index(b"\n") + 1
                    if from_ <= cut:
                        block = Block(path, number, b"".join((begun, memoryview(chunk)[from_:cut])))
                        yield block
                        number += block.count
                        self.passed = number - 1
                    begun = chunk[cut + 1 :]
                if len(begun) > LONGEST_LINE:
                    self.damages.append(Damage(path, number, f"the line is longer than {LONGEST_LINE:,} bytes"))
                    begun, skipping = b"", True
        except _DamagedError as error:
            self.damages.append(Damage(path, number, str(error)))
        if begun:
            self.is_torn = True
            yield Block(path, number, begun)
            number += 1
        self.passed = number - 1 + skipping

    def _chunks(self, part: Part) -> Iterator[bytes]:
        with os.fdopen(open_regular(part.opened or part.path), "rb") as file:
            magic = file.read(_MAGIC)
            file.seek(max(0, part.begin - 1))
            opener = next((opener for start, opener in _KINDS.items() if magic.startswith(start)), None)
            source: _Source = file if opener is None else opener(file)
            if part.end is not None:
                source = _Part(file, part.begin, part.end)
            at, found = file.tell(), 0
            while True:
                try:
                    chunk = source.read1(_CHUNK)
                except (EOFError, zlib.error, lzma.LZMAError) as error:
                    raise _DamagedError(f"{_CUT}: {error}") from error
                except OSError as error:
                    if error.errno is not None:
                        raise
                    raise _DamagedError(f"{_CUT}: {error}") from error  # gzip and bzip2 say it so
                if not chunk:
                    return
                yield chunk
                self._advanced(file.tell() - at)
                at, found = file.tell(), found + len(chunk)
                most = max(_ANY_RATIO, at * _MOST_RATIO, self.passed * _LONG_LINE)
                if opener is not None and (found > most or self.passed > max(_ANY_LINES, at // _LEAST_LINE)):
                    raise _DamagedError(_BOMB)
