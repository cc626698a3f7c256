"""Everything real: a client with TLS → Envoy with our configuration → `authz serve` → Airflow under a base path.

with AirflowBehindGate(folder) as behind:
    answer = behind.get("/airflow/api/v2/dags", token=behind.token("ann", "admins"))
    behind.record(answer)                        what the gate recorded of it

Airflow believes the keys that the gate publishes. It has a scheduler, because some answers need a run that goes on.
"""

import contextlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.e2e.certificates import Authority
from tests.e2e.envoy_harness import Envoy, newest, wait_for
from tests.e2e.gate import SETTINGS, Gate, token
from tests.e2e.raw_http import Connection, RawResponse, request
from tests.support import envoy_settings
from tests.support.factories.tokens import make_key
from tests.support.ports import loopback
from tests.support.simulators.idp import IdP
from tests.support.sites.airflow import AUDIENCE, AirflowSite

HOST = "gate.test"
PATIENCE_S = 60  # an API server, a scheduler and a task share one SQLite and, in CI, two processors
BASE = "/airflow"
KEY = make_key("ES256", kid="k1")
# SQLite lets one connection write at a time. Airflow's API server keeps a transaction open across turns of its event
# loop and writes its event log within a turn: two changes at once would wait for each other. So each statement stands
# alone. For the same reason no request may wait for a connection of the pool (`MAX_OVERFLOW`).
SQLITE_CONNECT = {"timeout": 30, "isolation_level": None}

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
  viewer: {{groups: [viewers]}}
  user: {{groups: [users], includes: [viewer]}}
  admin: {{groups: [admins], includes: [user]}}
