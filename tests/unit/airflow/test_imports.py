"""What runs inside Airflow needs none of the server: neither its code nor what it is installed with."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "authz" / "airflow").rglob("*.py"))
# What Airflow brings along.
ALLOWED = {"airflow", "fastapi", "starlette", "sqlalchemy", "jwt", "cryptography"}
NEEDS_FAB = {"fab_auth_manager"}
# Each HTTP library by the module that is for it, and what its provider brings by the hook.
OWN = {
    "for_requests": {"requests"},
    "for_httpx": {"httpx"},
    "for_aiohttp": {"aiohttp"},
    "hook": {"requests", "tenacity"},
    "asserted": {"httpx"},
    "deferrable": {"aiohttp"},
}
MODULES = {"pyjwt": "jwt", "pyyaml": "yaml", "protobuf": "google.protobuf", "grpcio": "grpc", "prometheus-client": ""}
BLOCK = """
import sys
import airflow.api_fastapi.app, airflow.api_fastapi.core_api.security  # what Airflow itself loads is its own affair

class Block:
    def find_spec(self, name, path=None, target=None):
        ours = name.startswith("authz.") and name.split(".")[1] != "airflow"
        if ours or any(name == banned or name.startswith(banned + ".") for banned in BANNED):
            raise ImportError("blocked: " + name)

BANNED = sys.argv[1].split(",")
sys.meta_path.insert(0, Block())
for name in sys.argv[2].split(","):
    __import__("authz.airflow." + name)
try:
    import authz.core.policy
except ImportError as error:
    print(error)
"""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_names_only_what_airflow_has(path):
    allowed = {*sys.stdlib_module_names, *ALLOWED, *OWN.get(path.stem, ())}
    foreign = {name for name in imported(path) if name.split(".")[0] not in allowed}
    ours = {name for name in foreign if name in {"authz", "authz.airflow"} or name.startswith("authz.airflow.")}
    assert foreign - ours == set()


def server_modules():
    """What the server is installed with, apart from what Airflow needs as well."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in declared:
        name = re.match(r"[\w-]+", line)[0].lower()
        module = MODULES.get(name, name.replace("-", "_")) or name.replace("-", "_")
        if module not in ALLOWED:
            yield module


def test_it_can_be_imported_where_nothing_of_the_server_is(tmp_path):
    folder = ROOT / "authz" / "airflow"
    modules = (".".join(path.relative_to(folder).with_suffix("").parts) for path in FILES if path.stem != "__init__")
    names = ",".join(name for name in modules if name not in NEEDS_FAB)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path / 'airflow.db'}",
    }
    banned = ",".join(sorted({*server_modules(), "orjson"}))
    done = subprocess.run(
        [sys.executable, "-c", BLOCK, banned, names],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "blocked: authz.core" in done.stdout
    assert {"grpc", "google.protobuf", "pydantic"} <= set(banned.split(","))
