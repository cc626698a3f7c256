"""The DAGs of these tests. Most tasks are puppets; see `puppet.py`."""

from pathlib import Path

HEAD = """
from datetime import UTC, datetime, timedelta
from airflow.sdk import DAG, task
from puppet import puppet

START = datetime(2026, 1, 1, tzinfo=UTC)
"""
PUPPETS = f"""{HEAD}
with DAG("sales_daily", schedule=None, start_date=START):
    for name in ("extract_orders", "load"):
        task(puppet, task_id=name)()

with DAG("finance_close", schedule=None, start_date=START):
    task(puppet, task_id="extract_orders")()

with DAG("local", schedule=None, start_date=START):
    task(puppet, task_id="reads_keys", executor="LocalExecutor")()
"""
THREE = f"""{HEAD}
import os

def add(number):
    return number + 1

def user(number):
    return [number, os.getuid()]

with DAG("three", schedule=None, start_date=START):
    user_of = task(user)
    user_of(task(add, task_id="second")(task(add, task_id="first")(0)))
"""
DAGS = {"puppet": (Path(__file__).parent / "puppet.py").read_text(), "puppets": PUPPETS, "three": THREE}