rules:
  - {{id: open, public: true, plane: inbound, operations: ["health:read", "version:read"]}}
  - {{id: pages, plane: inbound, roles: [authenticated], operations: ["ui:pages", "ui:static", "session:*"]}}
  - {{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read", "task_logs:read"]}}
  - {{id: results, plane: inbound, roles: [viewer], operations: ["xcoms:read"]}}
  - {{id: triggers, plane: inbound, roles: [user], operations: ["dag_runs:create"]}}
  - {{id: admins, plane: inbound, roles: [admin], operations: ["*"]}}
  - {{id: everything, plane: inbound, roles: [admin], paths: ["/**"]}}
"""

LINES = 10_000  # of the log of `talks`
DAGS = {
    "behind": f"""
import time
from datetime import UTC, datetime
from airflow.sdk import DAG, task

START = datetime(2026, 1, 1, tzinfo=UTC)


@task
def talk(lines, seconds):
    for number in range(lines):
        print("line", number, "x" * 80)
    time.sleep(seconds)


with DAG("talks", schedule=None, start_date=START):
    talk(lines={LINES}, seconds=3)

with DAG("waits", schedule=None, start_date=START, is_paused_upon_creation=True, max_active_runs=1000):
    talk(lines=1, seconds=0)
""",
}


class AirflowBehindGate:
    """One of each; `inbound` goes to Envoy's listener."""

    def __init__(
        self, folder: Path, *, components: tuple[str, ...] = ("api-server", "scheduler"), **inbound: Any
    ) -> None:
        self.folder = folder
        self.idp = IdP([KEY])
        self.gate = Gate(folder / "gate", self.idp, policy=POLICY, settings=SETTINGS)
        (folder / "airflow").mkdir()
        self.site = AirflowSite(folder / "airflow", dags=DAGS, components=components)
        self.authority = Authority(folder)
        pair = self.authority.issue(HOST)
        airflow = {
            "name": "airflow",
            "address": f"127.0.0.1:{self.site.port}",
            "hosts": [HOST],
            "audience": AUDIENCE,
            "base_path": BASE,
        }
        listen = loopback()
        tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
        section = {
            "inbound": {"listen": listen, "upstreams": [airflow], "tls": tls, **inbound},
            "admin": loopback(),
            "access_log": "access.log",
        }
        self.settings = envoy_settings.load(folder, section, self.gate.endpoints)
        self.port = int(listen.rpartition(":")[2])
        self.url = f"https://{HOST}:{self.port}{BASE}"
        self.site.environment.pop("AIRFLOW__AUTHZ__JWKS_FILE")
        self.site.environment |= {
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__AUTHZ__JWKS_URL": f"{self.gate.admin}/jwks.json",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.site.url}{BASE}/execution/",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_MAX_OVERFLOW": "-1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": f"{__name__}.SQLITE_CONNECT",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": f"{__name__}.SQLITE_CONNECT",
        }
        self.envoy = Envoy(self.settings, folder, newest())
        self.tls = ssl.create_default_context(cafile=str(self.authority.ca))
        self._decisions = Tail(folder / "gate" / "decisions.jsonl")
        self._accesses = Tail(folder / "access.log")
        self._running = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as starting:
            for part in (self.idp, self.gate, self.site, self.envoy):
                starting.enter_context(part)
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.kill()
        self._running.close()

    def token(self, name: str, *groups: str, **changes: Any) -> str:
        """A person's token, good now."""
        person = {
            "sub": f"id-{name}",
            "preferred_username": name,
            "groups": groups,
            "realm_access": None,
            "sid": f"s-{name}",
        }
        return token(KEY, **{"iss": self.idp.url, **person, **changes})

    def send(self, data: bytes) -> RawResponse:
        """One connection, these bytes, the first answer."""
        with self.connect() as connection:
            connection.send(data)
            return connection.response()

    def connect(self) -> Connection:
        """A connection for several requests, or for an answer that is read in parts."""
        return Connection(self.envoy.inbound, self.tls, PATIENCE_S)

    def get(self, target: str | bytes, *headers: str, token: str | None = None, **parts: Any) -> RawResponse:
        return self.send(self.asking(target, *headers, token=token, **parts))

    def post(self, target: str, body: bytes, *headers: str, token: str | None = None) -> RawResponse:
        lines = ("Content-Type: application/json", *headers)
        return self.send(self.asking(target, *lines, token=token, method="POST", body=body))

    @staticmethod
    def asking(target: str | bytes, *headers: str, token: str | None = None, **parts: Any) -> bytes:
        """The bytes of a request to the gate's host."""
        lines = (f"Authorization: Bearer {token}",) if token else ()
        return request(target, *lines, *headers, **{"host": HOST, **parts})

    def record(self, answer: RawResponse) -> dict[str, Any]:
        """What the gate recorded of an answer."""
        return self._decisions.find(answer.header("x-authz-decision"), self.envoy.pause)

    def access(self, answer: RawResponse) -> dict[str, Any]:
        """What Envoy's access log says of an answer."""
        return self._accesses.find(answer.header("x-authz-decision"), self.envoy.pause)

    def forwarded(self, answer: RawResponse) -> bool:
        """Whether Airflow was called. An answer without a decision is Envoy's own; the test must see that it is."""
        decision = answer.header("x-authz-decision")
        return decision is not None and bool(self._accesses.find(decision, self.envoy.pause)["upstream_host"])


class Tail:
    """A log of JSON lines that is being written, by the `id` of its lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._lines: dict[str, dict[str, Any]] = {}

    def find(self, wanted: str | None, pause: Callable[[float], object]) -> dict[str, Any]:
        """The line, once it is there."""
        wait_for(lambda: self._look(wanted), f"no line {wanted} in {self._path}", pause=pause)
        return self._lines[wanted or ""]

    def _look(self, wanted: str | None) -> bool:
        if wanted not in self._lines and self._path.exists():
            with self._path.open("rb") as log:
                log.seek(self._read)
                whole = log.read().rpartition(b"\n")[0]
            self._read += len(whole) + 1 if whole else 0
            self._lines |= {line["id"] or "": line for line in map(json.loads, whole.splitlines())}
        return wanted in self._lines
