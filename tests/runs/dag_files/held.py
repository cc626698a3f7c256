"""DAGs whose tasks are puppets."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task
from puppet import puppet

START = datetime(2026, 1, 1, tzinfo=UTC)

with DAG("sales_daily", schedule=None, start_date=START):
    for name in ("extract_orders", "load"):
        task(puppet, task_id=name)()
    task(puppet, task_id="extract_mapped").partial().expand(number=[0, 1])

with DAG("finance_close", schedule=None, start_date=START):
    task(puppet, task_id="extract_orders")()

with DAG("local", schedule=None, start_date=START):
    task(puppet, task_id="reads_keys", executor="LocalExecutor")()

with DAG("sales_short", schedule=None, start_date=START):
    task(puppet, task_id="extract_again", retries=1, retry_delay=timedelta(0))()
