"""What `make dist` builds, installed as users install it: away from this work tree, into clean environments.

`AUTHZ_TEST_PYTHONS="python3.12 python3.13"` tries the server on these too (`make smoke`).
"""

import filecmp
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.support.missing import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
AIRFLOW = ROOT / ".airflows" / "3.3.2" / "bin"
RELEASE = ROOT / ".release" / "bin"
PYTHONS = [Path(sys.executable), *map(Path, os.environ.get("AUTHZ_TEST_PYTHONS", "").split())]
MB = 10**6
OPTIONAL = {"authz.ops.spans"}  # all that needs an extra to be imported: `otel`. What uses `query`'s asks for it later
IMPORT_ALL = """
import importlib, pkgutil, sys, authz
for module in pkgutil.walk_packages(authz.__path__, "authz."):
    if module.name not in {*sys.argv[1].split(","), "authz.__main__"}:
        importlib.import_module(module.name)
print(len(sys.modules), sorted(name for name in ("airflow", "demo", "duckdb", "opentelemetry") if name in sys.modules))
"""
NEEDS = """
from importlib.metadata import requires, version
from pathlib import Path
from packaging.requirements import Requirement
wanted = [Requirement(text) for text in requires("airflow-envoy-authz-airflow") if "extra ==" not in text]
unmet = [str(one) for one in wanted if version(one.name) not in one.specifier]
import authz.airflow.auth_manager, authz.airflow.egress.plugin
print(len(unmet), *unmet, "unmet;", Path(authz.airflow.auth_manager.__file__).parents[2])
"""

pytestmark = pytest.mark.e2e


def ran(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def needed(path, target):
    if not path.exists():
        skip_or_fail(f"{path} is not there: run `make {target}`")
    return path


def built(folder, **environment):
    ran(sys.executable, ROOT / "scripts" / "dist.py", folder, env={**os.environ, **environment})
    return folder


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    return built(tmp_path_factory.mktemp("dist"))


def only(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def normalized(name):
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_in(path):
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return set(wheel.namelist())
    with tarfile.open(path) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


@pytest.fixture(scope="module")
def server_wheel(dist):
    return only(dist, "airflow_envoy_authz-*.whl")


@pytest.fixture(scope="module")
def airflow_wheel(dist):
    return only(dist, "airflow_envoy_authz_airflow-*.whl")


@pytest.fixture(scope="module", params=PYTHONS, ids=lambda path: path.name)
def server(request, server_wheel, tmp_path_factory):
    """An environment with the locked server and nothing else, not even pip."""
    place = tmp_path_factory.mktemp("server")
    ran(request.param, "-m", "venv", "--without-pip", place, cwd="/")
    pip = (sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "--quiet", "--no-compile")
    ran(*pip, "--no-deps", "--require-hashes", "-r", ROOT / "requirements" / "server.lock")
    ran(*pip, server_wheel)  # with its dependencies: one that the lock lacks is seen below
    return place


# --- what is built


def test_built_again_elsewhere_by_another_user_and_time_zone_it_is_the_same(dist, tmp_path):
    old = os.umask(0o077)
    try:
        (tmp_path / "temporary").mkdir()
        again = built(
            tmp_path / "again", TZ="Asia/Tokyo", PYTHONHASHSEED="7", LC_ALL="C", TMPDIR=str(tmp_path / "temporary")
        )
    finally:
        os.umask(old)
    names = sorted(path.name for path in dist.iterdir())
    assert len(names) == 4
    assert filecmp.cmpfiles(dist, again, names, shallow=False) == (names, [], [])


def test_the_server_has_neither_the_demo_nor_tests_nor_what_runs_inside_airflow(server_wheel, dist):
    roots = {name.split("/")[0] for name in names_in(server_wheel)}
    assert {root for root in roots if not root.endswith((".dist-info", ".data"))} == {"authz"}
    assert not any(name.startswith("authz/airflow/") for name in names_in(server_wheel))
    sdist = names_in(only(dist, "airflow_envoy_authz-*.tar.gz"))
    assert {name.split("/")[0] for name in sdist} & {"demo", "tests", "bench"} == set()
    assert {name for name in sdist if name.startswith("scripts/")} == {"scripts/install-systemd"}


def test_the_server_brings_what_a_machine_with_systemd_needs(server_wheel):
    """Laid out as in this repository, because the script finds its files from where it is."""
    shared = {name.partition(".data/data/share/airflow-envoy-authz/")[2] for name in names_in(server_wheel)} - {""}
    units = {str(path.relative_to(ROOT)) for path in (ROOT / "deploy" / "systemd").iterdir()}
    locks = {"requirements/envoy.lock", "requirements/server.lock"}
    assert shared == {*units, *locks, "deploy/authz.yaml", "scripts/install-systemd"}


def test_airflows_part_is_complete_and_nothing_else(airflow_wheel):
    inside = {name for name in names_in(airflow_wheel) if ".dist-info/" not in name}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "authz" / "airflow").rglob("*.py")}
    assert inside == {*modules, "authz/__init__.py", "authz/py.typed"}, "name it in authz/airflow/pyproject.toml"


def test_what_both_bring_is_the_same_file_without_code(server_wheel, airflow_wheel):
    both = names_in(server_wheel) & names_in(airflow_wheel)
    assert both == {"authz/__init__.py", "authz/py.typed"}
    with zipfile.ZipFile(server_wheel) as one, zipfile.ZipFile(airflow_wheel) as other:
        assert all(one.read(name) == other.read(name) for name in both)
    assert (ROOT / "LICENSE").read_bytes() == (ROOT / "authz" / "airflow" / "LICENSE").read_bytes()


