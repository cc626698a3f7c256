"""The hand-over of records from workers to the log's writer: each worker appends to files of its own, in memory.

    SPOOL/id                          names this spool: after a restart of the machine it is another one
    SPOOL/file                        the number of the log's file, from 1, that workers write for now
    SPOOL/status                      what the log's writer says of itself (`status.py`)
    SPOOL/worker-0/lock               the worker holds it: it is the only one that writes there
    SPOOL/worker-0/0000000100000000   a segment of lines for the log; its number begins with that of the file

Law 1: a record is in the segment when `put` returns, so it survives the death of every process. A loss of power it
survives in the log, or after a sync of a spool on a disk. What could not be written whole is refused, and its segment
ends there.
Law 2: one worker writes in a folder, and a reader removes. A worker of the gate before, that still answers its last
checks, is waited for. The newest segment of a worker always stays, so that numbers only grow.
Law 3: bounded. With so many segments that no one has read, a worker's records are refused.
Law 4: calls that return errors, never a mapping of memory: a full file system is an errno, not a signal.
Law 5: all that is in a spool was written by our own user: a folder that another one owns or may write to is refused.
"""

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Final

from authz.core.audit.entry import MOST_LINE_BYTES
from authz.core.errors import AuditUnavailableError
from authz.system.held_file import held, is_held
from authz.system.regular_file import open_regular, read_regular, why
from authz.system.whole_file import sync_folder, write_whole

SEGMENT_BYTES: Final = 1 << 20
MOST_SEGMENTS: Final = 64
MOST_BYTES: Final = MOST_LINE_BYTES + 1
"""The longest of what is handed over at once."""
LOOK_S: Final = 0.2
"""How often a worker looks at what the log's writer says."""
_PER_FILE: Final = 10**8  # numbers of segments for one file of the log
_WORKER: Final = "worker-"
_ID: Final = "id"
_FILE: Final = "file"
_LOCK: Final = "lock"
_DIGITS: Final = 16
_FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o022
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class SpoolWriter:
    """Takes the records of one worker. One thread uses it.

    Args:
        spool: the folder of all workers, which `made_spool` has made.
        worker: the number of this one.
        segment_bytes: size at which a segment is full.
        most_segments: so many may be there.
        durable: `unsynced` is used.
        wait_s: so long another process that still writes as this worker is waited for.

    Raises:
        BlockingIOError: another process still does.
        OSError: the worker's folder cannot be made.
    """

    def __init__(
        self,
        spool: Path,
        worker: int,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        most_segments: int = MOST_SEGMENTS,
        durable: bool = False,
        wait_s: float = 0.0,
    ) -> None:
        self._folder = worker_folder(spool, worker)
        self._segment_bytes, self._most = segment_bytes, most_segments
        with contextlib.suppress(FileExistsError):
            self._folder.mkdir(_FOLDER_MODE)
            if durable:
                sync_folder(spool)
        self._descriptor, self._size = -1, segment_bytes  # the first record begins a segment
        self._file = 1
        self._durable = durable
        self._left: list[int] = []  # descriptors of what may not be on the disk, but for the current segment
        self._alive = held(self._folder / _LOCK, wait_s)

    def put(self, lines: bytes, file: int = 1) -> bool:
        """Accept lines with their newlines that belong together. True when they are in the segment.

        `file` is the number of the log's file that they were made for; it never goes back.

        Raises:
            AuditUnavailableError: they are not, or they are longer than a reader reads at once.
        """
        if len(lines) > MOST_BYTES:
            raise AuditUnavailableError(f"a record of {len(lines)} bytes is too long")
        if self._size >= self._segment_bytes or file != self._file:
            self._next(file)
        try:
            written = os.write(self._descriptor, lines)
        except OSError as error:
            raise AuditUnavailableError(f"the record cannot be handed over: {why(error)}") from None
        if written < len(lines):  # not cut off: a reader may have lines of it already. A part of a line it drops.
            self._size = self._segment_bytes
            raise AuditUnavailableError("the record cannot be handed over: there is no room for it")
        self._size += written
        return True

    def is_in_place(self) -> bool:
        """Whether the current segment still has its name: what is written to another one is never read.

        Raises:
            OSError: it cannot be known.
        """
        return self._descriptor < 0 or os.fstat(self._descriptor).st_nlink > 0

    def unsynced(self) -> list[int]:
        """Descriptors of all that may not be on the disk, for `sync_all`; the caller closes them.

        Raises:
            OSError: there is no room for another descriptor.
        """
        current = [os.dup(self._descriptor)] if self._descriptor >= 0 else []
        left, self._left = self._left, []
        return [*left, *current]

    def begin_anew(self) -> None:
        """Use the current segment no more: a sync of it has failed."""
        self._size = self._segment_bytes

    def close(self) -> None:
        """Close the segment: the reader takes what is in it, and nothing is accepted any more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        for descriptor in self._left:
            os.close(descriptor)
        if self._alive >= 0:
            os.close(self._alive)
        self._left = []
        self._descriptor, self._size, self._alive = -1, self._segment_bytes, -1

    def _next(self, file: int) -> None:
        """Begin a segment for this file."""
        if self._alive < 0:
            raise AuditUnavailableError("the hand-over of records is closed")
        with contextlib.ExitStack() as failing:
            try:
                numbers = segments(self._folder)
                if len(numbers) >= self._most:
                    raise AuditUnavailableError(f"{len(numbers)} segments of records wait to be logged")
                number = max(file * _PER_FILE, numbers[-1] + 1 if numbers else 0)
                descriptor = open_regular(segment_path(self._folder, number), _FLAGS)
                failing.callback(os.close, descriptor)
                # Its name must reach the disk too.
                named = [os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)] if self._durable else []
            except OSError as error:
                raise AuditUnavailableError(f"the record cannot be handed over: {why(error)}") from None
            failing.pop_all()
        before, self._descriptor, self._size, self._file = self._descriptor, descriptor, 0, file
        if self._durable:
            self._left += [*([before] if before >= 0 else []), *named]
        elif before >= 0:
            os.close(before)


def sync_all(descriptors: list[int]) -> None:
    """Wait until all of these are on the disk, and close them.

    Raises:
        OSError: one of them may not be.
    """
    failed: OSError | None = None
    try:
        for descriptor in descriptors:
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                failed = error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    if failed is not None:
        raise failed


def made_spool(spool: Path) -> str:
    """Make the spool if it is missing; returns its name, which tells it from others at the same place.

    Raises:
        OSError: it cannot be made, or what is there is not a folder of our own.
    """
    with contextlib.suppress(FileExistsError):
        spool.mkdir(_FOLDER_MODE)
        sync_folder(spool.parent)
    found = spool.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & _OTHERS:
        raise OSError(errno.EPERM, "not a folder that only our own user may write to")
    if not (spool / _ID).exists():  # else nothing is written: its disk may be full
        write_whole(spool / _ID, secrets.token_hex(16).encode())
    return read_regular(spool / _ID, 64).decode()


def worker_folder(spool: Path, worker: int) -> Path:
    """The folder of a worker's segments."""
    return spool / f"{_WORKER}{worker}"


