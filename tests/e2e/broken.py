"""Destinations that are broken in one way each, and count what reaches them: connections and requests."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

Behaviour = Callable[[socket.socket], bool]


def hangs(connection: socket.socket) -> bool:
    """Answers nothing, until the caller gives up."""
    while connection.recv(65536):
        pass
    return False


def hangs_up(_connection: socket.socket) -> bool:
    """Ends the connection."""
    return False


def answers(status: int) -> Behaviour:
    """Answers with this status."""

    def behave(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 %d X\r\ncontent-length: 2\r\n\r\nok" % status)
        return True

    return behave


def talks_nonsense(connection: socket.socket) -> bool:
    """Answers, but not in HTTP."""
    connection.sendall(b"220 mail.test ESMTP\r\n")
    return False


class Broken:
    """A server that does the same with each request, until a test changes its behaviour.

    `refuse` closes its port and all connections, `accept` opens it again.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.connections = 0
        self.requests = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = self._listener.getsockname()[1]
        self._start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def refuse(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        self._listener = self._listen(self.port)
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        return listener

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, args=(self._listener,), daemon=True)
        self._thread.start()

    def _run(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with contextlib.suppress(OSError), connection:
            while connection.recv(65536):
                with self._lock:
                    self.requests += 1
                if not self.behaviour(connection):
                    break
        self._open.discard(connection)
