"""A FastCGI server's side of a connection, byte by byte (FastCGI 1.0): what lighttpd and Apache httpd send, and worse.

Its records are made here and not by the code that it tests.
"""

import socket
import struct
from typing import NamedTuple

from tests.e2e.raw_http import connected

BEGIN, ABORT, END, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, VALUES, UNKNOWN = range(1, 12)
AUTHORIZER = 2


class Answer(NamedTuple):
    """What a request was answered: the text before the end, and the protocol status of the end."""

    text: str
    protocol: int

    @property
    def status(self):
        return int(dict(self.headers)["status"])

    @property
    def headers(self):
        lines = self.text.partition("\r\n\r\n")[0].split("\r\n")
        return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]

    @property
    def body(self):
        return self.text.partition("\r\n\r\n")[2]


def record(kind, content=b"", request=1, *, version=1, padding=0):
    return struct.pack("!BBHHBx", version, kind, request, len(content), padding) + content + bytes(padding)


def begin(request=1, *, role=AUTHORIZER, keep=True):
    return record(BEGIN, struct.pack("!HB5x", role, keep), request)


def length(size, *, wide=False):
    return struct.pack("!I", size | 1 << 31) if wide or size > 127 else bytes([size])


def pairs(given, *, wide=False):
    return b"".join(length(len(n), wide=wide) + length(len(v), wide=wide) + n + v for n, v in given)


def asked(given, request=1, **options):
    """One whole request. Variables are (name, value), as text or bytes."""
    content = pairs([tuple(one.encode("latin-1") if isinstance(one, str) else one for one in pair) for pair in given])
    parts = [content[at : at + 65535] for at in range(0, len(content), 65535)]
    return begin(request, **options) + b"".join(record(PARAMS, part, request) for part in [*parts, b""])


def about(target, request=1, **options):
    return asked([("REQUEST_METHOD", "GET"), ("REQUEST_URI", target)], request, **options)


class Server:
    """A connection of a FastCGI server to the gate."""

    def __init__(self, address):
        self._socket = connected(address)
        self._stream = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()
        self._socket.close()

    def send(self, data):
        self._socket.sendall(data)
        return self

    def finish(self):
        """Nothing more is sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def record(self):
        """The next record: type, request, content; None at the end of the connection."""
        try:
            head = self._stream.read(8)
        except ConnectionResetError:
            return None
        if len(head) < 8:
            return None
        _, kind, request, size, padding = struct.unpack("!BBHHBx", head)
        return kind, request, self._stream.read(size + padding)[:size]

    def answer(self, request=1):
        """The next answer; None if the connection ends before it."""
        text = b""
        while got := self.record():
            kind, whose, content = got
            assert whose == request
            if kind == END:
                return Answer(text.decode("latin-1"), content[4])
            assert kind == STDOUT
            text += content
        return None

    def closed(self):
        return self.record() is None


def exchange(address, data):
    """One connection, one request, its answer."""
    with Server(address) as server:
        return server.send(data).answer()
