"""The identity of a running task: asked for once, renewed in time, and never where it must not be."""

import asyncio
import copy
import errno
import json
import os
import pickle
import threading
import time

import jwt
import pytest

pytest.importorskip("airflow")

from airflow.sdk.execution_time.comms import GetVariable, MaskSecret

from authz.airflow.egress import credential, task_sdk
from authz.airflow.egress.credential import Credential, SharedCredential
from authz.airflow.egress.errors import EgressError, NoRunError, NotServedError, RefusedError, UnavailableError
from authz.airflow.egress.identity import IDENTITY, PROOF, RunIdentity, endings, token_of
from authz.airflow.egress.run_key import RunKey
from authz.core.runs.proof import check_proof, parse_proof
from tests.support.simulators.egress import EgressSimulator
from tests.support.sites.egress_task import running

URL = "http://127.0.0.1:9101/v1/orders?x=1#f"


@pytest.fixture
def site():
    with EgressSimulator() as site:
        yield site


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def fetches(*lives, gate=None):
    """A fetch that hands out numbered tokens, and the list of what it did."""
    done = []

    def fetch():
        done.append(threading.get_ident())
        if gate is not None:
            gate.wait(10)
        life = lives[min(len(done), len(lives)) - 1]
        if isinstance(life, EgressError):
            raise life
        return Credential(token=f"t{len(done)}", lives_s=life, level="verified")

    return fetch, done


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- asked for once


