"""DAGs of several teams that know each other, for tests of who sees which: assets, triggers, sensors, import errors.

No id is a part of another one, so that a text either names a DAG or does not.
"""

TEAMS = ("sales", "finance", "ops")
ANIMALS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay")
DAG_IDS = tuple(f"{team}_{animal}" for team in TEAMS for animal in ANIMALS)

_MANY = """
from datetime import UTC, datetime
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator

for animal in {animals!r}:
    with DAG("{team}_" + animal, schedule="@daily", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False,
             tags=["tag_{team}_" + animal]):
        EmptyOperator(task_id="task_{team}_" + animal)
"""
_NEIGHBOURS = """
from datetime import UTC, datetime
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor

START = datetime(2026, 1, 1, tzinfo=UTC)
with DAG("finance_ant", schedule=None, start_date=START, tags=["tag_finance_ant"]):
    EmptyOperator(task_id="task_finance_ant", outlets=[Asset("ledger")])
"""
_CONSUMER = """
from datetime import UTC, datetime
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor

START = datetime(2026, 1, 1, tzinfo=UTC)
with DAG("sales_ant", schedule=[Asset("ledger")], start_date=START, tags=["tag_sales_ant"]):
    EmptyOperator(task_id="task_sales_ant")
    TriggerDagRunOperator(task_id="start_other", trigger_dag_id="finance_bee")
    ExternalTaskSensor(task_id="wait_for_other", external_dag_id="ops_ant", external_task_id=None)
"""


def files():
    """The DAG folder: a file per team, and two DAGs that have an asset, a trigger and a sensor in common."""
    return {
        "sales": _MANY.format(team="sales", animals=ANIMALS[1:]),
        "finance": _MANY.format(team="finance", animals=ANIMALS[1:]),
        "ops": _MANY.format(team="ops", animals=ANIMALS),
        "producer": _NEIGHBOURS,
        "consumer": _CONSUMER,
    }
