"""The real Airflow behind the gate: answers that take their time, large ones, and many requests at once."""

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.e2e.airflow_behind_gate import BASE, LINES, PATIENCE_S, AirflowBehindGate
from tests.e2e.envoy_harness import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TRIGGER = b'{"logical_date": null}'
AT_ONCE = 200


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    with AirflowBehindGate(tmp_path_factory.mktemp("behind")) as running:
        yield running


@pytest.fixture(scope="module")
def run(behind):
    """A run of some seconds that has just begun: the path of its resource."""
    answer = behind.post(f"{BASE}/api/v2/dags/talks/dagRuns", TRIGGER, token=behind.token("una", "users"))
    assert answer.status == 200
    return f"{BASE}/api/v2/dags/talks/dagRuns/{quote(json.loads(answer.body)['dag_run_id'], safe='')}"


def lines_of(connection):
    """The lines of an answer, each as soon as it is there: the status line first, then what the chunks hold."""
    yield connection.line()
    while connection.line():
        pass
    rest = b""
    while size := int(connection.line(), 16):
        *whole, rest = (rest + connection.read(size)).split(b"\n")
        connection.line()
        yield from whole


def test_wait_tells_the_state_of_a_run_while_it_goes_on(behind, run):
    with behind.connect() as connection:
        connection.send(behind.asking(f"{run}/wait?interval=0.2", token=behind.token("vera", "viewers")))
        lines = lines_of(connection)
        assert next(lines).split()[1] == b"200"
        assert json.loads(next(lines))["state"] in {"queued", "running"}
        # What came is not what was buffered until the end: at this moment the run is not over.
        assert json.loads(behind.get(run, token=behind.token("vera", "viewers")).body)["state"] in {"queued", "running"}
        states = [json.loads(line)["state"] for line in lines]
    assert states[-1] == "success"
    assert "running" in states


def test_a_log_of_some_megabytes_streams_to_a_reader_who_takes_his_time(behind, run):
    viewer = behind.token("vera", "viewers")
    wait_for(
        lambda: b'"success"' in behind.get(run, token=viewer).body,
        "the run",
        pause=behind.envoy.pause,
        seconds=PATIENCE_S,
    )
    log = f"{run}/taskInstances/talk/logs/1"
    with behind.connect() as connection:
        connection.slow_down()
        connection.send(behind.asking(log, "Accept: application/x-ndjson", token=viewer))
        lines = lines_of(connection)
        assert next(lines).split()[1] == b"200"
        first = next(lines)
        assert behind.get(f"{BASE}/api/v2/version").status == 200  # nobody else waits for the slow one
        told = [json.loads(line)["event"] for line in [first, *lines]]
    assert sum(line.startswith("line ") for line in told) == LINES
    whole = behind.get(log, "Accept: application/json", token=viewer)
    assert len(whole.body) > 1_000_000
    assert len(json.loads(whole.body)["content"]) == len(told)


def test_large_bodies_pass_in_both_directions(behind):
    admin = behind.token("root", "admins")
    body = json.dumps({"key": "large", "value": "v" * 5_000_000}).encode()
    assert behind.post(f"{BASE}/api/v2/variables", body, token=admin).status == 201
    assert len(behind.get(f"{BASE}/api/v2/variables/large", token=admin).body) > 5_000_000


def test_a_client_that_expects_100_continue_gets_it(behind):
    admin = behind.token("root", "admins")
    head, _, body = behind.asking(
        f"{BASE}/api/v2/variables",
        *("Content-Type: application/json", "Expect: 100-continue"),
        token=admin,
        method="POST",
        body=json.dumps({"key": "expected", "value": "v" * 200_000}).encode(),
    ).partition(b"\r\n\r\n")
    with behind.connect() as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.line() == b"HTTP/1.1 100 Continue"
        assert connection.line() == b""
        connection.send(body)
        assert connection.response().status == 201


def test_a_body_that_will_be_refused_is_not_asked_for(behind):
    lines = ("Content-Type: application/json", "Expect: 100-continue", "Content-Length: 5000000")
    for token, status in ((None, 401), (behind.token("vera", "viewers"), 403)):
        with behind.connect() as connection:
            connection.send(behind.asking(f"{BASE}/api/v2/variables", *lines, token=token, method="POST"))
            answer = connection.response()  # the first line that comes, no `100 Continue` before it
            assert answer.status == status
            assert not behind.forwarded(answer)


def test_many_requests_on_one_connection(behind):
    viewer = behind.token("vera", "viewers")
    with behind.connect() as connection:
        for number in range(150):
            target = f"{BASE}/api/v2/dags?limit={number % 9 + 1}"
            connection.send(behind.asking(target, token=viewer if number % 5 else None))
            assert connection.response().status == (200 if number % 5 else 401)


def test_triggers_at_once_are_all_answered_and_each_is_its_callers(behind):
    """Every one in Airflow's own records and in the gate's, with the same person."""
    names = [f"person-{number}" for number in range(AT_ONCE)]
    tokens = {name: behind.token(name, "users") for name in names}

    def trigger(name):
        return behind.post(f"{BASE}/api/v2/dags/waits/dagRuns", TRIGGER, token=tokens[name])

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = dict(zip(names, threads.map(trigger, names), strict=True))
    assert {answer.status for answer in answers.values()} == {200}
    runs = {name: json.loads(answer.body) for name, answer in answers.items()}
    assert {name: run["triggering_user_name"] for name, run in runs.items()} == {name: name for name in names}
    assert len({run["dag_run_id"] for run in runs.values()}) == AT_ONCE
    for name, answer in answers.items():
        record = behind.record(answer)
        assert (record["subject"], record["operation"], record["dag"]) == (f"id-{name}", "dag_runs:create", "waits")
    assert event_log(behind) == dict.fromkeys(names, 1)


def event_log(behind):
    """How often each person stands in Airflow's own event log for a trigger of the DAG."""
    found = {}
    for offset in range(0, AT_ONCE * 2, 100):
        query = f"dag_id=waits&event=trigger_dag_run&limit=100&offset={offset}"
        answer = behind.get(f"{BASE}/api/v2/eventLogs?{query}", token=behind.token("root", "admins"))
        assert answer.status == 200
        for entry in json.loads(answer.body)["event_logs"]:
            found[entry["owner"]] = found.get(entry["owner"], 0) + 1
    return found
