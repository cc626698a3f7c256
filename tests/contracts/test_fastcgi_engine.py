"""What the engine promises to FastCGI servers that ask an authorizer, over real sockets."""

import random
import struct
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.engine import front_connection, http
from tests.contracts.engines import MOST_HEAD, Running
from tests.contracts.test_http_engine import place
from tests.e2e.envoy_harness import wait_for
from tests.support import fastcgi
from tests.support.fastcgi import Server, about, asked, begin, exchange, record

pause = threading.Event().wait
COMPLETE, CANT_MPX, UNKNOWN_ROLE = 0, 1, 3
SEED = 20261130


@pytest.fixture
def running():
    with Running("fastcgi") as running:
        yield running


def said(answer):
    return dict(answer.headers).get("variable-x-said")


def test_a_question_is_answered_and_the_connection_ends(running):
    with Server(place(running)) as server:
        answer = server.send(about("/a?b=c", keep=False)).answer()
        assert (answer.status, said(answer), answer.protocol) == (200, "answer:a?b=c", COMPLETE)
        assert server.closed()


def test_many_requests_on_a_connection_that_the_server_keeps(running):
    """Also what comes of one that is over: lighttpd ends a standard input that nobody reads."""
    with Server(place(running)) as server:
        late = b""
        for number in range(300):
            request = number % 7 + 1
            answer = server.send(late + about(f"/{number}", request)).answer(request)
            assert said(answer) == f"answer:{number}"
            late = record(fastcgi.STDIN, b"", request) + record(fastcgi.STDIN, b"late", request)


def test_many_connections_are_all_answered_each_with_its_own(running):
    def one(number):
        return said(exchange(place(running), about(f"/{number}"))) == f"answer:{number}"

    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(one, range(200)))


def test_records_torn_into_bytes_padded_and_split(running):
    whole = about("/slow")
    with Server(place(running)) as server:
        for byte in whole:
            server.send(bytes([byte]))
        assert said(server.answer()) == "answer:slow"
        content = fastcgi.pairs([(b"REQUEST_URI", b"/" + b"x" * 200)], wide=True)
        parts = [record(fastcgi.PARAMS, content[at : at + 1], padding=255) for at in range(len(content))]
        server.send(begin() + b"".join(parts) + record(fastcgi.PARAMS, padding=7))
        assert said(server.answer()) == "answer:" + "x" * 200


def test_while_one_waits_others_are_answered(running):
    with Server(place(running)) as waits:
        waits.send(about("/park:k1"))
        running.waits.until(1)
        assert said(exchange(place(running), about("/a"))) == "answer:a"
        running.waits.finish()
        assert said(waits.answer()) == "resumed"
    assert running.load.parked == 0


def test_a_second_request_beside_one_is_refused_with_a_status(running):
    """An end without a status is an allow to lighttpd."""
    with Server(place(running)) as server:
        server.send(about("/park:k1", 1))
        running.waits.until(1)
        refused = server.send(about("/a", 2)).answer(2)
        assert (refused.status, refused.protocol) == (503, CANT_MPX)
        running.waits.finish()
        assert said(server.answer(1)) == "resumed"
        assert said(server.send(about("/a", 2)).answer(2)) == "answer:a"


@pytest.mark.parametrize("role", [0, 1, 3, 65535])
def test_another_role_is_refused_with_a_status(running, role):
    """So a server that was configured without `mode => authorizer` serves nothing."""
    answer = exchange(place(running), about("/a", role=role, keep=False))
    assert (answer.status, answer.protocol) == (503, UNKNOWN_ROLE)
    assert running.handler.seen == []


def test_a_request_that_is_aborted_ends_and_is_left(running):
    with Server(place(running)) as server:
        server.send(about("/park:k1"))
        running.waits.until(1)
        answer = server.send(record(fastcgi.ABORT)).answer()
        assert (answer.status, answer.protocol) == (503, COMPLETE)
        wait_for(lambda: running.load.parked == 0, "it still waits", pause=pause)
        running.waits.finish()
        assert said(server.send(about("/a")).answer()) == "answer:a"
        assert server.send(begin() + record(fastcgi.ABORT)).answer().status == 503
        server.send(record(fastcgi.ABORT, request=9))  # of none: ignored
        assert said(server.send(about("/b")).answer()) == "answer:b"


