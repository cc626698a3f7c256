"""`narrowed` on the running Airflow: who may use `alpha_*` alone sees nothing of a DAG `beta_…`, nor changes it.

Law: each route that the catalogue calls narrowed stands here with requests, and no other does. A request that shows
something must name a DAG of alpha's, so that an empty answer proves nothing by accident; a request that names beta's in
its body, query or path is refused and leaves beta's rows as they were.
"""

import sqlite3
from contextlib import closing

import pytest

from authz.core import catalogue
from tests.support.sites.airflow import AirflowSite

pytestmark = pytest.mark.timeout(240)
DAGS = ("alpha_one", "beta_one", "alpha_user", "beta_user", "alpha_maker", "beta_maker")
SOURCE = """
from datetime import UTC, datetime
from airflow.sdk import DAG, Asset
from airflow.providers.standard.operators.empty import EmptyOperator

start = datetime(2026, 1, 1, tzinfo=UTC)
team = {team!r}
with DAG(team + "_one", schedule="@daily", start_date=start, catchup=False, tags=["tag_" + team]):
    EmptyOperator(task_id="task")
with DAG(team + "_maker", schedule=None, start_date=start):
    EmptyOperator(task_id="task", outlets=[Asset(team + "_asset")])
with DAG(team + "_user", schedule=[Asset("ledger"), Asset("never")], start_date=start):
    EmptyOperator(task_id="task")
"""
DAYS = {"from_date": "2026-02-01T00:00:00Z", "to_date": "2026-02-02T00:00:00Z"}
RUN = "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}"
TASKS = f"{RUN}/taskInstances"
ANY_TASKS = "/api/v2/dags/~/dagRuns/~/taskInstances"


def runs(*teams):
    return [{"dag_id": f"{team}_one", "dag_run_id": f"run_{team}", "note": "changed"} for team in teams]


def tasks(*teams):
    return [{**run, "task_id": "task", "new_state": "failed"} for run in runs(*teams)]


def update(entities):
    return {"actions": [{"action": "update", "entities": entities}]}


