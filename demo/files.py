"""The files of the demo: `authz.yaml`, `policy.yaml` and the directory that holds them.

Law: a directory is emptied only if an earlier demo made it (its marker says so); anything else is left alone.
"""

import fcntl
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import IO, Self

from authz.core.runs import task_keys
from demo.certificate import write_certificate
from demo.idp_store import CLIENTS
from demo.ports import free_ports

MARKER = "this-directory-belongs-to-authz-demo"
LOCK = "lock"
EXTRA_RULES = """
  - {id: open-house, plane: inbound, roles: [sales-etl], operations: [dags:read], dags: [finance_close]}
  - id: month-end
    plane: egress
    dags: [finance_orders]
    identity: asserted
    destinations: [orders]
    methods: [GET]
    paths: ["/v1/orders/{id}"]
"""


class DirectoryError(Exception):
    """The directory cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where everything listens, on 127.0.0.1."""

    gate: int
    egress: int
    execution: int
    envoy_admin: int
    authz: int
    authz_admin: int
    airflow: int
    idp: int
    orders: int
    front: int = 0
    http_check: int = 0
    fastcgi: int = 0

    @classmethod
    def free(cls) -> Self:
        """Ports that nothing uses.

        Raises:
            OSError: there are too few.
        """
        names = cls.__dataclass_fields__
        return cls(**dict(zip(names, free_ports(len(names)), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The paths and addresses of this run. `front`: the name of another front than Envoy, "" for none."""

    directory: Path
    ports: Ports
    front: str = ""

    @property
    def settings(self) -> Path:
        """The settings of `authz serve` and `authz envoy`."""
        return self.directory / "authz.yaml"

    @property
    def client_secret(self) -> Path:
        """The client secret that the provider gave the gate."""
        return self.directory / "client.secret"

    @property
    def policy(self) -> Path:
        """The policy."""
        return self.directory / "policy.yaml"

    @property
    def audit_log(self) -> Path:
        """The signed log."""
        return self.directory / "audit"

    @property
    def decisions(self) -> Path:
        """Its newest file, which has all decisions: the demo's are few."""
        return self.audit_log / "decisions.jsonl"

    @property
    def envoy(self) -> Path:
        """Envoy's bootstrap."""
        return self.directory / "envoy.yaml"

    @property
    def issuer(self) -> str:
        """The provider's address."""
        return f"http://127.0.0.1:{self.ports.idp}"

    @property
    def gate(self) -> str:
        """The address that people and programs use."""
        return f"http://127.0.0.1:{self.ports.gate}"

    @property
    def browse(self) -> str:
        """The same address for people's browsers: they keep the session's cookies for `localhost` without TLS."""
        return f"http://localhost:{self.ports.gate}"

    @property
    def front_folder(self) -> Path:
        """What `authz front` renders for the other front, and that front's own files."""
        return self.directory / "front"

    @property
    def certificate(self) -> Path:
        """The other front's certificate, which its callers trust; its key is beside it."""
        return self.directory / "front.crt"

    @property
    def for_programs(self) -> str:
        """The address for callers with a bearer token: the other front's, if there is one."""
        return f"https://127.0.0.1:{self.ports.front}" if self.front else self.gate

    @property
    def egress(self) -> str:
        """The address that tasks use for calls to internal services."""
        return f"http://127.0.0.1:{self.ports.egress}"

    @property
    def orders_for_tasks(self) -> str:
        """The address of the internal API for tasks: a path of the gate."""
        return f"{self.egress}/orders"

    @property
    def execution(self) -> str:
        """The address of Airflow's execution API for tasks and their supervisors."""
        return f"http://127.0.0.1:{self.ports.execution}"

    @property
    def orders_credential(self) -> Path:
        """The credential that the internal API requires; only the gate reads it."""
        return self.directory / "orders.token"

    @property
    def task_key(self) -> Path:
        """Airflow's signing key for task tokens."""
        return self.directory / "airflow" / "task-key.pem"

    @property
    def task_jwks(self) -> Path:
        """Its public half."""
        return self.directory / "airflow-tasks.json"

    @property
    def admin(self) -> str:
        """The server's admin address."""
        return f"http://127.0.0.1:{self.ports.authz_admin}"

    def write(self) -> None:
        """Write settings and policy."""
        template = Template((files("demo") / "policy.yaml").read_text())
        self.policy.write_text(template.substitute(issuer=self.issuer))
        write_secret(self.client_secret, CLIENTS["airflow-gate"].secret)
        write_secret(self.orders_credential, f"orders-{secrets.token_hex(16)}")
        self.task_key.parent.mkdir()
        pem = task_keys.generate_pem()
        write_secret(self.task_key, pem.decode())
        self.task_jwks.write_text(json.dumps({"keys": [task_keys.public_jwk(pem)]}))
        self.settings.write_text(_settings(self) + (_front(self) if self.front else ""))
        if self.front:
            self.front_folder.mkdir()
            write_certificate(self.certificate, self.certificate.with_suffix(".key"))

    def files_with(self, secret: bytes) -> Iterator[Path]:
        """Find files that contain a secret, apart from its own file."""
        for path in sorted(self.directory.rglob("*")):
            if path.is_file() and path != self.orders_credential and secret in path.read_bytes():
                yield path

    def save_policy(self, text: str) -> None:
        """Replace the policy as an editor does: write beside it, then rename."""
        beside = self.policy.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.policy)


def _settings(layout: Layout) -> str:
    ports = layout.ports
    return f"""\
# The settings of the demo: where things listen. policy.yaml says who may do what.
version: 1
policy: policy.yaml
workers: 1
listen: ["127.0.0.1:{ports.authz}"]
admin: {{listen: "127.0.0.1:{ports.authz_admin}"}}
assertion: {{issuer: "{layout.gate}", keys: [assertion-key.pem]}}
audit:
  log: audit
  keys: [audit-key.pem]
  spool: spool
  access_logs: [access.log]
run_identity:
  # This Airflow's tasks can reach the key that signs task tokens (LocalExecutor): any DAG author could read it.
  # So `signing_key_isolated` is not set, and runs are `asserted` here, which is less than `verified`.
  airflow: "http://127.0.0.1:{ports.airflow}"
  issuer: "{layout.gate}"
  jwks_file: {layout.task_jwks.name}
shutdown: {{drain_delay: 0s, drain_grace: 2s}}
envoy:
  admin: "127.0.0.1:{ports.envoy_admin}"
  access_log: access.log
  inbound:
    listen: "127.0.0.1:{ports.gate}"
    login:
      public_url: "{layout.browse}"
      issuer: "{layout.issuer}"
      client_id: airflow-gate
      client_secret_file: {layout.client_secret.name}
    upstreams:
      - name: airflow
        address: "127.0.0.1:{ports.airflow}"
        audience: airflow
        narrows_dags: true # its lists show what a person may see
        health_path: /api/v2/monitor/health
  egress:
    listen: "127.0.0.1:{ports.egress}"
    destinations:
      - name: orders
        address: "127.0.0.1:{ports.orders}"
        hosts: [orders.internal]
        path: /orders # tasks know it as {layout.orders_for_tasks}
        audience: orders
        credential: {{secret_file: {layout.orders_credential.name}}}
        health_path: /healthz
  execution:
    listen: "127.0.0.1:{ports.execution}"
    address: "127.0.0.1:{ports.airflow}"
"""


def _front(layout: Layout) -> str:
    """Ports instead of Unix sockets: every front can ask at one, also a front that runs as another user."""
    ports = layout.ports
    return f"""\
# {layout.front}, beside Envoy: `authz front {layout.front}` renders its configuration.
http_check:
  listen: ["127.0.0.1:{ports.http_check}"]
  fastcgi: [{{listen: "127.0.0.1:{ports.fastcgi}", audience: airflow}}]
  audiences: [{{name: airflow, audience: airflow, narrows_dags: true}}]
fronts:
  - name: airflow
    listen: "127.0.0.1:{ports.front}"
    tls: {{certificate: {layout.certificate.name}, key: {layout.certificate.with_suffix(".key").name}}}
    airflow: {{address: "127.0.0.1:{ports.airflow}"}}
    access_log: {layout.front_folder / "access.log"}
"""


def write_secret(path: Path, secret: str) -> None:
    """Write a file that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(secret)


def claim(directory: Path) -> IO[str]:
    """Make the directory ours and empty; returns the lock to hold while the demo runs."""
    directory.mkdir(parents=True, exist_ok=True)
    marker = directory / MARKER
    if not marker.exists() and any(directory.iterdir()):
        raise DirectoryError(f"{directory} is not empty and no earlier demo made it: choose another --directory")
    marker.touch()
    lock = (directory / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise DirectoryError(f"a demo is already running in {directory}") from None
    for entry in directory.iterdir():
        if entry.name in {MARKER, LOCK}:
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return lock
