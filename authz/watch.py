"""Tells when watched files have other contents than before, however that came about.

Law: content decides. Notifications (renames, writes, ConfigMap symlink swaps) only make it quick; every half second the
files are read anyway, because notifications get lost: network file systems, a replaced parent folder, an exhausted
inotify. A change is told once it has stayed the same for a moment, so that half a write is not loaded. A notification
alone causes no reading: the folder may be one where logs are written all the time. Nor may such a neighbour put the
half-second look off, so every notification is taken, whatever it is about, and costs one `stat` per watched file.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import watchfiles

log = logging.getLogger(__name__)

_LOOK_MS: Final = 500
_SETTLE_S: Final = 0.05
_SETTLE_ROUNDS: Final = 5
_BLOCK: Final = 1 << 20

Contents = tuple[bytes, ...]
Marks = tuple[tuple[int, ...], ...]


class Watcher:
    """A thread that calls `on_change` after the content of any of `paths` has changed.

    A file that vanishes is a change, and so is one that appears. `on_change` runs on the watcher's thread.
    """

    def __init__(self, paths: Iterable[Path], on_change: Callable[[], None]) -> None:
        self._paths = tuple(paths)
        self._on_change = on_change
        self._stop = threading.Event()
        self._marks: Marks = ()
        self._read_at = 0.0
        self._seen = self._contents()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        """Begin to watch. What changed since the watcher was made is told too."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End, and wait for the thread for at most `timeout` seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def look(self) -> bool:
        """Compare the files with what was seen last, and tell a change. Returns whether there was one."""
        contents = self._contents()
        if contents == self._seen:
            return False
        for _ in range(_SETTLE_ROUNDS):
            if self._stop.wait(_SETTLE_S):
                return False
            before, contents = contents, self._contents()
            if contents == before:
                break
        if contents == self._seen:
            return False
        self._seen = contents
        try:
            self._on_change()
        except Exception:
            # The thread's door: a failed reload must not end the watching.
            log.exception("reloading after a change of %s", ", ".join(map(str, self._paths)))
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            try:
                self._follow()
            except (OSError, RuntimeError) as error:
                log.debug("no notifications, looking every %d ms: %s", _LOOK_MS, error)
                self._stop.wait(_LOOK_MS / 1000)

    def _follow(self) -> None:
        """Look after every notification and every half second, until told to stop."""
        folders = {path.parent for path in self._paths}
        for _ in watchfiles.watch(
            *folders,
            watch_filter=None,
            debounce=200,
            step=50,
            stop_event=self._stop,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
        ):
            if self._marks != self._read_marks() or time.monotonic() - self._read_at >= _LOOK_MS / 1000:
                self.look()

    def _contents(self) -> Contents:
        self._marks = self._read_marks()
        self._read_at = time.monotonic()
        return tuple(_content(path) for path in self._paths)

    def _read_marks(self) -> Marks:
        return tuple(_mark(path) for path in self._paths)


def _mark(path: Path) -> tuple[int, ...]:
    """What nearly always differs when a file was written or replaced; empty when there is none."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _content(path: Path) -> bytes:
    """A digest of the file's bytes; empty when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return b""
    return digest.digest()