def test_many_threads_ask_once():
    gate = threading.Event()
    fetch, done = fetches(120.0, gate=gate)
    shared = SharedCredential(fetch)
    got = []
    threads = [threading.Thread(target=lambda: got.append(shared.get().token)) for _ in range(20)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert got == ["t1"] * 20
    assert len(done) == 1


def test_threads_and_coroutines_ask_once_and_the_loop_is_never_blocked():
    gate = threading.Event()
    fetch, done = fetches(120.0, gate=gate)
    shared = SharedCredential(fetch)

    async def all_at_once():
        waiting = [asyncio.create_task(shared.aget()) for _ in range(50)]
        thread = threading.Thread(target=shared.get)
        thread.start()
        ticks = 0
        while ticks < 20:  # the loop turns while everybody waits
            await asyncio.sleep(0.001)
            ticks += 1
        assert not any(one.done() for one in waiting)
        gate.set()
        found = await asyncio.gather(*waiting)
        thread.join()
        return found

    assert {one.token for one in asyncio.run(all_at_once())} == {"t1"}
    assert len(done) == 1
    assert threading.get_ident() not in done


def test_waiting_takes_nothing_of_the_loops_executor():
    """The Task SDK reads the supervisor's answer there: were it full of waiting, nobody would ever read."""
    gate = threading.Event()
    fetch, _done = fetches(120.0, gate=gate)
    shared = SharedCredential(fetch)

    async def main():
        waiting = [asyncio.create_task(shared.aget()) for _ in range(100)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "free") == "free"
        gate.set()
        await asyncio.gather(*waiting)

    asyncio.run(main())


def test_a_waiting_coroutine_that_is_cancelled_does_not_cancel_the_others():
    gate = threading.Event()
    fetch, done = fetches(120.0, gate=gate)
    shared = SharedCredential(fetch)

    async def main():
        first, second = (asyncio.create_task(shared.aget()) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        gate.set()
        assert (await second).token == "t1"

    asyncio.run(main())
    assert len(done) == 1


# --- renewed in time


def test_the_old_one_is_handed_out_while_the_new_one_is_fetched():
    clock, gate = Clock(), threading.Event()
    gate.set()
    fetch, done = fetches(120.0, gate=gate)
    shared = SharedCredential(fetch, clock)
    assert shared.get().token == "t1"
    clock.now += 71
    assert shared.get().token == "t1"
    assert len(done) == 1
    gate.clear()
    clock.now += 2  # past 60 % of its life
    assert [shared.get().token for _ in range(5)] == ["t1"] * 5
    gate.set()
    until(lambda: shared.get().token == "t2")
    assert len(done) == 2


def test_near_its_end_everybody_waits_for_the_new_one():
    clock = Clock()
    fetch, done = fetches(120.0)
    shared = SharedCredential(fetch, clock)
    shared.get()
    clock.now += 116
    assert shared.get().token == "t2"
    assert len(done) == 2


def test_the_time_that_asking_took_is_not_added_to_its_life():
    clock = Clock()

    def slow():
        clock.now += 60
        return Credential(token=f"t{clock.now:g}", lives_s=62.0, level="verified")

    shared = SharedCredential(slow, clock)
    first = shared.get().token
    assert shared.get().token != first  # 2 s are left of it


def test_a_renewal_that_fails_is_tried_again_after_a_pause_and_the_old_one_stays_good():
    clock = Clock()
    fetch, done = fetches(120.0, UnavailableError("not now"), 120.0)
    shared = SharedCredential(fetch, clock)
    shared.get()
    clock.now += 80
    assert shared.get().token == "t1"
    until(lambda: len(done) == 2)
    until(lambda: shared._flight is None)
    assert shared.get().token == "t1"
    assert len(done) == 2
    clock.now += credential.PAUSE_S + 0.1
    until(lambda: shared.get().token == "t3")


def test_a_refused_token_is_replaced_once_for_all_who_saw_it_refused():
    fetch, done = fetches(120.0)
    shared = SharedCredential(fetch)
    refused = shared.get().token
    assert [shared.get(refused=refused).token for _ in range(5)] == ["t2"] * 5
    assert len(done) == 2


def test_everybody_hears_why_there_is_none_and_the_next_one_asks_again():
    fetch, done = fetches(RefusedError("no"), 120.0)
    shared = SharedCredential(fetch)
    with pytest.raises(RefusedError, match="no"):
        shared.get()
    assert shared.get().token == "t2"
    assert len(done) == 2


def test_a_bug_in_the_fetch_ends_the_wait_with_unavailable(monkeypatch):
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda hook: seen.append(hook.exc_type))

    def broken():
        raise ZeroDivisionError

    with pytest.raises(UnavailableError):
        SharedCredential(broken).get()
    until(lambda: seen == [ZeroDivisionError])


def test_a_wait_beyond_the_limit_ends_with_unavailable(monkeypatch):
    monkeypatch.setattr(credential, "WAIT_S", 0.05)
    gate = threading.Event()
    shared = SharedCredential(fetches(120.0, gate=gate)[0])
    with pytest.raises(UnavailableError, match=r"has not answered for 0\.05 s"):
        shared.get()
    with pytest.raises(UnavailableError, match=r"has not answered for 0\.05 s"):
        asyncio.run(shared.aget())
    gate.set()


# --- through the supervisor


def test_the_supervisor_is_asked_in_the_agreed_words(site):
    with running(site, map_index=3, try_number=2) as comms:
        found = RunIdentity.current()
        headers = found.headers("GET", URL)
        assert found.level() == "verified"
    asked = site.asked[0]
    assert (asked.dag_id, asked.run_id, asked.task_id) == ("sales_daily", "manual__1", "extract")
    assert (asked.map_index, asked.try_number, asked.proxy) == (3, 2, False)
    assert len(site.asked) == 1
    assert headers[IDENTITY] == f"DPoP {site.tokens[0]}"
    assert [type(message) for message in comms.sent] == [GetVariable, MaskSecret, MaskSecret]
    assert threading.get_ident() not in comms.threads


def test_each_proof_is_new_and_for_one_request(site):
    with running(site):
        found = RunIdentity.current()
        made = [found.headers("GET", URL) for _ in range(3)]
    assert len({headers[PROOF] for headers in made}) == 3
    proof = parse_proof(made[0][PROOF].encode())
    token = site.tokens[0]
    bound = jwt.decode(token, options={"verify_signature": False})["cnf"]["jkt"]
    expected = {"token": token, "thumbprint": bound, "authority": "127.0.0.1:9101", "now": time.time()}
    check_proof(proof, method="GET", path="/v1/orders", **expected)


def test_coroutines_get_the_same_identity(site):
    with running(site) as comms:

        async def main():
            return await RunIdentity.current().aheaders("GET", URL)

        assert token_of(asyncio.run(main())) == token_of(RunIdentity.current().headers("GET", URL))
    assert threading.get_ident() not in comms.threads


def test_the_proxy_form_is_another_token(site):
    with running(site):
        found = RunIdentity.current()
        bound = token_of(found.headers("GET", URL))
        held = found.proxy()
    assert held.level == "verified-bearer"
    assert held.token != bound
    assert [asked.proxy for asked in site.asked] == [False, True]


def test_another_try_of_the_task_has_another_identity(site):
    with running(site):
        first = RunIdentity.current()
        assert RunIdentity.current() is first
    with running(site, try_number=2):
        assert RunIdentity.current() is not first


def test_a_forked_child_makes_its_own_key_and_asks_for_itself(site):
    with running(site):
        mine = RunIdentity.current()
        mine.headers("GET", URL)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            told = "failed"
            try:
                theirs = RunIdentity.current()
                theirs.headers("GET", URL)
                told = theirs._key.thumbprint
            finally:
                os.write(writing, told.encode())
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            theirs = pipe.read()
        os.waitpid(child, 0)
        assert RunIdentity.current() is mine
    assert [asked.thumbprint for asked in site.asked] == [mine._key.thumbprint, theirs]
    assert theirs != mine._key.thumbprint


def test_a_fork_waits_for_the_end_of_a_turn_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(task_sdk, "FORK_WAIT_S", 0.2)
    entered, leave = threading.Event(), threading.Event()

    def turn():
        with task_sdk._TURN.taken():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=turn)
    thread.start()
    entered.wait(10)
    began = time.monotonic()
    child = os.fork()
    if child == 0:  # nobody gives the lock back here: the child has one of its own
        ended = 1
        try:
            ended = 0 if task_sdk._TURN._threads.acquire(timeout=5) else 1
        finally:
            os._exit(ended)
    assert time.monotonic() - began >= 0.2
    assert os.waitpid(child, 0)[1] == 0
    leave.set()
    thread.join()
    with task_sdk._TURN.taken():  # the parent's was not given back twice
        assert not task_sdk._TURN._threads.acquire(blocking=False)


