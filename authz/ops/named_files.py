"""Reads the files that a policy file names: expands their patterns, and reads all of them with it.

Law: read-only, bounded in number and bytes. A file that cannot be read is part of the result, with the reason: it must
not be missing in silence. Patterns are expanded from the folder of the policy file, and never lead out of it by name;
links in it are followed, because a mounted ConfigMap consists of links.
"""

import os
from collections.abc import Iterable, Iterator
from errno import EFBIG
from hashlib import sha256
from pathlib import Path
from typing import Final

from authz.core.documents.quantities import size_text
from authz.core.documents.yaml_document import MAX_BYTES
from authz.core.policy.bundle import MOST_FILES, MOST_INCLUDED_BYTES, Bundle, Part, included, named, segment_matches
from authz.system.regular_file import read_regular, read_with_status, why

TOO_LARGE: Final = f"the files of the policy have more than {size_text(MAX_BYTES)} together"
INCLUDED_TOO_LARGE: Final = f"it has more than {size_text(MOST_INCLUDED_BYTES)}"

Marks = tuple[tuple[int, ...], ...]


def read_bundle(path: Path) -> Bundle:
    """A policy file and the files that it names, once.

    Raises:
        OSError: the policy file cannot be read.
    """
    data = read_regular(path, MAX_BYTES)
    return Bundle(data, str(path), NamedFiles(path).read(data))


class NamedFiles:
    """The files that one policy file names, read again and again.

    Attributes:
        changed_at: when the youngest of those that were last read was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
        self._patterns: tuple[str, ...] = ()
        self._included: frozenset[str] = frozenset()
        self._of = ""
        self._names: tuple[str, ...] = ()
        self.changed_at = 0.0

    def read(self, data: bytes) -> tuple[Part, ...]:
        """The files that are named in this content of the policy file, sorted by their names."""
        digest = sha256(data).hexdigest()
        if digest != self._of:
            self._patterns, self._included, self._of = named(data), included(data), digest
        self._names = tuple(sorted(self._found()))[: MOST_FILES + 1]
        self.changed_at, left = 0.0, MAX_BYTES - len(data)
        parts = []
        for name in self._names:
            if name in self._included:  # what a team writes takes no room from other files
                parts.append(self._part(name, MOST_INCLUDED_BYTES, INCLUDED_TOO_LARGE))
                continue
            part = self._part(name, left, TOO_LARGE)
            left -= len(part.data)
            parts.append(part)
        return tuple(parts)

    def marks(self) -> Marks:
        """Metadata that nearly always differ when one of the files was written, replaced, added or removed."""
        if not self._patterns:
            return ()
        listed = (pattern.partition("*")[0] for pattern in self._patterns if "*" in pattern)
        folders = {name.rpartition("/")[0] for name in (*self._names, *listed)}
        return tuple(mark_of(self._folder / name) for name in (*sorted(folders), *self._names))

    def _part(self, name: str, left: int, too_large: str) -> Part:
        try:
            data, status = read_with_status(self._folder / name, left)
        except OSError as error:
            return Part(name, b"", too_large if error.errno == EFBIG else why(error))
        self.changed_at = max(self.changed_at, status.st_ctime, status.st_mtime)
        return Part(name, data)

    def _found(self) -> set[str]:
        found = {name for pattern in self._patterns for name in self._expanded(pattern)}
        return found - {self._path.name}  # a pattern that stands for the policy file too does not mean it

    def _expanded(self, pattern: str) -> Iterable[str]:
        """The names that a pattern stands for. One without a `*` stands for its file, whether or not it is there."""
        if "*" not in pattern:
            return (pattern,)
        names: Iterable[str] = ("",)
        for segment in pattern.split("/"):
            names = [inner for name in names for inner in self._inside(name, segment)]
        return names

    def _inside(self, folder: str, segment: str) -> Iterator[str]:
        """What a segment stands for in a folder."""
        try:
            inside = self._folder / folder
            listed = [entry.name for entry in inside.iterdir()] if "*" in segment else [segment]
        except OSError:
            return  # not a folder, or gone: the loader reports a pattern that stands for no file
        for entry in listed:
            name = f"{folder}/{entry}" if folder else entry
            if segment_matches(segment, entry) and os.path.lexists(self._folder / name):
                yield name


def mark_of(path: Path) -> tuple[int, ...]:
    """Metadata that nearly always differ when a file was written or replaced; empty when there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return ()
    return (status.st_dev, status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
