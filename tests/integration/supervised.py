"""Runs tasks under Airflow's real supervisor, one after another, and says how each ended. Run by the worker's Python.

    python supervised.py '{"server": …, "token": …, "logs": …, "tasks": [{"id": …, "task_id": …}]}'

A file of its own without imports of ours: the worker may be another Airflow than that of the tests.
"""

import contextlib
import importlib
import json
import sys
import uuid
from pathlib import Path

from airflow.executors.workloads import BundleInfo
from airflow.sdk.api.datamodels._generated import TaskInstance
from airflow.sdk.execution_time import supervisor

# Tasks are forked from here: what they all import is imported once.
for name in (
    "aiohttp",
    "airflow.dag_processing.dagbag",
    "airflow.providers.http.sensors.http",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.operators.bash",
    "airflow.sdk.execution_time.task_runner",
):
    with contextlib.suppress(ModuleNotFoundError):  # 3.1 has it elsewhere
        importlib.import_module(name)


def run(order, asked):
    """One try of one task. Its exit code is told, and its log is below `logs`."""
    supervise = getattr(supervisor, "supervise_task", None) or supervisor.supervise
    instance = TaskInstance(
        id=uuid.UUID(asked["id"]),
        task_id=asked["task_id"],
        dag_id="sales_daily",
        run_id="manual__1",
        try_number=asked.get("try_number", 1),
        map_index=asked.get("map_index", -1),
        dag_version_id=uuid.uuid4(),
    )
    return supervise(
        ti=instance,
        bundle_info=BundleInfo(name="dags-folder"),
        dag_rel_path="calls.py",
        token=order["token"],
        server=order["server"],
        log_path=str(Path(order["logs"]) / f"{asked['task_id']}.log"),
    )


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    done = {asked["task_id"]: run(order, asked) for asked in order["tasks"]}
    sys.stdout.write("\n" + json.dumps(done) + "\n")
