"""How Airflow starts with our auth manager: its commands need no gate, and what is wrong is said before it serves."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.sites.airflow import AUTH_MANAGERS, AirflowSite

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(300)
NO_GATE = {"AIRFLOW__AUTHZ__JWKS_FILE": None, "AIRFLOW__AUTHZ__JWKS_URL": "http://127.0.0.1:1/jwks.json"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with AirflowSite(tmp_path_factory.mktemp("airflow"), components=(), options=NO_GATE) as site:
        yield site


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("dags", "list"), "sales_daily"),
        (("info",), "apache-airflow-providers-standard"),
        (("dags", "trigger", "sales_daily"), "manual__"),
    ],
)
def test_airflows_commands_need_no_gate(site, arguments, printed):
    assert printed in site.run(*arguments)


def test_the_api_server_says_what_is_wrong_and_does_not_start(site):
    wrong = {**site.environment, "AIRFLOW__AUTHZ__ISSUER": "", "AIRFLOW__AUTHZ__CLOCK_SKEW": "soon"}
    command = site.home.command("api-server")
    ended = subprocess.run(command, env=wrong, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode != 0
    told = ended.stdout + ended.stderr
    assert "`issuer` (AIRFLOW__AUTHZ__ISSUER) is not set" in told
    assert "`clock_skew` (AIRFLOW__AUTHZ__CLOCK_SKEW) must be whole seconds from 0 to 60" in told


@pytest.mark.parametrize("version", ["3.1.8", "3.2.2"])
def test_an_older_airflow_says_that_it_is_too_old_and_does_not_start(version, tmp_path):
    airflow = ROOT / ".airflows" / version / "bin" / "airflow"
    if not airflow.exists():
        pytest.skip(f"there is no Airflow {version}: make .airflows/{version}/.installed")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["authz"],
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
    }
    shown = {"capture_output": True, "text": True, "timeout": 120}
    own = {**environment, "AIRFLOW__CORE__AUTH_MANAGER": AUTH_MANAGERS["simple"]}
    subprocess.run([airflow, "db", "migrate"], env=own, check=True, **shown)
    command = [airflow, "api-server", "--host", "127.0.0.1", "--port", "0"]
    ended = subprocess.run(command, env=environment, check=False, **shown)
    assert ended.returncode != 0
    assert "need Airflow 3.3" in ended.stdout + ended.stderr
