"""The ground that `verified` stands on: tasks run where they cannot read what mints tokens."""

import pytest

from tests.runs.puppets import TaskError
from tests.support.sites.other_user import UID

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

READ = "result = open(path, 'rb').read().decode('latin-1')"
CONFIGURED = """
from airflow.configuration import conf
result = {name: conf.get("api_auth", name, fallback=None) for name in ("jwt_private_key_path", "trusted_jwks_url")}
result["database"] = conf.get("database", "sql_alchemy_conn")
"""
ENVIRONMENTS = """
import pathlib
result = []
for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        result.append(process.joinpath("environ").read_bytes().decode("latin-1"))
    except OSError:
        pass
"""


def test_a_dag_of_three_tasks_runs_under_another_user(ground):
    run = ground.trigger("three")
    assert run.wait() == "success"
    assert run.xcom("user") == [2, UID]


def test_its_tasks_cannot_read_key_or_database(ground, finance):
    assert finance.puppet.uid == UID
    assert finance.puppet.do(READ, path=str(ground.site.home.home / "dags" / "three.py"))  # the folder is open to it
    for path in (ground.keys.file, ground.site.home.home / "airflow.db"):
        with pytest.raises(TaskError) as caught:
            finance.puppet.do(READ, path=str(path))
        assert caught.value.kind == "PermissionError"


def test_its_tasks_find_no_key_in_their_configuration_or_other_processes(ground, finance):
    told = finance.puppet.do(CONFIGURED)
    assert told["jwt_private_key_path"] is None
    assert told["trusted_jwks_url"] is None
    assert str(ground.site.home.home) not in told["database"]
    environments = "".join(finance.puppet.do(ENVIRONMENTS))
    assert "AIRFLOW__CELERY__BROKER_URL" in environments  # it does see those of its own user
    for secret in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY"):
        assert ground.site.environment[secret] not in environments
    assert str(ground.keys.file) not in environments


def test_beside_the_scheduler_a_task_reads_the_key(ground, local):
    """Which is why the level is `asserted` there."""
    assert local.puppet.uid != UID
    assert local.puppet.do(READ, path=str(ground.keys.file)).encode() == ground.keys.file.read_bytes()