def test_a_server_that_hangs_up_is_left(running):
    with Server(place(running)) as server:
        server.send(about("/park:k1"))
        running.waits.until(1)
        assert running.load.parked == 1
    wait_for(lambda: running.load.parked == 0, "it still waits", pause=pause)


def test_values_and_unknown_records_are_answered(running):
    asks = fastcgi.pairs([(b"FCGI_MPXS_CONNS", b""), (b"FCGI_MAX_REQS", b""), (b"OTHER", b""), (b"FCGI_MAX_REQS", b"")])
    with Server(place(running)) as server:
        server.send(record(fastcgi.GET_VALUES, asks, 0))
        values = fastcgi.pairs([(b"FCGI_MPXS_CONNS", b"0"), (b"FCGI_MAX_REQS", b"1024")])
        assert server.record() == (fastcgi.VALUES, 0, values)
        for kind in (0, 11, 12, 200, 255):
            server.send(record(kind, b"what", 0))
            assert server.record() == (fastcgi.UNKNOWN, 0, bytes([kind, 0, 0, 0, 0, 0, 0, 0]))
        assert said(server.send(about("/a")).answer()) == "answer:a"


NO_FASTCGI = {
    "version 0": record(fastcgi.BEGIN, bytes(8), version=0),
    "version 2": record(fastcgi.BEGIN, bytes(8), version=2),
    "HTTP": b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "short begin": record(fastcgi.BEGIN, bytes(7)),
    "long begin": record(fastcgi.BEGIN, bytes(9)),
    "begun twice": begin() + begin(),
    "unknown type within a request": begin() + record(99),
    "an answer within a request": begin() + record(fastcgi.END, bytes(8)),
    "values torn": record(fastcgi.GET_VALUES, b"\x05", 0),
    "values beyond the end": record(fastcgi.GET_VALUES, b"\x05\x00abc", 0),
}


@pytest.mark.parametrize("data", NO_FASTCGI.values(), ids=NO_FASTCGI)
def test_what_is_no_fastcgi_ends_the_connection_without_an_end_record(running, data):
    with Server(place(running)) as server:
        server.send(data + about("/a"))
        assert server.closed()
    assert running.handler.seen == []
    assert said(exchange(place(running), about("/a"))) == "answer:a"


@pytest.mark.parametrize("more", [record(fastcgi.STDIN, b"x"), record(fastcgi.DATA, b"x")])
def test_a_body_is_refused(running, more):
    """lighttpd hands on what it has of a body over HTTP/2, and loses it."""
    with Server(place(running)) as server:
        assert server.send(begin() + more).answer().status == 413
        assert server.closed()
    assert running.handler.seen == []


