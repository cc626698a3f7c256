import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.browser.chromium import chromium, new_context
from tests.browser.edge import Edge
from tests.browser.providers import certified, embedded
from tests.browser.relay import Relay
from tests.support.ports import free_port
from tests.support.sites.airflow import ISSUER, AirflowSite


@pytest.fixture(scope="package")
def browser():
    """It ends with this package of tests, see there."""
    with chromium() as running:
        yield running


@pytest.fixture
def context(browser):
    context = new_context(browser)
    yield context
    context.close()


@pytest.fixture
def page(context):
    return context.new_page()


@pytest.fixture
def screenshot():
    """`make screenshots` makes the README's pictures of what the tests see; otherwise nothing is taken."""
    folder = os.environ.get("AUTHZ_SCREENSHOTS")

    def take(page, name):
        if folder:
            page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")

    return take


@pytest.fixture(scope="package")
def gate_url():
    """Where people find Airflow. The providers are at 127.0.0.1, which is another site for cookies."""
    return f"https://localhost:{free_port()}"


@pytest.fixture(scope="package")
def airflow(gate_url, tmp_path_factory):
    """One Airflow for all, with everything that a run needs. Its key is the gate's."""
    options = {"AIRFLOW__API__BASE_URL": gate_url, "AIRFLOW__AUTHZ__ISSUER": ISSUER}
    components = ("api-server", "scheduler", "dag-processor")
    with AirflowSite(tmp_path_factory.mktemp("airflow"), components=components, options=options) as site:
        yield site


@pytest.fixture(scope="package")
def relay(airflow):
    """What Envoy takes for Airflow."""
    with Relay(("127.0.0.1", urlsplit(airflow.url).port)) as running:
        yield running


@pytest.fixture(scope="package", params=["certified", pytest.param("embedded", marks=pytest.mark.full)])
def provider(request, gate_url, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    told_at = f"{gate_url}/oauth2/backchannel-logout"
    start = certified(folder, gate_url, [f"{gate_url}/"], told_at) if request.param == "certified" else embedded(folder)
    with start as running:
        yield running


@pytest.fixture(scope="package")
def edge(provider, airflow, relay, gate_url, tmp_path_factory):
    """Both providers' gates are at the same address, one after the other, in front of the same Airflow."""
    with Edge(tmp_path_factory.mktemp("edge"), gate_url, provider, airflow, relay.address) as running:
        yield running
