"""A small HTTP/2 client that sends another body with every call, which h2load cannot.

Like h2load in this benchmark it keeps `streams` calls open on each of `connections` connections. It speaks just enough
of RFC 9113 for a gRPC server: constant header blocks (the second one refers to the first by HPACK's dynamic table),
bodies that fit into one frame, and the server's flow control of the connection. It never has to grant window itself:
it grants all there is at the start.
"""

import contextlib
import selectors
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from authz.engine.contract import CHECK
from tests.e2e.raw_http import connected

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_HEAD = 9  # bytes before a frame's payload
_ALL = 2**31 - 1
_START_WINDOW = 65535
_STUCK_S = 20.0
# Indexed :method POST and :scheme http, then literals with incremental indexing (RFC 7541 §6.2.1): :authority, :path,
# content-type, te. From then on they are entries 65, 64, 63 and 62.
_AGAIN = bytes([0x83, 0x86, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62])


def _literal(value):
    return bytes([len(value)]) + value


_FIRST = (
    bytes([0x83, 0x86, 0x40 | 1])
    + _literal(b"localhost")
    + bytes([0x40 | 4])
    + _literal(CHECK.encode())
    + bytes([0x40 | 31])
    + _literal(b"application/grpc")
    + bytes([0x40])
    + _literal(b"te")
    + _literal(b"trailers")
)


def _frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


@dataclass(slots=True)
class Sent:
    """What came of a run: times are microseconds. `answers` are messages without the gRPC prefix, when kept."""

    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    seconds: float = 0.0
    answers: list[bytes] = field(default_factory=list)


class Connection:
    """One connection; `bodies` may have none to give for now."""

    def __init__(self, address, streams, bodies, sent, *, keep):
        self.socket = connected(address, _STUCK_S)
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HIHI", 2, 0, 4, _ALL)  # no push; each stream may send us anything
        self.socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, struct.pack(">I", _ALL - _START_WINDOW))
        )
        self._bodies, self._sent, self._keep = bodies, sent, keep
        self._room = streams
        self._window = _START_WINDOW
        self._next = 1
        self._open = {}
        self._held = deque()
        self._input = b""

    @property
    def busy(self):
        return bool(self._open) or bool(self._held)

    def rest(self):
        """Messages that came whole before the end of their call, when the server is gone."""
        data = [data for _, data in self._open.values()]
        return [one[5:] for one in data if len(one) >= 5 and len(one) == 5 + int.from_bytes(one[1:5], "big")]

    def pump(self, control=b""):
        """Send what may be sent now: `control` frames, and new calls."""
        out = [control] if control else []
        while len(self._open) < self._room:
            body = self._held.popleft() if self._held else next(self._bodies, None)
            if body is None:
                break
            if len(body) > self._window:
                self._held.append(body)
                break
            self._window -= len(body)
            block = _AGAIN if self._next > 1 else _FIRST
            out += [_frame(_HEADERS, _END_HEADERS, self._next, block), _frame(_DATA, _END_STREAM, self._next, body)]
            self._open[self._next] = [time.perf_counter_ns(), b""]
            self._next += 2
        if out:
            self.socket.sendall(b"".join(out))

    def read(self):
        data = self.socket.recv(262144)
        if not data:
            raise ConnectionError("the server closed the connection")
        data = self._input + data
        position, end, control = 0, len(data), b""
        while end - position >= _HEAD:
            length = int.from_bytes(data[position : position + 3], "big")
            if end - position < _HEAD + length:
                break
            kind, flags = data[position + 3], data[position + 4]
            stream = int.from_bytes(data[position + 5 : position + 9], "big")
            control += self._take(kind, flags, stream, data[position + _HEAD : position + _HEAD + length])
            position += _HEAD + length
        self._input = data[position:]
        self.pump(control)

    def _take(self, kind, flags, stream, payload):
        """Handle one frame; what has to be sent in return."""
        if kind == _DATA:
            self._open[stream][1] += payload
        elif kind == _WINDOW and stream == 0:
            self._window += int.from_bytes(payload, "big")
        elif kind == _SETTINGS and not flags & _ACK:
            return _frame(_SETTINGS, _ACK, 0)
        elif kind == _PING and not flags & _ACK:
            return _frame(_PING, _ACK, 0, payload)
        elif kind == _GOAWAY:
            raise ConnectionError(f"the server went away: {payload!r}")
        if (kind in {_DATA, _HEADERS} and flags & _END_STREAM) or kind == _RST:
            started, answer = self._open.pop(stream, (None, b""))
            if started is None:
                return b""  # a reset after the end: the server wants no more of the request
            self._sent.latencies.append((time.perf_counter_ns() - started) / 1000)
            if not answer:
                self._sent.failed += 1  # a gRPC error: trailers and no message
            elif self._keep:
                self._sent.answers.append(answer[5:])
        return b""


def send(address, bodies, *, connections=4, streams=16, keep=False):
    """Send every body once.

    Raises:
        ConnectionError: the server went away.
        TimeoutError: nothing came for a long time.
    """
    sent, bodies = Sent(), iter(bodies)
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        everyone = [Connection(address, streams, bodies, sent, keep=keep) for _ in range(connections)]
        for connection in everyone:
            stack.callback(connection.socket.close)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        started = time.perf_counter()
        for connection in everyone:
            connection.pump()
        while any(connection.busy for connection in everyone):
            events = selector.select(_STUCK_S)
            if not events:
                raise TimeoutError("no answer for a long time")
            for event, _mask in events:
                event.data.read()
        sent.seconds = time.perf_counter() - started
    return sent


def hold(address, bodies, sent):
    """Send every body over one connection and leave the calls open; returns once one of them was answered."""
    connection = Connection(address, len(bodies), iter(bodies), sent, keep=True)
    answered = len(sent.latencies)
    connection.pump()
    while len(sent.latencies) == answered:
        connection.read()
    return connection


def ask(address, body):
    """The answer to one call.

    Raises:
        ValueError: it was answered with a gRPC error.
    """
    sent = send(address, [body], connections=1, streams=1, keep=True)
    if sent.failed:
        raise ValueError("the server answered with a gRPC error")
    return sent.answers[0]
