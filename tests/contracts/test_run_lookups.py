"""Questions to Airflow on both engines, over real sockets: whoever waits for one holds up nobody else."""

import contextlib
import threading

import pytest

from tests.contracts.engines import ENGINES, Running, check
from tests.support.factories.proofs import prove, task_key
from tests.support.factories.tokens import NOW
from tests.support.rigs.run import HOST, RunRig
from tests.support.rigs.service import message, read
from tests.support.simulators.idp import silence

TASK = task_key()
CALLS = 200


@pytest.fixture(params=sorted(ENGINES))
def kind(request):
    return request.param


@pytest.fixture
def rig(tmp_path):
    with RunRig(tmp_path, timeout_s=5.0) as made:
        yield made


def a_call(token, at):
    proof = prove(TASK, token, iat=at, htu=f"http://{HOST}/v1/orders")
    lines = [("x-run-identity", f"DPoP {token}".encode()), ("x-run-proof", proof)]
    return message("GET", "/v1/orders", headers=lines, plane="egress", host=HOST, audience="", destination="orders")


def health(channel):
    return read(check(channel)(message("GET", "/api/v2/monitor/health"), timeout=5))


def test_two_hundred_calls_wait_for_one_question_and_delay_no_other_call(kind, rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    asked = rig.airflow.count()
    rig.clock.advance(20)
    go = threading.Event()
    rig.airflow.hold(go)
    with Running(kind, rig.service, max_wait=10.0) as running, running.channel() as channel:
        calls = [check(channel).future(a_call(token, NOW + 20), timeout=20) for _ in range(CALLS)]
        rig.until(lambda: rig.airflow.count() > asked)
        rig.until(lambda: waiting(rig) == CALLS)
        assert health(channel).reason == "public"
        assert running.load.parked == 0  # places for keys are for those that wait for keys
        go.set()
        answers = [read(call.result()) for call in calls]
    assert {answer.reason for answer in answers} == {"rule"}
    assert rig.airflow.count() == asked + 1


def waiting(rig):
    return sum(len(flight.waiters) for flight in list(rig.states._flights.values()))


def test_an_airflow_that_hangs_is_a_503_before_the_deadline(kind, rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    rig.clock.advance(20)
    rig.airflow.misbehave(silence())
    with Running(kind, rig.service, max_wait=0.3) as running, running.channel() as channel:
        calls = [check(channel).future(a_call(token, NOW + 20), timeout=20) for _ in range(20)]
        answers = [read(call.result()) for call in calls]
        assert {(answer.http, answer.reason) for answer in answers} == {(503, "airflow_unavailable")}
        assert waiting(rig) == 0, "who was answered waits no more"
        assert health(channel).reason == "public"


def test_a_task_that_hangs_up_leaves_its_place_to_others(kind, rig):
    task = rig.airflow.add()
    headers = [("authorization", f"Bearer {rig.task_token(task)}".encode())]
    asks = message("GET", rig.target(task, TASK), headers=headers, plane="execution", audience="")
    go = threading.Event()
    rig.airflow.hold(go)
    with Running(kind, rig.service, max_wait=10.0) as running, running.channel() as channel:
        call = check(channel).future(asks, timeout=20)
        rig.until(lambda: waiting(rig) == 1)
        call.cancel()
        rig.until(lambda: waiting(rig) == 0)
        go.set()


@contextlib.contextmanager
def five_waiting(kind, rig):
    """Five calls of one task that wait for an Airflow which answers when `go` is set."""
    token = rig.token_of(rig.airflow.add(), TASK)
    rig.clock.advance(20)
    go = threading.Event()
    rig.airflow.hold(go)
    with Running(kind, rig.service, max_wait=10.0) as running, running.channel() as channel:
        calls = [check(channel).future(a_call(token, NOW + 20), timeout=20) for _ in range(5)]
        rig.until(lambda: waiting(rig) == 5)
        yield channel, token, calls, go


def test_one_call_too_many_gets_503_tasks_wait_for_airflow(kind, rig, monkeypatch):
    monkeypatch.setattr("authz.runs.task_states._MOST_WAITERS", 5)
    with five_waiting(kind, rig) as (channel, token, calls, go):
        answer = read(check(channel)(a_call(token, NOW + 20), timeout=10))
        assert (answer.http, answer.reason) == (503, "tasks_wait_for_airflow")
        assert "5 calls wait" in rig.record["detail"]
        go.set()
        assert {read(call.result()).reason for call in calls} == {"rule"}


def test_a_task_that_asks_waits_for_airflows_answer(kind, rig):
    task = rig.airflow.add()
    headers = [("authorization", f"Bearer {rig.task_token(task)}".encode())]
    asks = message("GET", rig.target(task, TASK), headers=headers, plane="execution", audience="")
    with Running(kind, rig.service, max_wait=10.0) as running, running.channel() as channel:
        answer = read(check(channel)(asks, timeout=10))
        assert (answer.http, answer.reason) == (200, "run_token_issued")
        task.state = "success"
        assert read(check(channel)(asks, timeout=10)).reason == "run_ended"


def test_a_client_that_goes_away_leaves_nothing_behind(kind, rig):
    with five_waiting(kind, rig) as (channel, token, calls, go):
        for call in calls:
            call.cancel()
        rig.until(lambda: waiting(rig) == 0)
        assert rig.states._waiting == 0
        go.set()
        answer = read(check(channel)(a_call(token, NOW + 20), timeout=10))
        assert answer.reason == "rule"
