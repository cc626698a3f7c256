"""The files of the demo: `authz.yaml`, `policy.yaml` and the directory that holds them.

Law: a directory is emptied only if an earlier demo made it (its marker says so); anything else is left alone.
"""

import fcntl
import shutil
import socket
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import IO

from authz.demo.idp_store import CLIENTS

MARKER = "this-directory-belongs-to-authz-demo"
LOCK = "lock"
EXTRA_RULE = """
  - {id: open-house, plane: inbound, roles: [sales-etl], operations: [dags:read], dags: [finance_close]}
"""


class DirectoryError(Exception):
    """The directory cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where everything listens, on 127.0.0.1."""

    gate: int
    egress: int
    envoy_admin: int
    authz: int
    authz_admin: int
    airflow: int
    idp: int
    orders: int


def free_ports() -> Ports:
    """Ask the system for ports that nobody uses."""
    names = Ports.__dataclass_fields__
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return Ports(**{name: held.getsockname()[1] for name, held in zip(names, sockets, strict=True)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What lies where, and the addresses of this run."""

    directory: Path
    ports: Ports

    @property
    def settings(self) -> Path:
        """The settings of `authz serve` and `authz envoy`."""
        return self.directory / "authz.yaml"

    @property
    def client_secret(self) -> Path:
        """What the provider gave the gate."""
        return self.directory / "client.secret"

    @property
    def policy(self) -> Path:
        """The policy."""
        return self.directory / "policy.yaml"

    @property
    def decisions(self) -> Path:
        """The decision log."""
        return self.directory / "decisions.jsonl"

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
        """The same place, as people's browsers know it: they keep the session's cookies for `localhost` without TLS."""
        return f"http://localhost:{self.ports.gate}"

    @property
    def egress(self) -> str:
        """The address that tasks use for calls to internal services."""
        return f"http://127.0.0.1:{self.ports.egress}"

    @property
    def admin(self) -> str:
        """The server's admin address."""
        return f"http://127.0.0.1:{self.ports.authz_admin}"

    def write(self) -> None:
        """Write settings and policy."""
        template = Template((files("authz.demo") / "policy.yaml").read_text())
        self.policy.write_text(template.substitute(issuer=self.issuer))
        self.client_secret.write_text(CLIENTS["airflow-gate"].secret)
        self.settings.write_text(_settings(self))

    def save_policy(self, text: str) -> None:
        """Replace the policy as an editor does: write beside it, then rename."""
        beside = self.policy.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.policy)


def _settings(layout: Layout) -> str:
    ports = layout.ports
    return f"""\
# The settings of the demo: where things listen. Who may do what stands in policy.yaml.
version: 1
policy: policy.yaml
workers: 1
listen: ["127.0.0.1:{ports.authz}"]
admin: {{listen: "127.0.0.1:{ports.authz_admin}"}}
assertion: {{issuer: "{layout.gate}", keys: [assertion-key.pem]}}
log: {{decisions: decisions.jsonl}}
shutdown: {{drain_delay: 0s, drain_grace: 2s}}
envoy:
  admin: "127.0.0.1:{ports.envoy_admin}"
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
      - {{name: orders, address: "127.0.0.1:{ports.orders}", hosts: [orders.internal], audience: orders}}
"""


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
