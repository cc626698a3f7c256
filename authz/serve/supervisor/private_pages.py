"""Reads the workers' admin pages over their private Unix sockets, all at once and with a deadline; forwards to one.

Law: a worker that hangs, has ended or answers nonsense is left out of the answer, which waits only until the deadline.
A request that may change something is sent to one worker; the next one gets it only if it certainly did not. Where it
may have been done and there is no answer, that is said.
"""

import contextlib
import http.client
import queue
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final, TypeVar

from authz.ops.http_server import Asked, Page
from authz.system.threads import Background

DEADLINE_S: Final = 1.0
FORWARD_S: Final = 4.0  # less than a connection to the operators' port may take
_LARGEST: Final = 32 * 1024 * 1024  # a grant of all DAGs that the largest policy names
_LARGEST_ANSWER: Final = 16 * 1024 * 1024
_FORWARDED: Final = frozenset({"cache-control", "www-authenticate", "retry-after", "allow"})

Key = TypeVar("Key")


class UnansweredError(Exception):
    """A worker has got a request, and there is no answer: it may have been done."""


def read(path: Path, page: str, timeout_s: float = DEADLINE_S, accept: str = "") -> bytes | None:
    """The body of one page, whatever its status; None when there is no answer. `accept` is the header."""
    connection = _UnixConnection(path, timeout_s)
    with contextlib.closing(connection):
        try:
            connection.request("GET", page, headers={"Accept": accept} if accept else {})
            return connection.getresponse().read(_LARGEST)
        except (OSError, http.client.HTTPException):
            return None


def read_all(paths: Mapping[Key, Path], page: str, timeout_s: float = DEADLINE_S, accept: str = "") -> dict[Key, bytes]:
    """The page of every worker that answers within the time."""
    found: dict[Key, bytes] = {}

    def ask(key: Key, path: Path) -> None:
        body = read(path, page, timeout_s, accept)
        if body is not None:
            found[key] = body

    threads = [Background(ask, args=pair, name="private-pages") for pair in paths.items()]
    end = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(found)


def read_first(
    paths: Iterable[Path], page: str, accepts: Callable[[bytes], bool], timeout_s: float = DEADLINE_S
) -> bytes | None:
    """The first page that is accepted, from any worker; None when there is none within the time."""
    answers: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def ask(path: Path) -> None:
        answers.put(read(path, page, timeout_s))

    threads = [Background(ask, args=(path,), name="private-pages") for path in paths]
    end = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for _ in threads:
        try:
            body = answers.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return None
        if body is not None and accepts(body):
            return body
    return None


def forward(paths: Iterable[Path], asked: Asked, timeout_s: float = FORWARD_S) -> Page | None:
    """The answer of the first worker that can be reached; None if no worker got the request.

    The worker learns the address of the client that asked, and the one that this client named.

    Raises:
        UnansweredError: a worker got it, and hung up, did not answer in time, or answered nonsense.
    """
    client = ", ".join(one.replace(",", " ") for one in (asked.forwarded, asked.peer))
    for path in paths:
        connection = _UnixConnection(path, timeout_s)
        with contextlib.closing(connection):
            try:
                connection.connect()
            except OSError:
                continue
            try:
                _prepare(connection, asked, client)
            except (http.client.HTTPException, ValueError):
                return None
            try:
                return _sent(connection, asked)
            except (OSError, http.client.HTTPException, ValueError):
                raise UnansweredError from None
    return None


def _prepare(connection: http.client.HTTPConnection, asked: Asked, client: str) -> None:
    """Everything that is sent before the body; nothing is sent yet."""
    connection.putrequest(asked.method, asked.target, skip_accept_encoding=True)
    headers = [("Content-Type", asked.content_type), ("X-Forwarded-For", client)]
    for name, value in (*headers, *(("Authorization", line) for line in asked.authorization)):
        if value:
            connection.putheader(name, value)
    if asked.body is not None:
        connection.putheader("Content-Length", str(len(asked.body)))


def _sent(connection: http.client.HTTPConnection, asked: Asked) -> Page:
    connection.endheaders(asked.body)
    answer = connection.getresponse()
    body = answer.read(_LARGEST_ANSWER + 1)
    if len(body) > _LARGEST_ANSWER:
        raise ValueError("the answer is too large")
    kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() in _FORWARDED)
    return Page(HTTPStatus(answer.status), answer.getheader("Content-Type", ""), body, kept)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("worker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
