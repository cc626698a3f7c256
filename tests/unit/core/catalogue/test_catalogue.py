import copy
import re
from importlib.resources import files

import pytest

from authz.core import catalogue
from authz.core.catalogue import ANY_DAG, LeftOut, Route
from authz.core.catalogue.build import build, read
from authz.core.errors import ProblemsError
from authz.core.policy.operations import expand
from authz.core.request.path import canonicalise

NEWEST = catalogue.versions()[-1]
ROLES = ("viewer", "user", "op", "admin")

SMALL = {
    "version": "1.0",
    "operations": {
        "things:read": {"help": "Read things.", "airflow_role": "viewer"},
        "things:alter": {"help": "Change things.", "airflow_role": "user"},
        "keys:read": {"help": "Read keys.", "airflow_role": "op", "never": True},
    },
    "routes": [
        {"path": "/things", "methods": {"GET": "things:read"}, "dag": "~"},
        {"path": "/things/{dag_id}", "methods": {"GET": "things:read", "PUT": "things:alter"}},
        {"path": "/keys/{key:path}", "methods": {"GET": "keys:read"}},
    ],
}


@pytest.fixture(scope="module")
def airflow():
    return catalogue.load(NEWEST)


@pytest.mark.parametrize("version", catalogue.versions())
def test_an_answer_with_results_of_tasks_is_not_for_all_who_read_runs(version):
    """Airflow 3.1 asks for no right to XComs there; later ones ask the auth manager, for which the gate has decided."""
    route = catalogue.load(version).match(("api", "v2", "dags", "d", "dagRuns", "r", "wait"), "GET")
    assert (route.operation, route.dag_id) == ("xcoms:read", "d")


def changed(**changes):
    """SMALL with some values replaced: `routes__0__path="x"`."""
    data = copy.deepcopy(SMALL)
    for place, value in changes.items():
        *parents, last = [int(word) if word.isdigit() else word for word in place.split("__")]
        target = data
        for word in parents:
            target = target[word]
        if last == "append":
            target.append(value)
        else:
            target[last] = value
    return data


def ask(airflow, target, method="GET"):
    return airflow.match(canonicalise(target).segments, method)


def test_versions_and_loading():
    assert catalogue.versions() == ("3.1", "3.2", "3.3")
    assert [catalogue.load(version).version for version in catalogue.versions()] == ["3.1", "3.2", "3.3"]
    assert catalogue.load("3.3") is catalogue.load("3.3")
    assert catalogue.load("3.3").version == "3.3"
    for missing in ("2.10", "", "3.30", "../../etc/passwd"):
        with pytest.raises(KeyError):
            catalogue.load(missing)


def test_a_file_that_is_for_another_version_is_refused():
    with pytest.raises(ValueError, match=r"the catalogue for 3\.3 says that it is for 1\.0"):
        build(changed(), "3.3")


def test_a_file_with_a_key_twice_is_refused():
    content = files(catalogue).joinpath(f"airflow-{NEWEST}.yaml").read_bytes()
    assert read(content, "x.yaml", NEWEST).operations == catalogue.load(NEWEST).operations
    with pytest.raises(ProblemsError, match=r"x\.yaml"):
        read(content.replace(b"GET: dags:read", b"GET: dags:read, GET: dags:delete"), "x.yaml", NEWEST)


