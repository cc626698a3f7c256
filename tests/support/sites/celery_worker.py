"""Tasks that run as somebody else: Debian's Redis as broker, and a Celery worker under another user id.

    with Redis(folder) as redis:
        site = AirflowSite(folder, options=keys.options() | redis.options(), components=(..., "scheduler"))
        with CeleryWorker(site, redis, OtherUser(folder)) as worker, site:    both start at once
            worker.wait()

The worker has Airflow's code, the DAGs, the broker and the URL of the execution API, and no secret that mints tokens:
neither the signing key nor the database. What it can do nevertheless, being who consumes the broker's messages, is
part of what is tested.
"""

import os
import shutil
import socket
from pathlib import Path

from demo.children import Children
from tests.support.missing import skip_or_fail
from tests.support.ports import free_port

EXECUTORS = "CeleryExecutor,LocalExecutor"  # the first is for tasks that do not say
STARTS_S = 180  # on a busy machine
STOPS_S = 1.0  # the tests are over: a worker that waits for its tasks is not waited for
SLOTS = 10
NO_DATABASE = "sqlite:////nonexistent/airflow.db"


def needs_other_user():
    """Skips, visibly, where no other user or no Redis can be had; in CI that is a failure."""
    missing = [
        *(["root"] if os.geteuid() != 0 else []),
        *(["redis-server: run scripts/system-packages"] if shutil.which("redis-server") is None else []),
    ]
    if missing:
        skip_or_fail(f"needs {', '.join(missing)}")


class Redis:
    """A redis-server of the test's own, in memory alone."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._children = Children(folder / "logs")

    def __enter__(self):
        self._children.__enter__()
        flags = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        command = ["redis-server", *flags, "--save", "", "--appendonly", "no"]
        self._children.start("redis", command, {"PATH": os.environ["PATH"]})
        self._children.wait("Redis", self._answers, STARTS_S)
        return self

    def __exit__(self, *_error):
        self._children.stop()

    def options(self):
        """What Airflow's components are told of it. Results come here too, so that no worker needs a database."""
        return {
            "AIRFLOW__CORE__EXECUTOR": EXECUTORS,
            "AIRFLOW__CELERY__BROKER_URL": self.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": self.url,
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS),
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": str(STARTS_S),  # a busy machine is no reason for a task to fail
            "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
        }

    def _answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class CeleryWorker:
    """A worker of the site's under another user id.

    Args:
        site: an `AirflowSite` with `Redis.options()`.
        redis: the broker.
        user: an `OtherUser`.
        execution: URL of the execution API, as the worker is told.
        options: more environment variables.
    """

    def __init__(self, site, redis, user, *, execution=None, options=None):
        self.user = user
        self.logs = site.task_logs
        home = user.folder / "airflow"
        self.environment = {
            **user.environment,
            **redis.options(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(site.home.home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": execution or f"{site.url}/execution/",
            "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": "true",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": NO_DATABASE,
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.logs),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **(options or {}),
        }
        self._children = Children(site.folder / "logs", stop_timeout_s=STOPS_S)

    def __enter__(self):
        self._children.__enter__()
        self.logs.mkdir(parents=True, exist_ok=True)
        os.chown(self.logs, self.user.uid, self.user.uid)
        flags = ["--skip-serve-logs", "--without-gossip", "--without-mingle"]
        command = [str(self.user.python), "-m", "airflow", "celery", "worker", *flags]
        self.child = self._children.start(
            "celery-worker", command, self.environment, user=self.user.uid, folder=self.user.folder
        )
        return self

    def wait(self):
        """Until it takes tasks."""
        self._children.wait("the worker", lambda: "ready." in self.log, STARTS_S)

    def __exit__(self, *_error):
        self._children.stop()

    @property
    def log(self):
        return self.child.log.read_text()
