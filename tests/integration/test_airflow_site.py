"""The Airflow that other tests run on: with another auth manager, DAGs of the test's own, two workers, a scheduler."""

import pytest

from tests.airflow_site import AirflowSite, empty_dags

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_simple_users_log_in_and_a_run_of_our_own_dag_succeeds(tmp_path):
    dags = {"mine": empty_dags("sales_a", "finance_b")}
    site = AirflowSite(
        tmp_path, dags=dags, auth_manager="simple", workers=2, components=("api-server", "scheduler", "dag-processor")
    )
    with site, site.client("user") as user, site.client("viewer") as viewer, site.client() as nobody:
        listed = viewer.get("/api/v2/dags").json()["dags"]
        assert {dag["dag_id"]: [tag["name"] for tag in dag["tags"]] for dag in listed} == {
            "sales_a": ["team:sales"],
            "finance_b": ["team:finance"],
        }
        assert nobody.get("/api/v2/dags").status_code == 401
        runs = "/api/v2/dags/sales_a/dagRuns"
        assert viewer.post(runs, json={"logical_date": None}).status_code == 403
        assert user.post(runs, json={"logical_date": None}).status_code == 200
        site.children.wait("the run", lambda: user.get(runs).json()["dag_runs"][0]["state"] == "success", 60)
