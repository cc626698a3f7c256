import pytest

from tests.browser.chromium import chromium, new_context
from tests.browser.providers import certified, embedded
from tests.e2e.envoy_harness import free_port


@pytest.fixture(scope="package")
def browser():
    """Package scope, not session: Playwright keeps an event loop in this thread while it runs."""
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


@pytest.fixture(scope="package")
def gate_url():
    """Where people find Airflow. The providers are at 127.0.0.1, which is another site for cookies."""
    return f"https://localhost:{free_port()}"


@pytest.fixture(scope="package", params=["certified", "embedded"])
def provider(request, gate_url, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    start = certified(folder, gate_url, [f"{gate_url}/"]) if request.param == "certified" else embedded(folder)
    with start as running:
        yield running
