"""How the tour sends requests and looks up reasons: exact requests over plain sockets, and the decision log.

Law: a target is sent exactly as written (no client library may tidy `..` away), and the reason of an answer is read
from the decision log by the decision's id, never taken from the answer itself.
"""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

LOG_WAIT_S = 3.0
POLL_S = 0.05
REQUEST_TIMEOUT_S = 60.0
DECISION_HEADER = "x-authz-decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of the tour; `tls`: how the server is trusted, None without TLS."""

    port: int
    method: str = "GET"
    target: str
    token: str = field(default="", repr=False)
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    raw: bytes | None = None
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `decision` is the id in the header, "" if the gate did not answer."""

    status: int
    decision: str
    body: bytes
    location: str = ""
    set_cookies: tuple[str, ...] = field(default=(), repr=False)

    def json(self) -> Any:
        """Return the body, decoded; None when it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def ask(asked: Asked) -> Answer:
    """Send one request."""
    address = ("127.0.0.1", asked.port)
    connection = (
        http.client.HTTPSConnection(*address, timeout=REQUEST_TIMEOUT_S, context=asked.tls)
        if asked.tls
        else http.client.HTTPConnection(*address, timeout=REQUEST_TIMEOUT_S)
    )
    try:
        connection.putrequest(asked.method, asked.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("host", asked.host or f"127.0.0.1:{asked.port}")
        if "accept" not in asked.headers:
            connection.putheader("accept", "application/json")
        if asked.token:
            connection.putheader("authorization", f"Bearer {asked.token}")
        for name, value in asked.headers.items():
            connection.putheader(name, value)
        data = asked.raw if asked.body is None else json.dumps(asked.body).encode()
        if asked.body is not None:
            connection.putheader("content-type", "application/json")
        if data is not None:
            connection.putheader("content-length", str(len(data)))
        connection.endheaders(data)
        response = connection.getresponse()
        return Answer(
            status=response.status,
            decision=response.getheader(DECISION_HEADER, "") or "",
            body=response.read(),
            location=response.getheader("location", "") or "",
            set_cookies=tuple(response.headers.get_all("set-cookie", [])),
        )
    finally:
        connection.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Asks the gate as different callers, with their tokens, at `port`: that of Envoy or of another front."""

    port: int
    issuer: "Issuer"
    tls: ssl.SSLContext | None = None

    def gate(self, target: str, *, token: str = "", method: str = "GET", **more: Any) -> Answer:
        """Ask with the given token."""
        return ask(Asked(port=self.port, method=method, target=target, token=token, tls=self.tls, **more))

    def person(self, login: str, target: str, **more: Any) -> Answer:
        """Ask as a person."""
        return self.gate(target, token=self.issuer.token(user=login), **more)

    def service(self, client: str, target: str, **more: Any) -> Answer:
        """Ask as a service account."""
        return self.gate(target, token=self.issuer.service_token(client, "airflow"), **more)


class DecisionLog:
    """Reads the decision log as it grows."""

    def __init__(self, path: Path, *, wait_s: float = LOG_WAIT_S) -> None:
        self._path = path
        self._wait_s = wait_s
        self._read = 0
        self._records: dict[str, dict[str, Any]] = {}

    def find(self, decision: str) -> Mapping[str, Any]:
        """Return the record of a decision; empty when none appears in time."""
        if not decision:
            return {}
        return self._wait(lambda: self._records.get(decision), self._wait_s)

    def first(self, wanted: Callable[[Mapping[str, Any]], bool], wait_s: float) -> Mapping[str, Any]:
        """Return the oldest record that is wanted; empty when none appears in time."""
        return self._wait(lambda: next((record for record in self._records.values() if wanted(record)), None), wait_s)

    def count(self, wanted: Callable[[Mapping[str, Any]], bool]) -> int:
        """Return how many records are wanted so far."""
        self._read_more()
        return sum(1 for record in self._records.values() if wanted(record))

    def _wait(self, look: Callable[[], Mapping[str, Any] | None], wait_s: float) -> Mapping[str, Any]:
        deadline = time.monotonic() + wait_s
        while (found := look()) is None and time.monotonic() < deadline:
            if not self._read_more():
                time.sleep(POLL_S)
        return found or {}

    def _read_more(self) -> bool:
        if not self._path.exists():
            return False
        with self._path.open("rb") as log:
            log.seek(self._read)
            whole, _, _ = log.read().rpartition(b"\n")
        for line in whole.splitlines():
            record = json.loads(line)
            if record["type"] == "decision":
                self._records[record["id"]] = record
        self._read += len(whole) + 1 if whole else 0
        return bool(whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The development provider, as the tour uses it."""

    url: str
    http: httpx.Client

    def token(self, **asked: Any) -> str:
        """Get a token from `/dev/token`."""
        return str(self.http.post(f"{self.url}/dev/token", json=asked).raise_for_status().json()["access_token"])

    def service_token(self, client: str, audience: str) -> str:
        """Get a token as a service does: client credentials."""
        form = {"grant_type": "client_credentials", "resource": audience}
        answer = self.http.post(f"{self.url}/token", data=form, auth=(client, f"{client}-secret"))
        return str(answer.raise_for_status().json()["access_token"])

    def rotate(self) -> None:
        """Make the provider sign with a new key from now on."""
        self.http.post(f"{self.url}/dev/rotate", json={}).raise_for_status()


def until(wanted: Callable[[], bool], timeout_s: float) -> float | None:
    """Poll until `wanted`; return the seconds that it took, None if too many.

    The last look begins after the time is up: one that began early and took long proves nothing.
    """
    started = time.monotonic()
    while True:
        is_last = time.monotonic() > started + timeout_s
        if wanted():
            return time.monotonic() - started
        if is_last:
            return None
        time.sleep(POLL_S)
