"""A client that sends exactly the bytes it is given: real HTTP clients tidy paths and headers, and so hide bugs."""

import socket
import ssl
from dataclasses import dataclass
from typing import Any, Self

TIMEOUT = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    status: int
    headers: tuple[tuple[str, str], ...]  # names in lower case, in the order received
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of a header, None without one; a doubled header fails the test."""
        values = [value for key, value in self.headers if key == name.lower()]
        assert len(values) <= 1, f"{name} is given {len(values)} times"
        return values[0] if values else None


def connected(address: tuple[str, int] | str, timeout: float = TIMEOUT) -> socket.socket:
    """A connection to (host, port), or to the path of a Unix socket."""
    if isinstance(address, tuple):
        return socket.create_connection(address, timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


class Connection:
    """One client connection; usable for several requests."""

    def __init__(
        self, address: tuple[str, int] | str, tls: ssl.SSLContext | None = None, timeout: float = TIMEOUT
    ) -> None:
        self._socket = connected(address, timeout)
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname="gate.test")
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def upgrade(self, tls: ssl.SSLContext, server_name: str | None) -> None:
        """Speak TLS on this connection from now on."""
        self._stream.close()
        self._socket = tls.wrap_socket(self._socket, server_hostname=server_name)
        self._stream = self._socket.makefile("rb")

    def finish(self) -> None:
        """Nothing more is sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, size: int) -> bytes:
        """Raw bytes after an upgrade."""
        return self._stream.read(size)

    def line(self) -> bytes:
        """One line as it comes, without its end."""
        return self._stream.readline().removesuffix(b"\n").removesuffix(b"\r")

    def slow_down(self) -> None:
        """From now on take little at a time: the sender has to wait."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)

    def wait_at_most(self, seconds: float) -> None:
        """The patience from now on."""
        self._socket.settimeout(seconds)

    def closed(self) -> bool:
        """True when the other side has closed and nothing is left to read."""
        try:
            return self._stream.read(1) == b""
        except ConnectionResetError:
            return True

    @property
    def certificate(self) -> dict[str, Any]:
        """What the server has shown."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.getpeercert() or {}

    @property
    def protocol(self) -> str | None:
        """What ALPN agreed on."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.selected_alpn_protocol()

    def response(self, *, head: bool = False) -> RawResponse:
        """Read one response; `head` says that it answers a HEAD request and so has no body."""
        line = self._stream.readline()
        assert line.startswith(b"HTTP/1."), f"no HTTP response but {line!r}"
        status = int(line.split()[1])
        headers = []
        while (line := self._stream.readline().rstrip(b"\r\n")) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name.strip().lower(), value.strip()))
        known = dict(headers)
        if head or status in {100, 101, 204, 304}:
            body = b""
        elif "chunked" in known.get("transfer-encoding", ""):
            body = self._chunks()
        elif "content-length" in known:
            body = self._stream.read(int(known["content-length"]))
        else:
            body = self._stream.read()
        return RawResponse(status=status, headers=tuple(headers), body=body)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._stream.readline().split(b";")[0], 16):
            body += self._stream.read(size)
            self._stream.readline()
        self._stream.readline()
        return body


def request(
    target: str | bytes, *headers: str | bytes, method: str = "GET", host: str | None = "gate.test", body: bytes = b""
) -> bytes:
    """The bytes of one HTTP/1.1 request, nothing added but Host and, with a body, Content-Length."""
    lines = [method.encode() + b" " + (target.encode() if isinstance(target, str) else target) + b" HTTP/1.1"]
    if host is not None:
        lines.append(b"Host: " + host.encode())
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    lines.extend(header.encode("latin-1") if isinstance(header, str) else header for header in headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def exchange(address: tuple[str, int] | str, data: bytes, *, tls: ssl.SSLContext | None = None) -> RawResponse:
    """One connection, these bytes, the first response."""
    with Connection(address, tls) as connection:
        connection.send(data)
        return connection.response(head=data.startswith(b"HEAD "))
