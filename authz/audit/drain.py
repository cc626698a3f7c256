"""From the workers' segments into the log, each record exactly once.

Law 1: a position says up to where each worker's segments are in the log of a certain size. It is saved at checkpoints,
so it may be older than the log: the lines after that size say which worker's they are, and a reader that starts passes
over that worker's lines, which must be the same. So nothing is lost or doubled, whichever process is killed when, and a
line that no worker has handed over is not taken for one.
Law 2: a segment is removed when a saved position is after it, and a later one is there.
Law 3: the last line of a segment has no newline only if its worker was killed, or refused it: no answer has left. While
the segment is the newest, the line is waited for; then it is dropped.
Law 4: a line is in the file of the log that its worker made it for, so that the identity entries that it needs are in
the same file. Before a file is closed, the next one is announced, and workers get `turn_s` to write for it. Only a
record whose worker stood still for longer than that is in the file after its own.
Law 5: a spool knows how much of its log was signed. It is not drained into a log that has less.
Law 6: a spool on a disk may have lost its newest files and bytes with a loss of power, and no record that comes after
that is passed over for it.
"""

import os
from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from authz.audit.layout import FILE_MODE
from authz.audit.log import AuditLog
from authz.audit.reading import lines_from
from authz.audit.spool import (
    MOST_BYTES,
    announce,
    current_file,
    file_of,
    made_spool,
    segment_path,
    segments,
    worker_folder,
    workers,
)
from authz.audit.status import read_status
from authz.core.errors import AuditBrokenError
from authz.core.record import FOLLOWED_LINES, LOG_LINE
from authz.system.clock import Clock
from authz.system.regular_file import read_regular
from authz.system.whole_file import write_whole

POSITION: Final = "spool-position"
TURN_S: Final = 2.0
"""How long workers have to begin with the next file: ten of their looks."""
_WITHOUT_WORKER: Final = (LOG_LINE, *FOLLOWED_LINES)
_BOOT: Final = "/proc/sys/kernel/random/boot_id"
_MOST: Final = 1 << 60
_PLACE: Final = 2
_MOST_POSITION_BYTES: Final = 1 << 20


@dataclass(slots=True)
class _Worker:
    """Where the reader is in a worker's segments."""

    segment: int = 0
    offset: int = 0


