"""The names of a log's files in its folder.

    decisions.jsonl                             lines are appended here
    decisions-00000000000000001234.jsonl        a closed file; its first line has this index in the log
    decisions-00000000000000001234.jsonl.gz     the same, compressed
    tile/0/…                                    the tree's hashes (c2sp.org/tlog-tiles)
    checkpoint                                  size and root, signed
    witnessed                                   the newest checkpoint that a quorum of witnesses cosigned
    verifier-keys                               the public keys that sign, a line each, newest first
    .lock                                       held by the process that writes

Law: a name tells the order. Sorted, closed files are in the order of their lines, and the open one is the last.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OPEN_FILE: Final = "decisions.jsonl"
CHECKPOINT: Final = "checkpoint"
WITNESSED: Final = "witnessed"
VERIFIER_KEYS: Final = "verifier-keys"
LOCK: Final = ".lock"
FILE_MODE: Final = 0o640
"""Of all files: lines hold no secrets, and a group may read them. The process's umask applies."""

_GZ: Final = ".gz"
_closed: Final = re.compile(r"decisions-([0-9]{20})\.jsonl(\.gz)?").fullmatch
_looks_like_one: Final = re.compile(r"decisions|.*\.jsonl", re.IGNORECASE | re.DOTALL).match
_is_draft: Final = re.compile(r"\.decisions-[0-9]{20}\.jsonl\.gz\.[0-9a-f]+\.draft").fullmatch


@dataclass(frozen=True, slots=True, order=True)
class ClosedFile:
    """A file that no line is added to any more. `first` is the index of its first line in the log."""

    first: int
    path: Path

    @property
    def is_compressed(self) -> bool:
        """Whether its name says so."""
        return self.path.suffix == _GZ


def closed_name(first: int) -> str:
    """The name of a closed file whose first line has this index."""
    return f"decisions-{first:020}.jsonl"


def compressed(path: Path) -> Path:
    """The name of a closed file when it is compressed."""
    return path.with_name(path.name + _GZ)


def closed_files(folder: Path) -> list[ClosedFile]:
    """The closed files in their order. Of one that is there in both forms, the compressed one: it was complete first.

    Raises:
        OSError: the folder cannot be read.
    """
    found: dict[int, ClosedFile] = {}
    for path in sorted(folder.iterdir()):
        match = _closed(path.name)
        if match is not None:
            first = int(match[1])
            found[first] = ClosedFile(first, path)
    return [found[first] for first in sorted(found)]


def others(folder: Path) -> list[str]:
    """The names that look like a log's file and are none: who reads every log in the folder would read these too.

    Of a closed file that is there in both forms, the other one is among them. Drafts are not: a writer makes them.

    Raises:
        OSError: the folder cannot be read.
    """
    known = {OPEN_FILE, *(file.path.name for file in closed_files(folder))}
    names = sorted(path.name for path in folder.iterdir())
    return [name for name in names if name not in known and _looks_like_one(name) and not _is_draft(name)]


def is_a_log(folder: Path) -> bool:
    """Whether the folder has a part of a log.

    Raises:
        OSError: the folder cannot be read.
    """
    parts = {OPEN_FILE, CHECKPOINT, WITNESSED, "tile"}
    return any(path.name in parts or _closed(path.name) is not None for path in folder.iterdir())
