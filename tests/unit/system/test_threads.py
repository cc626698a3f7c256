"""The door of background threads."""

import queue
import threading

import pytest

from authz.system import threads
from authz.system.threads import Background
from tests.support.simulators.idp import PATIENCE_S


@pytest.fixture(autouse=True)
def _forgotten():
    yield
    threads.forget()


def test_a_thread_that_ends_by_a_bug_is_logged_and_reported_without_the_errors_text(caplog):
    def work(text):
        raise ValueError(text)

    thread = Background(work, args=("a canary",), name="work")
    thread.start()
    thread.join(PATIENCE_S)
    [problem] = threads.problems()
    assert problem.startswith("thread work ended: internal error (ValueError at work:")
    assert problem in caplog.text
    assert "canary" not in caplog.text


def test_a_thread_that_ends_well_is_no_problem():
    done = threading.Event()
    thread = Background(done.set, name="work")
    assert thread.daemon
    thread.start()
    thread.join(PATIENCE_S)
    assert done.is_set()
    assert threads.problems() == ()


def test_a_thread_does_what_waits_before_it_ends():
    work, done = queue.Queue(), []
    thread = Background(lambda: done.extend(iter(work.get, None)), name="work")
    thread.end(work, PATIENCE_S)
    assert work.empty(), "it was never started"
    thread.start()
    for number in range(3):
        work.put(number)
    thread.end(work, PATIENCE_S)
    assert (done, thread.is_alive()) == ([0, 1, 2], False)


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_thread_that_hangs_is_not_waited_for(waiting):
    work, goes_on = queue.Queue(1), threading.Event()
    thread = Background(goes_on.wait, args=(PATIENCE_S,), name="work")
    thread.start()
    for _ in range(waiting):
        work.put("it is full")
    ending = threading.Thread(target=thread.end, args=(work, 0.05))
    ending.start()
    ending.join(PATIENCE_S / 2)
    ended = not ending.is_alive()
    goes_on.set()
    thread.join(PATIENCE_S)
    assert ended