class Drain:
    """Moves records into a log. One thread uses it, the one that uses the log.

    Args:
        spool: the folder of the segments; made when it is missing.
        folder: that of the log, where the position is kept.
        log: the log.
        clock: the one of the log.
        turn_s: how long workers have to begin with the next file.

    Raises:
        AuditBrokenError: the position is not one of this log.
        OSError: something cannot be read, or the position not be written.
    """

    def __init__(self, spool: Path, folder: Path, log: AuditLog, clock: Clock, turn_s: float = TURN_S) -> None:
        self._spool, self._folder, self._log, self._clock = spool, folder, log, clock
        self._turn_s = turn_s
        self._name = made_spool(spool)
        self._workers: dict[int, _Worker] = {}
        self._boot = _boot()  # when the position was saved
        self._saved = -1  # the log's signed lines when the position was saved
        announced = self._announced()
        self._file = min(self._find_position(announced), announced)
        self._turn_at = clock.monotonic() + turn_s if self._file < announced else 0.0

    def drain(self) -> int:
        """Append what has come, at most some mebibytes of each worker; returns how many records that were.

        Raises:
            OSError, AuditBrokenError: as `AuditLog.append`. What was not appended is by the next call.
        """
        count = 0
        for number in workers(self._spool):
            place = self._workers.setdefault(number, _Worker())
            count += self._drain_worker(worker_folder(self._spool, number), place)
        return count

    def tend(self) -> None:
        """Do what is due in the log and here: see `AuditLog.tend`. To be called every second or so.

        Raises:
            OSError: something could not be done; the next call does it.
            AuditBrokenError: see `AuditLog.append`.
        """
        self._log.tend(rotates=False)
        if self._log.signed != self._saved:
            self.save()  # first: it makes room in a spool that is full
        if self._turn_at:
            if self._clock.monotonic() >= self._turn_at:
                self._turn()
        elif self._log.is_full:
            announce(self._spool, self._file + 1)
            self._turn_at = self._clock.monotonic() + self._turn_s

    def finish(self) -> None:
        """Append all that is there, each line in its file, and save the position. No worker writes any more.

        Raises:
            OSError, AuditBrokenError: the rest stays for the next start.
        """
        if self._turn_at:
            self._turn()
        while self.drain():
            pass
        self.save()

    def forget(self) -> None:
        """Empty the segments that are left: they are in the log, and no worker writes any more.

        Raises:
            OSError: some are not empty; the next start passes over them.
        """
        for number, place in self._workers.items():
            folder = worker_folder(self._spool, number)
            for segment in segments(folder):
                if segment <= place.segment:
                    os.truncate(segment_path(folder, segment), 0)

    def _turn(self) -> None:
        """Close the log's file: what comes now is for the next one."""
        while self.drain():
            pass
        self._log.rotate()
        self._file, self._turn_at = self._file + 1, 0.0
        self.save()

    def save(self) -> None:
        """Sign a checkpoint, save the position, and remove segments that are in the log.

        Raises:
            OSError: the segments stay.
        """
        self._log.checkpoint()
        places = {str(number): [one.segment, one.offset] for number, one in self._workers.items()}
        saved = {"spool": self._name, "size": self._log.size, "file": self._file, "workers": places, "boot": _boot()}
        write_whole(self._folder / POSITION, orjson.dumps(saved), mode=FILE_MODE, replace=True)
        self._saved = self._log.signed
        for number, place in self._workers.items():
            folder = worker_folder(self._spool, number)
            for segment in segments(folder)[:-1]:
                if segment < place.segment:
                    segment_path(folder, segment).unlink(missing_ok=True)

    def _drain_worker(self, folder: Path, place: _Worker) -> int:
        """Append the lines that a worker has written since, for the current file of the log or an earlier one."""
        count = 0
        numbers = [number for number in segments(folder) if number >= place.segment and file_of(number) <= self._file]
        for number in numbers:
            if number > place.segment:
                place.segment, place.offset = number, 0
            data = _read(segment_path(folder, number), place.offset)
            whole = data.rfind(b"\n") + 1
            lines = data[:whole].split(b"\n")[:-1]
            if lines:
                self._log.append(lines)
            place.offset += whole
            count += len(lines)
            if len(data) == MOST_BYTES:
                break  # there is more: the next call
        return count

    def _find_position(self, announced: int) -> int:
        """Find where the reader was; returns the number of the log's file, the announced one in a new spool."""
        saved, before = _saved(self._folder), read_status(self._spool)
        self._file = announced
        if before is not None and before.signed > self._log.size:
            text = (
                f"{self._folder} has {self._log.size} lines, and {self._spool} is the spool of one with {before.signed}"
            )
            raise AuditBrokenError(f"{text}: it is another log, or an older copy. If it is meant, remove the spool")
        if before is not None and before.signed and saved is None:
            text = f"{self._folder / POSITION} is missing, so what of {self._spool} is in the log cannot be known"
            raise AuditBrokenError(f"{text}. If the log is another one, remove the spool")
        if saved is None or saved["spool"] != self._name:
            self.save()  # before the first record: else a reader that is killed now could not know where it began
            return announced
        size = saved["size"]
        if size > self._log.size:
            raise AuditBrokenError(f"{self._folder / POSITION} is of a log with {size} records")
        self._boot = saved["boot"]
        self._workers = {int(name): _Worker(*place) for name, place in saved["workers"].items()}
        passed = self._logged_since(size)
        for number in workers(self._spool):
            place = self._workers.setdefault(number, _Worker())
            found = segments(worker_folder(self._spool, number))
            newest = found[-1] if found else -1
            if newest < place.segment:  # lost with the power: the worker's next segment has a number that was read
                place.segment, place.offset = newest + 1, 0
            self._pass_over(number, place, passed.pop(number, deque()))
        if any(passed.values()):
            raise self._strange("no worker has handed it over")
        file: int = saved["file"]
        return file

    def _logged_since(self, size: int) -> dict[int, deque[bytes]]:
        """The digests of the lines that are in the log after the position, by the workers that handed them over."""
        found: dict[int, deque[bytes]] = {}
        for line in lines_from(self._folder, size):
            worker = _worker_of(line)
            if worker is not None:
                found.setdefault(worker, deque()).append(_digest(line))
            elif not line.startswith(_WITHOUT_WORKER):
                raise self._strange("it is none of a gate")
        return found

    def _strange(self, why_not: str) -> AuditBrokenError:
        return AuditBrokenError(f"{self._folder}: a line after the last checkpoint was not logged: {why_not}")

    def _pass_over(self, worker: int, place: _Worker, logged: deque[bytes]) -> None:
        """Go on behind the lines that are in the log already, as far as they are there.

        Raises:
            AuditBrokenError: the log has others.
        """
        folder = worker_folder(self._spool, worker)
        for number in [number for number in segments(folder) if number >= place.segment]:
            if number > place.segment and logged:
                place.segment, place.offset = number, 0
            while logged and (whole := (data := _read(segment_path(folder, number), place.offset)).rfind(b"\n") + 1):
                for line in data[:whole].split(b"\n")[:-1][: len(logged)]:
                    if logged.popleft() != _digest(line):
                        raise self._strange(f"worker {worker} handed over another one")
                    place.offset += len(line) + 1
        if logged and _boot() == self._boot:  # else the end of a spool on a disk was lost with the power
            raise self._strange(f"worker {worker} has not handed it over")

    def _announced(self) -> int:
        """The number of the log's file that workers write for; announced again if a loss of power took it."""
        known, saved = current_file(self._spool), _saved(self._folder)
        found = [segments(worker_folder(self._spool, number))[-1:] for number in workers(self._spool)]
        written = [file_of(newest) for numbers in found for newest in numbers]
        wanted = max(known, *written, saved["file"] if saved and saved["spool"] == self._name else 1)
        if wanted > known:
            announce(self._spool, wanted)
        return wanted