@pytest.mark.parametrize(
    ("request_line", "operation", "template", "dag_id"),
    [
        ("GET /api/v2/dags", "dags:read", "/api/v2/dags", ANY_DAG),
        ("HEAD /api/v2/dags", "dags:read", "/api/v2/dags", ANY_DAG),
        ("PATCH /api/v2/dags", "dags:update", "/api/v2/dags", ANY_DAG),
        ("GET /api/v2/dags/sales", "dags:read", "/api/v2/dags/{dag_id}", "sales"),
        ("DELETE /api/v2/dags/sales", "dags:delete", "/api/v2/dags/{dag_id}", "sales"),
        ("POST /api/v2/dags/sales/dagRuns", "dag_runs:create", "/api/v2/dags/{dag_id}/dagRuns", "sales"),
        ("GET /api/v2/dags/~/dagRuns", "dag_runs:read", "/api/v2/dags/{dag_id}/dagRuns", ANY_DAG),
        ("GET /api/v2/dags/%7E/dagRuns", "dag_runs:read", "/api/v2/dags/{dag_id}/dagRuns", ANY_DAG),
        # the body of a bulk request may name any DAG, whatever the path says
        ("PATCH /api/v2/dags/sales/dagRuns", "dag_runs:bulk", "/api/v2/dags/{dag_id}/dagRuns", ANY_DAG),
        ("POST /api/v2/dags/sales/clearDagRuns", "dag_runs:clear", "/api/v2/dags/{dag_id}/clearDagRuns", ANY_DAG),
        ("POST /api/v2/backfills", "backfills:create", "/api/v2/backfills", ANY_DAG),
        (
            "POST /api/v2/assets/7/materialize",
            "assets:materialize",
            "/api/v2/assets/{asset_id}/materialize",
            ANY_DAG,
        ),
        # a literal that stands later in Airflow loses against a parameter that stands earlier, per method
        ("GET /api/v2/dags/d/dagRuns/list", "dag_runs:read", "/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}", "d"),
        ("POST /api/v2/dags/d/dagRuns/list", "dag_runs:read", "/api/v2/dags/{dag_id}/dagRuns/list", ANY_DAG),
        ("GET /api/v2/connections/test", "connections:read", "/api/v2/connections/{connection_id}", ""),
        ("POST /api/v2/connections/test", "connections:test", "/api/v2/connections/test", ""),
        ("GET /api/v2/connections/enqueue-test", "connections:test", "/api/v2/connections/enqueue-test", ""),
        ("GET /api/v2/pools", "pools:read", "/api/v2/pools", ""),
        ("GET /api/v2/pools/", "pools:read", "/api/v2/pools/{pool_name:path}", ""),
        ("GET /api/v2/pools/a%2Fb", "pools:read", "/api/v2/pools/{pool_name:path}", ""),
        ("DELETE /api/v2/variables/a/b/c", "variables:delete", "/api/v2/variables/{variable_key:path}", ""),
        ("GET /api/v2/monitor/health", "health:read", "/api/v2/monitor/health", ""),
        ("GET /", "ui:pages", "/", ""),
        ("GET /dags", "ui:pages", "/dags", ""),
        ("GET /dags/sales", "dags:read", "/dags/{dag_id}", "sales"),
        ("GET /dags/sales/runs/x", "dags:read", "/dags/{dag_id}/{rest:path}", "sales"),
        ("GET /connections", "connections:read", "/connections", ""),
        ("GET /static/assets/index.js", "ui:static", "/static/{path:path}", ""),
        ("GET /auth/users/list/", "fab_users:read", "/auth/users/list/", ""),
        ("POST /auth/users/delete/7", "fab_users:delete", "/auth/users/delete/{pk}", ""),
        ("POST /auth/login/", "session:password", "/auth/login/", ""),
        ("POST /auth/api/v1/security/login", "tokens:create", "/auth/api/v1/security/login", ""),
        ("POST /pluginsv2/x/y", "plugins:use", "/pluginsv2/{path:path}", ANY_DAG),
        ("POST /auth/token", "tokens:create", "/auth/token", ""),
        ("GET /auth/token/login", "tokens:create", "/auth/token/{path:path}", ""),
        ("POST /ui/auth/token", "tokens:create", "/ui/auth/token", ""),
        ("PATCH /execution/task-instances/1/run", "execution:call", "/execution/{path:path}", ""),
    ],
)
def test_routes_of_airflow(airflow, request_line, operation, template, dag_id):
    method, target = request_line.split(" ")
    route = ask(airflow, target, method)
    assert (route.operation, route.template, route.dag_id) == (operation, template, dag_id)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/api"), ("GET", "/api/v2"), ("GET", "/api/v1/dags"), ("GET", "/health"), ("GET", "/api/v2/dags/"),
        ("GET", "/API/v2/dags"), ("GET", "/api/v2/Dags"), ("GET", "/api/v2/dags;x"),
        ("GET", "/api/v2/dags."), ("GET", "/api/v2/dagsX"), ("GET", "/api/v2/dags/sales/dagRuns/"), ("GET", "/dagsX/y"),
        ("POST", "/api/v2/dags"), ("OPTIONS", "/api/v2/dags"), ("DELETE", "/api/v2/dags"), ("POST", "/"),
        ("GET", "/auth/elsewhere"), ("POST", "/auth/login"), ("GET", "/execution"), ("GET", "/static"),
        ("GET", "/elsewhere"), ("GET", "/api/v2/dags%2F"), ("TRACE", "/api/v2/dags"), ("get", "/api/v2/dags"),
    ],
)  # fmt: skip
def test_what_has_no_operation(airflow, method, target):
    assert ask(airflow, target, method) is None


