"""The sales team's DAG that goes too far: it may read orders, and tries to delete one."""

from datetime import UTC, datetime

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import dag


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, tags=["demo", "sales"])
def sales_cleanup() -> None:
    """Delete an order."""
    HttpOperator(task_id="delete", http_conn_id="orders", method="DELETE", endpoint="v1/orders/7", log_response=True)


sales_cleanup()
