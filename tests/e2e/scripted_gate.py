"""Something that answers checks over HTTP as a test says, and remembers each question byte for byte.

with ScriptedGate() as gate:
    gate.answer = allow()
    gate.address, gate.questions
"""

import contextlib
import socket
import socketserver
import threading
from typing import Self

from authz.fronts import crossing


def allow(*instead: str) -> bytes:
    """A complete 200; `instead` are header lines that take the place of all identity headers."""
    lines = instead or [f"{name}: {'id' if 'decision' in name else ''}" for name in crossing.SET]
    return "\r\n".join(["HTTP/1.1 200 OK", *lines, "Content-Length: 0", "", ""]).encode()


class ScriptedGate:
    """`answer` are the bytes of each answer, after which the connection ends. With `go` it holds each question until
    that is set, and passes it on to `to`, a real gate, if there is one."""

    def __init__(self, to: tuple[str, int] | None = None) -> None:
        self.answer = b""
        self.go: threading.Event | None = None
        self.questions: list[bytes] = []
        self.held = 0
        self._count = threading.Lock()
        gate = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    gate._serve(self.request, to)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        return "http://{}:{}".format(*self._server.server_address)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.go:
            self.go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, connection: socket.socket, to: tuple[str, int] | None) -> None:
        while question := _head(connection):
            with self._count:
                self.questions.append(question)
                self.held += 1
            if self.go:
                self.go.wait()
            with self._count:
                self.held -= 1
            if to is None:
                connection.sendall(self.answer)
                return
            with socket.create_connection(to) as real:
                real.sendall(question)
                connection.sendall(_whole(real))


def _head(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    return data


def _whole(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(one.split(b":")[1]) for one in head.split(b"\r\n") if one.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
