"""The door of background threads."""

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
