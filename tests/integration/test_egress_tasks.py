"""Real tasks under Airflow's real supervisor: what the gate sees of their calls, by every way that docs/tasks.md names.

The table there is this file's `TABLE`: each cell is a task that was run. Airflow's execution API and the gate are the
simulator, which judges tokens and proofs as the gate does.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

if importlib.util.find_spec("airflow") is None:  # not imported yet: it would make itself a home
    pytest.skip("Airflow is not installed: make install", allow_module_level=True)

from demo.entry_points import write_metadata
from tests.support.simulators.egress import TASK_TOKEN, EgressSimulator

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WAYS = ("connection type", "secrets backend", "proxy variables", "class of ours")
VERIFIED, BEARER, NO, NOT_ASKED = "verified", "verified-bearer", "no", "\u2013"
# What docs/tasks.md says of each library and way, and the task that shows it.
TABLE = {
    "`HttpOperator`": [
        (VERIFIED, "operator_gate"),
        (BEARER, "operator_flagged"),
        (BEARER, "operator_proxied"),
        None,
    ],
    "`HttpSensor`": [(NO, "sensor_gate"), (BEARER, "sensor_flagged"), (BEARER, "sensor_proxied"), None],
    "`HttpHook(…)` in code": [(NO, "hook_gate"), (BEARER, "hook_flagged"), (BEARER, "hook_proxied"), None],
    "`HttpAsyncHook(…)` in a task": [
        (NO, "async_hook_gate"),
        (BEARER, "async_hook_flagged"),
        (NO, "async_hook_proxied"),
        None,
    ],
    "`requests`": [None, None, (BEARER, "requests_proxied"), (VERIFIED, "by_requests")],
    "`httpx`": [None, None, (BEARER, "httpx_proxied"), (VERIFIED, "by_httpx")],
    "`aiohttp`": [None, None, (BEARER, "aiohttp_proxied"), (VERIFIED, "by_aiohttp")],
    "`urllib`, and what reads the variables as it does (boto3)": [None, None, (BEARER, "by_urllib"), None],
    "`curl` in a `BashOperator`": [None, None, (BEARER, "curl"), None],
}
CELLS = [
    pytest.param(cell, id=f"{way}-{cell[1]}".replace(" ", "-"))
    for row in TABLE.values()
    for way, cell in zip(WAYS, row, strict=True)
    if cell is not None
]
OTHERS = (
    "operator_plain",
    "operator_denied",
    "deferred_gate",
    "beside_xcom",
    "asynchronous_beside_airflow",
    "in_forked_children",
    "by_multiprocessing",
    "leaks_by_templates",
    "leaks_by_log",
    "leaks_by_xcom",
)
TASKS = (*(cell.values[0][1] for cell in CELLS), *OTHERS)


class Worker:
    """A folder in which the supervisor has run tasks; `ended` has their exit codes."""

    def __init__(self, site, folder, *, python=sys.executable, **options):
        self.site = site
        self.folder = folder
        self.python = python
        write_metadata(folder / "installed")
        site.dag_id = "sales_daily"
        site.connections = {
            name: {"conn_id": name, "conn_type": kind, "host": host, "schema": None, "login": None, "password": None}
            | {"port": None, "extra": extra}
            for name, kind, host, extra in (
                ("gate", "authz-http", site.url, None),
                ("flagged", "http", site.url, '{"authz_run_identity": true}'),
                ("plain", "http", site.url, None),
                ("internal", "http", "http://orders.internal", None),
            )
        }
        site.denied["/v1/secret"] = "deny_rule"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{folder / 'installed'}:{ROOT}",
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags_with_calls"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": site.execution,
            "AIRFLOW__WORKERS__SECRETS_BACKEND": "authz.airflow.egress.connections.RunConnections",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "1",
            "AIRFLOW__AUTHZ__EGRESS_PROXY": site.url,
            "GATE": site.url,
            **options,
        }

    def run(self, *tasks):
        asked = [{"id": str(uuid.uuid4()), "task_id": task} for task in tasks]
        self.site.started.update({one["id"]: one["task_id"] for one in asked})
        order = {"server": self.site.execution, "token": TASK_TOKEN, "logs": str(self.folder / "logs"), "tasks": asked}
        done = subprocess.run(
            [self.python, str(HERE / "supervised.py"), json.dumps(order)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        self.output = done.stdout + done.stderr
        return json.loads(done.stdout.strip().rpartition("\n")[2])

    def log(self, task):
        return (self.folder / "logs" / f"{task}.log").read_text()

    def calls(self, task):
        return [passed for passed in self.site.passed if passed.task == f"sales_daily.{task}"]


@pytest.fixture(scope="module")
def site():
    with EgressSimulator() as site:
        yield site


@pytest.fixture(scope="module")
def worker(site, tmp_path_factory):
    made = Worker(site, tmp_path_factory.mktemp("worker"))
    made.ended = made.run(*TASKS)
    return made


pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_way_covers(worker, cell):
    level, task = cell
    calls = worker.calls(task)
    if level == NO:
        assert calls == []
        assert [state["state"] for state in worker.site.states_of(task)] == ["up_for_retry"]
    else:
        assert [call.level for call in calls] == [level]
        assert worker.ended[task] == 0
        assert not {"x-run-identity", "x-run-proof", "proxy-authorization"} & set(calls[0].headers)


def test_the_table_of_the_documentation_is_this_one():
    page = (ROOT / "docs" / "tasks.md").read_text()
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]
    told = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows if len(cells) == 1 + len(WAYS)}
    for library, row in TABLE.items():
        words = [re.match(rf"\*?([\w-]+|{NOT_ASKED})\*?", cell)[1] for cell in told[library]]
        assert words == [NOT_ASKED if cell is None else cell[0] for cell in row], library


def test_a_connection_without_any_of_it_is_denied(worker):
    assert worker.calls("operator_plain") == []
    assert ("/v1/orders", "no_token") in worker.site.refused
    assert "401:Unauthorized" in worker.log("operator_plain")


def test_a_403_ends_the_task_for_good_and_its_log_says_why(worker):
    assert [state["state"] for state in worker.site.states_of("operator_denied")] == ["failed"]  # has retries=3
    log = worker.log("operator_denied")
    assert re.search(r"403: the gate says deny_rule: Not allowed: deny_rule\. \(decision \w{32}\)", log)
    assert worker.site.refused.count(("/v1/secret", "deny_rule")) == 1


def test_a_deferred_task_has_sent_nothing_and_takes_no_token_along(worker):
    (state,) = worker.site.states_of("deferred_gate")
    assert state["state"] == "deferred"
    assert worker.calls("deferred_gate") == []
    assert not any(token in json.dumps(state) for token in worker.site.tokens)


def test_calls_and_airflows_own_messages_do_not_mix(worker):
    assert worker.ended["beside_xcom"] == 0
    assert len(worker.calls("beside_xcom")) == 8
    assert worker.ended["asynchronous_beside_airflow"] == 0
    assert len(worker.calls("asynchronous_beside_airflow")) == 8


def test_forked_children_ask_for_themselves(worker):
    assert len(worker.calls("in_forked_children")) == 4
    keys = {
        asked.thumbprint for asked in worker.site.asked if asked.task_id == "in_forked_children" and not asked.proxy
    }
    assert len(keys) == 4


def test_a_child_of_multiprocessing_sends_no_call(worker):
    assert worker.calls("by_multiprocessing") == []
    assert "7" in worker.site.xcoms


def test_no_token_is_in_a_log_in_xcom_in_rendered_templates_or_in_the_supervisors_output(worker):
    logs = {path.name: path.read_text() for path in (worker.folder / "logs").iterdir()}
    assert "logged DPoP " in logs["leaks_by_log.log"]  # it did try
    assert "raised DPoP " in logs["leaks_by_log.log"]
    assert "logged {" in logs["leaks_by_templates.log"].replace("\\", "")
    places = {**logs, "output": worker.output, "xcoms": str(worker.site.xcoms), "rendered": str(worker.site.rendered)}
    signatures = {token: token.rpartition(".")[2] for token in worker.site.tokens}
    for name, text in places.items():
        for token, signature in signatures.items():
            assert token not in text, name
            assert signature[:40] not in text, name
    assert len(signatures) > 20


def test_an_identity_cannot_be_returned_from_a_task(worker):
    assert [state["state"] for state in worker.site.states_of("leaks_by_xcom")] == ["up_for_retry"]
    assert "Cannot serialize" in worker.log("leaks_by_xcom")


def test_the_file_of_a_dag_is_parsed_without_asking(worker):
    """`RunAuth` stands at the top of the DAG file, which every one of these tasks has parsed."""
    assert {asked.task_id for asked in worker.site.asked if not asked.proxy} <= {*TASKS}
    assert all(asked.dag_id == "sales_daily" for asked in worker.site.asked)


def test_where_it_is_required_a_task_without_token_does_not_start(tmp_path):
    with EgressSimulator() as site:
        site.exchange = (403, {"error": "run_mismatch", "message": "Not this run.", "decision_id": "d"})
        worker = Worker(site, tmp_path, AIRFLOW__AUTHZ__EGRESS_REQUIRED="true")
        worker.run("by_urllib")
        (state,) = site.states_of("by_urllib")
        assert state["state"] == "up_for_retry"
        assert "egress_required: the task does not start without its identity" in worker.log("by_urllib")
        assert site.passed == site.refused == []


@pytest.mark.parametrize("version", ["3.1.8", "3.2.2"])
def test_older_airflows(version, tmp_path):
    """The same on the Airflows that `make catalogue-check` installs, where they have the HTTP provider."""
    python = ROOT / ".airflows" / version / "bin" / "python"
    look = "import airflow.providers.http, aiohttp"
    if not python.exists() or subprocess.run([python, "-c", look], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"there is no Airflow {version} with the HTTP provider in {python.parents[1]}")
    with EgressSimulator() as site:
        worker = Worker(site, tmp_path, python=str(python))
        tasks = ("operator_gate", "hook_flagged", "by_urllib", "by_aiohttp", "beside_xcom", "operator_denied")
        assert worker.run(*tasks) == dict.fromkeys(tasks, 0)
        seen = {task: {call.level for call in worker.calls(task)} for task in tasks}
        assert seen == {
            "operator_gate": {VERIFIED},
            "hook_flagged": {BEARER},
            "by_urllib": {BEARER},
            "by_aiohttp": {VERIFIED},
            "beside_xcom": {VERIFIED},
            "operator_denied": set(),
        }
        assert len(worker.calls("beside_xcom")) == 8
        assert [state["state"] for state in site.states_of("operator_denied")] == ["failed"]
