"""An upstream that remembers every request byte for byte and answers JSON with what it received.

It reads HTTP/1.1 itself: what reached the upstream is the tests' oracle, and a library would have interpreted it.
"""

import contextlib
import json
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass
from typing import BinaryIO, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came: `head` is everything before the body, `trailers` what stands behind it."""

    head: bytes
    body: bytes
    trailers: bytes = b""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1")

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in lower case, values as sent, in order, repeated ones apart."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = [line.partition(":") for line in lines if line]
        return [(name.lower(), value.strip()) for name, _, value in pairs]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name.lower()]


class EchoUpstream:
    """Listens on a free port until `close`. `requests` is what came; `extra_headers` go into every answer,
    but for one whose `status` is 1xx. With `stream` an answer begins at once, and ends when that is set."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Received] = []
        self.extra_headers: tuple[str, ...] = ()
        self.status = 200
        self.stream: threading.Event | None = None
        self.connections: set[socket.socket] = set()
        upstream = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                upstream._serve(self.rfile, self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def finish_request(self, request: socket.socket, client_address: object) -> None:
                """The TLS handshake happens here, in the connection's own thread."""
                with tls.wrap_socket(request, server_side=True) if tls else request as connection:
                    super().finish_request(connection, client_address)

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away is no error here."""

        self._make = lambda where: Server(where, Handler)
        self._listen((host, port))

    def _listen(self, where: tuple[str, int]) -> None:
        self._server = self._make(where)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Listen again, after `close`."""
        host, _, port = self.address.rpartition(":")
        self._listen((host, int(port)))

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._server.server_address)

    def reset(self) -> None:
        """Forget what came, also what has begun: a front that cuts a request off may do so later."""
        self.requests = []
        self.extra_headers = ()
        self.status = 200
        self.stream = None

    @property
    def only(self) -> Received:
        assert len(self.requests) == 1, f"the upstream saw {len(self.requests)} requests"
        return self.requests[0]

    def close(self) -> None:
        self._server.shutdown()
        for connection in [*self.connections]:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, stream: BinaryIO, connection: socket.socket) -> None:
        self.connections.add(connection)
        while line := stream.readline():
            requests = self.requests
            received = _read(line, stream)
            if received is None:
                return
            requests.append(received)
            if received.all("upgrade"):
                upgrade = received.all("upgrade")[0]
                answer = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
                connection.sendall(answer.encode())
                while data := stream.read1(65536):  # type: ignore[attr-defined]
                    connection.sendall(data)
                return
            if self.stream is not None:
                connection.sendall(b"HTTP/1.1 200 Echo\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                self.stream.wait()
                connection.sendall(b"4\r\nlast\r\n0\r\n\r\n")
                continue
            connection.sendall(self._answer(received))

    def _answer(self, received: Received) -> bytes:
        seen = {
            "method": received.method,
            "target": received.target,
            "headers": received.headers,
            "body": received.body.decode("latin-1"),
        }
        if self.status < 200:
            return f"HTTP/1.1 {self.status} Echo\r\n\r\n".encode()
        body = json.dumps(seen).encode()
        lines = [f"HTTP/1.1 {self.status} Echo", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += self.extra_headers
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if received.method == "HEAD" else body)


def _read(head: bytes, stream: BinaryIO) -> Received | None:
    """The rest of a request; None if its head is cut off."""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    bare = Received(head=head, body=b"")
    if length := bare.all("content-length"):
        return Received(head=head, body=stream.read(int(length[0])))
    if "chunked" in ",".join(bare.all("transfer-encoding")):
        body = b""
        while size := int(stream.readline().split(b";")[0], 16):
            body += stream.read(size)
            stream.readline()
        trailers = b"".join(iter(stream.readline, b"\r\n"))
        return Received(head=head, body=body, trailers=trailers)
    return bare