def _worker_of(line: bytes) -> int | None:
    """The number of the worker that made a line; None if none did."""
    try:
        found = orjson.loads(line).get("worker")
    except (ValueError, AttributeError):
        return None
    return found if type(found) is int else None


def _read(path: Path, offset: int) -> bytes:
    """What follows in a segment, as far as it is read at once: a whole line at least, if there is one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        left = os.fstat(descriptor).st_size - offset
        return os.pread(descriptor, min(left, MOST_BYTES), offset) if left > 0 else b""
    finally:
        os.close(descriptor)


def _saved(folder: Path) -> dict[str, Any] | None:
    """The position; None if there is none."""
    try:
        data = read_regular(folder / POSITION, _MOST_POSITION_BYTES)
    except FileNotFoundError:
        return None
    try:
        found = orjson.loads(data)
        places = [number for place in found["workers"].values() for number in place]
        numbers = [found["size"], found["file"], *map(int, found["workers"]), *places]
        texts = found["spool"], found["boot"]
        sound = all(type(one) is int and 0 <= one < _MOST for one in numbers) and all(type(one) is str for one in texts)
        sound = sound and all(len(place) == _PLACE for place in found["workers"].values())
    except (ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise AuditBrokenError(f"{folder / POSITION} is not what was written there")
    return dict(found)


def _digest(line: bytes) -> bytes:
    return sha256(line).digest()


def _boot() -> str:
    """What tells the time since the machine was started from others; "" where the system does not say."""
    try:
        return read_regular(_BOOT, 64).decode().strip()
    except OSError:
        return ""
