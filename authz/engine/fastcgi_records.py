"""FastCGI 1.0 records and name-value pairs, as an application reads and writes them (fast-cgi.github.io/spec).

Law: pure. Bytes of an incomplete record are kept, and never more than one: a length says at most 65,535 bytes (§3.3).
What is no record ends the connection, because it is unknown where the next one begins.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

VERSION: Final = 1
KEEP_CONN: Final = 1  # §5.1: a flag of BEGIN_REQUEST
_HEAD: Final = struct.Struct("!BBHHBx")  # version, type, request, length of the content, of the padding
_BEGIN: Final = struct.Struct("!HB5x")  # role, flags
_END: Final = struct.Struct("!IB3x")  # of the application, of the protocol
_UNKNOWN: Final = struct.Struct("!B7x")
_MOST: Final = 0xFFFF
_LONG: Final = 0x80  # §3.4: a length of four bytes
_LONG_BYTES: Final = 4


class Type(IntEnum):
    """Types of records (§8)."""

    BEGIN_REQUEST = 1
    ABORT_REQUEST = 2
    END_REQUEST = 3
    PARAMS = 4
    STDIN = 5
    STDOUT = 6
    STDERR = 7
    DATA = 8
    GET_VALUES = 9
    GET_VALUES_RESULT = 10
    UNKNOWN_TYPE = 11


class Role(IntEnum):
    """What a server wants of an application (§5.1)."""

    RESPONDER = 1
    AUTHORIZER = 2
    FILTER = 3


class ProtocolStatus(IntEnum):
    """How a request ended (§5.5)."""

    REQUEST_COMPLETE = 0
    CANT_MPX_CONN = 1
    OVERLOADED = 2
    UNKNOWN_ROLE = 3


class RecordError(Exception):
    """These bytes are not FastCGI 1.0."""


class Record(NamedTuple):
    """One record; `request` 0 is about the connection and no request (§4)."""

    type: int
    request: int
    content: bytes


class Records:
    """Cuts what comes into records."""

    def __init__(self) -> None:
        self._left = bytearray()

    def __len__(self) -> int:
        """Bytes of the record that is incomplete."""
        return len(self._left)

    def feed(self, data: bytes) -> Iterator[Record]:
        """The records that are complete with these bytes.

        Raises:
            RecordError: another version.
        """
        left = self._left
        left += data
        at = 0
        try:
            while len(left) - at >= _HEAD.size:
                version, kind, request, length, padding = _HEAD.unpack_from(left, at)
                if version != VERSION:
                    raise RecordError
                begin = at + _HEAD.size
                if begin + length + padding > len(left):
                    return
                at = begin + length + padding
                yield Record(kind, request, bytes(left[begin : begin + length]))
        finally:
            del left[:at]


def record(kind: Type, request: int, content: bytes) -> bytes:
    """One record, whose content is not too long for it."""
    return _HEAD.pack(VERSION, kind, request, len(content), 0) + content


def stream(kind: Type, request: int, content: bytes) -> bytes:
    """A whole stream (§3.3): as few records as hold it, and the empty one that ends it."""
    parts = [record(kind, request, content[at : at + _MOST]) for at in range(0, len(content), _MOST)]
    return b"".join([*parts, record(kind, request, b"")])


def begin(content: bytes) -> tuple[int, int]:
    """Role and flags of a BEGIN_REQUEST.

    Raises:
        RecordError: it has another length.
    """
    if len(content) != _BEGIN.size:
        raise RecordError
    role, flags = _BEGIN.unpack(content)
    return role, flags


def end(request: int, status: ProtocolStatus) -> bytes:
    """The END_REQUEST."""
    return record(Type.END_REQUEST, request, _END.pack(0, status))


def unknown(kind: int) -> bytes:
    """The UNKNOWN_TYPE that answers a management record of this type (§4.2)."""
    return record(Type.UNKNOWN_TYPE, 0, _UNKNOWN.pack(kind))


def pairs(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and values (§3.4).

    Raises:
        RecordError: a length leads beyond the end.
    """
    at = 0
    while at < len(content):
        name, at = _length(content, at)
        value, at = _length(content, at)
        middle, after = at + name, at + name + value
        if after > len(content):
            raise RecordError
        yield content[at:middle], content[middle:after]
        at = after


def encoded(given: dict[bytes, bytes]) -> bytes:
    """Names and values, all shorter than 128 bytes."""
    return b"".join(bytes((len(name), len(value))) + name + value for name, value in given.items())


def _length(content: bytes, at: int) -> tuple[int, int]:
    """A length, and where it ends."""
    if at >= len(content):
        raise RecordError
    if content[at] < _LONG:
        return content[at], at + 1
    after = at + _LONG_BYTES
    if after > len(content):
        raise RecordError
    return int.from_bytes(content[at:after]) & 0x7FFFFFFF, after
