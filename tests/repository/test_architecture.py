"""The shape of the package: who may import whom, how large rooms may grow, where everything may be caught."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import CAPABILITIES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "authz"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_generated" not in path.parts)
DEMO = sorted((ROOT / "demo").rglob("*.py"))

# A room imports rooms with lower numbers only, never one with its own.
ROOMS = {
    "__init__": 0,
    "_generated": 0,
    "core": 0,
    "system": 1,
    "fetching": 2,
    "settings": 2,
    "authn": 3,
    "keys": 3,
    "ops": 3,
    "runs": 3,
    "audit": 4,
    "login": 4,
    "sessions": 4,
    "check": 5,
    "engine": 6,
    "envoy_config": 6,
    "fronts": 6,
    "serve": 7,
    "cli": 8,
    "__main__": 9,
    "airflow": 9,  # imports nothing of the server: see below
}
# Inside the core likewise; files that stand there by themselves have floors too.
CORE = {
    "addresses": 0,
    "caching": 0,
    "characters": 0,
    "clock": 0,
    "collector": 0,
    "edge": 0,
    "loopback": 0,
    "public_addresses": 0,
    "traceparent": 0,
    "reasons": 0,
    "urls": 0,
    "version": 0,
    "model": 1,
    "stripped": 1,
    "record": 1,
    "errors": 2,
    "documents": 3,
    "jose": 3,
    "messages": 3,
    "assertion": 4,
    "audit": 4,
    "tokens": 4,
    "request": 5,
    "revocation": 5,
    "catalogue": 6,
    "runs": 6,
    "policy": 7,
    "decision": 8,
    "grants": 8,
    "http_answer": 9,
    "doctor": 11,
    "lint": 10,
    "parked": 9,
    "proof": 9,
    "replay": 9,
    "shadow": 9,
    "cases": 11,
    "traffic": 10,
    "ocsf": 11,
}
# Inside Envoy's configuration likewise: neither plane imports the other, and what both are made of imports neither.
ENVOY_CONFIG = {
    "addresses": 0,
    "files": 0,
    "header_room": 0,
    "headers": 0,
    "provider": 0,
    "reply_filters": 0,
    "route_parts": 0,
    "secrets": 0,
    "ext_authz": 1,
    "tls": 1,
    "access_log": 2,
    "clusters": 2,
    "reply_bodies": 2,
    "egress": 3,
    "inbound": 3,
    "tracing": 3,
    "local_replies": 4,
    "newer_fields": 4,
    "http_connection_manager": 5,
    "listeners": 6,
    "bootstrap": 7,
    "render": 8,
}
PARTS = {"core": CORE, "envoy_config": ENVOY_CONFIG}
READS_ITS_DATA = "core/catalogue/__init__.py"  # Airflow's routes are files of the package
IMPURE = {"asyncio", "grpc", "http", "httpx", "logging", "os", "random", "socket", "subprocess", "threading", "time"}
# May catch everything, each with its reason in a comment: the service's door, the doors of background threads, of
# the admin port, and of the engines: of the loop, of a call, and of what a check waits for.
DOORS = {
    "ops/admin.py",
    "sessions/backchannel.py",
    "engine/front_connection.py",
    "engine/waiting_checks.py",
    "engine/cq.py",
    "keys/store.py",
    "sessions/revoker.py",
    "sessions/granter.py",
    "sessions/grants_port.py",
    "check/service.py",
    "check/shadow.py",  # the candidate's door
    "serve/app.py",
    "serve/policy_warnings.py",
    "ops/decision_log.py",
    "ops/salts.py",
    "ops/http_server.py",  # gives back a place and raises again
    "serve/supervisor/view.py",
    "system/threads.py",
    "ops/file_watcher.py",
    "runs/task_states.py",
}


def room(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if node.module in {"authz", *(f"authz.{room}" for room in PARTS)}:
                yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def test_every_room_has_its_place():
    assert {room(path) for path in FILES} == set(ROOMS) - {"_generated"}
    for here, floors in PARTS.items():
        parts = {path.relative_to(PACKAGE).parts[1].removesuffix(".py") for path in FILES if room(path) == here}
        assert parts - {"__init__"} == set(floors)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    here = room(path)
    floors = PARTS.get(here, {})
    part = path.relative_to(PACKAGE).parts[1].removesuffix(".py") if floors else ""
    for module, line in imports(path):
        if not module.startswith("authz."):
            continue
        target = module.split(".")[1]
        if target not in ROOMS:  # `from authz import __version__`
            continue
        assert target == here or ROOMS[target] < ROOMS[here], f"{path}:{line} imports {module}"
        if floors and target == here and module.count(".") > 1:
            other = module.split(".")[2]
            assert other == part or floors[other] < floors[part], f"{path}:{line} imports {module}"


def test_the_product_imports_nothing_of_the_demo():
    """The wheel has no demo; the demo may import everything."""
    assert [str(path) for path in FILES for module, _line in imports(path) if module.split(".")[0] == "demo"] == []
    assert any(module.startswith("demo.") for path in DEMO for module, _line in imports(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_runs_inside_airflow_imports_nothing_of_the_server(path):
    if room(path) == "airflow":
        foreign = [f"{path}:{line} {module}" for module, line in imports(path) if module.startswith("authz.")]
        assert [item for item in foreign if "authz.airflow" not in item] == []
    else:
        assert [line for module, line in imports(path) if module.startswith("authz.airflow")] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_pure_core_has_no_clock_no_io_no_threads_no_logging(path):
    if room(path) == "core" and str(path.relative_to(PACKAGE)) != READS_ITS_DATA:
        impure = {module.split(".")[0] for module, _line in imports(path)} & IMPURE
        assert impure == set()
        called = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert called & {"open", "print", "input", "eval", "exec"} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_request_targets_are_never_parsed_with_a_url_library(path):
    """security.md d-01: `urlsplit("//admin/x").path == "/x"`."""
    if room(path) == "airflow":  # it never sees a request target; it fetches from configured URLs
        return
    found = {module for module, _line in imports(path) if module.startswith("urllib")}
    if room(path) == "login":  # it writes and reads queries and forms, and sees no target that is decided on
        found -= {"urllib.parse", "urllib.parse.parse_qsl", "urllib.parse.urlencode"}
    assert found == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_listed_modules_catch_every_exception(path):
    name = str(path.relative_to(PACKAGE))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            if caught in {"everything", "Exception", "BaseException"}:
                assert name in DOORS, f"{name}:{node.lineno} catches {caught}"


@pytest.mark.parametrize("path", FILES + DEMO, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_stay_small_and_say_their_law(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{path} has no docstring"
    assert text.count("\n") <= 400, f"{path} is too long"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno <= 60, f"{path}:{node.lineno} {node.name} is too long"


def test_only_wire_builds_check_responses():
    builders = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if "CheckResponse(" in path.read_text() and "Health" not in path.read_text()
    ]
    assert builders == ["check/wire/response.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_listed_rooms_start_threads_other_than_background(path):
    """A `Background` reports a bug that ends it. `_guard` of `ops.http_server` cuts a connection and can do no more."""
    if room(path) == "airflow" or path.name == "threads.py":  # Airflow's process is not ours
        return
    made = [
        f"{path}:{node.lineno} {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"}
    ]
    assert [one for one in made if "http_server.py" not in one or "Timer" not in one] == []


def test_unit_tests_stand_in_the_room_that_they_test():
    unit = ROOT / "tests" / "unit"
    folders = {path.parent.relative_to(unit) for path in unit.rglob("test_*.py")}
    assert len(folders) > 20
    rooms = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")} | {Path("demo")}
    assert folders - rooms == set()


def test_each_capability_that_make_test_tries_has_its_file():
    assert [name for name in CAPABILITIES if not (ROOT / name).exists()] == []


def test_what_tests_of_a_folder_share_ends_with_them():
    """Pytest ends fixtures of package scope where a package ends; without `__init__.py` they last to the very end."""
    sharing = [path for path in (ROOT / "tests").rglob("conftest.py") if 'scope="package"' in path.read_text()]
    assert sharing
    assert [str(path) for path in sharing if not path.with_name("__init__.py").exists()] == []


@pytest.mark.parametrize("path", FILES + DEMO, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_product_loads_a_policy_with_its_tests_only(path):
    """`authz.core.policy.load` runs no tests: what serves and what answers questions loads with `authz.core.cases`."""
    if PACKAGE / "core" in path.parents and path.relative_to(PACKAGE / "core").parts[0] in {"policy", "cases"}:
        return
    text = path.read_text()
    assert "policy.load(" not in text
    assert "authz.core.policy.load" not in text.partition('"""\n\n')[2]
    assert not re.search(r"from authz\.core\.policy import (?:.*\W)?load\b", text)
