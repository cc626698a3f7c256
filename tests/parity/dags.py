"""The DAGs of the person that the file is named for: to run, to wait for assets, to backfill and to delete."""

from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, TaskGroup, task

START = datetime(2026, 1, 1, tzinfo=UTC)


@task
def show(number):
    """One of several."""
    return number


person = Path(__file__).stem  # everyone has a file of their own
assets = [Asset(name=f"{name}_{person}", uri=f"parity://{person}/{name}") for name in ("there", "gone", "waited")]
with DAG(f"parity_{person}", schedule="@daily", start_date=START, catchup=False):
    EmptyOperator(task_id="only", outlets=assets)
    show.override(task_id="mapped").expand(number=[1, 2])
    with TaskGroup("group"):
        EmptyOperator(task_id="inner")
for name in ("waits", "waits_too"):
    with DAG(f"parity_{person}_{name}", schedule=assets, start_date=START):
        EmptyOperator(task_id="only")
for name in ("spare", "gone"):
    with DAG(f"parity_{person}_{name}", schedule="@daily", start_date=START, catchup=False):
        EmptyOperator(task_id="only")