def test_an_index_would_take_them(dist):
    twine = needed(RELEASE / "twine", ".release/.installed")
    assert ran(twine, "check", "--strict", *sorted(dist.iterdir())).count("PASSED") == 4


def test_what_an_index_shows_has_no_link_into_the_repository(dist):
    for path in dist.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            described = wheel.read(name).decode()
        assert "\n# airflow-envoy-authz" in described
        assert [target for target in re.findall(r"\]\(([^)]*)", described) if not target.startswith("https://")] == []


# --- the server, installed


def test_it_serves_a_real_envoy(server, tmp_path):
    with Stack(tmp_path, program=server / "bin" / "authz") as stack:
        assert stack.get("/api/v2/dags", token=stack.token()).status == 200
        assert stack.upstream.only.target == "/api/v2/dags"
        stack.reset()
        assert stack.get("/api/v2/dags/x/dagRuns", token=stack.token(), method="POST").status == 403
        assert stack.get("/api/v2/dags").status == 401
        assert stack.upstream.requests == []


def test_without_extras_everything_else_is_imported_and_nothing_of_them(server):
    said = ran(server / "bin" / "python", "-c", IMPORT_ALL, ",".join(OPTIONAL), cwd="/")
    assert said.strip().endswith("[]")
    for name in OPTIONAL:
        refused = subprocess.run(
            [server / "bin" / "python", "-c", f"import {name}"], cwd="/", capture_output=True, text=True, check=False
        )
        assert "ModuleNotFoundError" in refused.stderr, f"{name} needs no extra: take it out of OPTIONAL"


def test_it_has_its_version_and_its_data(server):
    assert re.search(r"version \d+\.\d+\.\d+", ran(server / "bin" / "authz", "--version", cwd="/"))
    assert "dags:read" in ran(server / "bin" / "authz", "operations", cwd="/")


def test_the_lock_has_all_that_it_needs_and_takes_at_most_120_mb(server):
    (packages,) = server.glob("lib/python*/site-packages")
    locked = re.findall(r"^([\w.-]+)==", (ROOT / "requirements" / "server.lock").read_text(), re.MULTILINE)
    installed = {normalized(path.name.partition("-")[0]) for path in packages.glob("*.dist-info")}
    assert "grpcio" in installed
    assert installed - {"airflow-envoy-authz"} <= {*map(normalized, locked)}
    size = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    assert size < 120 * MB


def test_its_sbom_lists_the_server_and_what_is_locked(server, tmp_path):
    cyclonedx = needed(RELEASE / "cyclonedx-py", ".release/.installed")
    arguments = ("--output-reproducible", "--validate", "--of", "JSON", "-o", tmp_path / "sbom.json")
    ran(cyclonedx, "environment", *arguments, server / "bin" / "python")
    made = json.loads((tmp_path / "sbom.json").read_text())
    assert made["bomFormat"] == "CycloneDX"
    listed = {normalized(part["name"]) + "==" + part["version"] for part in made["components"]}
    lock = set(re.findall(r"^[\w.-]+==[\w.]+", (ROOT / "requirements" / "server.lock").read_text(), re.MULTILINE))
    assert {name for name in listed if not name.startswith("airflow-envoy-authz==")} <= lock
    assert len(listed) == len(list(server.glob("lib/python*/site-packages/*.dist-info")))
    assert {"grpcio", "airflow-envoy-authz", "cryptography"} <= {name.partition("==")[0] for name in listed}


# --- the part for Airflow, in an Airflow that has nothing of the server


@pytest.fixture(scope="module")
def airflow(airflow_wheel, tmp_path_factory):
    needed(AIRFLOW / "airflow", ".airflows/3.3.2/.installed")
    home = tmp_path_factory.mktemp("airflow")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile")
    ran(*pip, "--target", home / "installed", airflow_wheel)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(home / "installed"),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    return home / "installed", lambda *command: ran(*command, env=environment, cwd=home)


def test_airflow_lists_the_provider(airflow):
    _, run = airflow
    assert "airflow-envoy-authz-airflow" in run(AIRFLOW / "airflow", "providers", "list")


def test_it_adds_at_most_a_megabyte_and_needs_nothing_that_airflow_lacks(airflow):
    place, run = airflow
    assert sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) < MB
    assert run(AIRFLOW / "python", "-c", NEEDS).split()[-3:] == ["0", "unmet;", str(place)]


# --- how it is released


def finds_nothing(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode == 0


def test_the_workflows_are_valid_and_without_findings(tmp_path):
    check = needed(RELEASE / "check-jsonschema", ".release/.installed")
    valid, sound = (check, "--builtin-schema", "vendor.github-workflows"), (RELEASE / "zizmor", "--offline")
    files = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
    action = ROOT / "deploy" / "ci" / "action.yml"
    assert finds_nothing(*valid, *files)
    assert finds_nothing(check, "--builtin-schema", "vendor.github-actions", action)
    assert finds_nothing(*sound, *files, action)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(files[0].read_text().replace("runs-on:", "runs-at:"))
    assert not finds_nothing(*valid, wrong), "the tool notices"
    wrong.write_text(files[0].read_text().replace("permissions:", "permissions: write-all\nother:"))
    assert not finds_nothing(*sound, wrong), "the tool notices"


def test_all_actions_but_the_named_one_are_pinned_by_commit():
    for path in (ROOT / ".github" / "workflows").glob("*.yaml"):
        for action, version in re.findall(r"uses: ([\w./-]+)@(\S+)", path.read_text()):
            assert re.fullmatch(r"[0-9a-f]{40}", version) or action == "pypa/gh-action-pypi-publish"