def test_operations_are_well_formed(airflow):
    for name, operation in airflow.operations.items():
        assert operation.name == name
        assert operation.airflow_role in ROLES
        assert operation.routes
        assert operation.help.endswith(".")
        assert operation.literal == all("{" not in route.template for route in operation.routes)
    assert airflow.operations["version:read"].literal
    assert not airflow.operations["dags:read"].literal


def test_the_lowest_role_of_some_operations(airflow):
    roles = {name: operation.airflow_role for name, operation in airflow.operations.items()}
    assert roles["dags:read"] == roles["pools:read"] == roles["xcoms:read"] == "viewer"
    assert roles["dag_runs:create"] == roles["task_instances:clear"] == roles["dags:delete"] == "user"
    assert roles["connections:read"] == roles["variables:read"] == roles["config:read"] == roles["pools:update"] == "op"
    assert roles["event_logs:read"] == "admin"


def expanded(airflow, word):
    return expand(word, airflow, never=False)


def test_no_wildcard_reaches_what_mints_tokens_or_the_execution_api(airflow):
    never = {"tokens:create", "execution:call"}
    assert {name for name, operation in airflow.operations.items() if operation.never} == never
    for wildcard in ("*", "*:*", "tokens:*", "*:create", "execution:*", "*:call"):
        assert not expanded(airflow, wildcard) & never
    assert expanded(airflow, "tokens:create") == {"tokens:create"}
    for path in (
        "/ui/auth/token",
        "/auth/token",
        "/auth/token/cli",
        "/auth/token/login",
        "/execution/x",
        "/execution/",
    ):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            route = ask(airflow, path, method)
            assert route is None or route.operation in never


def test_expanding(airflow):
    assert expanded(airflow, "*") == {name for name in airflow.operations if not airflow.operations[name].never}
    assert expanded(airflow, "dag_runs:*") == {name for name in airflow.operations if name.startswith("dag_runs:")}
    assert "connections:read" in expanded(airflow, "*:read")
    assert all(name.endswith(":read") for name in expanded(airflow, "*:read"))
    assert expanded(airflow, "dags:read") == {"dags:read"}
    for unknown in ("dags", "dag:*", "*:reed", "dags:reed", "", "dags:*:read", "DAGS:*"):
        assert expanded(airflow, unknown) == frozenset()


def test_what_airflow_answers_to_anyone_is_a_short_list(airflow):
    public = {name for name, operation in airflow.operations.items() if operation.public}
    assert public == {
        "health:read", "version:read", "session:login", "session:logout", "session:password", "session:provider",
        "session:register", "docs:read", "ui:static", "ui:pages",
    }  # fmt: skip


def test_a_small_catalogue():
    small = build(changed(), "1.0")
    assert small.match(("things",), "GET") == Route(operation="things:read", template="/things", dag_id="~")
    assert small.match(("things", "x"), "PUT") == Route(
        operation="things:alter", template="/things/{dag_id}", dag_id="x"
    )
    assert small.match(("things", ""), "PUT") is None
    assert small.match((), "GET") is None
    assert small.match(("keys", ""), "HEAD") == Route(operation="keys:read", template="/keys/{key:path}")
    assert expanded(small, "*") == {"things:read", "things:alter"}


