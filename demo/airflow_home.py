"""A real Airflow 3.3 for one machine: its environment, its DAG folder and its commands.

Law: everything it writes is below one directory; it listens on loopback; it never phones home. The settings that
differ from Airflow's defaults are there for one of three reasons: our auth manager, one machine, or a quick start.
"""

import base64
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from demo.entry_points import write_metadata

AIRFLOW = (sys.executable, "-m", "airflow")
EXAMPLES = ("example_simplest_dag.py", "tutorial_dag.py", "tutorial_taskflow_api.py")
SQLITE_CONNECT = {"timeout": 30}  # seconds to wait for a lock: four processes share the file
OWN_DAGS = ("sales_daily", "finance_close")
OUTBOUND_DAGS = ("sales_orders", "sales_cleanup", "finance_orders")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """How tasks call out: through which gate, and how Airflow signs the tokens that name the calling task.

    `execution` is the gate's address in front of Airflow's execution API, `orders` its address for the demo's internal
    API; `key` is the signing key, and `issuer` what the gate expects in the tokens.
    """

    execution: str
    orders: str
    key: Path
    issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowHome:
    """Airflow's home, and the gate and keys that it trusts."""

    home: Path
    port: int
    issuer: str
    audience: str
    jwks: str
    gate_url: str
    workers: int = 1
    outbound: Outbound | None = None

    @property
    def dags(self) -> tuple[str, ...]:
        """The demo's own DAGs in this home: outbound calls need a gate to go through."""
        return OWN_DAGS + (OUTBOUND_DAGS if self.outbound else ())

    @property
    def _installed(self) -> Path:
        return self.home / "installed"

    def environment(self) -> dict[str, str]:
        """Return the environment of all Airflow components; call once, it makes fresh secrets."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(self._installed), os.environ.get("PYTHONPATH")])),
            **_one_machine(self),
            **_auth(self),
            **_quick(),
            **(_outbound(self.outbound) if self.outbound else {}),
        }

    def command(self, component: str) -> list[str]:
        """Return the command of one component."""
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        arguments = {
            "migrate": ["db", "migrate"],
            "api-server": ["api-server", *address, "--proxy-headers", "--workers", str(self.workers)],
            "scheduler": ["scheduler", "--skip-serve-logs"],
            "dag-processor": ["dag-processor"],
            "triggerer": ["triggerer", "--skip-serve-logs"],
        }
        return self.airflow(*arguments[component])

    def airflow(self, *arguments: str) -> list[str]:
        """Return the command `airflow ARGUMENTS`."""
        return [*AIRFLOW, *arguments]

    def prepare(self) -> None:
        """Make the home and fill its DAG folder: the demo's own DAGs and a few of Airflow's examples."""
        write_metadata(self._installed)
        dags = self.home / "dags"
        dags.mkdir(parents=True, exist_ok=True)
        own = files("demo") / "dags"
        for name in self.dags:
            (dags / f"{name}.py").write_bytes((own / f"{name}.py").read_bytes())
        spec = find_spec("airflow.example_dags")
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for name in EXAMPLES:
                shutil.copy(Path(folder) / name, dags / name)


def _one_machine(home: AirflowHome) -> Mapping[str, str]:
    return {
        "AIRFLOW_HOME": str(home.home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home.home / "dags"),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{home.port}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home.home / 'airflow.db'}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": f"{__name__}.SQLITE_CONNECT",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": f"{__name__}.SQLITE_CONNECT",
        "AIRFLOW__API__BASE_URL": home.gate_url,
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _auth(home: AirflowHome) -> Mapping[str, str]:
    return {
        "AIRFLOW__CORE__AUTH_MANAGER": "authz.airflow.auth_manager.AuthzAuthManager",
        "AIRFLOW__AUTHZ__ISSUER": home.issuer,
        "AIRFLOW__AUTHZ__AUDIENCE": home.audience,
        ("AIRFLOW__AUTHZ__JWKS_FILE" if home.jwks.startswith("/") else "AIRFLOW__AUTHZ__JWKS_URL"): home.jwks,
    }


def _outbound(outbound: Outbound) -> Mapping[str, str]:
    """A key pair instead of a shared secret, so that the gate can verify task tokens and only Airflow can make them.

    The connection is all that a DAG author sees of the gate. It holds no secret.
    """
    orders = {"conn_type": "authz-http", "host": outbound.orders, "description": "the internal API, through the gate"}
    return {
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{outbound.execution}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": "",
        "AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": str(outbound.key),
        "AIRFLOW__API_AUTH__JWT_ISSUER": outbound.issuer,
        "AIRFLOW_CONN_ORDERS": json.dumps(orders),
    }


def _quick() -> Mapping[str, str]:
    return {
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": "true",
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "true",
        "PYTHONUNBUFFERED": "1",
    }
