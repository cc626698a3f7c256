"""A real Airflow behind each front: whom it takes a caller for, and what it is never asked."""

import json

import pytest

from authz.core import assertion
from authz.core.edge import DECISION
from demo.fronts import STARTS
from tests.e2e.front_site import FrontSite
from tests.e2e.servlet_site import ServletSite
from tests.support.sites.airflow import AirflowSite, empty_dags

pytestmark = pytest.mark.e2e
DAGS = "/api/v2/dags"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    with AirflowSite(tmp_path_factory.mktemp("airflow"), dags={"sales": empty_dags("sales_one", "sales_two")}) as site:
        yield site


@pytest.mark.parametrize("name", sorted(STARTS))
def test_airflow_takes_the_caller_for_whom_the_gate_does(airflow, idp, tmp_path, name):
    with (
        FrontSite(tmp_path, idp, name, airflow_at=f"127.0.0.1:{airflow.port}", audience="narrows_dags: true") as site,
    ):
        airflow.publish(assertion.load_signing_key((site.gate.folder / "assertion.pem").read_bytes()))
        reader, op = site.bearer("data-readers"), site.bearer("data-ops")
        listed = site.get(DAGS, reader)
        assert (listed.status, json.loads(listed.body)["total_entries"]) == (200, 2)
        assert site.get("/api/v2/monitor/health").status == 200
        body = b'{"logical_date": null}'
        asked = [site.get(f"{DAGS}/sales_one/dagRuns", one, "Content-Type: application/json", method="POST", body=body)
                 for one in (reader, op)]  # fmt: skip
        assert [one.status for one in asked] == [403, 200]
        assert json.loads(asked[1].body)["triggering_user_name"] == "ann"
        assert site.record(asked[0].header(DECISION))["decision"] == "deny"
        run = json.loads(asked[1].body)["dag_run_id"].replace(":", "%3A").replace("+", "%2B")
        assert site.get(f"{DAGS}/sales_one/dagRuns/{run}", op).status == 200
        forged = [f"X-Authz-Assertion: {airflow.mint('admin')}", "X_Authz_Assertion: a", "X-Authz-User: root"]
        assert site.get("/api/v2/connections", reader, *forged).status == 403
        assert site.get(DAGS, *forged).status == 401
        assert site.get(f"{DAGS}%2Fsales_one%2FdagRuns", reader).status == (400 if name == "jetty" else 200)
        assert site.get("/api/v2%2Fconnections", reader).status == (400 if name == "jetty" else 403)


def test_an_applications_own_endpoint_triggers_a_run_that_airflow_knows_as_the_callers(airflow, idp, tmp_path):
    """The servlet of `deploy/fronts/jetty/example`, behind the filter: it passes the assertion on."""
    options = {"airflow_at": f"127.0.0.1:{airflow.port}", "audience": "narrows_dags: true"}
    with ServletSite(tmp_path, idp, "JettyMain", **options) as site:
        airflow.publish(assertion.load_signing_key((site.gate.folder / "assertion.pem").read_bytes()))
        forged = f"X-Authz-Assertion: {airflow.mint('admin')}"
        answer = site.get("/trigger/sales_two", site.bearer("data-ops"), forged, method="POST")
        assert (answer.status, json.loads(answer.body)["triggering_user_name"]) == (200, "ann")
        record = site.record(answer.header(DECISION))
        assert (record["subject"], record["path"]) == ("id-ann", "/trigger/sales_two")
        assert site.get("/trigger/sales_two", site.bearer("data-readers"), forged, method="POST").status == 403
