"""Key sets over a private Unix socket: the supervisor's end and the worker's.

Law: one question, one answer, one connection; each is one line of JSON. The question names where an issuer's keys are
fetched, as the worker's policy says; the answer holds the bytes, unchecked, or why there are none, and never the body
of a failed answer. Both ends wait no longer than a fetch may take. The worker itself reads local files.
"""

import base64
import json
import logging
import socket
import socketserver
import sys
from pathlib import Path
from typing import Any, Final

from authz.core.errors import KeysUnavailableError
from authz.core.model import Issuer
from authz.keys import Fetched, Fetcher
from authz.keys.fetch import read_file
from authz.system.threads import Background

log = logging.getLogger(__name__)

_GRACE_S: Final = 2.0  # beyond the longest fetch: time for a fetch that is already under way
_LONGEST_QUESTION: Final = 64 * 1024
_ABOUT: Final = ("name", "issuer", "discovery", "jwks_uri", "insecure_http")


class KeyServer:
    """The supervisor's end.

    Args:
        path: of the socket, in a folder that only our user may enter.
        fetcher: asked for every question, from a thread of its own.

    Raises:
        OSError: the path cannot be listened on.
    """

    def __init__(self, path: Path, fetcher: Fetcher) -> None:
        self._server = _Server(str(path), _Handler)
        self._server.fetcher = fetcher
        self._thread = Background(self._server.serve_forever, args=(0.1,), name="keys")

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop; a fetch that is under way ends by itself."""
        self._server.shutdown()
        self._thread.join(timeout)
        self._server.server_close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256
    fetcher: Fetcher

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 the base class's signature
        error = sys.exception()
        if not isinstance(error, OSError):  # a worker that went away is no news
            log.error("answering a worker's question for keys", exc_info=error)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 5.0  # a worker asks at once or never

    def handle(self) -> None:
        question = json.loads(self.rfile.readline(_LONGEST_QUESTION))
        issuer = Issuer(**question["about"], audiences={}, algorithms=frozenset())
        try:
            found = self.server.fetcher.fetch(issuer, hurried=question["hurried"])
        except KeysUnavailableError as error:
            answer: dict[str, object] = {"error": error.detail}
        else:
            data = base64.b64encode(found.data).decode()
            answer = {"data": data, "max_age": found.max_age, "age": found.age}
            answer |= {"failed": found.error, "since": found.since}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class SupervisedFetcher:
    """The worker's end: a fetcher that asks the supervisor.

    Args:
        path: of the supervisor's socket.
        max_bytes: the largest key set.
        timeout_s: the longest fetch.
    """

    def __init__(self, path: Path, *, max_bytes: int, timeout_s: float) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._timeout_s = 2 * timeout_s + _GRACE_S  # one fetch may be under way, and ours comes after it

    def fetch(self, issuer: Issuer, *, hurried: bool = False) -> Fetched:
        """The bytes of the issuer's key set; see `Fetcher.fetch`.

        Raises:
            KeysUnavailableError: there are none.
        """
        if issuer.jwks_file is not None:
            return Fetched(data=read_file(issuer.jwks_file, self._max_bytes))
        about = {name: getattr(issuer, name) for name in _ABOUT}
        answer = self._ask({"about": about, "hurried": hurried})
        if "error" in answer:
            raise KeysUnavailableError(answer["error"])
        return Fetched(
            data=base64.b64decode(answer["data"]),
            max_age=answer["max_age"],
            age=answer["age"],
            error=answer["failed"],
            since=answer["since"],
        )

    def _ask(self, question: dict[str, object]) -> Any:
        longest = 2 * self._max_bytes + _LONGEST_QUESTION  # base64 and the rest of the line
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(self._timeout_s)
                connection.connect(str(self._path))
                connection.sendall(json.dumps(question).encode() + b"\n")
                with connection.makefile("rb") as answers:
                    return json.loads(answers.readline(longest))
        except (OSError, ValueError) as error:
            raise KeysUnavailableError(f"the supervisor does not answer ({type(error).__name__})") from None
