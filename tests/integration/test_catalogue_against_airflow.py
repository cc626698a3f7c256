"""Our catalogue against the real Airflow: raw bytes go through uvicorn's own protocol, then through Airflow's routes.

What uvicorn and Starlette choose is the truth. Proven here: for every catalogue route and every tricky path, our match
names the same template and DAG; no route of Airflow is forgotten; each operation's lowest role is the one that
Airflow's own checks ask for; and a route that reaches DAGs which its path does not name is marked so.
"""

import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from authz.core import catalogue
from authz.core.catalogue import ANY_DAG
from authz.core.errors import RequestError
from authz.core.request.path import canonicalise
from scripts import catalogue_walk
from tests.integration.tricky_paths import fill, targets
from tests.support.missing import skip_or_fail

if importlib.util.find_spec("airflow") is None:  # not imported yet: it would make itself a home
    pytest.skip("Airflow is not installed: make install", allow_module_level=True)
oracle = importlib.import_module("tests.integration.airflow_oracle")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # Airflow's, Starlette's and their plugins': not ours to mend
]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
CATCH_ALL = {"/{rest_of_path:path}", "/auth/{rest_of_path:path}"}  # the index pages of the UI and of the simple manager
# Routes that are there with some configurations only: FAB with other logins, our auth manager, plugins.
ELSEWHERE = ("/auth/login/{", "/auth/oauth-", "/auth/register", "/auth/gate", "/pluginsv2/")
# Airflow checks these inside the handler, as it checks a change of the connection (`get_connection_test` and its pair).
CHECKED_INSIDE = {("GET", "/api/v2/connections/enqueue-test"), ("POST", "/api/v2/connections/enqueue-test")}
# They reach DAGs although Airflow's declared checks do not say so: the handler finds the DAGs and checks.
REACHES_DAGS_INSIDE = {
    ("GET", "/api/v2/assets"),
    ("GET", "/api/v2/assets/{asset_id}"),
    ("GET", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/upstreamAssetEvents"),
    ("POST", "/api/v2/assets/events"),
    ("POST", "/api/v2/assets/{asset_id}/materialize"),
    ("GET", "/api/v2/importErrors"),
    ("GET", "/api/v2/importErrors/{import_error_id}"),
}
# Tabs of the UI's pages: their paths stand after the page's own.
PARTS_OF_PAGES = {
    "asset-state-store", "asset_events", "backfills", "calendar", "code", "details", "rendered_templates", "runs",
    "task-state-store", "tasks", "xcom",
}  # fmt: skip


AIRFLOW = importlib.metadata.version("apache-airflow")
ROOT = Path(__file__).parents[2]
FAB_PYTHON = ROOT / ".airflows" / AIRFLOW / "bin" / "python"


def need_fab():
    """Skip, visibly, where the Airflow with FAB is not installed; not on CI."""
    if not FAB_PYTHON.exists():
        skip_or_fail(f"Airflow with FAB is not installed: make .airflows/{AIRFLOW}/.installed")


@pytest.fixture(scope="module")
def airflow_app(tmp_path_factory):
    """The real API server's application, with the auth manager that starts cheapest."""
    settings = {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
        "AIRFLOW__API__SECRET_KEY": "0" * 32,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield importlib.import_module("airflow.api_fastapi.app").create_app("all")
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="module")
def ours():
    return catalogue.load("3.3")


def by_route(ours):
    """The operation of each method and template."""
    operations = ours.operations.values()
    return {(route.method, route.template): operation for operation in operations for route in operation.routes}


def shape(template):
    return re.sub(r"\{[a-z_]+(:path)?\}", r"{\1}", template)


def compare(ours, target, method, template, dag_id):
    """None when we agree with Airflow, which answers with `template` ("" for 404 and 405); else what differs."""
    route = ours.match(canonicalise(target).segments, method)
    if route is None:
        agreed = template in {"", *(record.template for record in ours.left_out if record.method == method)}
        return None if agreed else f"{method} {target}: no operation, Airflow {template}"
    agreed = shape(template) == shape(route.template)
    if route.operation == "ui:static":
        agreed = agreed or template.startswith(("/static/", "/auth/static/"))
    if not route.template.startswith(("/api/", "/ui/", "/auth/", "/execution")):  # a page of the UI: Airflow has one
        agreed = agreed or template in CATCH_ALL
        dag_id = route.dag_id
    if ours.operations[route.operation].never:  # what no wildcard grants may cover more than Airflow answers
        agreed = agreed or template.startswith("/auth/token/") or template in {"", *CATCH_ALL}
    if route.template.startswith(("/auth/", "/pluginsv2/")):  # each auth manager has only its own of these
        agreed = agreed or template in {"", *CATCH_ALL}
    if not agreed:
        return f"{method} {target}: {route.template}, Airflow {template or 404}"
    if route.dag_id not in {"", ANY_DAG} and route.dag_id != dag_id:
        return f"{method} {target}: DAG {route.dag_id!r}, Airflow {dag_id!r}"
    return None


@pytest.fixture(scope="module")
def judged(ours):
    """The tricky paths that we do not answer with 400; no other reaches Airflow."""
    return [target for target in targets(ours) if not refused(target)]


def refused(target):
    try:
        canonicalise(target)
    except RequestError:
        return True
    return False


def choices_here(airflow_app, judged):
    """Airflow's choices with the simple auth manager, in this process."""
    for scope in oracle.scopes("httptools", judged):
        choices = [oracle.choose(airflow_app, {**scope, "method": method}) for method in METHODS]
        yield [(choice.template, choice.parameters.get("dag_id", "")) for choice in choices]


def choices_with_fab(judged):
    """Airflow's choices with the FAB auth manager, in the environment that has it."""
    run = subprocess.run(
        [FAB_PYTHON, "-m", "tests.integration.airflow_choices", "fab"],
        input=json.dumps([judged, METHODS]), cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize("manager", ["simple", "fab"])
def test_every_tricky_path_means_the_same_to_airflow(manager, request, ours, judged):
    if manager == "fab":
        need_fab()
        chosen = choices_with_fab(judged)
    else:
        chosen = list(choices_here(request.getfixturevalue("airflow_app"), judged))
    differences, matched = [], set()
    for target, choices in zip(judged, chosen, strict=True):
        segments = canonicalise(target).segments
        for method, (template, dag_id) in zip(METHODS, choices, strict=True):
            differences.append(compare(ours, target, method, template, dag_id))
            route = ours.match(segments, method)
            if route is not None and (template or ours.operations[route.operation].never):
                matched.add((method, route.template))
    assert [difference for difference in differences if difference] == []
    unreached = {(method, template) for method, template in by_route(ours) if (method, template) not in matched}
    unreached = {template for _, template in unreached if not template.startswith(ELSEWHERE)}
    if manager == "simple":
        unreached = {template for template in unreached if not template.startswith("/auth/")}
    assert unreached == set(), "the corpus reaches every route of the catalogue"


@pytest.mark.parametrize("protocol", ["httptools", "h11"])
def test_uvicorn_decodes_as_we_do(judged, protocol):
    for target, scope in zip(judged, oracle.scopes(protocol, judged), strict=True):
        assert scope is not None, f"uvicorn refuses {target}, and we accept it"
        assert scope["path"] == "/" + "/".join(canonicalise(target).segments)


def test_what_we_refuse_includes_what_routes_astray(airflow_app):
    """The traps are real: Airflow answers each of these as another route than the text says; we answer 400."""
    traps = {
        "/api/v2/connections%0a": "/api/v2/connections",
        "/api/v2/dags%0A": "/api/v2/dags",
    }
    for (target, template), scope in zip(traps.items(), oracle.scopes("httptools", traps), strict=True):
        assert oracle.choose(airflow_app, scope).template == template
        assert refused(target)


def test_each_operation_names_the_lowest_role_that_airflow_asks_for(airflow_app, ours):
    operation_of = {
        (route.method, route.template): operation
        for operation in ours.operations.values()
        for route in operation.routes
    }
    wrong = []
    for method, route in oracle.api_routes(airflow_app):
        operation = operation_of.get((method, route.path))
        if operation is None or operation.never or (method, route.path) in CHECKED_INSIDE:
            continue
        asked = list(catalogue_walk.checks(route.dependant))
        lowest = next(
            role for role in ("viewer", "user", "op", "admin") if all(oracle.allows(role, *check) for check in asked)
        )
        if operation.airflow_role != lowest:
            wrong.append(
                f"{method} {route.path}: {operation.name} says {operation.airflow_role}, Airflow asks for {lowest}"
            )
        if operation.public and asked:
            wrong.append(f"{method} {route.path}: {operation.name} is public, Airflow asks who it is")
        if not operation.public and not asked:
            wrong.append(f"{method} {route.path}: {operation.name} is not public, Airflow answers it to anyone")
    assert wrong == []


def names_dags(schema, components, seen=frozenset()):
    """Whether a JSON schema has a member that names DAGs, at any depth."""
    if isinstance(schema, list):
        return any(names_dags(item, components, seen) for item in schema)
    if not isinstance(schema, dict):
        return False
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name not in seen and names_dags(components[name], components, seen | {name})
    if {"dag_id", "dag_ids"} & set(schema.get("properties", ())):
        return True
    return any(names_dags(value, components, seen) for value in schema.values())


def test_routes_that_reach_dags_beyond_their_path_are_marked(airflow_app, ours):
    """The "confused deputy": a bulk body names its own DAGs, whatever DAG the path names."""
    document = airflow_app.openapi()
    components = document["components"]["schemas"]
    wrong = []
    for method, route in oracle.api_routes(airflow_app):
        found = ours.match(tuple(fill(route.path, ["x"] * 9)[1:].split("/")), method)
        if found is None or found.template != route.path or ours.operations[found.operation].never:
            continue
        operation = document["paths"].get(route.path.replace(":path}", "}"), {}).get(method.lower(), {})
        body_names_dags = names_dags(operation.get("requestBody", {}), components)
        of_dags = any(
            "dag" in made_by or made_by in {"requires_access_backfill", "requires_access_event_log"}
            for made_by, _ in catalogue_walk.checks(route.dependant)
        )
        if body_names_dags or (method, route.path) in REACHES_DAGS_INSIDE or (of_dags and "{dag_id}" not in route.path):
            wanted = ANY_DAG
        else:
            wanted = "x" if "{dag_id}" in route.path else ""
        if found.dag_id != wanted:
            wrong.append(f"{method} {route.path}: DAG {found.dag_id!r}, should be {wanted!r}")
    assert wrong == []


def test_the_ui_has_no_page_that_the_catalogue_lacks(airflow_app, ours):
    """The index page loads the UI's router; a page that the router has and the catalogue lacks would answer 403."""
    bundles = (Path(importlib.import_module("airflow").__file__).parent / "ui" / "dist" / "assets").glob("index-*.js")
    pages = {page for bundle in bundles for page in re.findall(r"\bpath:`([a-z_-][^`$]*)`", bundle.read_text("utf-8"))}
    assert "dags" in pages
    for page in pages - PARTS_OF_PAGES:
        target = "/" + re.sub(r":[A-Za-z]+|\*", "x", page)
        assert ours.match(canonicalise(target).segments, "GET") is not None, page
