"""A tap between a front and Airflow: a plain TCP relay that passes every byte on unchanged and keeps it.

What it kept is parsed afterwards, strictly (RFC 9112): a head that two parsers could read differently is a finding of
its own (`Untidy`), not something that the oracle guesses about.
"""

import contextlib
import re
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from tests.e2e.echo_upstream import Received

LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.[01]")
FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(;[\t\x20-\x7e]*)?")
ROUTE = "x-corpus-route"
"""Airflow says here which of its routes answered: `front_corpus_site`."""


class Untidy(Exception):  # noqa: N818 what arrived, not a fault of ours
    """These bytes are no HTTP/1.1 request that all parsers read alike."""


@dataclass
class Wire:
    """One connection to Airflow, and what went each way."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One request that Airflow was sent. `status` and `route` are of its answer, 0 and "" where it gave none; `whole`
    is false where the front ended the connection before the body was complete."""

    request: Received
    status: int
    route: str
    whole: bool = True


class Tap:
    """Listens on `address` from entry to exit, or until `close`."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._wires: list[Wire] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing listens any more, and what was open is ended."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def arrived(self) -> tuple[list[Arrived], list[str]]:
        """All requests so far, connection by connection, and what is ambiguous among the bytes that came."""
        found: list[Arrived] = []
        untidy: list[str] = []
        for wire in list(self._wires):
            try:
                found += _exchanges(bytes(wire.up), bytes(wire.down))
            except Untidy as error:  # those before it on the same connection are in `found`
                untidy.append(str(error))
        return found, untidy

    def of(self, agent: str) -> list[Arrived]:
        """Those whose User-Agent this is."""
        wires = [wire for wire in list(self._wires) if agent.encode() in wire.up]
        found = [one for wire in wires for one in _exchanges(bytes(wire.up), bytes(wire.down))]
        return [one for one in found if one.request.all("user-agent") == [agent]]

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(connection,), daemon=True).start()

    def _relay(self, front: socket.socket) -> None:
        wire = Wire()
        self._wires.append(wire)
        with contextlib.suppress(OSError), front, socket.create_connection(self._target) as airflow:
            self._open.add(front)
            ways = {front: (airflow, wire.up), airflow: (front, wire.down)}
            while ways:
                for source in select.select(list(ways), [], [])[0]:
                    onward, kept = ways[source]
                    data = source.recv(65536)
                    if not data:
                        del ways[source]
                        with contextlib.suppress(OSError):
                            onward.shutdown(socket.SHUT_WR)
                        continue
                    kept += data
                    onward.sendall(data)
        self._open.discard(front)


def _exchanges(up: bytes, down: bytes) -> Iterator[Arrived]:
    """Requests and answers of one connection, in order."""
    while up:
        request, up, whole = _request(up)
        status, route, down = _answer(down, head=request.method == "HEAD")
        yield Arrived(request=request, status=status, route=route, whole=whole)


def _request(data: bytes) -> tuple[Received, bytes, bool]:
    """The first request, what follows it, and whether it is whole."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Untidy(f"a head that does not end: {data[:200]!r}")
    first, *lines = head.split(b"\r\n")
    if not LINE.fullmatch(first):
        raise Untidy(f"a request line that is none: {first!r}")
    fields = [FIELD.fullmatch(line) for line in lines]
    if not all(fields):
        raise Untidy(f"a header line that is none: {head!r}")
    bare = Received(head=head + end, body=b"")
    lengths, codings = bare.all("content-length"), bare.all("transfer-encoding")
    if len(lengths) + len(codings) > 1 or (codings and codings != ["chunked"]) or not all(map(str.isdecimal, lengths)):
        raise Untidy(f"two ways to read where it ends: {head!r}")
    if len(bare.all("host")) != 1:
        raise Untidy(f"not one Host: {head!r}")
    if codings:
        body, trailers, rest, whole = _chunks(rest)
        return Received(head=bare.head, body=body, trailers=trailers), rest, whole
    length = int(lengths[0]) if lengths else 0
    return Received(head=bare.head, body=rest[:length]), rest[length:], len(rest) >= length


def _chunks(data: bytes) -> tuple[bytes, bytes, bytes, bool]:
    """Body, trailers, what follows, and whether it is whole."""
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        if not end:
            return body, b"", b"", False
        if not (size := SIZE.fullmatch(line)):
            raise Untidy(f"a chunk without a size: {line!r}")
        if not (length := int(size[1], 16)):
            break
        body, ended, data = body + data[:length], data[length : length + 2], data[length + 2 :]
        if ended not in {b"\r\n", b"\r", b""}:
            raise Untidy(f"a chunk that is longer than its size: {ended!r}")
    if data.startswith(b"\r\n"):
        return body, b"", data[2:], True
    trailers, end, rest = data.partition(b"\r\n\r\n")
    return body, trailers + end, rest, bool(end)


def _answer(data: bytes, *, head: bool) -> tuple[int, str, bytes]:
    """Status and route of the first final answer, and what follows it; 0 where there is none."""
    while True:
        top, end, data = data.partition(b"\r\n\r\n")
        if not end:
            return 0, "", b""
        first, *lines = top.decode("latin-1").split("\r\n")
        said = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        if status >= 200:
            break
    if "chunked" in said.get("transfer-encoding", ""):
        data = data if head else _chunks(data)[2]
    elif not head and status not in {204, 304}:
        data = data[int(said.get("content-length", len(data))) :]
    return status, said.get(ROUTE, ""), data
