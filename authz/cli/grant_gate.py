"""Asks a gate's operators' port about grants, with a token.

Law: the token is sent over TLS, or to this machine; never elsewhere. What the port sends is bounded, each wait for it
too; no proxy is used, and a redirect is not followed.
"""

from typing import Any, Final, NamedTuple, Protocol

import orjson

from authz.core import loopback
from authz.core.characters import one_line
from authz.core.errors import FetchError
from authz.core.urls import Url

_PATH: Final = "/grants"
_MOST_BYTES: Final = 16 << 20
_TIMEOUT_S: Final = 10.0
_LEAST_OK: Final = 200
_LEAST_NOT_OK: Final = 300
_BUSY: Final = "busy"  # 429 for wrong tokens of this address: no answer to what was asked
_REFUSED: Final = frozenset({403, 404, 409, 422, 429})  # the answer is no; everything else is about the way there


class GateAnswer(NamedTuple):
    """An answer: its HTTP status and the members of its body."""

    status: int
    members: dict[str, Any]

    @property
    def is_ok(self) -> bool:
        """Whether it was done."""
        return _LEAST_OK <= self.status < _LEAST_NOT_OK

    @property
    def exit_status(self) -> int:
        """The status of a command that this is the end of."""
        is_refused = self.status in _REFUSED and self.members.get("error") != _BUSY
        return 1 if self.is_ok or is_refused else 2


class GrantGate(Protocol):
    """What answers about grants: a gate, or a file."""

    def request(self, entry: str, duration: str, reason: str, *, issuer: str, subject: str) -> GateAnswer:
        """Ask for an entry."""
        ...

    def act(self, word: str, name: str) -> GateAnswer:
        """`approve` or `end` a grant."""
        ...

    def list(self) -> GateAnswer:
        """What the caller may see."""
        ...


class RemoteGrants:
    """A gate.

    Args:
        gate: the URL of its operators' port.
        token: the caller's.

    Raises:
        FetchError: the URL is none, or the token would leave this machine unencrypted.
    """

    def __init__(self, gate: str, token: str) -> None:
        try:
            url = Url.parse(gate)
        except ValueError as error:
            raise FetchError(f"--gate: {error}") from None
        if url.scheme != "https" and not loopback.is_loopback(url.host):
            where = one_line(gate)
            raise FetchError(f"--gate: {where} would get the token unencrypted; use https, or the gate's own machine")
        self._target = url.origin + url.path.rstrip("/") + _PATH
        self._token = token

    def request(self, entry: str, duration: str, reason: str, *, issuer: str, subject: str) -> GateAnswer:  # noqa: ARG002 those of the token
        """Ask for an entry."""
        return self._send("POST", "", {"entry": entry, "duration": duration, "reason": reason})

    def act(self, word: str, name: str) -> GateAnswer:
        """`approve` or `end` a grant."""
        if not (name.isascii() and name.isalnum()):
            return GateAnswer(
                404, {"error": "unknown", "message": "this is no id of a grant", "hint": "authz grant list"}
            )
        return self._send("POST", f"/{name}/{word}", {})

    def list(self) -> GateAnswer:
        """What the caller may see."""
        return self._send("GET", "", None)

    def _send(self, method: str, below: str, body: dict[str, str] | None) -> GateAnswer:
        import httpcore  # noqa: PLC0415 it costs start-up time that others need not pay

        headers: dict[bytes | str, bytes | str] = {
            "accept": "application/json",
            "authorization": f"Bearer {self._token}",
        }
        content = None
        if body is not None:
            content, headers["content-type"] = orjson.dumps(body), "application/json"
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT_S)
        target = self._target + below
        try:
            with (
                httpcore.ConnectionPool() as pool,
                pool.stream(
                    method, target, headers=headers, content=content, extensions={"timeout": timeout}
                ) as answer,
            ):
                status, data = answer.status, b""
                for chunk in answer.iter_stream():
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise FetchError(f"{target}: more than {_MOST_BYTES} bytes")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            why = one_line(str(error) or type(error).__name__)
            raise FetchError(f"{target}: {why}; is it the gate's operators' port (`admin` in its settings)?") from None
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            found = None
        if not isinstance(found, dict) or not found.keys() & {"id", "grants", "error"}:
            raise FetchError(f"{target}: answers {status}, and not as a gate's operators' port does")
        return GateAnswer(status, found)
