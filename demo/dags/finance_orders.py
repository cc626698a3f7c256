"""The finance team's DAG, which makes the same call as `sales_orders`: it may not, until the policy says so."""

from datetime import UTC, datetime

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import dag


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, tags=["demo", "finance"])
def finance_orders() -> None:
    """Read an order."""
    HttpOperator(task_id="read", http_conn_id="orders", method="GET", endpoint="v1/orders/7", log_response=True)


finance_orders()
