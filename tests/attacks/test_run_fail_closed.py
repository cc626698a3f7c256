"""security.md d-19 for run identity: whatever breaks on the way of a call or of a task's question, the answer is a 503.

Every collaborator is replaced by one that raises. What is left unbroken still has to work, so that no test here passes
because everything is refused.
"""

import logging

import pytest

from authz.core.errors import ReplaysFullError
from authz.core.runs.task_lookup import PendingLookup
from tests.support.factories.proofs import task_key
from tests.support.rigs.run import RunRig

CANARY = "canary-7f3a"
FAULTS = [
    ZeroDivisionError(CANARY),
    KeyError(CANARY),
    RecursionError(CANARY),
    MemoryError(CANARY),
    TimeoutError(CANARY),
    StopIteration(CANARY),
    UnicodeEncodeError("utf-8", "x", 0, 1, CANARY),
]
TASK = task_key()


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


# What a call needs: the part, its attribute, and where it hangs.
CALL_STAGES = {
    "identities": lambda rig: (rig.identities, "authenticate"),
    "states: seen": lambda rig: (rig.states, "seen"),
    "replays": lambda rig: (rig.replays.__class__, "first"),
    "own keys": lambda rig: (rig.identities, "_of_the_gate"),
    "count": lambda rig: (rig.service._runs.__class__, "count"),
    "answers": lambda rig: (rig.service._answers, "render"),
    "record": lambda rig: (rig.service._recorder, "record"),
    "observe": lambda rig: (rig.service, "_observe"),
}
ASK_STAGES = {
    "exchange: begin": lambda rig: (rig.exchange, "begin"),
    "exchange: end": lambda rig: (rig.exchange, "end"),
    "exchange: key view": lambda rig: (rig.exchange, "_keys"),
    "states: look": lambda rig: (rig.states, "look"),
    "Airflow": lambda rig: (rig.states._airflow, "ask"),
    "minter": lambda rig: (rig.exchange._minter, "variable"),
    "answers": lambda rig: (rig.service._answers, "answered"),
    "record": lambda rig: (rig.service._recorder, "record"),
    "observe": lambda rig: (rig.service, "_observe"),
}


@pytest.fixture
def rig(tmp_path):
    with RunRig(tmp_path) as made:
        yield made


def is_closed(answer):
    assert not answer.allowed
    assert answer.code != 0
    assert answer.http == 503
    assert CANARY not in answer.body
    assert answer.set.get("x-authz-dag") is None


@pytest.mark.parametrize("stage", CALL_STAGES)
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_d19_a_call_whose_judging_breaks_is_not_let_through(rig, monkeypatch, caplog, stage, error):
    token = rig.token_of(rig.airflow.add(), TASK)
    assert rig.call(token, TASK).allowed
    monkeypatch.setattr(*CALL_STAGES[stage](rig), failing(error), raising=False)
    with caplog.at_level(logging.DEBUG):
        is_closed(rig.call(token, TASK))
    assert CANARY not in caplog.text
    assert token not in caplog.text
    monkeypatch.undo()
    assert rig.call(token, TASK).allowed


@pytest.mark.parametrize("stage", ASK_STAGES)
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
def test_d19_a_task_whose_question_breaks_gets_nothing(rig, monkeypatch, caplog, stage, error):
    task = rig.airflow.add()
    monkeypatch.setattr(*ASK_STAGES[stage](rig), failing(error))
    with caplog.at_level(logging.DEBUG):
        answer = rig.ask_identity(task, TASK)
    is_closed(answer)
    assert "expires_in" not in answer.body
    assert CANARY not in caplog.text
    assert rig.task_token(task) not in caplog.text
    monkeypatch.undo()
    assert rig.ask_identity(task, TASK).http == 200


@pytest.mark.parametrize("part", ["begin", "resume"])
def test_d19_a_call_that_waits_is_no_way_around(rig, monkeypatch, part):
    token = rig.token_of(rig.airflow.add(), TASK)
    rig.clock.advance(20)
    if part == "begin":
        monkeypatch.setattr(rig.states, "look", failing(ZeroDivisionError(CANARY)))
        is_closed(rig.settle(rig.calls(token, TASK)))
    else:
        outcome = rig.calls(token, TASK)
        monkeypatch.setattr(rig.identities, "authenticate", failing(ZeroDivisionError(CANARY)))
        is_closed(rig.settle(outcome))


def test_d19_an_airflow_that_was_never_asked_is_no_yes(rig):
    token = rig.token_of(rig.airflow.add(), TASK)
    rig.clock.advance(20)
    answer = rig.settle_now(rig.calls(token, TASK))  # its time was over before anybody asked
    is_closed(answer)
    assert answer.reason == "airflow_unavailable"


def test_d19_a_table_of_proofs_that_is_full_lets_nothing_through(rig, monkeypatch):
    token = rig.token_of(rig.airflow.add(), TASK)
    monkeypatch.setattr(rig.replays.__class__, "first", failing(ReplaysFullError("full")))
    answer = rig.call(token, TASK)
    is_closed(answer)
    assert answer.reason == "replay_cache_full"


def test_d19_the_threads_that_ask_go_on_after_a_bug(rig, monkeypatch):
    task = rig.airflow.add()
    monkeypatch.setattr(rig.states._airflow, "ask", failing(ZeroDivisionError(CANARY)))
    for _ in range(8):  # more than there are threads
        assert rig.ask_identity(task, TASK).reason == "airflow_unavailable"
    monkeypatch.undo()
    assert rig.ask_identity(task, TASK).http == 200


def test_d19_after_the_stop_no_call_waits_for_airflow(rig):
    task = rig.airflow.add()
    rig.states.stop()
    assert rig.ask_identity(task, TASK).reason == "airflow_unavailable"
    assert not rig.states.look(PendingLookup(claim=("x",)), lambda: None)
