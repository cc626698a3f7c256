"""What the engine for fronts promises about requests with a body, over real sockets."""

import threading

import pytest

from authz.engine import front_connection
from tests.contracts.engines import MOST_HEAD, EchoApi, Running
from tests.contracts.test_http_engine import ask, place
from tests.e2e.envoy_harness import wait_for
from tests.e2e.raw_http import Connection, exchange

pause = threading.Event().wait


def post(*lines, target="body", headers=()):
    body = b"\n".join(lines)
    return ask(target, f"Content-Length: {len(body)}", *headers, method="POST") + body


@pytest.fixture
def running():
    with Running("http") as running:
        yield running


def test_a_body_is_asked_about_check_by_check(running):
    said = exchange(place(running), post(b"a", b"b", b"c"))
    assert (said.status, said.body, said.header("x-method")) == (200, b"answer:a,answer:b,answer:c", "POST")
    assert running.handler.seen == [b"a", b"b", b"c"]


def test_a_body_in_single_bytes_and_requests_behind_it_in_one_piece(running):
    with Connection(place(running)) as connection:
        for byte in post(b"a", b"b"):
            connection.send(bytes([byte]))
        assert connection.response().body == b"answer:a,answer:b"
        connection.send(post(b"a") + ask("x") + post(b"b") + post(b"c") + ask("y"))
        found = [connection.response().body for _ in range(5)]
    assert found == [b"answer:a", b"answer:x", b"answer:b", b"answer:c", b"answer:y"]


def test_one_without_a_body_is_asked_about_too(running):
    assert exchange(place(running), ask("body")).body == b""
    assert exchange(place(running), post()).body == b""


@pytest.mark.parametrize("length", [MOST_HEAD, MOST_HEAD + 1])
def test_a_body_is_bounded(running, length):
    said = exchange(place(running), post(b"a" * length))
    assert said.status == (200 if length == MOST_HEAD else 413)
    assert len(running.handler.seen) == (length == MOST_HEAD)


def test_the_bound_of_a_head_stays_that_of_a_head(running):
    with Connection(place(running)) as connection:
        connection.send(post(b"a" * MOST_HEAD))
        assert connection.response().status == 200
        connection.send(ask("a", f"X: {'a' * MOST_HEAD}"))
        assert connection.response().status == 431


@pytest.mark.parametrize(
    ("lines", "statuses"),
    [
        (["Transfer-Encoding: chunked"], {411}),
        (["Content-Length: 1", "Transfer-Encoding: chunked"], {400, 411}),
        (["Content-Length: 1", "Content-Length: 1"], {400}),
        (["Content-Length: 1, 1"], {400}),
        (["Content-Length: +1"], {400, 411}),
        (["Content-Length: -1"], {400, 411}),
        (["Content-Length: 0x1"], {400, 411}),
        ([f"Content-Length: {'9' * 5000}"], {400, 413}),
        ([f"Content-Length: {2**64 + 1}"], {400, 413}),
    ],
)
def test_a_body_of_an_unclear_length_is_refused_at_once(running, lines, statuses):
    """Whatever comes behind it is not answered."""
    with Connection(place(running)) as connection:
        connection.send(ask("body", *lines, method="POST") + b"a" + ask("x"))
        said = connection.response()
        assert (said.status in statuses, said.header("connection")) == (True, "close")
        assert connection.closed()
    assert running.handler.seen == []


@pytest.mark.parametrize("target", ["a", "none", "healthz", "body?", "body/", "/body", "%62ody"])
def test_no_other_target_takes_a_body(running, target):
    said = exchange(place(running), post(b"a", target=target))
    assert (said.status, said.header("connection")) == (413, "close")
    assert running.handler.seen == []


def test_without_an_api_nothing_takes_a_body(running, monkeypatch):
    monkeypatch.setattr(EchoApi, "takes_body", lambda *_: False)
    monkeypatch.setattr(EchoApi, "converse", lambda *_: None)
    assert exchange(place(running), post(b"a")).status == 413
    assert exchange(place(running), ask("body")).status == 404


def test_half_a_body_ends_a_connection(monkeypatch):
    monkeypatch.setattr(front_connection, "_REQUEST_S", 0.1)
    with Running("http") as running, Connection(place(running)) as half:
        half.send(post(b"abc")[:-1])
        assert (half.response().status, half.closed()) == (408, True)


def test_while_one_of_its_checks_waits_others_are_answered(running):
    with Connection(place(running)) as waits:
        waits.send(post(b"a", b"park:k1", b"b") + ask("behind"))
        running.waits.until(1)
        assert exchange(place(running), ask("x")).body == b"answer:x"
        running.waits.finish()
        assert waits.response().body == b"answer:a,resumed,answer:b"
        assert waits.response().body == b"answer:behind"
    assert running.load.parked == 0


