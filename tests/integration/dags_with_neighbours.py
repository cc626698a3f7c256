"""DAGs of several teams that know each other, with something in every table, for tests of who sees which.

No id is a part of another one, so that a text either names a DAG or does not.
"""

import sqlite3
from contextlib import closing

TEAMS = ("sales", "finance", "ops")
ANIMALS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
DAG_IDS = tuple(f"{team}_{animal}" for team in TEAMS for animal in ANIMALS)
BACKFILLED = ("sales_bee", "finance_cat", "ops_dog")

_HEAD = """
from datetime import UTC, datetime
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor

START = datetime(2026, 1, 1, tzinfo=UTC)
"""
_TEAM = """
for name in {names!r}:
    with DAG(name, schedule="@daily", start_date=START, catchup=False, tags=["tag_" + name]):
        EmptyOperator(task_id="task_" + name)
"""
_PRODUCER = """
with DAG("finance_ant", schedule=None, start_date=START, tags=["tag_finance_ant"]):
    EmptyOperator(task_id="task_finance_ant", outlets=[Asset("ledger")])
"""
_CONSUMER = """
with DAG("sales_ant", schedule=[Asset("ledger")], start_date=START, tags=["tag_sales_ant"]):
    EmptyOperator(task_id="task_sales_ant")
    TriggerDagRunOperator(task_id="start_other", trigger_dag_id="finance_bee")
    ExternalTaskSensor(task_id="wait_for_other", external_dag_id="ops_ant", external_task_id=None)
"""
_ALONE = {"finance_ant": _PRODUCER, "sales_ant": _CONSUMER}


def files():
    """The DAG folder: a file per team, and two DAGs that have an asset, a trigger and a sensor."""
    teams = {team: [dag for dag in DAG_IDS if dag.startswith(team) and dag not in _ALONE] for team in TEAMS}
    alone = {f"alone_{dag}": _HEAD + source for dag, source in _ALONE.items()}
    return {team: _HEAD + _TEAM.format(names=names) for team, names in teams.items()} | alone


def fill(site):
    """Give every DAG a run, an XCom, a warning, and lines in the event log; some of them a backfill."""
    with site.client("admin") as admin:
        for dag in DAG_IDS:
            run = f"/api/v2/dags/{dag}/dagRuns"
            _made(admin.post(run, json={"logical_date": None, "dag_run_id": f"run_{dag}"}))
            xcoms = f"{run}/run_{dag}/taskInstances/task_{dag}/xcomEntries"
            _made(admin.post(xcoms, json={"key": f"key_{dag}", "value": f"value_{dag}"}))
        days = {"from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"}
        for dag in BACKFILLED:
            _made(admin.post("/api/v2/backfills", json={"dag_id": dag, **days}))
    with closing(database(site)) as connection, connection:
        connection.executemany(
            "insert into dag_warning (dag_id, warning_type, message, timestamp) values (?, ?, ?, ?)",
            [(dag, "non-existent pool", f"warning_{dag}", "2026-01-01 00:00:00+00:00") for dag in DAG_IDS],
        )


def database(site):
    """The site's database, as it is behind Airflow's back."""
    return sqlite3.connect(site.home.home / "airflow.db", timeout=30)


def named(text):
    """The DAGs that a text names."""
    return {dag for dag in DAG_IDS if dag in text}


def _made(answer):
    assert answer.status_code in {200, 201}, answer.text
