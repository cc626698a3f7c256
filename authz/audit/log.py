"""The log of a gate: appends lines, signs checkpoints, closes files and removes old ones.

Law 1: `append` returns when all its lines are in the file, or raises and none of them counts. Its cost is a write and
the hashes; tiles and checkpoints are for `tend`, which the same thread calls between appends.
Law 2: a checkpoint is signed when the lines and the tiles that it is about are on the disk. So it is never ahead of
them, also after a loss of power.
Law 3: a file is closed with a checkpoint of all its lines. The next one begins with an entry that says its index, and
an entry says which file is removed before it is.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from authz.audit.closed_files import compress_one, outdated
from authz.audit.layout import (
    CHECKPOINT,
    FILE_MODE,
    LOCK,
    OPEN_FILE,
    VERIFIER_KEYS,
    WITNESSED,
    closed_files,
    closed_name,
)
from authz.audit.line_file import LineFile
from authz.audit.recovery import has_log, recover
from authz.audit.signing import LogKey, signed
from authz.core.audit.checkpoint import Checkpoint
from authz.core.audit.cosigning import Head
from authz.core.audit.entry import line_hashes
from authz.core.audit.hashing import EMPTY_ROOT
from authz.core.errors import AuditBrokenError, ConfigError, Problem
from authz.core.record import Event, log_line
from authz.core.version import __version__
from authz.system.clock import Clock
from authz.system.held_file import held
from authz.system.whole_file import sync_folder, write_whole

MOST_UNSIGNED: Final = 1 << 20
"""Lines after a checkpoint, at most: their hashes are kept in memory until their tiles can be written."""
_FOLDER_MODE: Final = 0o750
_LOOK_S: Final = 60.0  # how often the age of closed files is looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a checkpoint is signed, a file closed, and a closed one removed. 0 for what is kept is no limit.

    Attributes:
        records, seconds: the most lines and the longest time without a checkpoint.
        file_bytes, file_seconds: size and age at which the open file is closed.
        keep_bytes, keep_seconds: size of all closed files, and age of each, above which the oldest is removed.
    """

    records: int = 10_000
    seconds: float = 5.0
    file_bytes: int = 256 << 20
    file_seconds: float = 86400.0
    keep_bytes: int = 0
    keep_seconds: float = 0.0