HOSTILE = {
    "a name beyond the end": b"\x0b\x01REQUEST_U",
    "a value beyond the end": b"\x0b\x7fREQUEST_URI/a",
    "4 GiB": struct.pack("!II", 0xFFFFFFFF, 0xFFFFFFFF) + b"REQUEST_URI/a",
    "torn length": b"\x80\x00",
    "a length alone": b"\x0b",
    "no target": fastcgi.pairs([(b"REQUEST_METHOD", b"GET")]),
    "nothing": b"",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_variables_that_are_none_are_refused(running, content):
    sent = record(fastcgi.PARAMS, content) if content else b""
    answer = exchange(place(running), begin() + sent + record(fastcgi.PARAMS))
    assert (answer.status, answer.body) == (400, "")
    assert running.handler.seen == []


def test_variables_are_bounded(running):
    with Server(place(running)) as server:
        server.send(begin() + record(fastcgi.PARAMS, bytes(MOST_HEAD)))
        assert server.send(record(fastcgi.PARAMS, b"\x00\x00")).answer().status == 431
        assert server.closed()
    assert exchange(place(running), about("/" + "a" * MOST_HEAD)).status == 431
    assert running.handler.seen == []


def test_random_bytes_and_random_changes_never_end_without_a_status(running):
    """Seeded: what an answer ends has a status of ours, and what was changed is not taken for another request."""
    chance = random.Random(SEED)  # noqa: S311 a test
    good = about("/good") + record(fastcgi.STDIN)
    for _ in range(300):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randint(1, 9)]
                case 2:
                    data[at:at] = chance.randbytes(chance.randint(1, 9))
                case _:
                    data = bytearray(chance.randbytes(chance.randint(1, 200)))
            data = data or bytearray(b"\x01")
        with Server(place(running)) as server:
            server.send(bytes(data))
            server.finish()
            while got := server.record():
                if got[0] == fastcgi.STDOUT and got[2]:
                    assert got[2].startswith(b"Status: ")
                    ended = server.record(), server.record()
                    assert [one and one[0] for one in ended] == [fastcgi.STDOUT, fastcgi.END]
                else:
                    assert got[0] in {fastcgi.UNKNOWN, fastcgi.VALUES}
    assert said(exchange(place(running), about("/good"))) == "answer:good"


def test_silence_and_half_a_request_end_a_connection(monkeypatch):
    monkeypatch.setattr(front_connection, "_REQUEST_S", 0.1)
    monkeypatch.setattr(front_connection, "_IDLE_S", 0.3)
    with Running("fastcgi") as running:
        with Server(place(running)) as half:
            assert half.send(about("/a")[:-2]).answer().status == 408
            assert half.closed()
        with Server(place(running)) as torn:
            torn.send(b"\x01\x01")
            assert torn.closed()
        with Server(place(running)) as idle:
            assert idle.send(about("/a")).answer().status == 200
            assert idle.closed()


def test_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(http, "_MOST_CONNECTIONS", 1)
    with Running("fastcgi") as running, Server(place(running)) as one:
        assert one.send(about("/a")).answer().status == 200
        with Server(place(running)) as second:
            assert second.closed()


def test_beyond_its_places_a_check_is_answered_as_overloaded():
    with Running("fastcgi", max_parked=1) as running, Server(place(running)) as waits:
        waits.send(about("/park:k1"))
        running.waits.until(1)
        assert said(exchange(place(running), about("/park:k2"))) == "overloaded"


@pytest.mark.parametrize("word", ["broken", "broken wait", "broken resume"])
def test_a_bug_is_an_answer_and_the_others_go_on(running, word):
    running.waits.fails = word == "broken resume"
    answer = exchange(place(running), about(f"/{word}"))
    assert (answer.status, said(answer)) == (200, "resumed" if word == "broken wait" else "")
    assert said(exchange(place(running), about("/a"))) == "answer:a"


def test_an_answer_that_cannot_be_made_is_503(running, monkeypatch):
    monkeypatch.setattr("tests.contracts.engines.EchoParams.answer", lambda self, response: 1 // 0)
    assert exchange(place(running), asked([("REQUEST_URI", "/a")])).status == 503


def test_the_end_waits_for_what_waits_and_closes_what_is_idle():
    with Running("fastcgi") as running, Server(place(running)) as idle, Server(place(running)) as waits:
        assert idle.send(about("/a")).answer().status == 200
        waits.send(about("/park:k1"))
        running.waits.until(1)
        running.engine.stop()
        assert idle.closed()
        running.waits.finish()
        assert said(waits.answer()) == "resumed"
        assert waits.closed()
        running.thread.join(10)
        assert not running.thread.is_alive()


def test_on_a_unix_socket(tmp_path):
    with Running("fastcgi", listen=[f"unix:{tmp_path}/fastcgi.sock"]) as running:
        assert said(exchange(place(running), about("/a"))) == "answer:a"
