"""A real front other than Envoy with its rendered configuration, before a real gate and an upstream that remembers.

with FrontSite(folder, idp, "nginx") as site:
    answer = site.send(request("/api/v2/dags", site.bearer()))
    site.upstream.only, site.record(answer)
"""

import contextlib
import signal
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any, Self

from authz import settings
from authz.core.policy.load import load_without_tests as load_policy
from authz.fronts import worker as worker_files
from authz.fronts.render import render
from authz.ops.named_files import read_bundle
from demo.fronts import STARTS, MissingServerError, add_files, environment
from tests.e2e.certificates import Authority, Pair
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import SETTINGS, Gate, token
from tests.e2e.raw_http import Connection, RawResponse, request
from tests.support.factories.tokens import make_key
from tests.support.missing import skip_or_fail
from tests.support.ports import free_port

HOST = "gate.test"
KEY = make_key("ES256", kid="fronts")
POLICY = """
version: 1
issuers:
  - name: corp
    issuer: {issuer}
    audiences: {{inbound: [airflow]}}
    algorithms: [ES256]
    username: preferred_username
    groups: [groups]
roles:
  viewer: {{groups: [data-readers]}}
  op: {{groups: [data-ops], includes: [viewer]}}
rules:
  - {{id: health, public: true, plane: inbound, operations: ["health:read"]}}
  - {{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read"]}}
  - {{id: everything, plane: inbound, roles: [op], paths: ["/**"]}}
  - {{id: no-pools, deny: true, plane: inbound, roles: [op], paths: ["/api/v2/pools", "/api/v2/pools/**"]}}
"""
_OVER_TCP = '- {{{{listen: "127.0.0.1:{}", audience: airflow}}}}'
_FRONTED = """
http_check:
  listen: ["@asked"]
  fastcgi:
    - {{listen: "unix:@folder/fastcgi.sock", audience: airflow}}
    @fastcgi
  @client_address
  audiences: [{{name: airflow, audience: airflow, @audience}}]
  workers: @workers
fronts:
  - name: airflow
    listen: 127.0.0.1:@port
    tls: {{certificate: "@certificate", key: "@key"@client_ca}}
    airflow: {{address: "@upstream", @airflow}}
    access_log: "@folder/access.log"
    request_bytes: 1MiB
"""


OVER_TCP = {"jetty"}
"""Fronts that cannot ask over a Unix socket, and so cannot say the caller's address."""


def command(name: str, folder: Path) -> list[str]:
    """How to start this front in the foreground; the test is skipped where the machine lacks the server."""
    try:
        return STARTS[name](folder)
    except MissingServerError as missing:
        return skip_or_fail(str(missing))


class FrontSite:
    """Starts gate, upstream and front on entry. `audience` and `airflow` are more keys of those sections,
    `workers` is how many answer checks; `airflow_at` is another address than that of the upstream that remembers."""

    def __init__(
        self,
        folder: Path,
        idp: Any,
        name: str,
        *,
        audience: str = "",
        airflow: str = "",
        workers: int = 1,
        upstream_tls: ssl.SSLContext | None = None,
        airflow_at: str = "",
        client_ca: Path | None = None,
        client: Pair | None = None,
        policy: str = POLICY,
    ) -> None:
        self.folder, self.idp, self.name = folder, idp, name
        folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(folder)
        self.pair = self.authority.issue(HOST)
        self.tls = ssl.create_default_context(cafile=str(self.authority.ca))
        if client:
            self.tls.load_cert_chain(client.certificate, client.key)
        self.upstream = EchoUpstream(upstream_tls)
        self.port = free_port()
        values = {
            "asked": f"127.0.0.1:{free_port()}" if name in OVER_TCP else f"unix:{folder}/gate/http.sock",
            "client_address": "" if name in OVER_TCP else "client_address: x-real-ip",
            "folder": folder / "gate",
            "fastcgi": _OVER_TCP.format(free_port()) if workers == 1 else "",
            "audience": audience,
            "airflow": airflow,
            "workers": workers,
            "port": self.port,
            "client_ca": f', client_ca: "{client_ca}"' if client_ca else "",
            "certificate": self.pair.certificate,
            "key": self.pair.key,
            "upstream": airflow_at or self.upstream.address,
        }
        text = SETTINGS + _FRONTED
        for key, value in values.items():
            text = text.replace(f"@{key}", str(value))
        self.gate = Gate(folder / "gate", idp, policy=policy, settings=text)
        self.place = folder / name
        self.process: subprocess.Popen[bytes] | None = None
        self._running = contextlib.ExitStack()
        self._records: dict[str, dict[str, Any]] = {}

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            starting.enter_context(self.upstream)
            starting.enter_context(self.gate)
            self.write()
            starting.callback(self.stop)
            self.start()
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def write(self) -> None:
        """Render what the settings say now."""
        self.place.mkdir(exist_ok=True)
        read = settings.load(self.gate.settings)
        for file, text in render(self.name, read, str(self.gate.settings), self.place).items():
            (self.place / file).parent.mkdir(exist_ok=True)
            (self.place / file).write_text(text)
        add_files(self.name, self.place)
        if self.name == "worker":
            self._add_issuers(read.keys)

    def _add_issuers(self, keys: settings.Keys) -> None:
        trusted = load_policy(read_bundle(self.gate.policy)).issuers.values()
        (self.place / worker_files.ISSUERS).write_text(worker_files.issuers(trusted, keys))

    def command(self) -> list[str]:
        """What starts the front."""
        return command(self.name, self.place)

    def start(self) -> None:
        output = self.gate.folder / "access.log" if self.name == "worker" else self.place / "front.log"
        with (self.place / "front.log").open("ab") as log, output.open("ab") as said:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=said, stderr=log, cwd=self.place,
                env=environment(self.place),
            )  # fmt: skip
        wait_for(self._is_up, f"{self.name} did not start", pause=self.pause)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def pause(self, seconds: float) -> None:
        assert self.process is None or self.process.poll() is None, (self.place / "front.log").read_text()
        threading.Event().wait(seconds)

    def _is_up(self) -> bool:
        try:
            with Connection(self.address, self.tls):
                return True
        except OSError:
            return False

    def connect(self) -> Connection:
        return Connection(self.address, self.tls)

    def send(self, data: bytes) -> RawResponse:
        """One connection, these bytes, the first answer."""
        with self.connect() as connection:
            connection.send(data)
            said = connection.response(head=data.startswith(b"HEAD "))
            return connection.response(head=data.startswith(b"HEAD ")) if said.status == 100 else said

    def get(self, target: str | bytes, *headers: str | bytes, **parts: Any) -> RawResponse:
        return self.send(request(target, *headers, **{"host": HOST, **parts}))

    def token(self, *groups: str, **changes: Any) -> str:
        person = {"sub": "id-ann", "preferred_username": "ann", "groups": [*groups], "realm_access": None}
        return token(KEY, **{"iss": self.idp.url, **person, **changes})

    def bearer(self, *groups: str, **changes: Any) -> str:
        return f"Authorization: Bearer {self.token(*groups, **changes)}"

    def record(self, decision: str | None) -> dict[str, Any]:
        """What the gate recorded under this id."""
        assert decision, "this answer has no decision"

        def look() -> bool:
            if decision not in self._records:
                self._records.update({one["id"]: one for one in self.gate.decisions})
            return decision in self._records

        wait_for(look, f"no record of {decision}", pause=self.pause)
        return self._records[decision]
