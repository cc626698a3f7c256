"""What Airflow's own commands say once this is installed beside it: the provider, its connection type, the plugin."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("airflow") is None:  # not imported yet: it would make itself a home
    pytest.skip("Airflow is not installed: make install", allow_module_level=True)

from demo.entry_points import write_metadata
from tests.support.simulators.egress import EgressSimulator

pytestmark = pytest.mark.timeout(200)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """Runs a command of Airflow's and returns what it prints."""
    folder = tmp_path_factory.mktemp("airflow")
    write_metadata(folder / "installed")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{folder / 'installed'}:{ROOT}",
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
    }

    def run(*arguments, **more):
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


def test_airflow_lists_the_provider(airflow):
    code, listed = airflow("providers", "list", "--output", "json")
    assert code == 0
    rows = json.loads(listed[listed.index("[") :])
    found = [row for row in rows if row["package_name"] == "airflow-envoy-authz-airflow"]
    assert [row["description"] for row in found] == [
        "Tasks' calls through the gate, identified by the DAG run that makes them"
    ]


def test_airflow_tests_the_connection_by_asking_the_gate(airflow):
    with EgressSimulator() as site:
        made = json.dumps({"conn_type": "authz-http", "host": site.url})
        code, said = airflow("connections", "test", "orders", AIRFLOW_CONN_ORDERS=made)
        assert code == 0, said
        assert "Connection success!" in said
        assert site.refused == [("/", "no_token")]
        assert site.passed == []
        assert "warn" not in said.lower()


def test_importing_what_every_process_of_airflow_imports_is_quick(tmp_path):
    """The provider's metadata and the plugin: loaded by the scheduler, the API server and each task."""
    code = (
        "import sys, time, airflow.plugins_manager, airflow.listeners\n"
        "before, start = set(sys.modules), time.process_time()\n"
        "import authz.airflow.egress.provider, authz.airflow.egress.plugin\n"
        "print(time.process_time() - start, *sorted(set(sys.modules) - before))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    seconds, *modules = done.stdout.strip().splitlines()[-1].split()
    assert float(seconds) < 0.2
    assert {name.partition(".")[0] for name in modules} == {"authz"}