class AuditLog:
    """A log that is open for writing. One thread uses it, but for `compress`.

    Args:
        folder: where it is; made when it is missing, but not the folder above.
        keys: all that sign, newest first; their name is the log's origin.
        gate: the gate's name, for the log's own entries.
        clock: tells the time.
        limits: see there.
        wait_s: so long another process that still writes it is waited for.

    Attributes:
        size: how many lines it has.
        head: the signed note of the last checkpoint.
        signed: how many lines that checkpoint covers.
        witnessed: how many lines the checkpoint with a quorum of cosignatures covers, 0 if there is none.

    Raises:
        ConfigError: another process writes it.
        AuditBrokenError: what is there is not the log that was signed. Nothing was changed.
        OSError: it cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        keys: Sequence[LogKey],
        *,
        gate: str,
        clock: Clock,
        limits: Limits | None = None,
        wait_s: float = 0.0,
    ) -> None:
        self._folder, self._keys, self._gate = folder, tuple(keys), gate
        self._clock, self._limits = clock, limits or Limits()
        self._origin = keys[0].public.name
        with contextlib.suppress(FileExistsError):
            folder.mkdir(_FOLDER_MODE)
        self._closed = threading.Lock()  # who compresses or removes closed files
        self._file: LineFile | None = None
        with contextlib.ExitStack() as failing:
            self._lock = _locked(folder, wait_s)
            failing.callback(os.close, self._lock)
            failing.callback(self._close_file)
            self._continue()
            failing.pop_all()

    def _continue(self) -> None:
        """Begin where the log ends, with an entry that says so, and a checkpoint."""
        public = tuple(key.public for key in self._keys)
        if not has_log(self._folder):
            empty = signed(Checkpoint(self._origin, 0, EMPTY_ROOT), self._keys)
            write_whole(self._folder / CHECKPOINT, empty, mode=FILE_MODE)
        found = recover(self._folder, public)
        self._edge, self._frontier = found.edge, found.frontier
        self._first, self._before, self._began = found.first, found.before, _seconds(found.began)
        self.head, self.signed, self.witnessed = b"", found.head.size, found.witnessed
        self._signed_at = self._looked_at = self._clock.monotonic()
        self._open(found.bytes)
        texts = tuple(map(str, public))
        lines = "".join(f"{one}\n" for one in texts)
        write_whole(self._folder / VERIFIER_KEYS, lines.encode(), mode=FILE_MODE, replace=True)
        self.enter(Event.START, version=__version__, unsigned=found.unsigned, cut=found.cut)
        if found.head.size == 0 or found.key_ids != {key.key_id for key in public}:
            self.enter(Event.KEYS, keys=texts)
        self.checkpoint()

    @property
    def size(self) -> int:
        """How many lines the log has."""
        return self._frontier.size

    def append(self, lines: Sequence[bytes]) -> int:
        """Append lines, without their newlines; returns the index of the first one in the log.

        Raises:
            OSError: none of them counts; they may be appended again.
            AuditBrokenError: the file was changed by something else. No append succeeds any more.
            ValueError: one of them is no line (`authz.core.audit.entry`).
        """
        if self._frontier.size - self.signed + len(lines) > MOST_UNSIGNED:
            self.checkpoint()
        file = self._file or self._open(0)
        begins: list[bytes] = [] if file.size else [self._own(Event.FILE, index=self.size, file=self._before)]
        batch = [*begins, *lines]
        hashes = line_hashes(batch)
        if begins:
            self._began = self._clock.wall()
        file.append(b"\n".join([*batch, b""]))
        index = self.size + len(begins)
        self._edge.add(self._frontier.append(hashes))
        return index

    def enter(self, event: Event, **fields: object) -> int:
        """Append an entry about the log itself, or about what decides; returns its index. Raises as `append`."""
        return self.append([self._own(event, **fields)])

    @property
    def is_full(self) -> bool:
        """Whether the open file has the size or the age at which it is closed."""
        file, limits = self._file, self._limits
        if file is None or not file.size:
            return False
        return file.size >= limits.file_bytes or self._clock.wall() - self._began >= limits.file_seconds

    def tend(self, *, rotates: bool = True) -> None:
        """Do what is due: sign a checkpoint, close the file, remove old ones. To be called every second or so.

        `rotates`: whether a full file is closed here; else it is by `rotate`.

        Raises:
            OSError: something could not be done; the next call does it. What was appended is in the log.
            AuditBrokenError: see `append`.
        """
        limits, now = self._limits, self._clock.monotonic()
        if rotates and self.is_full:
            self.rotate()
        elif self.size - self.signed >= limits.records or now - self._signed_at >= limits.seconds:
            self.checkpoint()
        if now - self._looked_at >= _LOOK_S or self._file is None:
            self.remove_old()
            self._looked_at = now

    def checkpoint(self) -> bytes:
        """Sign a checkpoint of all lines, if there are new ones; returns the last one, a signed note.

        Raises:
            OSError: there is none; the lines stay in the log, and the next call covers them.
        """
        if self.head and self.signed == self.size:
            self._signed_at = self._clock.monotonic()
            return self.head
        if self._file is not None:
            self._file.sync()
        self._edge.store()
        made = signed(Checkpoint(self._origin, self.size, self._frontier.root()), self._keys)
        write_whole(self._folder / CHECKPOINT, made, mode=FILE_MODE, replace=True)
        self.head, self.signed, self._signed_at = made, self.size, self._clock.monotonic()
        return made

    def keep_witnessed(self, data: bytes) -> None:
        """Keep a checkpoint of this log that a quorum of witnesses cosigned, in place of an older one.

        Raises:
            OSError: the older one is still there.
        """
        size = Head.parse(data).checkpoint.size
        if size >= self.witnessed:
            write_whole(self._folder / WITNESSED, data, mode=FILE_MODE, replace=True)
            self.witnessed = size

    def rotate(self) -> None:
        """Close the open file, with a checkpoint of all its lines. The next append begins another one.

        Raises:
            OSError: it is still open.
            AuditBrokenError: there is a closed file of this name.
        """
        file = self._file
        if file is None or not file.size:
            return
        self.checkpoint()
        name = closed_name(self._first)
        if (self._folder / name).exists():
            raise AuditBrokenError(f"{self._folder / name} is there already: something else made it")
        (self._folder / OPEN_FILE).rename(self._folder / name)
        file.close()
        self._file, self._before, self._first = None, name, self.size
        sync_folder(self._folder)

    def remove_old(self) -> None:
        """Remove closed files that are too old or too many; an entry says so before. Tiles stay.

        Raises:
            OSError: some are still there.
        """
        limits = self._limits
        if not (limits.keep_bytes or limits.keep_seconds) or not self._closed.acquire(blocking=False):
            return  # compressing: the next call
        try:
            self._remove_old(limits)
        finally:
            self._closed.release()

    def _remove_old(self, limits: Limits) -> None:
        files = closed_files(self._folder)
        found = outdated(files, now=self._clock.wall(), seconds=limits.keep_seconds, most_bytes=limits.keep_bytes)
        if not found:
            return
        ends = [*(file.first for file in files[1:]), self._first]
        for file, end in zip(found, ends, strict=False):
            self.enter(Event.DROPPED, index=file.first, count=end - file.first, file=file.path.name)
        self.checkpoint()
        for file in found:
            file.path.unlink(missing_ok=True)

    def compress(self) -> Path | None:
        """Compress the oldest closed file that is not; returns its new place, None if there is nothing to do.

        A second thread may call it at any time: it takes as long as it takes, and no append waits for it.

        Raises:
            OSError: the file stays as it was.
        """
        with self._closed:
            return compress_one(self._folder)

    def close(self, last: Callable[[], None] = lambda: None) -> None:
        """Write the entry `stop`, sign a checkpoint, do `last`, and let another process write.

        Raises:
            OSError: the last checkpoint does not cover the last lines.
        """
        try:
            self.enter(Event.STOP)
            self.checkpoint()
            last()
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Let another process write, without the entry `stop`: as if this one was killed now."""
        self._close_file()
        os.close(self._lock)

    def _open(self, size: int) -> LineFile:
        self._file = LineFile(self._folder / OPEN_FILE, size)
        return self._file

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _own(self, event: Event, **fields: object) -> bytes:
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        return log_line(event, gate=self._gate, time=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), **fields)


def _seconds(time: str) -> float:
    """The time of an entry, in seconds since the epoch; 0 if it is none."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except ValueError:
        return 0.0


def _locked(folder: Path, wait_s: float) -> int:
    """The descriptor that holds the folder's lock."""
    try:
        return held(folder / LOCK, wait_s)
    except BlockingIOError:
        hint = "each gate has a log of its own: give it another folder, or end the other process first"
        problem = Problem(str(folder), 0, 0, "another process writes this log", hint)
        raise ConfigError([problem]) from None
