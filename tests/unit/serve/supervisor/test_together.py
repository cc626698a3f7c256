import pytest

from authz.serve.supervisor.together import WorkerState, combine_readiness, read_state

GOOD = WorkerState(ready=True, revision="a" * 64)


def test_ready_means_that_all_are_and_serve_the_same():
    state = combine_readiness({0: GOOD, 1: GOOD})
    assert (state.ready, state.reasons, state.details["revision"]) == (True, (), "a" * 64)
    assert state.details["workers"] == [{"ready": True, "revision": "a" * 64}] * 2


def test_a_worker_that_is_not_ready_is_named_with_its_reasons():
    waiting = WorkerState(ready=False, revision="a" * 64, reasons=("keys of issuer corp: no keys yet",))
    state = combine_readiness({0: GOOD, 1: waiting})
    assert (state.ready, state.reasons) == (False, ("worker 1: keys of issuer corp: no keys yet",))


def test_a_worker_that_is_not_ready_and_does_not_say_why_is_named():
    assert combine_readiness({0: WorkerState(ready=False, revision="")}).reasons == ("worker 0: not ready",)


def test_a_worker_that_does_not_answer_is_named():
    state = combine_readiness({0: None, 1: GOOD})
    assert (state.ready, state.reasons) == (False, ("worker 0: does not answer",))


def test_a_broken_edit_is_a_reason_and_no_obstacle():
    warned = WorkerState(ready=True, revision="a" * 64, reasons=("policy: unknown key",))
    state = combine_readiness({0: warned, 1: warned})
    assert state.ready
    assert state.reasons == ("worker 0: policy: unknown key", "worker 1: policy: unknown key")


def test_different_policies_are_not_ready():
    state = combine_readiness({0: GOOD, 1: WorkerState(ready=True, revision="b" * 64), 2: GOOD})
    assert not state.ready
    assert state.reasons == (f"workers serve different policies: {'a' * 12} at 0 2, {'b' * 12} at 1",)
    assert state.details["revision"] == ""


def test_without_any_answer_nothing_is_ready():
    assert not combine_readiness({0: None}).ready
    assert not combine_readiness({}).ready


@pytest.mark.parametrize("page", [None, b"", b"nonsense", b"[]", b'{"ready": true}', b"null"])
def test_a_page_that_cannot_be_read_is_no_answer(page):
    assert read_state(page) is None


def test_a_page_is_read():
    page = b'{"ready": false, "reasons": ["x"], "revision": "abc"}'
    assert read_state(page) == WorkerState(ready=False, revision="abc", reasons=("x",))
