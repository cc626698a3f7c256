"""Reading the workers' admin pages over their private Unix sockets, all at once and never for long.

Law: a worker that hangs, has ended or talks nonsense is absent from the answer; it delays nobody beyond the deadline.
"""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

DEADLINE_S: Final = 1.0
_LARGEST: Final = 4 * 1024 * 1024

Key = TypeVar("Key")


def read(path: Path, page: str, timeout_s: float = DEADLINE_S) -> bytes | None:
    """The body of one page, whatever its status; None when there is no answer."""
    connection = _UnixConnection(path, timeout_s)
    with contextlib.closing(connection):
        try:
            connection.request("GET", page)
            return connection.getresponse().read(_LARGEST)
        except (OSError, http.client.HTTPException):
            return None


def read_all(paths: Mapping[Key, Path], page: str, timeout_s: float = DEADLINE_S) -> dict[Key, bytes]:
    """The page of every worker that answers within the time."""
    found: dict[Key, bytes] = {}

    def ask(key: Key, path: Path) -> None:
        body = read(path, page, timeout_s)
        if body is not None:
            found[key] = body

    threads = [threading.Thread(target=ask, args=pair, name="private-pages", daemon=True) for pair in paths.items()]
    end = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(found)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("worker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
