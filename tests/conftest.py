"""How tests are named and shared between processes, so that `make test` uses both cores."""

import signal

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support.examples import share_by_default
from tests.support.message_types import remember_type_hints
from tests.support.shared_authorities import share_authorities

LONGEST_IN_A_NAME = 40
# Folders whose tests share started parts (an Airflow, a broker, another user): one process runs them all.
TOGETHER = ("tests/runs/", "tests/browser/", "tests/attacks/")
# What takes longest begins first: else one process works on it while the other has nothing left.
LONGEST_FIRST = ("tests/runs/", "tests/browser/", "tests/integration/", "tests/e2e/", "tests/attacks/")
# Folders whose tests start real components. `make test` runs of them one file for each capability; the others have the
# mark `full`, so only `make test-all` runs them.
REAL = ("tests/e2e/", "tests/integration/", "tests/browser/", "tests/runs/")
CAPABILITIES = {
    "tests/e2e/test_demo.py": "everything together: the demo's tour",
    "tests/e2e/test_gate.py": "inbound requests through Envoy",
    "tests/e2e/test_gate_changes.py": "policy and keys that change",
    "tests/e2e/test_login_flow.py": "login at Envoy",
    "tests/e2e/test_break_glass.py": "a way in without the provider",
    "tests/e2e/test_backchannel.py": "sessions that the provider ends",
    "tests/e2e/test_egress_ways.py": "calls of tasks through Envoy",
    "tests/e2e/test_credentials.py": "credentials that Envoy adds",
    "tests/e2e/test_fronts.py": "nginx and Caddy as fronts",
    "tests/e2e/test_tracing.py": "traces of Envoy and the gate",
    "tests/integration/test_alerts.py": "alerts",
    "tests/integration/test_command_line_login.py": "a login on the command line",
    "tests/integration/test_auth_manager.py": "Airflow with the auth manager",
    "tests/integration/test_dashboards.py": "dashboards and metrics",
    "tests/integration/test_doctor.py": "the doctor",
    "tests/integration/test_envoy_validates.py": "the rendered samples",
    "tests/integration/test_shipper.py": "a log shipper",
    "tests/integration/test_sign_out.py": "sign-out on all workers",
    "tests/integration/test_state.py": "a restart without provider or policy",
    "tests/integration/test_workers.py": "several workers",
    "tests/browser/test_login.py": "a browser",
    "tests/runs/test_run_tasks.py": "real tasks that prove their run",
}


share_by_default()
remember_type_hints()
share_authorities()


class _ByParts(LoadFileScheduling):
    """The tests of a file, or of a folder of `TOGETHER`, run in one process: they share what is started for them."""

    def _split_scope(self, nodeid):
        path = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if path.startswith(folder)), path)


def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile` keeps what is started together; other ways to share tests are pytest-xdist's own."""
    return _ByParts(config, log) if config.option.dist == "loadfile" else None


def _place(item):
    ranks = [rank for rank, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder)]
    return ranks[0] if ranks else len(LONGEST_FIRST) + (item.get_closest_marker("no_cover") is None)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(items):
    """The longest folders first, whose tests stay in their order; of the others first what tries many examples."""
    for item in items:
        if item.nodeid.startswith(REAL) and item.nodeid.partition("::")[0] not in CAPABILITIES:
            item.add_marker(pytest.mark.full)
        if item.get_closest_marker("full"):
            item.add_marker(pytest.mark.no_cover)  # `make coverage` counts without them, so it need not watch them
    items.sort(key=_place)


def pytest_make_parametrize_id(val, argname):
    """Long texts are often made of new keys: they differ from process to process, and say nothing in a name."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_IN_A_NAME else None


@pytest.fixture(autouse=True, scope="session")
def interruptible():
    """A shell ignores SIGINT in what it runs in the background, and commands that tests start would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
