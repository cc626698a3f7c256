"""The sales team's DAG of the demo: the service account `sales-etl` may trigger it."""

from datetime import UTC, datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, tags=["demo", "sales"])
def sales_daily() -> None:
    """Add up a day's sales."""

    @task
    def total() -> int:
        return sum((19, 21, 2))

    total()


sales_daily()
