"""The state folder: what must survive a restart, kept in one place.

Law 1: the folder and its files are ours alone: owned by the account that serves, closed to all others, not reached
through a link. Otherwise they are not used, and that is reported.
Law 2: every item is one file that is written whole and durably. A process that is killed at any step leaves the old
item or the new one; if the new one cannot be written, an old one with other bytes is removed: it is no longer the
latest.
Law 3: every item carries a SHA-256 of its whole content. One that does not match is not used, and that is reported.
Law 4: a folder that is lost or cannot be written never stops serving: it is reported in the log, on `/readyz` and as a
metric, and writing is retried until it succeeds.
"""

import contextlib
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from errno import EINVAL, ELOOP
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from authz.system.regular_file import open_regular, why
from authz.system.threads import Background
from authz.system.whole_file import write_whole

log = logging.getLogger(__name__)

_FOLDER_MODE: Final = 0o700
_OTHERS: Final = 0o077
_FORMAT: Final = 1
_RETRY_S: Final = 10.0
_HEADER_BYTES: Final = 64 << 10
_DIGEST_LENGTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item: its description and its bytes."""

    about: Mapping[str, Any]
    data: bytes = field(repr=False)


class StateFolder:
    """Keeps items by name. Any thread, any process of one gate.

    Args:
        path: the folder; made when it is missing and its parent exists.
        retry_s: seconds between tries to keep what could not be kept.
    """

    def __init__(self, path: Path, *, retry_s: float = _RETRY_S) -> None:
        self._path = path
        self._retry_s = retry_s
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._waiting: dict[str, Item] = {}

    def keep(self, name: str, item: Item) -> None:
        """Write an item in place of the old one.

        A failure is reported, not raised, and retried; until then none is kept, if the old one could be removed.
        """
        with self._lock:
            begin = not self._waiting
            self._waiting[name] = item
            if not self._try(name) and begin:
                Background(self._try_again, name="state").start()

    def settle(self, name: str) -> None:
        """Drop what waits to be kept under this name: what is there now is the latest."""
        with self._lock:
            if self._waiting.pop(name, None) is not None:
                self._problems.pop(name, None)

    def failed(self) -> bool:
        """Whether something cannot be kept, or was found and cannot be used."""
        return bool(self._problems)

    def _try(self, name: str) -> bool:
        """Keep what waits under this name. The caller has the lock."""
        try:
            with opened_folder(self._path, make=True) as folder:
                _replace(folder, name, self._waiting[name])
        except OSError as error:
            older = "; the older one is still there, and would serve after a restart" if self._has(name) else ""
            self._report(name, f"cannot be kept, tried again every {self._retry_s:g} s: {why(error)}{older}")
            return False
        del self._waiting[name]
        if self._problems.pop(name, None) is not None:
            log.info("state: %s is kept", self._path / name)
        return True

    def _has(self, name: str) -> bool:
        """Whether there is an item of this name, or may be one."""
        try:
            return os.path.lexists(self._path / name)
        except OSError:
            return True

    def _try_again(self) -> None:
        while True:
            time.sleep(self._retry_s)
            with self._lock:
                for name in list(self._waiting):
                    self._try(name)
                if not self._waiting:
                    return

    def read(self, name: str, most_bytes: int) -> Item | None:
        """The item of that name; None if there is none, or none that may be used."""
        try:
            with opened_folder(self._path, make=False) as folder:
                item = _decode(_read_private(folder, name, most_bytes + _HEADER_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._report(name, f"is not used: {why(error)}")
            return None
        except ValueError as error:
            self._report(name, f"is not used: {error}")
            return None
        return item

    def refuse(self, name: str, text: str) -> None:
        """An item was read and cannot be used."""
        self._report(name, f"is not used: {text}")

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        return list(self._problems.values())

    def _report(self, name: str, text: str) -> None:
        problem = f"state: {self._path / name} {text}"
        if self._problems.get(name) != problem:
            log.error("%s", problem)
        self._problems[name] = problem


def shown(wall: object) -> str:
    """A moment in UTC, for people."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(float(str(wall))))
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


@contextlib.contextmanager
def opened_folder(path: Path, *, make: bool) -> Iterator[int]:
    """The folder's descriptor, after a check of its owner.

    Raises:
        OSError: it is not there, or not ours alone.
    """
    if make:
        with contextlib.suppress(FileExistsError):
            path.mkdir(_FOLDER_MODE)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ELOOP:
            raise OSError(ELOOP, "the folder is a symbolic link") from None
        raise
    try:
        _must_be_ours(os.fstat(folder), "the folder")
        yield folder
    finally:
        os.close(folder)


def _encode(item: Item) -> bytes:
    about = json.dumps({**item.about, "format": _FORMAT, "bytes": len(item.data)}, sort_keys=True)
    body = about.encode() + b"\n" + item.data
    return sha256(body).hexdigest().encode() + b"\n" + body


def _decode(data: bytes) -> Item:
    """The item in a file's bytes. Raises ValueError if they are not what was written."""
    digest, _, body = data.partition(b"\n")
    if len(digest) != _DIGEST_LENGTH or sha256(body).hexdigest().encode() != digest:
        raise ValueError("it is not what was written there (its checksum differs)")
    header, _, content = body.partition(b"\n")
    try:
        about = json.loads(header)
    except RecursionError:
        raise ValueError("another version wrote it") from None
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise ValueError("another version wrote it")
    return Item(about=about, data=content)


def _must_be_ours(status: os.stat_result, what: str) -> None:
    if status.st_uid != os.geteuid():
        raise OSError(EINVAL, f"{what} belongs to another account (uid {status.st_uid})")
    if stat.S_IMODE(status.st_mode) & _OTHERS:
        raise OSError(EINVAL, f"{what} is open to others (mode {stat.S_IMODE(status.st_mode):04o}): chmod go=")


def _read_private(folder: int, name: str, most_bytes: int) -> bytes:
    descriptor = open_regular(_place(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _must_be_ours(status, "it")
        if status.st_nlink != 1:
            raise OSError(EINVAL, "it has another name too (a hard link)")
        if status.st_size > most_bytes:
            raise OSError(EINVAL, "it is larger than anything that is kept there")
        return file.read(most_bytes + 1)


def _replace(folder: int, name: str, item: Item) -> None:
    try:
        write_whole(_place(folder, name), _encode(item), replace=True)
    except OSError:
        with contextlib.suppress(OSError):
            if not _holds(folder, name, item.data):
                os.unlink(name, dir_fd=folder)
        raise


def _holds(folder: int, name: str, data: bytes) -> bool:
    """Whether the item there is good and has exactly these bytes."""
    try:
        return _decode(_read_private(folder, name, len(data) + _HEADER_BYTES)).data == data
    except (OSError, ValueError):
        return False


def _place(folder: int, name: str) -> Path:
    """A file in the folder that was checked, even if the folder's name now stands for another."""
    return Path(f"/proc/self/fd/{folder}/{name}")