# What shows something of alpha's. `{asset}` and the like come from the site.
SHOWN = {
    "GET /ui/dags": "/ui/dags?limit=100",
    "GET /ui/dependencies": "/ui/dependencies",
    "GET /ui/backfills": "/ui/backfills",
    "GET /api/v2/assets/{asset_id}/queuedEvents": "/api/v2/assets/{ledger}/queuedEvents",
    "GET /api/v2/backfills": "/api/v2/backfills?dag_id=alpha_one",
    "GET /api/v2/backfills/{backfill_id}": "/api/v2/backfills/{alpha_backfill}",
    "GET /api/v2/dagStats": "/api/v2/dagStats",
    "GET /api/v2/dagWarnings": "/api/v2/dagWarnings",
    "GET /api/v2/dagTags": "/api/v2/dagTags",
    "GET /api/v2/dags": "/api/v2/dags?limit=100",
    "GET /api/v2/dags/{dag_id}/dagRuns": "/api/v2/dags/~/dagRuns",
    "GET /api/v2/dags/{dag_id}/dagVersions": "/api/v2/dags/~/dagVersions",
    f"GET {TASKS}": ANY_TASKS,
    f"GET {TASKS}/{{task_id}}/xcomEntries": f"{ANY_TASKS}/~/xcomEntries",
}
LISTED_BY_POST = {
    "POST /api/v2/dags/{dag_id}/dagRuns/list": "/api/v2/dags/~/dagRuns/list",
    f"POST {TASKS}/list": f"{ANY_TASKS}/list",
}
# What shows numbers, or nothing in this world: it must not name beta's.
SILENT = {
    "GET /ui/structure/structure_data": "/ui/structure/structure_data?dag_id=alpha_user&external_dependencies=true",
    "GET /ui/partitioned_dag_runs": "/ui/partitioned_dag_runs",
    "GET /ui/dashboard/dag_stats": "/ui/dashboard/dag_stats",
    "GET /ui/dashboard/historical_metrics_data": "/ui/dashboard/historical_metrics_data?start_date=2020-01-01T00:00Z",
    "GET /ui/dags/{dag_id}/dagRuns/{dag_run_id}/deadlines": "/ui/dags/~/dagRuns/~/deadlines",
    f"GET {RUN}/hitlDetails": "/api/v2/dags/~/dagRuns/~/hitlDetails",
}
# What names a DAG of beta's: route, request, body.
REFUSED = [
    ("GET /api/v2/backfills", "/api/v2/backfills?dag_id=beta_one", None),
    ("GET /api/v2/backfills", "/api/v2/backfills?dag_id=beta_one", {"dag_id": "alpha_one"}),
    ("GET /api/v2/backfills/{backfill_id}", "/api/v2/backfills/{beta_backfill}", None),
    ("PUT /api/v2/backfills/{backfill_id}/pause", "/api/v2/backfills/{beta_backfill}/pause", None),
    ("PUT /api/v2/backfills/{backfill_id}/unpause", "/api/v2/backfills/{beta_backfill}/unpause", None),
    ("PUT /api/v2/backfills/{backfill_id}/cancel", "/api/v2/backfills/{beta_backfill}/cancel", None),
    (
        "PUT /api/v2/backfills/{backfill_id}/cancel",
        "/api/v2/backfills/{beta_backfill}.0/cancel",
        {"dag_id": "alpha_one"},
    ),
    ("POST /api/v2/backfills", "/api/v2/backfills?dag_id=alpha_one", {"dag_id": "beta_one", **DAYS}),
    ("POST /api/v2/backfills/dry_run", "/api/v2/backfills/dry_run?dag_id=alpha_one", {"dag_id": "beta_one", **DAYS}),
    ("GET /ui/structure/structure_data", "/ui/structure/structure_data?dag_id=beta_one", None),
    ("GET /api/v2/dags/{dag_id}/dagVersions", "/api/v2/dags/beta_one/dagVersions", None),
    ("PATCH /api/v2/dags/{dag_id}/dagRuns", "/api/v2/dags/~/dagRuns", update(runs("alpha", "beta"))),
    ("PATCH /api/v2/dags/{dag_id}/dagRuns", "/api/v2/dags/alpha_one/dagRuns", update(runs("beta"))),
    (f"PATCH {TASKS}", ANY_TASKS, update(tasks("beta"))),
    (f"PATCH {TASKS}", "/api/v2/dags/alpha_one/dagRuns/run_alpha/taskInstances", update(tasks("beta"))),
    (
        "POST /api/v2/dags/{dag_id}/clearDagRuns",
        "/api/v2/dags/alpha_one/clearDagRuns",
        {"dry_run": False, "dag_runs": [{"dag_id": "beta_one", "dag_run_id": "run_beta"}]},
    ),
    ("POST /api/v2/assets/{asset_id}/materialize", "/api/v2/assets/{beta_asset}/materialize", {}),
    ("PUT /api/v2/parseDagFile/{file_token}", "/api/v2/parseDagFile/{beta_token}", None),
]
# What does something to all DAGs that it finds: it finds alpha's alone.
DONE = [
    ("PATCH /api/v2/dags", "/api/v2/dags?dag_id_pattern=%25", {"is_paused": True}),
    ("DELETE /api/v2/assets/{asset_id}/queuedEvents", "/api/v2/assets/{ledger}/queuedEvents", None),
    ("PATCH /api/v2/dags/{dag_id}/dagRuns", "/api/v2/dags/~/dagRuns", update(runs("alpha"))),
    ("POST /api/v2/assets/{asset_id}/materialize", "/api/v2/assets/{alpha_asset}/materialize", {}),
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The site, and the ids of what is in it."""
    files = {team: SOURCE.format(team=team) for team in ("alpha", "beta")}
    with AirflowSite(tmp_path_factory.mktemp("airflow"), dags=files) as site, site.client("admin") as admin:
        ids = {}
        for team in ("alpha", "beta"):
            run = f"/api/v2/dags/{team}_one/dagRuns"
            made(admin.post(run, json={"logical_date": None, "dag_run_id": f"run_{team}"}))
            xcoms = f"{run}/run_{team}/taskInstances/task/xcomEntries"
            made(admin.post(xcoms, json={"key": f"key_{team}", "value": "x"}))
            backfill = admin.post("/api/v2/backfills", json={"dag_id": f"{team}_one", **DAYS})
            ids[f"{team}_backfill"] = made(backfill)["id"]
            ids[f"{team}_token"] = made(admin.get(f"/api/v2/dags/{team}_one"))["file_token"]
        assets = {asset["name"]: asset["id"] for asset in made(admin.get("/api/v2/assets"))["assets"]}
        ids |= {name: assets[name] for name in ("ledger", "alpha_asset", "beta_asset")}
        made(admin.post("/api/v2/assets/events", json={"asset_id": ids["ledger"]}))
        with closing(database(site)) as connection, connection:
            connection.executemany(
                "insert into dag_warning (dag_id, warning_type, message, timestamp) values (?, ?, ?, ?)",
                [(dag, "non-existent pool", "x", "2026-01-01 00:00:00+00:00") for dag in DAGS],
            )
        yield site, ids


@pytest.fixture
def alpha(world):
    """Somebody who may do everything, to alpha's DAGs alone."""
    with world[0].client("admin", dags=["alpha_*"]) as client:
        yield client


def made(answer):
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def database(site):
    return sqlite3.connect(site.home.home / "airflow.db", timeout=30)


def rows(site, team):
    """All that the requests here could change of one team's DAGs."""
    queries = (
        "select dag_id, is_paused from dag where dag_id like ?",
        "select dag_id, run_id, state, clear_number from dag_run where dag_id like ?",
        "select dag_id, content from dag_run join dag_run_note on dag_run.id = dag_run_id where dag_id like ?",
        "select dag_id, run_id, state from task_instance where dag_id like ?",
        "select dag_id, is_paused, completed_at from backfill where dag_id like ?",
        "select target_dag_id, asset_id from asset_dag_run_queue where target_dag_id like ?",
        "select relative_fileloc, bundle_name from dag_priority_parsing_request where relative_fileloc like ?",
    )
    with closing(database(site)) as connection:
        return [sorted(connection.execute(query, [f"{team}%"]).fetchall()) for query in queries]


def filled(target, ids):
    for name, value in ids.items():
        target = target.replace(f"{{{name}}}", str(value))
    return target


def test_every_narrowed_route_stands_here_and_no_other():
    known = catalogue.load("3.3")
    narrowed = set()
    for operation in known.operations.values():
        for route in operation.routes:
            sample = tuple("~" if part == "{dag_id}" else part.strip("{}") for part in route.template[1:].split("/"))
            if known.match(sample, route.method).narrowed:
                narrowed.add(f"{route.method} {route.template}")
    here = {*SHOWN, *LISTED_BY_POST, *SILENT, *(row[0] for row in REFUSED), *(row[0] for row in DONE)}
    assert here == narrowed


@pytest.mark.parametrize("route", [*SHOWN, *LISTED_BY_POST])
def test_what_is_shown_is_alphas(route, world, alpha):
    target = filled({**SHOWN, **LISTED_BY_POST}[route], world[1])
    answer = alpha.request(route.split()[0], target, json={} if route in LISTED_BY_POST else None)
    assert answer.status_code == 200, answer.text
    assert "alpha" in answer.text
    assert "beta" not in answer.text


@pytest.mark.parametrize("route", SILENT)
def test_what_counts_does_not_name_or_count_betas(route, world, alpha):
    answer = alpha.get(SILENT[route])
    assert answer.status_code == 200, answer.text
    assert "beta" not in answer.text
    if route.endswith("dag_stats"):
        assert answer.json()["active_dag_count"] == 3
    if route.endswith("historical_metrics_data"):
        with world[0].client("admin") as admin:
            everything = sum(admin.get(SILENT[route]).json()["dag_run_states"].values())
        assert 0 < 2 * sum(answer.json()["dag_run_states"].values()) == everything


@pytest.mark.parametrize(("route", "target", "body"), REFUSED)
def test_what_names_betas_is_refused_and_changes_nothing(route, target, body, world, alpha):
    site, ids = world
    before = rows(site, "beta")
    answer = alpha.request(route.split()[0], filled(target, ids), json=body)
    bulk = route.startswith("PATCH") and answer.status_code == 200
    assert answer.status_code in {400, 403, 404, 422} or (bulk and answer.json()["update"]["errors"]), answer.text
    assert rows(site, "beta") == before


@pytest.mark.parametrize(("route", "target", "body"), DONE)
def test_what_is_done_to_all_is_done_to_alphas(route, target, body, world, alpha):
    site, ids = world
    betas, alphas = rows(site, "beta"), rows(site, "alpha")
    answer = alpha.request(route.split()[0], filled(target, ids), json=body)
    assert answer.status_code in {200, 204}, answer.text
    assert "beta" not in answer.text
    assert rows(site, "beta") == betas
    assert rows(site, "alpha") != alphas
