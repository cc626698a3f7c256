"""What plugins add to a real Airflow: the operator is told its paths, and the gate keeps them closed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from authz.core import catalogue
from authz.core.request.path import canonicalise

if importlib.util.find_spec("airflow") is None:  # not imported yet: it would make itself a home
    pytest.skip("Airflow is not installed: make install", allow_module_level=True)

ROOT = Path(__file__).parents[2]
PLUGIN = """
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI

app = FastAPI()

@app.get("/data")
def data():
    return "from the plugin"

class Harmless(AirflowPlugin):
    name = "harmless"
    fastapi_apps = [{"app": app, "url_prefix": "/my-plugin", "name": "mine"}]
"""
OVER_AIRFLOW = PLUGIN.replace("/my-plugin", "/static")


def plugin_paths(folder, source):
    plugins = folder / "plugins"
    plugins.mkdir()
    (plugins / "one.py").write_text(source)
    keys = folder / "keys.json"
    keys.write_text('{"keys": []}')
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__AUTH_MANAGER": "authz.airflow.auth_manager.AuthzAuthManager",
        "AIRFLOW__AUTHZ__ISSUER": "https://gate.test",
        "AIRFLOW__AUTHZ__AUDIENCE": "airflow",
        "AIRFLOW__AUTHZ__JWKS_URL": "http://127.0.0.1:9/jwks.json",
        "AIRFLOW__API_AUTH__JWT_SECRET": "0" * 64,
        "AIRFLOW__API__SECRET_KEY": "0" * 32,
    }
    return subprocess.run(
        [sys.executable, "-m", "authz.airflow.plugin_paths"],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_a_plugins_application_is_told_and_has_no_operation(tmp_path):
    run = plugin_paths(tmp_path, PLUGIN)
    assert run.returncode == 0, run.stderr[-2000:]
    assert '/my-plugin/**  no operation: a rule needs `paths: ["/my-plugin/**"]`' in run.stdout
    known = catalogue.load("3.3")
    for path in ("/my-plugin", "/my-plugin/", "/my-plugin/data", "/my-plugin/a/b"):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            assert known.match(canonicalise(path).segments, method) is None


def test_a_plugin_over_airflows_own_paths_is_an_error(tmp_path):
    run = plugin_paths(tmp_path, OVER_AIRFLOW)
    assert run.returncode == 1, run.stdout + run.stderr[-2000:]
    assert "WARNING: it is mounted over 1 paths of Airflow, among them /static" in run.stdout