@pytest.mark.parametrize(
    ("exchange", "kind", "said"),
    [
        (
            (403, {"error": "run_mismatch"}),
            RefusedError,
            r"to sales_daily\.extract, run manual__1, try 1 ",
        ),
        (
            (404, {"detail": "nothing"}),
            NotServedError,
            "execution_api_server_url at the gate",
        ),
        (
            (503, {"error": "unavailable", "message": "Nothing was forwarded.", "decision_id": "d-1"}),
            UnavailableError,
            r"HTTP 503.*unavailable: Nothing was forwarded \(decision d-1\)",
        ),
        ((200, {"key": "x", "value": "{}"}), UnavailableError, "something else"),
    ],
)
def test_the_error_says_why_the_exchange_gave_no_token(site, exchange, kind, said):
    site.exchange = exchange
    with running(site), pytest.raises(kind, match=said):
        RunIdentity.current().headers("GET", URL)


@pytest.mark.parametrize(
    "value",
    [
        "no json",
        "[]",
        pytest.param("[" * 100_000, id="nested too deeply"),
        '{"token": "a.b.c"}',
        '{"token": "a.b", "expires_in": 9, "level": "verified"}',
        '{"token": "a.b.c\\r\\nx: y", "expires_in": 9, "level": "verified"}',
        '{"token": 1, "expires_in": 9, "level": "verified"}',
        '{"token": "a.b.c", "expires_in": 0, "level": "verified"}',
        '{"token": "a.b.c", "expires_in": NaN, "level": "verified"}',
        '{"token": "a.b.c", "expires_in": "x", "level": "verified"}',
        json.dumps({"token": f"a.b.{'c' * 9000}", "expires_in": 9, "level": "verified"}),
    ],
)
def test_what_is_no_identity_never_becomes_a_header(value):
    task = task_sdk.Task("1", "d", "r", "t", -1, 1)
    with pytest.raises(UnavailableError, match="not a run identity token"):
        RunIdentity(task, ask=lambda _key, _task: value, hide=lambda _text: None).headers("GET", URL)


