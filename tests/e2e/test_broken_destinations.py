"""A broken destination fails at once, says so, is left alone, and is used again within seconds."""

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.broken import Broken, answers, hangs, hangs_up, talks_nonsense
from tests.e2e.certificates import Authority
from tests.e2e.envoy_harness import newest
from tests.e2e.scripted_authz import deny
from tests.e2e.way_out import DECISION, WayOut, failure

CONNECTIONS, PENDING = 10, 5
LIMITS = {"failures": 5, "pause": "3s", "connect_timeout": "1s"}
CALLERS = 200


@pytest.fixture(scope="module")
def running_out(envoy_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    out = WayOut(folder, envoy_binary)
    authority = Authority(folder)
    out.broken = {name: Broken(answers(200)) for name in ("refusing", "hanging", "ending", "failing")}
    for name, server in out.broken.items():
        out.add(name, address=server.address, limits=LIMITS, timeout="1s")  # a busy machine has time to answer
    quiet = {"failures": 1000}  # so that every call is tried
    out.broken["nonsense"] = Broken(talks_nonsense)
    out.broken["slow"] = Broken(hangs)
    out.broken["idle"] = Broken(hangs)
    out.add("nonsense", address=out.broken["nonsense"].address, limits=quiet)
    out.add("slow", address=out.broken["slow"].address, limits=quiet, timeout="100ms")
    out.add(
        "idle", address=out.broken["idle"].address, limits={"failures": 1000, "idle_timeout": "100ms"}, timeout="0s"
    )
    out.add("plaintext", address=out.broken["failing"].address, tls=True, tls_ca=str(authority.ca), limits=quiet)
    out.add(
        "stranger",
        address=out.broken["nonsense"].address,
        tls=True,
        tls_ca=str(authority.ca),
        tls_name="a.test",
    )
    out.add("well")
    with out:
        yield out
        for server in out.broken.values():
            server.refuse()


@pytest.fixture
def out(running_out):
    running_out.reset()
    return running_out


def timed(out, name):
    start = time.monotonic()
    answer = out.get(name)
    return answer, time.monotonic() - start


def until_open(out, name):
    """Call until the breaker is open; the answers before."""
    seen = []

    def is_open():
        answer = out.get(name)
        seen.append(answer)
        return answer.header("x-authz-destination-error") == "no_healthy_host"

    out.until(is_open, f"the breaker of {name} does not open")
    return seen[:-1]


def until_well(out, name):
    start = time.monotonic()
    out.until(lambda: out.get(name).status == 200, f"{name} is not used again")
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("name", "behaviour", "told"),
    [
        ("refusing", None, (503, "connect_failure", "refusing")),
        ("hanging", hangs, (504, "timeout", "hanging")),
        ("ending", hangs_up, (503, "connection_lost", "ending")),
        ("failing", answers(503), None),
    ],
)
def test_a_broken_destination_is_reported_then_left_alone_then_used_again(out, name, behaviour, told):
    server = out.broken[name]
    assert out.get(name).status == 200
    if behaviour is None:
        server.refuse()
    else:
        server.behaviour = behaviour
    before = until_open(out, name)
    assert len(before) <= LIMITS["failures"] + 1, "each failure counts"
    if told:
        assert {failure(answer) for answer in before} == {told}
        assert all(int(answer.header("retry-after")) >= 1 for answer in before)
    else:
        assert {(answer.status, answer.header("x-authz-destination-error")) for answer in before} == {(503, None)}
    reached = server.requests, server.connections
    answers_now = [timed(out, name) for _ in range(3)]
    assert {failure(answer) for answer, _ in answers_now} == {(503, "no_healthy_host", name)}
    assert statistics.median(seconds for _, seconds in answers_now) < 0.5  # nobody waits for it
    assert (server.requests, server.connections) == reached
    assert out.get("well").status == 200, "nobody else suffers"
    server.behaviour = answers(200)
    if behaviour is None:
        server.accept()
    assert until_well(out, name) < 15  # the pause is 3 s; a busy machine asks late


def after_the_check(line):
    """Milliseconds of a call besides those of the check, which is no part of this: the scripted one is slow."""
    return line["duration_ms"] - int(line["latency_us"]) / 1000


@pytest.mark.alone  # a busy machine keeps some of them waiting by itself
def test_two_hundred_callers_do_not_stampede_it(tmp_path):
    """Under 200 callers at once, what reaches a hanging destination is bounded, and later it is nothing.

    What is let in before the breaker opens: all connections, those who wait for one, and at most once more who comes
    when the first give up.
    """
    limits = {"connections": CONNECTIONS, "pending": PENDING, "failures": 5, "pause": "60s"}
    out = WayOut(tmp_path, newest())
    with Broken(hangs) as server, ThreadPoolExecutor(CALLERS) as callers:
        out.add("orders", address=server.address, limits=limits, timeout="300ms")
        with out:
            first = list(callers.map(lambda _: failure(out.get("orders"))[1], range(CALLERS)))
            assert set(first) <= {"circuit_open", "timeout", "no_healthy_host"}
            assert first.count("circuit_open") > 0
            assert server.connections <= 2 * CONNECTIONS + PENDING
            until_open(out, "orders")
            reached = server.connections
            second = list(callers.map(lambda _: failure(out.get("orders")), range(CALLERS)))
            assert set(second) == {(503, "no_healthy_host", "orders")}
            assert server.connections == reached, "who tries again does not reach it"
            lines = [line for line in out.envoy.access_log(2 * CALLERS) if line["flags"] in {"UO", "UH"}]
            assert len(lines) > CALLERS
            assert max(map(after_the_check, lines)) < 100  # the time limit, which they must not wait for, is 300 ms


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("slow", (504, "timeout", "slow")),
        ("idle", (504, "timeout", "idle")),
        ("nonsense", (502, "invalid_response", "nonsense")),
        ("plaintext", (503, "connect_failure", "plaintext")),
        ("stranger", (503, "connect_failure", "stranger")),
    ],
)
def test_each_cause_has_its_word(out, name, told):
    answer, seconds = timed(out, name)
    assert failure(answer) == told
    assert seconds < 5  # Envoy's own limit would be 15 s
    body = json.loads(answer.body)
    assert body["host"] == f"{name}.test"
    assert "/v1/x" not in answer.body.decode()
    assert out.sites["well"].requests == []


def test_the_gates_own_503_has_no_destination_error_header(out):
    out.authz.answer = lambda *_: deny(status=503, headers={"x-authz-decision": DECISION})
    answer = out.get("refusing")
    assert (answer.status, answer.header("x-authz-destination-error")) == (503, None)
    assert answer.body == b"denied by script"


def test_a_post_that_may_have_arrived_is_not_sent_again(out):
    server = out.broken["ending"]
    until_well(out, "ending")
    server.behaviour, server.requests = hangs_up, 0
    answer = out.get("ending", method="POST", body=b"order")
    assert failure(answer) == (503, "connection_lost", "ending")
    assert server.requests == 1
    server.behaviour = answers(200)
