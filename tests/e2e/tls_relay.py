"""TLS in front of a plain server: what comes in is passed on byte for byte."""

import contextlib
import select
import socket
import ssl
import threading
from typing import Self

from tests.e2e.certificates import Pair


class TlsRelay:
    """Listens on a free loopback port with this certificate, for `target`; `open` says whether it takes connections."""

    def __init__(self, pair: Pair, target: tuple[str, int]) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        self._target = target
        self.open = True
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if not self.open:
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            connection,
            self._context.wrap_socket(connection, server_side=True) as inner,
            socket.create_connection(self._target) as onward,
        ):
            while _passed_on(inner, onward):
                pass


def _passed_on(inner: ssl.SSLSocket, onward: socket.socket) -> bool:
    """One piece in either direction; False when a side has ended."""
    ready = [inner] if inner.pending() else select.select([inner, onward], [], [])[0]
    for source in ready:
        data = source.recv(65536)
        if not data:
            return False
        (onward if source is inner else inner).sendall(data)
    return True