def test_all_its_checks_together_wait_no_longer_than_one_may():
    with Running("http", max_wait=0.2) as running:
        said = exchange(place(running), post(*[b"park:k1"] * 60))
        assert said.body == b",".join([b"resumed"] * 60)
        assert len(running.waits.asked) < 60, "each waited for its own time"


def test_a_front_that_hangs_up_is_left(running):
    with Connection(place(running)) as connection:
        connection.send(post(b"park:k1", b"never"))
        running.waits.until(1)
    wait_for(lambda: running.load.parked == 0, "it still waits", pause=pause)
    assert running.handler.seen == [b"park:k1"]


@pytest.mark.parametrize("line", [b"bug", b"broken"])
def test_a_bug_is_503_and_the_connection_goes_on(running, line):
    with Connection(place(running)) as connection:
        connection.send(post(b"a", line, b"b"))
        said = connection.response()
        assert (said.status, said.body) == (503, b"")
        connection.send(post(b"a"))
        assert connection.response().body == b"answer:a"


def test_bodies_behind_one_that_waits_are_not_all_read(running):
    """Each may be as long as a head: what one connection holds stays bounded."""
    with Connection(place(running)) as connection:
        connection.send(ask("park:k1"))
        running.waits.until(1)
        body = b"a" * MOST_HEAD
        sent = threading.Thread(target=lambda: [connection.send(post(body)) for _ in range(2_000)])
        sent.start()
        sent.join(1)
        assert sent.is_alive(), "16 MB of bodies were taken"
        running.waits.finish()
        assert [connection.response().status for _ in range(2_001)].count(200) == 2_001
        sent.join(15)


UPGRADES = [
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),  # Java's client, by default
    ("Connection: upgrade", "Upgrade: websocket"),
]


@pytest.mark.parametrize("headers", UPGRADES)
@pytest.mark.parametrize("behind", [b"", b"\r\n", b"abc", ask("y")])
def test_a_client_that_would_speak_another_protocol_is_answered_in_this_one(running, headers, behind):
    """RFC 9110 §7.8: a server may ignore `Upgrade`."""
    with Connection(place(running)) as connection:
        connection.send(post(b"a", b"b", headers=headers) + behind)
        said = connection.response()
        assert (said.status, said.body, said.header("connection")) == (200, b"answer:a,answer:b", "close")
        assert connection.closed()
    assert running.handler.seen == [b"a", b"b"]


def test_its_body_may_come_in_single_bytes_and_its_length_is_bounded(running):
    with Connection(place(running)) as connection:
        for byte in post(b"a", b"b", headers=UPGRADES[0]):
            connection.send(bytes([byte]))
        assert connection.response().body == b"answer:a,answer:b"
    assert exchange(place(running), post(b"a" * MOST_HEAD, headers=UPGRADES[0])).status == 200
    assert exchange(place(running), post(b"a" * (MOST_HEAD + 1), headers=UPGRADES[0])).status == 413
    assert exchange(place(running), post(headers=UPGRADES[0])).body == b""


@pytest.mark.parametrize("question", [ask("park:k1", *UPGRADES[1]), ask("park:k1", "Connection: close")])
def test_what_comes_behind_the_last_request_does_not_end_it_while_it_waits(running, question):
    """RFC 9112 §9.6: nothing behind it is processed, and it is answered."""
    with Connection(place(running)) as connection:
        connection.send(question + ask("y"))
        running.waits.until(1)
        connection.send(b"\0\0" + ask("z"))
        running.waits.finish()
        said = connection.response()
        assert (said.body, said.header("connection"), connection.closed()) == (b"resumed", "close", True)
    assert running.handler.seen == [b"park:k1"]


@pytest.mark.parametrize("value", ["100-continue", "100-Continue"])
def test_a_client_that_waits_to_send_its_body_is_asked_for_it(running, value):
    """RFC 9110 §10.1.1."""
    whole = post(b"a", headers=[f"Expect: {value}"])
    with Connection(place(running)) as connection:
        connection.send(whole[:-1])
        assert (connection.line(), connection.line()) == (b"HTTP/1.1 100 Continue", b"")
        connection.send(whole[-1:])
        assert connection.response().body == b"answer:a"


@pytest.mark.parametrize(
    "question",
    [
        post(b"a", headers=["Expect: 100-continue"], target="a"),
        post(b"a" * (MOST_HEAD + 1), headers=["Expect: 100-continue"])[: -MOST_HEAD - 1],
    ],
)
def test_a_body_that_would_be_refused_is_not_asked_for(running, question):
    assert exchange(place(running), question).status == 413


def test_a_client_of_http_1_0_is_not_asked_for_it(running):
    whole = post(b"a", headers=["Expect: 100-continue"]).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert exchange(place(running), whole).body == b"answer:a"
