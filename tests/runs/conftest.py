"""One Airflow for all of these tests: its tasks run under another user id by Celery, or beside the scheduler if a task
asks for `LocalExecutor`. Their way to the execution API and out leads through Envoy and the gate."""

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from demo.entry_points import write_metadata
from tests.runs.dags import DAGS, HELD
from tests.runs.held import Held
from tests.runs.outbound import Outbound
from tests.runs.puppets import Puppets
from tests.support.factories.task_keys import TaskKeys
from tests.support.sites.airflow import AirflowSite
from tests.support.sites.celery_worker import CeleryWorker, Redis, needs_other_user
from tests.support.sites.dag_runs import DagRun
from tests.support.sites.other_user import OtherUser

LONG_S = 3000  # longer than all of these tests


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What runs, and who may know what: `user` runs tasks, `keys` is what it may not read."""

    folder: Path
    site: AirflowSite
    user: OtherUser
    keys: TaskKeys
    redis: Redis
    worker: CeleryWorker
    way: Outbound
    puppets: Puppets
    client: httpx.Client  # an administrator of Airflow

    def trigger(self, dag_id):
        return DagRun(self.site, self.client, dag_id, self.puppets.conf)

    def hold(self, *names, **more):
        """A task that runs, with its tokens."""
        return Held(self.puppets.get(*names, **more), self.way)


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
    """The worker starts while the database is made: on a quiet machine neither waits for the other."""
    with contextlib.ExitStack() as starting:
        keys = starting.enter_context(TaskKeys(folder))
        redis = starting.enter_context(Redis(folder))
        puppets = starting.enter_context(Puppets())
        installed = write_metadata(folder / "installed")
        user = OtherUser(folder, [installed])
        path = os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        options = keys.options() | redis.options() | {"PYTHONPATH": path}
        site = AirflowSite(folder, dags=DAGS, components=("api-server", "scheduler", "triggerer"), options=options)
        way = Outbound(folder / "way", site, keys)
        account = folder / "service-account.jwt"
        account.touch(mode=0o600)
        account.write_text(way.service_token(exp=int(time.time()) + LONG_S))
        site.environment["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] = way.execution
        site.environment["AIRFLOW__AUTHZ__EGRESS_TOKEN_FILE"] = str(account)  # the triggerer has no task tokens
        told = {
            "AIRFLOW__AUTHZ__EGRESS_PROXY": way.proxy,
            "ORDERS_URL": way.orders,
            "SECURE_URL": way.tunnelled,
            "CA": str(way.authority.ca),
        }
        starting.enter_context(way)
        worker = starting.enter_context(CeleryWorker(site, redis, user, execution=way.execution, options=told))
        starting.enter_context(site)
        worker.wait()
        client = starting.enter_context(site.client("admin"))
        ground = Ground(
            folder=folder,
            site=site,
            user=user,
            keys=keys,
            redis=redis,
            worker=worker,
            way=way,
            puppets=puppets,
            client=client,
        )
        orders = {"connection_id": "orders", "conn_type": "authz-http", "host": way.orders}
        answer = client.post("/api/v2/connections", json=orders)
        assert answer.status_code == 201, answer.text
        for dag_id in HELD:
            ground.trigger(dag_id)
        yield ground


@pytest.fixture
def way(ground):
    ground.way.reset()
    return ground.way


@pytest.fixture(scope="package")
def extract(ground):
    """A task that may read orders."""
    return ground.hold("sales_daily", "extract_orders")


@pytest.fixture(scope="package")
def load(ground):
    """Another task of the same run."""
    return ground.hold("sales_daily", "load")


@pytest.fixture(scope="package")
def mapped(ground):
    """The two instances of a mapped task of the same run."""
    return [ground.hold("sales_daily", "extract_mapped", map_index=index) for index in (0, 1)]


@pytest.fixture(scope="package")
def finance(ground):
    """A task of another DAG, with the same task id as `extract`."""
    return ground.hold("finance_close", "extract_orders")


@pytest.fixture(scope="package")
def local(ground):
    """A task that runs beside the scheduler, as the scheduler's user."""
    return ground.hold("local", "reads_keys")
