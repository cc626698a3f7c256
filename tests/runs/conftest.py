"""One Airflow for all of these tests: its tasks run under another user id by Celery, or beside the scheduler if a task
asks for `LocalExecutor`."""

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.airflow_site import AirflowSite
from tests.celery_worker import CeleryWorker, Redis, needs_other_user
from tests.dag_runs import DagRun
from tests.other_user import OtherUser
from tests.runs.dags import DAGS
from tests.runs.puppets import Puppets
from tests.task_keys import TaskKeys


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What runs, and who may know what: `user` runs tasks, `keys` is what it may not read."""

    site: AirflowSite
    user: OtherUser
    keys: TaskKeys
    redis: Redis
    worker: CeleryWorker
    puppets: Puppets
    client: httpx.Client  # an administrator of Airflow

    def trigger(self, dag_id):
        return DagRun(self.site, self.client, dag_id, self.puppets.conf)


@pytest.fixture(scope="package")
def folder():
    """A folder that every user can reach: pytest's own are closed."""
    needs_other_user()
    folder = Path(tempfile.mkdtemp(prefix="runs-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="package")
def ground(folder):
    with contextlib.ExitStack() as starting:
        keys = starting.enter_context(TaskKeys(folder))
        redis = starting.enter_context(Redis(folder))
        puppets = starting.enter_context(Puppets())
        user = OtherUser(folder)
        options = keys.options() | redis.options()
        site = AirflowSite(folder, dags=DAGS, components=("api-server", "scheduler"), options=options)
        worker = starting.enter_context(CeleryWorker(site, redis, user))
        starting.enter_context(site)
        worker.wait()
        client = starting.enter_context(site.client("admin"))
        yield Ground(site=site, user=user, keys=keys, redis=redis, worker=worker, puppets=puppets, client=client)
