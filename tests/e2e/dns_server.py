"""A DNS server whose answers are the test's: it knows what it was asked, and may change its mind (RFC 1035 §4.1)."""

import contextlib
import socket
import struct
import threading
from ipaddress import ip_address
from typing import Final, Self

_TYPES: Final = {1: 4, 28: 6}  # A, AAAA
_ANSWER: Final = 0x8580  # a response, authoritative, recursion as asked for
_NO_SUCH_NAME: Final = 3
_NAME_OF_THE_QUESTION: Final = 0xC00C
_TTL_S: Final = 1


class DnsServer:
    """Listens on a free loopback port until `close`. `asked` are the names that were asked for, in order."""

    def __init__(self) -> None:
        self._records: dict[str, list[tuple[str, ...]]] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return "{}:{}".format(*self._socket.getsockname())

    def say(self, name: str, *answers: tuple[str, ...]) -> None:
        """Where the name leads, from now on; each answer is given to one lookup, and the last to all that follow."""
        self._records[name] = list(answers)

    def times(self, name: str) -> int:
        """How often the name was looked up."""
        return self.asked.count(name)

    def reset(self) -> None:
        self._records.clear()
        self.asked.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            self._socket.sendto(self._answer(data), peer)

    def _answer(self, query: bytes) -> bytes:
        name, end = _name(query)
        (kind,) = struct.unpack_from(">H", query, end)
        question = query[12 : end + 4]
        if kind not in _TYPES or name not in self._records:
            code = 0 if name in self._records else _NO_SUCH_NAME
            return query[:2] + struct.pack(">HHHHH", _ANSWER | code, 1, 0, 0, 0) + question
        answers = self._records[name]
        # A name is asked for twice, for both kinds of address; the first of the two counts as a lookup.
        current = answers[0]
        if kind == 1:
            self.asked.append(name)
            current = answers.pop(0) if len(answers) > 1 else answers[0]
        found = [ip_address(text).packed for text in current]
        wanted = [packed for packed in found if len(packed) == (4 if kind == 1 else 16)]
        head = query[:2] + struct.pack(">HHHHH", _ANSWER, 1, len(wanted), 0, 0)
        records = b"".join(
            struct.pack(">HHHIH", _NAME_OF_THE_QUESTION, kind, 1, _TTL_S, len(packed)) + packed for packed in wanted
        )
        return head + question + records


def _name(query: bytes) -> tuple[str, int]:
    """The name of the question, and where it ends."""
    labels, place = [], 12
    while length := query[place]:
        labels.append(query[place + 1 : place + 1 + length].decode("latin-1").lower())
        place += 1 + length
    return ".".join(labels), place + 1