def test_where_airflow_narrows_the_dags():
    """The marker is about any DAG: of a route that reaches DAGs, or of Airflow's own `~` in the path."""
    routes = [
        {"path": "/all", "methods": {"GET": "things:read"}, "dag": "~", "narrowed": True},
        {"path": "/all", "methods": {"PUT": "things:alter"}, "dag": "~"},
        {"path": "/{dag_id}/runs", "methods": {"GET": "things:read"}, "narrowed": True},
        {"path": "/{dag_id}/runs", "methods": {"PUT": "things:alter"}},
        {"path": "/{dag_id}/bulk", "methods": {"PUT": "keys:read"}, "dag": "~", "narrowed": True},
    ]
    small = build(changed(routes=routes), "1.0")
    asked = {
        (method, path): small.match(tuple(path.split("/")), method)
        for method, path in [
            ("GET", "all"), ("HEAD", "all"), ("PUT", "all"), ("GET", "~/runs"), ("GET", "a/runs"), ("GET", "~~/runs"),
            ("GET", "*/runs"), ("PUT", "~/runs"), ("PUT", "a/bulk"), ("PUT", "~/bulk"),
        ]
    }  # fmt: skip
    assert {place for place, route in asked.items() if route.narrowed} == {
        ("GET", "all"), ("HEAD", "all"), ("GET", "~/runs"), ("PUT", "a/bulk"), ("PUT", "~/bulk"),
    }  # fmt: skip
    assert all(route.dag_id == ANY_DAG for route in asked.values() if route.narrowed)
    of_all = {(one.method, one.template): one for operation in small.operations.values() for one in operation.routes}
    assert {place: (one.dag, one.narrowed, one.open) for place, one in of_all.items()} == {
        ("GET", "/all"): ("~", True, False),
        ("PUT", "/all"): ("~", False, True),
        ("GET", "/{dag_id}/runs"): ("{dag_id}", True, False),
        ("PUT", "/{dag_id}/runs"): ("{dag_id}", False, False),
        ("PUT", "/{dag_id}/bulk"): ("~", True, False),
    }


def test_every_item_of_airflows_menu_has_the_list_that_its_page_shows(airflow):
    from airflow.api_fastapi.common.types import MenuItem

    assert set(airflow.menu) == {item.name for item in MenuItem}
    assert all(airflow.match(segments, "GET") for segments in airflow.menu.values())
    assert airflow.match(airflow.menu["CONNECTIONS"], "GET").operation == "connections:read"


def test_what_is_left_out_on_purpose_has_no_operation():
    left_out = [{"path": "/{rest:path}", "methods": ["GET"], "why": "any path at all"}]
    small = build(changed(no_operation=left_out), "1.0")
    assert small.left_out == (LeftOut(method="GET", template="/{rest:path}", why="any path at all"),)
    assert small.match(("elsewhere",), "GET") is None


def test_head_needs_a_get():
    data = changed(routes=[{"path": "/x", "methods": {"PUT": "things:alter"}}])
    data["operations"] = {"things:alter": SMALL["operations"]["things:alter"]}
    assert build(data, "1.0").match(("x",), "HEAD") is None


@pytest.mark.parametrize("first_is_literal", [True, False])
def test_the_first_route_in_the_data_wins(first_is_literal):
    routes = [
        {"path": "/a/b/c", "methods": {"GET": "things:read"}},
        {"path": "/a/{x}/c", "methods": {"GET": "things:alter"}},
        {"path": "/a/{x:path}", "methods": {"GET": "keys:read"}},
    ]
    small = build(changed(routes=routes if first_is_literal else routes[::-1]), "1.0")
    assert small.match(("a", "b", "c"), "GET").template == ("/a/b/c" if first_is_literal else "/a/{x:path}")
    assert small.match(("a", "z", "c"), "GET").template == ("/a/{x}/c" if first_is_literal else "/a/{x:path}")
    assert small.match(("a", "b", "d"), "GET").template == "/a/{x:path}"


