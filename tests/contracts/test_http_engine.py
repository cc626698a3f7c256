"""What the engine for fronts promises, over real sockets."""

import os
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.engine import TlsFiles, front_connection, http
from tests.contracts.engines import MOST_HEAD, Running
from tests.e2e.envoy_harness import wait_for
from tests.e2e.raw_http import Connection, exchange
from tests.support.factories.certificates import Authority

pause = threading.Event().wait


def ask(word, *headers, host="x", method="GET"):
    return "\r\n".join([f"{method} /{word} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


def place(running):
    address = running.addresses[0]
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    host, _, port = address.rpartition(":")
    return host, int(port)


@pytest.fixture
def running():
    with Running("http") as running:
        yield running


def test_a_question_is_answered_with_what_the_handler_says(running):
    said = exchange(place(running), ask("a?b=c"))
    assert (said.status, said.body, said.header("x-answer")) == (200, b"answer:a?b=c", "yes")
    assert exchange(place(running), ask("none")).status == 404
    assert exchange(place(running), ask("a", host="")).status == 400


def test_many_connections_are_all_answered_each_with_its_own(running):
    def one(number):
        with Connection(place(running)) as connection:
            found = []
            for turn in range(20):
                connection.send(ask(f"{number}-{turn}"))
                found.append(connection.response().body)
            return found == [f"answer:{number}-{turn}".encode() for turn in range(20)]

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(one, range(60)))


def test_a_question_in_single_bytes_and_many_in_one_piece(running):
    with Connection(place(running)) as connection:
        for byte in ask("slow"):
            connection.send(bytes([byte]))
        assert connection.response().body == b"answer:slow"
        connection.send(b"".join(ask(f"{number}") for number in range(40)))
        assert [connection.response().body for _ in range(40)] == [f"answer:{number}".encode() for number in range(40)]


def test_while_one_waits_others_are_answered(running):
    with Connection(place(running)) as waits:
        waits.send(ask("park:k1"))
        running.waits.until(1)
        assert exchange(place(running), ask("a")).body == b"answer:a"
        running.waits.finish()
        assert waits.response().body == b"resumed"
    assert running.load.parked == 0


def test_behind_one_that_waits_the_order_stays_and_not_everything_is_read(running):
    """A front that sends without end is not read for ever."""
    with Connection(place(running)) as connection:
        connection.send(ask("park:k1"))
        running.waits.until(1)
        connection.send(b"".join(ask(f"{number}") for number in range(50)))
        assert running.handler.seen == [b"park:k1"]
        running.waits.finish()
        assert [connection.response().body for _ in range(51)] == [
            b"resumed",
            *(f"answer:{number}".encode() for number in range(50)),
        ]


def test_a_front_that_sends_on_and_on_behind_one_that_waits_has_to_wait(running):
    with Connection(place(running)) as connection:
        connection.send(ask("park:k1"))
        running.waits.until(1)
        sent = threading.Thread(target=lambda: [connection.send(ask("x" * 1000)) for _ in range(20_000)])
        sent.start()
        sent.join(1)
        assert sent.is_alive(), "20 MB of questions were taken"
        running.waits.finish()
        assert [connection.response().status for _ in range(20_001)].count(200) == 20_001
        sent.join(15)


def test_a_front_that_does_not_read_is_not_read(running):
    with Connection(place(running)) as connection:
        connection.slow_down()
        sent = threading.Thread(target=lambda: [connection.send(ask("x" * 4000)) for _ in range(10_000)])
        sent.start()
        sent.join(1)
        assert sent.is_alive(), "40 MB of answers are kept"
        assert exchange(place(running), ask("a")).body == b"answer:a"
        assert [connection.response().status for _ in range(10_000)].count(200) == 10_000
        sent.join(15)


def test_a_front_that_hangs_up_is_left(running):
    with Connection(place(running)) as connection:
        connection.send(ask("park:k1"))
        running.waits.until(1)
        assert running.load.parked == 1
    wait_for(lambda: running.load.parked == 0, "it still waits", pause=pause)


def test_beyond_its_places_a_check_is_answered_as_overloaded():
    with Running("http", max_parked=1) as running, Connection(place(running)) as waits:
        waits.send(ask("park:k1"))
        running.waits.until(1)
        assert exchange(place(running), ask("park:k2")).body == b"overloaded"
        running.waits.finish()
        assert waits.response().body == b"resumed"


def test_a_wait_ends_after_its_time():
    with Running("http", max_wait=0.05) as running:
        assert exchange(place(running), ask("park:k1")).body == b"resumed"


@pytest.mark.parametrize("word", ["broken", "broken%20wait", "broken%20resume"])
def test_a_bug_is_an_answer_and_the_others_go_on(running, monkeypatch, word):
    """What the handler never does: the front gets what `Routes` makes of no answer."""
    monkeypatch.setattr(
        "tests.contracts.engines.EchoRoutes.find", lambda self, target: (self, target[1:].replace(b"%20", b" "))
    )
    running.waits.fails = word == "broken%20resume"
    said = exchange(place(running), ask(word))
    assert (said.status, said.body) == (200, b"resumed" if word == "broken%20wait" else b"")
    assert exchange(place(running), ask("a")).body == b"answer:a"


def test_an_answer_that_cannot_be_made_is_503(running, monkeypatch):
    monkeypatch.setattr("tests.contracts.engines.EchoRoutes.answer", lambda self, response: 1 // 0)
    assert exchange(place(running), ask("a")).status == 503


@pytest.mark.parametrize("part", ["target", "one header", "many headers", "no end"])
def test_a_head_is_bounded(running, part):
    long = "a" * (MOST_HEAD + 1)
    heads = {
        "target": ask(long),
        "one header": ask("a", f"X: {long}"),
        "many headers": ask("a", *["X: 1"] * MOST_HEAD),
        "no end": f"GET /a HTTP/1.1\r\nHost: x\r\nX: {long * 2}".encode(),
    }
    said = exchange(place(running), heads[part])
    assert (said.status, said.header("connection")) == (431, "close")
    assert running.handler.seen == []


def test_silence_and_half_a_question_end_a_connection(monkeypatch):
    monkeypatch.setattr(front_connection, "_REQUEST_S", 0.1)
    monkeypatch.setattr(front_connection, "_IDLE_S", 0.3)
    with Running("http") as running:
        with Connection(place(running)) as half:
            half.send(ask("a")[:-2])
            assert half.response().status == 408
            assert half.closed()
        with Connection(place(running)) as idle:
            idle.send(ask("a"))
            assert idle.response().status == 200
            assert idle.closed()
        with Connection(place(running)) as waits:
            waits.send(ask("park:k1"))
            running.waits.until(1)
            pause(0.5)  # nothing can be awaited: the connection is to stay
            running.waits.finish()
            assert waits.response().body == b"resumed"


def test_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(http, "_MOST_CONNECTIONS", 2)
    with Running("http") as running, Connection(place(running)) as one, Connection(place(running)) as two:
        for connection in (one, two):
            connection.send(ask("a"))
            assert connection.response().status == 200
        with Connection(place(running)) as third:
            assert third.closed()


def test_the_end_waits_for_what_waits_and_closes_what_is_idle():
    with Running("http") as running, Connection(place(running)) as idle, Connection(place(running)) as waits:
        idle.send(ask("a"))
        assert idle.response().status == 200
        waits.send(ask("park:k1"))
        running.waits.until(1)
        running.engine.stop()
        assert idle.closed()
        running.waits.finish()
        said = waits.response()
        assert (said.body, said.header("connection")) == (b"resumed", "close")
        running.thread.join(10)
        assert not running.thread.is_alive()


def test_health_follows(running):
    assert exchange(place(running), ask("healthz")).status == 503
    running.engine.set_serving(serving=True)
    assert exchange(place(running), ask("healthz")).status == 200


def test_on_a_unix_socket_that_an_earlier_process_left(tmp_path):
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with Running("http", listen=[f"unix:{path}"]) as running:
        assert exchange(place(running), ask("a")).body == b"answer:a"
        with pytest.raises(OSError, match="another process does"):
            Running("http", listen=[f"unix:{path}"]).__enter__()


def test_an_address_that_is_taken_is_said():
    with Running("http") as running, pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:"):
        Running("http", listen=running.addresses).__enter__()


def test_over_tls_only_clients_of_the_authority_may_ask(tmp_path):
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    server, client, stranger = ours.issue("gate.test"), ours.issue("front"), others.issue("front")
    files = TlsFiles(certificate=str(server.certificate), key=str(server.key), client_ca=str(ours.certificate))
    with Running("http", tls=files) as running:
        for pair, may in ((client, True), (stranger, False), (None, False)):
            context = ssl.create_default_context(cafile=str(ours.certificate))
            if pair is not None:
                context.load_cert_chain(pair.certificate, pair.key)
            try:
                said = exchange(place(running), ask("a"), tls=context).body
            except (OSError, AssertionError):
                said = b""
            assert said == (b"answer:a" if may else b"")
        assert running.handler.seen == [b"a"]


def test_a_key_that_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "key.pem")
    files = TlsFiles(certificate=str(tmp_path / "key.pem"), key=str(tmp_path / "key.pem"))
    with pytest.raises(OSError, match="not a regular file"):
        Running("http", tls=files).__enter__()
