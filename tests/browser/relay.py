"""A relay in front of Airflow that remembers every byte that Envoy sends there.

Law: it reads nothing and changes nothing. What must not reach Airflow is looked for in the bytes themselves, so that no
parser can overlook it.
"""

import contextlib
import socket
import threading

CHUNK = 65536


class Relay:
    """Listens on a loopback port, connects to `target` for each connection, and records what clients send."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._received = bytearray()
        self._open: set[socket.socket] = set()
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def received(self) -> bytes:
        """Everything so far."""
        with self._lock:
            return bytes(self._received)

    def clear(self) -> None:
        with self._lock:
            self._received.clear()

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listening.close()
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _end(end)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listening.accept()[0]
                upstream = socket.create_connection(self._target)
                with self._lock:
                    self._open |= {client, upstream}
                threading.Thread(target=self._copy, args=(client, upstream, True), daemon=True).start()
                threading.Thread(target=self._copy, args=(upstream, client, False), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, record: bool) -> None:  # noqa: FBT001 - the direction
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if record:
                    with self._lock:
                        self._received += data
                sink.sendall(data)
        with self._lock:
            self._open -= {source, sink}
        _end(source)
        _end(sink)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
