"""The finance team's DAG of the demo: `sales-etl` may not trigger it, until the policy says so."""

from datetime import UTC, datetime

from airflow.sdk import dag, task


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, tags=["demo", "finance"])
def finance_close() -> None:
    """Close the month."""

    @task
    def close() -> str:
        return "closed"

    close()


finance_close()
