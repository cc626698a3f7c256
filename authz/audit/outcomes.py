"""From Envoy's access logs into the signed log: what came of each decision, and what tasks read, at most once.

Law 1: the log goes on without it. A file that cannot be read is a note. Each call reads a bounded number of bytes,
after the records of the workers, in the process that answers no check.
Law 2: an entry is never there twice. Places in the files are saved with the size of the log that they are about; the
entries that the log has beyond it are known by their decisions and requests, and their lines are passed over.
Law 3: losing is preferred to doubling, and is counted where it can be known: `FollowedFile` says when. A file that was
there before anyone followed it is read from its end on.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from authz.audit.followed_file import MOST_LINE_BYTES, FollowedFile, Piece, Place
from authz.audit.layout import FILE_MODE
from authz.audit.log import AuditLog
from authz.audit.reading import lines_from
from authz.core.record import ACCESS_LINE, followed_id, followed_line
from authz.system.clock import Clock
from authz.system.regular_file import read_regular, why
from authz.system.whole_file import write_whole

log = logging.getLogger(__name__)

POSITION: Final = "outcome-position"
ROUND_BYTES: Final = 256 * 1024
"""Bytes of access logs that are read in one call: some milliseconds."""
_MOST_POSITION_BYTES: Final = 1 << 20
_END_ROUNDS: Final = 64


class Outcomes:
    """Moves outcomes into a log. One thread uses it, the one that uses the log.

    Args:
        paths: the access logs.
        folder: that of the log, where the places are kept.
        signed_log: the log.
        clock: tells when a renamed file is done.

    Attributes:
        taken: entries about what came of decisions that were appended.
        accesses: entries about what tasks read or changed that were appended.
        skipped: lines that are no JSON object, are too long, or are about neither.

    Raises:
        OSError: the log cannot be read.
    """

    def __init__(self, paths: Sequence[Path], folder: Path, signed_log: AuditLog, clock: Clock) -> None:
        self._folder, self._log = folder, signed_log
        self.taken = self.accesses = self.skipped = 0
        self._failed = ""
        size, places = self._saved() if paths else (signed_log.size, {})
        self._files = [FollowedFile(path, places.get(str(path)), clock) for path in paths]
        self._known = set(_keys(folder, size)) if size < signed_log.size else set()

    @property
    def lost(self) -> int:
        """Files that are gone or were truncated, and may not have been read to their end."""
        return sum(file.lost for file in self._files)

    @property
    def problem(self) -> str:
        """Which files cannot be read, and why; "" if all can."""
        found = [f"{file.path}: {file.problem}" for file in self._files if file.problem]
        return "; ".join([*found, *([self._failed] if self._failed else [])])

    def drain(self, most: int = ROUND_BYTES) -> int:
        """Append what has come, as far as it is in so many bytes; returns how many lines were read, or parts of one.

        Raises:
            OSError, AuditBrokenError: as `AuditLog.append`. What was not appended is by the next call.
        """
        count = 0
        for file in self._files:
            file.look()
            if most > MOST_LINE_BYTES and (found := file.next(most)) is not None:
                most -= found[1].size
                self._take(found[1])
                file.took(*found)
                count += len(found[1].lines) or 1
        self._files = [*self._files[1:], *self._files[:1]]  # so each is the first in turn
        return count

    def _take(self, piece: Piece) -> None:
        """Append the entries about some lines."""
        made = [followed_line(line) for line in piece.lines]
        fresh = [entry for entry in made if entry is not None and entry[0] not in self._known]
        if fresh:
            self._log.append([line for _, line in fresh])
        self._known.difference_update(entry[0] for entry in made if entry is not None)
        accesses = sum(line.startswith(ACCESS_LINE) for _, line in fresh)
        self.accesses, self.taken = self.accesses + accesses, self.taken + len(fresh) - accesses
        self.skipped += made.count(None) + piece.too_long

    def tend(self) -> None:
        """Save the places, if the log is signed to its end: what they are behind is then on the disk."""
        if self._log.signed == self._log.size and any(file.moved for file in self._files):
            self.save()

    def save(self) -> None:
        """Save the places."""
        found = {str(file.path): file.where() for file in self._files}
        places = {name: [tuple(one) for one in where] for name, where in found.items() if where is not None}
        try:
            saved = orjson.dumps({"size": self._log.size, "files": places})
            write_whole(self._folder / POSITION, saved, mode=FILE_MODE, replace=True)
        except OSError as error:
            self._failed = f"the places in access logs cannot be saved: {why(error)}"
        else:
            self._failed = ""
            for file in self._files:
                file.moved = False

    def finish(self) -> None:
        """Append what is there now, bounded, sign it and save the places.

        Raises:
            OSError, AuditBrokenError: see `drain`.
        """
        for _ in range(_END_ROUNDS):
            if not self.drain():
                break
        if self._files:
            self._log.checkpoint()
            self.save()

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()

    def _saved(self) -> tuple[int, dict[str, list[Place]]]:
        """The size of the log when the places were saved, and these; none if they cannot be read."""
        try:
            said: dict[str, Any] = orjson.loads(read_regular(self._folder / POSITION, _MOST_POSITION_BYTES))
            places = {name: [Place(*place) for place in found] for name, found in said["files"].items()}
            return int(said["size"]), places
        except FileNotFoundError:
            return self._log.size, {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            log.error("%s cannot be read: access logs are read from their end on", self._folder / POSITION)  # noqa: TRY400
            return self._log.size, {}


def _keys(folder: Path, size: int) -> Iterator[str]:
    """The decisions and the requests that the log has such entries about, from an index on."""
    for line in lines_from(folder, size):
        if name := followed_id(line):
            yield name
