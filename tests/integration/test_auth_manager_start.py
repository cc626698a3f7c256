"""How Airflow starts with our auth manager: its commands need no gate, and what is wrong is said before it serves."""

import subprocess

import pytest

from tests.support.sites.airflow import AirflowSite

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
