"""The sales team's DAG that calls an internal API. It does not know the gate: the connection `orders` does.

The connection's type is `authz-http` and its host the gate's address for this destination. It holds no secret: the task
`what_it_has` prints all that it holds.
"""

from datetime import UTC, datetime

from airflow.providers.http.operators.http import HttpOperator
from airflow.sdk import Connection, dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, tags=["demo", "sales"])
def sales_orders() -> None:
    """Read an order."""
    HttpOperator(task_id="read", http_conn_id="orders", method="GET", endpoint="v1/orders/7", log_response=True)

    @task
    def what_it_has() -> None:
        orders = Connection.get("orders")
        print(f"host={orders.host!r} login={orders.login!r} password={orders.password!r} extra={orders.extra!r}")

    what_it_has()


sales_orders()
