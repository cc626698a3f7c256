"""One HTTP/2 request in the clear, its header list exactly as given: real clients refuse to send what attackers do.

Only what the tests need of RFC 9113 and RFC 7541: literal fields without indexing, and the status of the answer.
"""

import contextlib
import socket
import struct
from collections.abc import Iterable

from tests.e2e.raw_http import TIMEOUT

Field = tuple[str, str]

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
# RFC 7541 Appendix A, entries 8 to 14, and the Huffman codes of the ten digits (Appendix B)
_STATIC_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
_DIGITS = {"00000": 0, "00001": 1, "00010": 2} | {f"{code:06b}": digit for digit, code in enumerate(range(25, 32), 3)}


def exchange_h2(
    address: tuple[str, int], fields: Iterable[Field], trailers: Iterable[Field] = (), *, end: bool = True
) -> int | None:
    """The status of the answer; None when the stream or the connection was reset instead. `end`: it ends there."""
    trailing = list(trailers)
    last = 0 if trailing or not end else _END_STREAM
    request = _frame(_HEADERS, _END_HEADERS | last, 1, _block(fields))
    if trailing:
        request += _frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, _block(trailing))
    with socket.create_connection(address, TIMEOUT) as connection, contextlib.suppress(ConnectionResetError):
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"") + request)
        return _answer(connection, whole=end)
    return None


def _answer(connection: socket.socket, *, whole: bool) -> int | None:
    stream = connection.makefile("rb")
    status = None
    while head := stream.read(9):
        length, kind, flags, number = int.from_bytes(head[:3]), head[3], head[4], int.from_bytes(head[5:])
        payload = stream.read(length)
        if kind == _SETTINGS and not flags:
            connection.sendall(_frame(_SETTINGS, 1, 0, b""))
        elif kind == _GOAWAY or (kind == _RST_STREAM and number == 1 and status is None):
            return None
        elif kind == _HEADERS and number == 1 and status is None:
            status = _status(payload)
            if not whole:
                return status
        if kind in {_HEADERS, _DATA} and number == 1 and flags & _END_STREAM:
            return status
    return status


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _block(fields: Iterable[Field]) -> bytes:
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(text: str) -> bytes:
    data = text.encode("latin-1")
    return _length(len(data)) + data


def _length(size: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541 §5.1)."""
    if size < 127:
        return bytes([size])
    rest, encoded = size - 127, b"\x7f"
    while rest >= 128:
        encoded += bytes([rest % 128 | 128])
        rest //= 128
    return encoded + bytes([rest])


def _status(block: bytes) -> int:
    """`:status` is the first field of every answer (RFC 9113 §8.3)."""
    while block[0] & 0xE0 == 0x20:  # dynamic table size update
        block = block[1:]
    if block[0] & 0x80:
        return _STATIC_STATUS[block[0] & 0x7F]
    assert block[0] & 0x0F == 8 or block[0] & 0x3F == 8, "the first field is not :status"
    huffman, length = block[1] & 0x80, block[1] & 0x7F
    value = block[2 : 2 + length]
    return _huffman_digits(value) if huffman else int(value)


def _huffman_digits(data: bytes) -> int:
    bits = "".join(f"{byte:08b}" for byte in data)
    number, code = 0, ""
    for bit in bits:
        code += bit
        if code in _DIGITS:
            number, code = number * 10 + _DIGITS[code], ""
    return number