def test_backtracking_out_of_a_literal():
    routes = [
        {"path": "/a/b/c", "methods": {"GET": "things:read"}},
        {"path": "/a/{x}/d", "methods": {"GET": "things:alter", "PUT": "keys:read"}},
    ]
    small = build(changed(routes=routes), "1.0")
    assert small.match(("a", "b", "d"), "GET").operation == "things:alter"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "3"}, "version"),
        ({"extra": 1}, "extra"),
        ({"operations__things:read__airflow_role": "owner"}, "airflow_role"),
        ({"operations__things:read__publik": True}, "publik"),
        ({"operations__things:read__public": "yes"}, "public"),
        ({"operations__things:read__help": ""}, "help"),
        ({"operations__Things": {"help": "x", "airflow_role": "op"}}, "Things"),
        ({"operations__more:read": {"help": "x", "airflow_role": "op"}}, "operations without a route: more:read"),
        ({"routes__0__methods": {}}, "methods"),
        ({"routes__0__methods": {"HEAD": "things:read"}}, "HEAD"),
        ({"routes__0__methods": {"get": "things:read"}}, "get"),
        ({"routes__0__methods": {"GET": "things:reed"}}, "unknown operation things:reed"),
        ({"routes__0__dag": "sales"}, "dag"),
        ({"routes__0__narrowed": "~"}, "narrowed"),
        ({"routes__2__narrowed": True}, "/keys/{key:path}: narrowed, but it concerns no DAG"),
        ({"menu": {"THINGS": "/things/x/y"}}, "menu THINGS: /things/x/y is not a route"),
        ({"menu": {"THINGS": "things"}}, "menu THINGS: things is not a route"),
        ({"menu": {"THINGS": "/keys//"}}, "menu THINGS: /keys// is not a route"),
        ({"menu": {"Things": "/things"}}, "Things"),
        (
            {"routes__1__review": "new"},
            "1 routes wait for a person's decision (`review`): /things/{dag_id}",
        ),
        ({"no_operation": [{"path": "/x", "methods": ["GET"]}]}, "why"),
        ({"no_operation": [{"path": "/x", "methods": [], "why": "y"}]}, "methods"),
        ({"no_operation": [{"path": "x", "methods": ["GET"], "why": "y"}]}, "not a canonical path template"),
        (
            {"no_operation": [{"path": "/things", "methods": ["GET"], "why": "y"}]},
            "GET /things: it has an operation, and is listed under no_operation",
        ),
        ({"routes__0__path": "things"}, "not a canonical path template"),
        ({"routes__0__path": "/a/../b"}, "not a canonical path template"),
        ({"routes__0__path": "/a%41"}, "not a canonical path template"),
        ({"routes__0__path": "/a b"}, "not a canonical path template"),
        ({"routes__0__path": "/{}"}, "not a canonical path template"),
        ({"routes__0__path": "/x{y}"}, "not a canonical path template"),
        ({"routes__0__path": "/{x:int}"}, "not a canonical path template"),
        ({"routes__0__path": "/{x}/{x}"}, "named twice"),
        ({"routes__0__path": "/{x:path}/y"}, "only the last parameter"),
        ({"routes__append": {"path": "/things/{other}", "methods": {"PUT": "things:read"}}}, "the same as /things"),
        ({"routes__append": {"path": "/keys/{k:path}", "methods": {"GET": "keys:read"}}}, "the same as /keys"),
    ],
)  # fmt: skip
def test_mistakes_in_the_data_are_refused(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build(changed(**changes), "1.0")


def test_a_release_of_airflow_has_the_catalogue_of_its_version():
    found = [catalogue.version_of(text) for text in ("3.2.2", "3.2", "9.9.1", "3", "3.3.2rc1")]
    assert found == ["3.2", "3.2", "", "", ""]


NO_CHANGES = {
    "session:login", "session:logout", "session:password", "session:provider", "ui:pages", "ui:shell", "ui:static"
}  # fmt: skip


@pytest.mark.parametrize("version", catalogue.versions())
def test_a_change_is_every_operation_that_is_not_a_read_or_a_page_of_the_login_or_the_ui(version):
    """So that a new verb of Airflow is a change until a person says otherwise."""
    known = catalogue.load(version)
    changes = expand("*:change", known, never=True)
    assert {name for name in known.operations if not name.endswith(":read")} - changes == NO_CHANGES
    assert not any(name.endswith(":read") for name in changes)
    assert expand("connections:change", known, never=True) == {
        name for name in known.operations if name.startswith("connections:") and name != "connections:read"
    }
    by_wildcard = expand("*:change", known, never=False)
    assert changes - by_wildcard == {"tokens:create", "execution:call"}


def test_no_operation_is_called_change_and_no_read_says_that_it_changes_nothing():
    data = changed()
    data["operations"]["things:change"] = data["operations"].pop("things:alter")
    with pytest.raises(ValueError, match="the action `change` stands for all operations that are not reads"):
        build(data, "1.0")
    with pytest.raises(ValueError, match="a read never changes anything, so remove `changes`: things:read"):
        build(changed(**{"operations__things:read__changes": False}), "1.0")
