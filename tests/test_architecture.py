"""The shape of the package: who may import whom, how large rooms may grow, where everything may be caught."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "authz"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "_generated" not in path.parts)

LAYERS = {
    "__init__": 0,
    "_generated": 0,
    "model": 0,
    "reasons": 0,
    "clock": 0,
    "loopback": 0,
    "urls": 0,
    "addresses": 0,
    "edge": 0,
    "errors": 1,
    "characters": 0,
    "collector": 0,
    "quantities": 1,
    "task_claim": 1,
    "sharing": 1,
    "second_chance": 1,
    "wording": 1,
    "weak_rsa": 1,
    "jose": 2,
    "path": 2,
    "canonical": 2,
    "jwks": 2,
    "tokens": 2,
    "revocation": 2,
    "return_path": 2,
    "cookies": 2,
    "assertion": 2,
    "audit": 2,
    "page_frame": 1,
    "pages": 2,
    "task_messages": 2,
    "yaml_reader": 2,
    "yamlfile": 2,
    "http_answer": 3,
    "run_token": 3,
    "run_request": 3,
    "catalogue": 3,
    "policy": 3,
    "decide": 4,
    "rights": 4,
    "conditions": 4,
    "explain": 4,
    "regular_file": 5,
    "state_folder": 6,
    "state_lock": 6,
    "kept_policy": 6,
    "wire": 5,
    "authenticate": 5,
    "fair_share": 1,
    "grants": 5,
    "minter": 5,
    "run_identity": 5,
    "run_exchange": 5,
    "run_minter": 5,
    "service": 5,
    "parked": 5,
    "verdicts": 5,
    "trail": 5,
    "answers": 5,
    "review": 5,
    "dag_review": 5,
    "outbound_review": 5,
    "ways_out": 5,
    "ways_review": 5,
    "envoy_config": 5,
    "threads": 5,
    "listening": 5,
    "whole_file": 5,
    "signals": 5,
    "endpoints": 5,
    "login_plan": 5,
    "task_keys": 5,
    "run_settings": 5,
    "engine": 6,
    "cpus": 6,
    "assertion_keys": 6,
    "issuer_keys": 6,
    "admin": 6,
    "readiness_log": 6,
    "small_server": 6,
    "backchannel": 6,
    "settings": 6,
    "settings_checks": 6,
    "named_files": 5,
    "certificates": 6,
    "file_review": 7,
    "sections": 5,
    "destination_settings": 5,
    "envoy_settings": 6,
    "keys": 6,
    "watch": 6,
    "task_states": 6,
    "ask_airflow": 6,
    "sink": 6,
    "log_target": 6,
    "metrics": 6,
    "reload": 6,
    "revocation_file": 6,
    "revoker": 6,
    "replays": 6,
    "agreement": 7,
    "policy_warnings": 7,
    "app": 7,
    "doctor": 7,
    "runs": 7,
    "supervisor": 7,
    "provider": 7,
    "envoy_files": 7,
    "rendering": 7,
    "__main__": 8,
    "cli": 8,
    "demo": 8,
    "airflow": 9,
}
PURE = [name for name, layer in LAYERS.items() if layer <= 4 and name not in {"__init__", "_generated", "catalogue"}]
IMPURE = {"asyncio", "grpc", "http", "httpx", "logging", "os", "random", "socket", "subprocess", "threading", "time"}
# May catch everything, each with its reason in a comment: the service's door, the doors of background threads, of
# the admin port, and of the engines: of the loop, of a call, and of what a check waits for.
DOORS = {
    "admin.py",
    "backchannel.py",
    "engine/aio.py",
    "engine/cq.py",
    "keys/store.py",
    "revoker.py",
    "service.py",
    "app.py",
    "policy_warnings.py",
    "sink.py",
    "small_server.py",  # gives back a place and raises again
    "supervisor/view.py",
    "threads.py",
    "watch.py",
    "task_states.py",
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
            if node.module == "authz":
                yield from ((f"authz.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield node.module, node.lineno


def test_every_room_has_a_layer():
    assert {room(path) for path in FILES} <= set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    for module, line in imports(path):
        if not module.startswith("authz."):
            continue
        target = module.split(".")[1]
        if target not in LAYERS:  # `from authz import __version__`
            continue
        same_room = target == room(path)
        assert same_room or LAYERS[target] <= LAYERS[room(path)], f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_runs_inside_airflow_imports_nothing_of_the_server(path):
    if room(path) == "airflow":
        foreign = [f"{path}:{line} {module}" for module, line in imports(path) if module.startswith("authz.")]
        assert [item for item in foreign if "authz.airflow" not in item] == []
    else:
        assert [line for module, line in imports(path) if module.startswith("authz.airflow")] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_pure_core_has_no_clock_no_io_no_threads_no_logging(path):
    if room(path) in PURE:
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
    """PITFALLS d-01: `urlsplit("//admin/x").path == "/x"`."""
    if room(path) in {"demo", "airflow"}:  # these never see a request target; they fetch from configured URLs
        return
    assert [module for module, _line in imports(path) if module.startswith("urllib")] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_doors_catch_everything(path):
    name = str(path.relative_to(PACKAGE))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            if caught in {"everything", "Exception", "BaseException"}:
                assert name in DOORS, f"{name}:{node.lineno} catches {caught}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
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
    assert builders == ["wire/response.py"]


STARTS_ITS_OWN = {"airflow", "demo"}  # run inside Airflow, and by hand


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_thread_of_the_server_has_a_door(path):
    """A `Background` reports a bug that ends it. `_guard` of `small_server` cuts a connection and can do no more."""
    if room(path) in {*STARTS_ITS_OWN, "threads"}:
        return
    made = [
        f"{path}:{node.lineno} {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in {"Thread", "Timer", "ThreadPoolExecutor", "start_new_thread"}
    ]
    assert [one for one in made if "small_server.py" not in one or "Timer" not in one] == []


def test_what_tests_of_a_folder_share_ends_with_them():
    """Pytest ends fixtures of package scope where a package ends; without `__init__.py` they last to the very end."""
    sharing = [path for path in (ROOT / "tests").rglob("conftest.py") if 'scope="package"' in path.read_text()]
    assert sharing
    assert [str(path) for path in sharing if not path.with_name("__init__.py").exists()] == []
