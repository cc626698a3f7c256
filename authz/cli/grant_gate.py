"""Asks a gate's operators' port about grants, with a token.

Law: that of `authz.cli.gate_http`, and the token is sent over TLS, or to this machine; never elsewhere.
"""

from typing import Any, Final, NamedTuple, Protocol

from authz.cli.gate_http import gate_url, send
from authz.core import loopback
from authz.core.characters import one_line
from authz.core.errors import FetchError

_PATH: Final = "/grants"
_MOST_BYTES: Final = 16 << 20
_TIMEOUT_S: Final = 10.0  # for name, connection and answer together
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
        url = gate_url(gate)
        if url.scheme != "https" and not loopback.is_loopback(url.host):
            where = one_line(gate)
            raise FetchError(f"--gate: {where} would get the token unencrypted; use https, or the gate's own machine")
        self._url = url
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
        found = send(
            self._url,
            _PATH + below,
            most_bytes=_MOST_BYTES,
            timeout_s=_TIMEOUT_S,
            token=self._token,
            method=method,
            body=body,
        )
        if not found.members.keys() & {"id", "grants", "error"}:
            raise FetchError(f"{found.target}: answers {found.status}, and not as a gate's operators' port does")
        return GateAnswer(found.status, found.members)
