"""A real Airflow for tests: database, DAGs and API server of its own, with the auth manager that the test names.

`AirflowSite(folder)` is a context manager; inside, `.url` answers, and the DAGs are in the database. One site costs
some ten seconds and 400 MB: share it between tests (module- or session-scoped), and start only the components that the
test needs. Its requests come from `.client(...)`:

- `authz`: `site.client("viewer", dags=["sales_*"])` sends a new assertion with each request, with those claims;
- `simple`: `site.client("viewer")` logs in as the user of that name and sends the token that Airflow issued;
- `fab`: the same, once a test has made users whose passwords are their names; its provider is installed in `.fab`,
  beside the environment, because it asks for older packages than the lock has.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import jwt

from authz.core import assertion
from demo.airflow_home import AirflowHome
from demo.children import Children
from tests.support.ports import free_port
from tests.support.sites.airflow_database import new_database

ISSUER = "https://gate.test"
AUDIENCE = "airflow"
IDP = "https://idp.test"
ROLES = ("viewer", "user", "op", "admin")  # weakest first; also the users of `simple`, whose passwords are their names
HEALTH = "/api/v2/monitor/health"
FAB = Path(__file__).parents[3] / ".fab"  # `make` installs it
STARTS_S = 120
STOPS_S = 1.0  # the tests are over: an API server that waits for its clients is not waited for
AUTH_MANAGERS = {
    "authz": "authz.airflow.auth_manager.AuthzAuthManager",
    "fab": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
    "simple": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
}
SIMPLE_DAG = """
from datetime import UTC, datetime
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

for name in {names!r}:
    with DAG(name, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), tags=["team:" + name.partition("_")[0]]):
        EmptyOperator(task_id="only")
"""


def empty_dags(*names):
    """Source of one file with a DAG of one empty task for each name; its tag is the part of the name before `_`."""
    return SIMPLE_DAG.format(names=names)


class AirflowSite:
    """Airflow with one auth manager.

    Args:
        folder: an empty directory of the test's own.
        dags: the files of the DAG folder, name (without `.py`) and source; None means the demo's DAGs.
        auth_manager: `authz`, `simple` or `fab`.
        workers: worker processes of the API server.
        components: what runs: `api-server`, and `scheduler`, `dag-processor`, `triggerer` where the test needs them.
        options: more environment variables; None removes one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        dags: Mapping[str, str] | None = None,
        auth_manager: str = "authz",
        workers: int = 1,
        components: tuple[str, ...] = ("api-server",),
        options: Mapping[str, str | None] | None = None,
    ):
        self.folder = folder
        self.auth_manager = auth_manager
        self.key = assertion.load_signing_key(assertion.generate_pem())
        self.key_file = folder / "keys.json"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.task_logs = folder / "task-logs"
        self.home = AirflowHome(
            home=folder / "home",
            port=self.port,
            workers=workers,
            issuer=ISSUER,
            audience=AUDIENCE,
            jwks=str(self.key_file),
            gate_url=self.url,
        )
        self._dags = dags
        self._components = components
        self.environment = {**self.home.environment(), **self._manager_options(), **(options or {})}
        self.environment = {name: value for name, value in self.environment.items() if value is not None}
        self.children = Children(folder / "logs", stop_timeout_s=STOPS_S)
        self.running = {}  # component: Child

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.children)
            self._start()
            self._stop = stack.pop_all().close
        return self

    def __exit__(self, *_error):
        self._stop()

    def publish(self, *keys):
        """Write the key file with these keys, as the gate publishes them; the site's own key when there is none."""
        beside = self.key_file.with_suffix(".new")
        beside.write_text(json.dumps(assertion.public_jwks(keys or (self.key,))))
        beside.replace(self.key_file)

    def run(self, *arguments, timeout_s=STARTS_S):
        """Run `airflow ARGUMENTS` to its end in the site's environment; returns what it printed, also to stderr."""
        child = self.children.start(
            "-".join(("airflow", *arguments[:2])), self.home.airflow(*arguments), self.environment, ends=True
        )
        self.children.finish(child, timeout_s)
        return child.log.read_text()

    def python(self, file, *arguments, timeout_s=STARTS_S):
        """Run a Python file to its end in the site's environment; returns what it printed, also to stderr."""
        command = [sys.executable, str(file), *arguments]
        child = self.children.start(Path(file).stem, command, self.environment, ends=True)
        self.children.finish(child, timeout_s)
        return child.log.read_text()

    def mint(self, airflow_role="", *, signing_key=None, typ=assertion.TYP, **claims):
        """An assertion. It is for all DAGs unless `dags` says otherwise; a claim given as `...` is left out."""
        signing_key = signing_key or self.key
        now = int(time.time())
        body = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "user-1",
            "idp": IDP,
            "jti": f"j-{time.monotonic_ns()}",
            "iat": now,
            "nbf": now,
            "exp": now + 60,
            "preferred_username": "ann",
            "roles": [],
            "dags": ["*"],
            "airflow_role": airflow_role or ...,
            **claims,
        }
        body = {name: value for name, value in body.items() if value is not ...}
        headers = {"kid": signing_key.kid, "typ": typ}
        return jwt.encode(body, signing_key.private_key, algorithm="ES256", headers=headers)

    def client(self, role="", *, timeout=60, **claims):
        """An HTTP client who is somebody: see the module's head. Without a role or claims it is nobody. Close it."""
        client = httpx.Client(base_url=self.url, trust_env=False, timeout=timeout)
        if self.auth_manager != "authz":
            if role:
                client.headers["authorization"] = f"Bearer {self._log_in(role)}"
        elif role or claims:

            def identify(request):
                request.headers[assertion.HEADER] = self.mint(role, **claims)

            client.event_hooks["request"].append(identify)
        return client

    def _log_in(self, name):
        form = {"username": name, "password": name}
        answer = httpx.post(f"{self.url}/auth/token", json=form, trust_env=False, timeout=60)
        answer.raise_for_status()
        return answer.json()["access_token"]

    def _manager_options(self):
        passwords = self.folder / "passwords.json"
        path = [str(FAB)] if self.auth_manager == "fab" else []
        return {
            "PYTHONPATH": os.pathsep.join([*path, *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).strip(
                os.pathsep
            ),
            "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS[self.auth_manager],
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.task_logs),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{role}:{role}" for role in ROLES),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }

    def _start(self):
        self.publish()
        (self.folder / "passwords.json").write_text(json.dumps({role: role for role in ROLES}))
        if self._dags is None:
            self.home.prepare()
        else:
            dags = self.home.home / "dags"
            dags.mkdir(parents=True)
            for name, source in self._dags.items():
                (dags / f"{name}.py").write_text(source)
        database = self.home.home / "airflow.db"
        database.touch(mode=0o600)  # whoever runs tasks under another user id may not read it
        new_database(database, self.auth_manager, lambda: self.run("db", "migrate"))
        for component in self._components:
            command = self.home.command(component)
            self.running[component] = self.children.start(component, command, self.environment)
        self.run("dags", "reserialize")
        if "api-server" in self._components:
            with self.client() as client:
                self.children.wait("the API server", lambda: _answers(client, HEALTH), STARTS_S)


def _answers(client, path):
    try:
        return client.get(path).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