def workers(spool: Path) -> list[int]:
    """The numbers of the workers that have written.

    Raises:
        OSError: the spool cannot be read.
    """
    names = [path.name.removeprefix(_WORKER) for path in spool.iterdir() if path.name.startswith(_WORKER)]
    return sorted(int(name) for name in names if name.isascii() and name.isdecimal())


def segments(folder: Path) -> list[int]:
    """The numbers of a worker's segments.

    Raises:
        OSError: the folder cannot be read.
    """
    names = os.listdir(folder)  # noqa: PTH208 asked a hundred times a second, and a Path for each name costs more
    return sorted(int(name) for name in names if len(name) == _DIGITS and name.isascii() and name.isdecimal())


def file_of(segment: int) -> int:
    """The number of the log's file that a segment's lines were made for."""
    return segment // _PER_FILE


def current_file(spool: Path) -> int:
    """The number of the log's file that workers write for; 1 until one is announced.

    Raises:
        OSError: it cannot be read.
    """
    try:
        text = read_regular(spool / _FILE, _DIGITS)
    except FileNotFoundError:
        return 1
    return int(text) if text.isdigit() else 1


def announce(spool: Path, file: int) -> None:
    """Let workers write for this file of the log from now on; they see it within `LOOK_S`.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(spool / _FILE, b"%d" % file, replace=True, durable=False)


def has_writers(spool: Path) -> bool:
    """Whether a worker may still write to the spool.

    Raises:
        OSError: it cannot be known.
    """
    return any(is_held(worker_folder(spool, number) / _LOCK) for number in workers(spool))


def segment_path(folder: Path, number: int) -> Path:
    """Where a segment is."""
    return folder / f"{number:0{_DIGITS}}"
