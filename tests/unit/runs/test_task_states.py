"""Questions to Airflow: one at a time about one task, bounded, and never a yes that nobody gave."""

import threading

import pytest

from authz.core.errors import DeniedError
from authz.core.reasons import Reason
from authz.core.runs.task_lookup import PendingLookup, TaskRef, TaskStatus
from authz.runs.task_states import TaskStates
from tests.support.simulators.idp import PATIENCE_S, SimClock

CLAIM = TaskRef("id-1", "dag", "run", "task", -1, 1)
RUNNING = TaskStatus(None, 1)
ENDED = TaskStatus(Reason.RUN_ENDED, detail="its state is 'success'")
DOWN = TaskStatus(Reason.AIRFLOW_UNAVAILABLE, detail="Airflow answers with status 500")


class ScriptedAirflow:
    """Answers what the test says, when the test says so."""

    def __init__(self):
        self.answer = RUNNING
        self.asked = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Semaphore(0)

    def ask(self, claim):
        self.asked.append(claim)
        answer = self.answer
        self.begun.release()
        assert self.go.wait(PATIENCE_S)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def airflow():
    return ScriptedAirflow()


@pytest.fixture
def clock():
    return SimClock()


@pytest.fixture
def states(airflow, clock):
    made = TaskStates(airflow, clock, recheck=15.0, observe=lambda *_: None, threads=2)
    made.start()
    yield made
    airflow.go.set()
    made.stop()


def look(states, claim=CLAIM):
    attempt, done = PendingLookup(claim), threading.Event()
    assert states.look(attempt, done.set)
    assert done.wait(PATIENCE_S)
    return attempt.found


def word(states, clock, claim=CLAIM):
    """`yes`, `ask`, or the reason."""
    try:
        return "yes" if states.seen(claim, clock.monotonic()) else "ask"
    except DeniedError as error:
        return error.reason.value


def test_airflow_must_be_asked_about_a_task_seen_for_the_first_time(states, clock):
    assert word(states, clock) == "ask"


def test_a_yes_holds_for_as_long_as_the_settings_say(states, airflow, clock):
    assert look(states) == RUNNING
    assert word(states, clock) == "yes"
    airflow.go.clear()  # whatever is asked in the background gets no answer
    clock.advance(14.9)
    assert word(states, clock) == "yes"
    clock.advance(0.1)
    assert word(states, clock) == "ask"


def test_a_yes_counts_from_when_the_question_was_sent(states, airflow, clock):
    airflow.go.clear()
    attempt, done = PendingLookup(CLAIM), threading.Event()
    states.look(attempt, done.set)
    assert airflow.begun.acquire(timeout=PATIENCE_S)
    clock.advance(10)
    airflow.go.set()
    assert done.wait(PATIENCE_S)
    airflow.go.clear()
    clock.advance(4)
    assert word(states, clock) == "yes"
    clock.advance(1)
    assert word(states, clock) == "ask"


def test_a_yes_for_a_claim_without_a_try_is_one_for_the_try_that_airflow_named(states, clock):
    assert look(states, CLAIM._replace(try_number=None)) == RUNNING
    assert word(states, clock) == "yes"
    assert word(states, clock, CLAIM._replace(try_number=2)) == "ask"
    assert word(states, clock, CLAIM._replace(dag_id="other")) == "ask"


def test_a_no_ends_an_earlier_yes_and_is_not_for_ever(states, airflow, clock):
    look(states)
    airflow.answer = ENDED
    assert look(states) == ENDED
    assert word(states, clock) == "run_ended"
    clock.advance(1.1)
    assert word(states, clock) == "ask"  # it may have been deferred, and run again
    airflow.answer = RUNNING
    assert look(states) == RUNNING
    assert word(states, clock) == "yes"


def test_a_failure_ends_no_yes_and_is_no_yes(states, airflow, clock):
    look(states)
    airflow.answer = DOWN
    assert look(states) == DOWN
    assert word(states, clock) == "yes"
    assert states.problem() == "Airflow cannot be asked about tasks: Airflow answers with status 500"
    clock.advance(15)
    assert look(states) == DOWN
    assert word(states, clock) == "airflow_unavailable"
    clock.advance(301)
    assert states.problem() == ""
    assert look(states) == DOWN
    assert states.problem() != ""
    clock.advance(1.1)
    assert word(states, clock) == "ask"
    airflow.answer = RUNNING
    look(states)
    assert states.problem() == ""


def test_a_failure_after_a_no_does_not_bring_the_yes_back(states, airflow, clock):
    look(states)
    airflow.answer = ENDED
    look(states)
    airflow.answer = DOWN
    clock.advance(1.1)
    look(states)
    assert word(states, clock) == "airflow_unavailable"