def test_the_refusal_of_an_older_sdk_has_the_gates_words():
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    body = {"error": "run_ended", "message": "The task is not running.", "decision_id": "d-2"}
    told = ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 403, "message": "m", "detail": body})
    error = task_sdk._error_of(told, task_sdk.Task("1", "d", "r", "t", 4, 1))
    assert isinstance(error, RefusedError)
    assert str(error) == (
        "The gate refused a run identity to d.t[4], run r, try 1 (HTTP 403):"
        " run_ended: The task is not running (decision d-2)."
    )


@pytest.mark.parametrize("failure", [EOFError(), ConnectionResetError()])
def test_without_its_supervisor_asking_for_an_identity_ends_with_unavailable(site, failure):
    with running(site) as comms:
        comms.fails = failure
        with pytest.raises(UnavailableError, match="does not answer"):
            RunIdentity.current().headers("GET", URL)


def test_without_a_running_task_it_says_so():
    with pytest.raises(NoRunError, match="No task is running here"):
        RunIdentity.current()


@pytest.mark.parametrize("number", [errno.ENOTSOCK, errno.EBADF])
def test_in_a_child_of_multiprocessing_it_says_so(site, number):
    with running(site) as comms:
        comms.fails = OSError(number, "not there")
        with pytest.raises(NoRunError, match="children of `multiprocessing`"):
            RunIdentity.current().headers("GET", URL)


def test_in_a_process_that_the_supervisor_does_not_know_it_says_so(site):
    from airflow.sdk.execution_time import task_runner

    with running(site) as comms:
        del task_runner.SUPERVISOR_COMMS
        try:
            with pytest.raises(NoRunError, match="cannot be reached from this process"):
                RunIdentity.current().headers("GET", URL)
        finally:
            task_runner.SUPERVISOR_COMMS = comms


def test_an_sdk_without_a_lock_gets_one():
    class Bare:
        def send(self, message):
            inside.append(message)
            assert len(inside) == 1
            time.sleep(0.002)
            inside.pop()
            return message

    inside = []
    task_sdk._one_at_a_time(Bare)
    once = Bare.send
    task_sdk._one_at_a_time(Bare)
    assert Bare.send is once
    got = []
    threads = [threading.Thread(target=lambda n=n: got.append(Bare().send(n))) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(10))


# --- where it must not be


def test_it_is_in_no_repr_and_in_no_pickle(site):
    with running(site):
        found = RunIdentity.current()
        token = token_of(found.headers("GET", URL))
        held = found.proxy()
    for shown in (repr(found), repr(held), str(held), f"{found}"):
        assert "." not in shown.replace("sales_daily.extract", "").replace("verified-bearer", "")
        assert token not in shown
        assert held.token not in shown
    for copied in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled"):
            copied(found)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(RunKey())


def test_airflows_logs_hide_it_in_every_form(site):
    import base64

    from airflow.sdk._shared.secrets_masker import redact

    with running(site) as comms:
        found = RunIdentity.current()
        bound, held = token_of(found.headers("GET", URL)), found.proxy().token
    masked = {message.value for message in comms.sent if isinstance(message, MaskSecret)}
    for token in (bound, held):
        assert set(endings(token)) <= masked
        basic = base64.b64encode(f"run:{token}".encode()).decode()
        for line in (f"DPoP {token}", f"http://run:{token}@gate:8090", f"Basic {basic}"):
            shown = redact(line)
            assert token not in shown
            assert basic not in shown
            assert "***" in shown
            assert token.rpartition(".")[2][:40] not in shown


def test_nothing_of_it_is_in_the_environment(site):
    before = dict(os.environ)
    with running(site):
        RunIdentity.current().headers("GET", URL)
        RunIdentity.current().proxy()
    assert dict(os.environ) == before
