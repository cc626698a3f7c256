"""Watches one file, and the files that it names, and passes on their content each time that this has changed.

Law 1: one reading. What is passed on is what was compared; the file is not read a second time.
Law 2: content decides. Five times a second the file's metadata (inode, size, times) are checked, and the file is read
when they differ; once a second it is read anyway, because metadata can be stale: network file systems cache them.
Law 3: a change is passed on when the content has stayed the same for `settle_s`, so that a file is not taken while an
editor still writes it. A file that never settles is reported as a problem, and so is one that cannot be read: the
watcher never waits for it, and keeps checking.
Law 4: a file is identified by its inode, which is held (O_PATH) from one reading to the next: otherwise its number
could be reused for another file, and two quick renames would look like a save in place.
Law 5: what the receiver could not take is passed on again.
Law 6: a file and those that it names are one content: they are read together, settle together and change together.

Why not watchfiles (inotify): network file systems tell it nothing, so the content has to be read from time to time
anyway; looking five times a second, this loses 0.2 s at most.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from authz.core.policy.bundle import Bundle, Part
from authz.ops.named_files import Marks, NamedFiles, mark_of
from authz.system.regular_file import read_with_status, why
from authz.system.threads import Background

log = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
_LOOK_S: Final = 0.2
_READ_ANYWAY_S: Final = 1.0
_RESTLESS_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of a file: its bytes, or why there are none; and the files that it names.

    `in_place` says that the same file that was read before has other bytes: it was overwritten, not replaced.
    `absent`: there is no file of this name.
    """

    data: bytes | None = field(repr=False)
    problem: str = ""
    in_place: bool = False
    absent: bool = False
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One reading. `key` is equal for equal content of all files; `file` names the inode, None if there is no file.

    `digest` is that of the file itself.
    """

    content: Content
    key: str
    at: float
    file: tuple[int, int] | None = None
    digest: str = ""
    changed_at: float = 0.0


class Watcher:
    """A thread that calls `on_change` with the content of `path`: first with what is there, then after every change.

    Args:
        path: the file. Its appearance is a change, and so is its disappearance.
        on_change: called on the watcher's thread, or by `begin` on its caller's; never by two at a time.
        most_bytes: the largest file that is read.
        settle_s: how long content must have stayed the same; 0 for files whose readers recognise half a line.
        others: reads the files that the file names.
    """

    def __init__(
        self,
        path: Path,
        on_change: Callable[[Content], None],
        *,
        most_bytes: int,
        settle_s: float = SETTLE_S,
        others: NamedFiles | None = None,
    ) -> None:
        self._path = path
        self._others = others
        self._on_change = on_change
        self._most_bytes = most_bytes
        self._settle_s = settle_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._asked = False
        self._marks: Marks | None = None
        self._read_due = 0.0
        self._pause = _READ_ANYWAY_S
        self._last: _Reading | None = None
        self._held = -1
        self._taken = ""
        self._thread = Background(self._run, name=f"watch-{path.name}")

    def begin(self) -> None:
        """Pass on the current content, on this thread. There is no wait for files that were written long ago.

        Several files are read twice: while they were read one by one, a folder may have been replaced by another.
        """
        reading = self._read()
        new = time.time() - reading.changed_at < self._settle_s
        if new or (reading.content.parts and self._read().key != reading.key):
            reading = self._settled(reading)
        self._hand_over(reading)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop, and wait for the thread for at most `timeout` seconds."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if self._held >= 0 and not self._thread.is_alive():
            os.close(self._held)
            self._held = -1

    def ask(self) -> None:
        """Pass on the content, even if it did not change; on the watcher's thread, soon. Any thread."""
        self._asked = True
        self._wake.set()

    def look(self, *, again: bool = False) -> bool:
        """Read the file, and pass on what has changed, or with `again` all of it. Returns whether it did."""
        reading = self._read()
        if reading.key == self._taken and not again:
            return False
        reading = self._settled(reading)
        if self._stopping.is_set() or (reading.key == self._taken and not again):
            return False
        self._hand_over(reading)
        return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            asked, self._asked = self._asked, False
            if asked or self._marks != self._marks_now() or time.monotonic() >= self._read_due:
                try:
                    self.look(again=asked)
                except Exception:
                    # The thread's door: a failed reload must not end the watching; it is tried again.
                    log.exception("taking in %s; the next attempt follows in %.0f s", self._path, self._pause)
                    self._read_due = time.monotonic() + self._pause
                    self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            self._wake.wait(_LOOK_S)

    def _hand_over(self, reading: _Reading) -> None:
        self._taken = ""  # until it is taken: if that fails it is handed over again
        self._on_change(reading.content)
        self._taken = reading.key
        self._pause = _READ_ANYWAY_S

    def _settled(self, reading: _Reading) -> _Reading:
        """The content after it has stayed the same for a while."""
        began = since = reading.at
        while time.monotonic() - since < self._settle_s and not self._stopping.wait(_LOOK_S / 2):
            latest = self._read()
            if latest.key != reading.key:
                since = latest.at
            reading = latest
            if latest.at - began > _RESTLESS_S:
                text = f"it keeps changing; it is taken when it has been the same for {self._settle_s:g} s"
                return _Reading(content=Content(data=None, problem=text), key=text, at=latest.at)
        return reading

    def _marks_now(self) -> Marks:
        return (mark_of(self._path), *(self._others.marks() if self._others is not None else ()))

    def _read(self) -> _Reading:
        self._marks = self._marks_now()
        self._read_due = time.monotonic() + _READ_ANYWAY_S
        before = self._last
        try:
            data, status = read_with_status(self._path, self._most_bytes)
        except OSError as error:
            content = Content(data=None, problem=why(error), absent=isinstance(error, FileNotFoundError))
            self._last = _Reading(content=content, key=content.problem, at=time.monotonic())
            return self._last
        parts = self._others.read(data) if self._others is not None else ()
        digest, file = sha256(data).hexdigest(), (status.st_dev, status.st_ino)
        self._hold(file)
        in_place = before is not None and before.file == file and (before.digest != digest or before.content.in_place)
        youngest = self._others.changed_at if self._others is not None else 0.0
        self._last = _Reading(
            content=Content(data=data, in_place=in_place, parts=parts),
            key=Bundle(data, "", parts).revision if parts else digest,
            at=time.monotonic(),
            file=file,
            digest=digest,
            changed_at=max(status.st_ctime, status.st_mtime, youngest),
        )
        return self._last

    def _hold(self, file: tuple[int, int]) -> None:
        """Hold that file in place of the previous one. One that has lost its name already cannot be held."""
        before, self._held = self._held, -1
        with contextlib.suppress(OSError):
            held = os.open(self._path, os.O_PATH | os.O_CLOEXEC)
            status = os.fstat(held)
            if (status.st_dev, status.st_ino) == file:
                self._held = held
            else:
                os.close(held)
        if before >= 0:
            os.close(before)