def test_an_exception_is_a_failure(states, airflow, clock):
    airflow.answer = ZeroDivisionError("secret")
    assert look(states).reason is Reason.AIRFLOW_UNAVAILABLE
    assert word(states, clock) == "airflow_unavailable"
    airflow.answer = RUNNING
    assert look(states) == RUNNING


def test_many_who_ask_the_same_are_one_question(states, airflow):
    airflow.go.clear()
    attempts = [PendingLookup(CLAIM) for _ in range(200)]
    over = threading.Semaphore(0)
    assert all(states.look(attempt, over.release) for attempt in attempts)
    airflow.go.set()
    for _ in attempts:
        assert over.acquire(timeout=PATIENCE_S)
    assert {attempt.found for attempt in attempts} == {RUNNING}
    assert airflow.asked == [CLAIM]


def test_so_many_wait_for_one_answer_and_no_more(states, airflow):
    airflow.go.clear()
    looked = [states.look(PendingLookup(CLAIM), lambda: None) for _ in range(257)]
    assert looked == [True] * 256 + [False]


def test_so_many_wait_in_all_and_there_is_room_again_afterwards(states, airflow, monkeypatch):
    monkeypatch.setattr("authz.runs.task_states._MOST_WAITING", 3)
    airflow.go.clear()
    over = threading.Semaphore(0)
    looked = [states.look(PendingLookup(CLAIM._replace(instance=f"i{number}")), over.release) for number in range(5)]
    assert looked == [True] * 3 + [False] * 2
    airflow.go.set()
    for _ in range(3):
        assert over.acquire(timeout=PATIENCE_S)
    assert look(states, CLAIM._replace(instance="i9")) == RUNNING


def test_one_task_that_claims_to_be_many_leaves_room_for_the_questions_of_others(states, airflow):
    airflow.go.clear()
    looked = [states.look(PendingLookup(CLAIM._replace(dag_id=f"d{number}")), lambda: None) for number in range(9)]
    assert looked == [True] * 4 + [False] * 5
    assert states.look(PendingLookup(CLAIM._replace(instance="id-2")), lambda: None)
    airflow.go.set()
    assert look(states, CLAIM._replace(instance="id-3")) == RUNNING
    assert look(states, CLAIM._replace(dag_id="d8")) == RUNNING


def test_so_many_questions_wait_and_no_more(states, airflow):
    airflow.go.clear()
    for _ in range(2):
        states.look(PendingLookup(CLAIM._replace(instance=f"busy-{_}")), lambda: None)
        assert airflow.begun.acquire(timeout=PATIENCE_S)
    looked = [states.look(PendingLookup(CLAIM._replace(instance=f"i{number}")), lambda: None) for number in range(1030)]
    assert looked == [True] * 1024 + [False] * 6


def test_what_is_known_is_bounded(states, monkeypatch, clock):
    monkeypatch.setattr("authz.runs.task_states._MOST_KEPT", 3)
    for number in range(5):
        look(states, CLAIM._replace(instance=f"i{number}"))
    known = [number for number in range(5) if word(states, clock, CLAIM._replace(instance=f"i{number}")) == "yes"]
    assert known == [2, 3, 4]


def test_a_busy_task_is_asked_about_in_the_background(states, airflow, clock):
    look(states)
    clock.advance(7)
    assert word(states, clock) == "yes"
    assert len(airflow.asked) == 1
    clock.advance(1)
    assert word(states, clock) == "yes"
    for _ in range(2):
        assert airflow.begun.acquire(timeout=PATIENCE_S)
    assert len(airflow.asked) == 2


def test_stop_wakes_all_who_wait_without_an_answer(airflow, clock):
    states = TaskStates(airflow, clock, recheck=15.0, observe=lambda *_: None, threads=1)
    states.start()
    airflow.go.clear()
    first, second = (PendingLookup(CLAIM._replace(instance=name)) for name in ("a", "b"))
    over = threading.Semaphore(0)
    assert states.look(first, over.release)
    assert airflow.begun.acquire(timeout=PATIENCE_S)
    assert states.look(second, over.release)
    states.stop(timeout=0)
    for _ in range(2):
        assert over.acquire(timeout=PATIENCE_S)
    assert (first.found, second.found) == (None, None)
    airflow.go.set()
    assert not states.look(PendingLookup(CLAIM), over.release)


def test_questions_are_counted_with_what_became_of_them(airflow, clock):
    seen = []
    states = TaskStates(airflow, clock, recheck=15.0, observe=lambda *two: seen.append(two), threads=1)
    states.start()
    for answer in (RUNNING, ENDED, DOWN):
        airflow.answer = answer
        look(states)
    states.stop()
    assert [result for _seconds, result in seen] == ["running", "refused", "failed"]
