"""The key source inside Airflow: one fetch at a time, rate-limited, and the last good keys survive failures."""

import json
import logging
import socket
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from authz.airflow import jwks_client
from authz.airflow.jwks_client import FetchError, KeySource, Pace, fetch_file, fetch_url
from authz.airflow.verifier import KeySetError

PUBLIC = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True)
PACE = Pace(refresh_s=300, min_interval_s=2, max_stale_s=1000)


def key_set(*kids):
    return json.dumps({"keys": [{**PUBLIC, "kid": kid} for kid in kids]}).encode()


class Origin:
    """A key set that can change, fail, and wait."""

    def __init__(self, answer=b""):
        self.answer = answer
        self.calls = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self):
        self.calls += 1
        assert self.gate.wait(5)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Clock:
    now = 100.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def settle(flight):
    assert flight is not None
    flight.result(5)


def test_the_first_use_starts_one_fetch_and_shares_it(clock):
    origin = Origin(key_set("a"))
    origin.gate.clear()
    source = KeySource(origin, PACE, monotonic=clock)
    assert source.keys() == {}
    flights = {id(source.refresh()) for _ in range(50)}
    flight = source.refresh()
    assert flights == {id(flight)}
    origin.gate.set()
    settle(flight)
    assert set(source.keys()) == {"a"}
    assert origin.calls == 1


def test_requests_cause_one_fetch_per_interval_and_the_early_one_waits(clock):
    origin = Origin(key_set("a"))
    source = KeySource(origin, PACE, monotonic=clock, sleep=clock.sleep)
    fetched = []
    for _ in range(100):
        settle(source.refresh())
        fetched.append(clock.now)
    assert fetched == [100 + 2 * number for number in range(100)]
    assert origin.calls == 100


def test_ten_thousand_requests_share_the_fetch_that_waits(clock):
    slept = threading.Event()
    origin = Origin(key_set("a"))
    source = KeySource(origin, PACE, monotonic=clock, sleep=lambda _seconds: slept.wait(5))
    settle(source.refresh())
    waiting = source.refresh()
    assert all(source.refresh() is waiting for _ in range(10_000))
    assert origin.calls == 1
    slept.set()
    settle(waiting)
    assert origin.calls == 2


def test_a_rotated_key_is_found_and_a_removed_one_is_gone(clock):
    origin = Origin(key_set("a"))
    source = KeySource(origin, PACE, monotonic=clock)
    source.load()
    origin.answer = key_set("b")
    clock.now += 2
    settle(source.refresh())
    assert set(source.keys()) == {"b"}


def test_keys_are_refreshed_when_due_without_waiting(clock):
    origin = Origin(key_set("a"))
    source = KeySource(origin, PACE, monotonic=clock)
    source.load()
    clock.now += 299
    source.keys()
    assert origin.calls == 1
    clock.now += 1
    origin.gate.clear()
    origin.answer = key_set("b")
    assert set(source.keys()) == {"a"}
    flight = source.refresh()
    origin.gate.set()
    settle(flight)
    assert set(source.keys()) == {"b"}


@pytest.mark.parametrize("answer", [FetchError("down"), b"<html>", b'{"keys": []}'])
def test_a_failing_origin_keeps_the_last_good_keys_until_they_are_too_old(clock, answer, caplog):
    origin = Origin(key_set("a"))
    source = KeySource(origin, PACE, monotonic=clock)
    source.load()
    origin.answer = answer
    clock.now += 1000
    with caplog.at_level(logging.WARNING):
        settle(source.refresh())
    assert "keeping the last good ones" in caplog.text
    assert set(source.keys()) == {"a"}
    clock.now += 1
    assert source.keys() == {}
    origin.answer = key_set("a")
    clock.now += 2
    settle(source.refresh())
    assert set(source.keys()) == {"a"}


def test_loading_at_start_reports_what_is_wrong(clock):
    with pytest.raises(FetchError, match="down"):
        KeySource(Origin(FetchError("down")), PACE, monotonic=clock).load()
    with pytest.raises(KeySetError):
        KeySource(Origin(b"[]"), PACE, monotonic=clock).load()


def test_a_file(tmp_path):
    path = tmp_path / "keys.json"
    with pytest.raises(FetchError, match="No such file"):
        fetch_file(path)()
    path.write_bytes(key_set("a"))
    assert fetch_file(path)() == key_set("a")
    path.write_bytes(b" " * (jwks_client.MAX_JWKS_BYTES + 1))
    with pytest.raises(FetchError, match="more than"):
        fetch_file(path)()


@contextmanager
def http_server(respond):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, dict(self.headers)))
            respond(self)

        def log_message(self, *args):
            pass

    seen = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/jwks.json", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(handler, status, body, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_url_is_fetched_without_proxy_and_without_credentials(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with http_server(lambda handler: answer(handler, 200, key_set("a"))) as (url, seen):
        assert fetch_url(url)() == key_set("a")
    assert seen[0][0] == "/jwks.json"
    assert not {name.lower() for name in seen[0][1]} & {"authorization", "cookie"}


@pytest.mark.parametrize(("ahead", "said"), [(90, "ahead of"), (-90, "behind"), (3, ""), (None, "")])
def test_a_gate_whose_clock_differs_is_in_the_log(caplog, ahead, said):
    def respond(handler):
        handler.date_time_string = lambda: "soon" if ahead is None else formatdate(time.time() + ahead, usegmt=True)
        answer(handler, 200, key_set("a"))

    with http_server(respond) as (url, _):
        assert fetch_url(url, clock_skew_s=5)() == key_set("a")
    assert [record.levelname for record in caplog.records] == (["WARNING"] if said else [])
    assert said in caplog.text


def test_a_redirect_is_not_followed():
    def respond(handler):
        answer(handler, 302, b"", location="/elsewhere")

    with http_server(respond) as (url, seen):
        with pytest.raises(FetchError, match="302"):
            fetch_url(url)()
        assert len(seen) == 1


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_status_is_an_error(status):
    with http_server(lambda handler: answer(handler, status, key_set("a"))) as (url, _), pytest.raises(FetchError):
        fetch_url(url)()


def test_a_huge_answer_is_cut_off():
    body = b" " * (jwks_client.MAX_JWKS_BYTES + 1)
    with (
        http_server(lambda handler: answer(handler, 200, body)) as (url, _),
        pytest.raises(FetchError, match="more than"),
    ):
        fetch_url(url)()


def test_an_answer_that_drips_is_cut_off():
    stop = threading.Event()

    def respond(handler):
        handler.send_response(200)
        handler.end_headers()
        while not stop.wait(0.02):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    with http_server(respond) as (url, _):
        try:
            with pytest.raises(FetchError, match="too long"):
                fetch_url(url, timeout_s=0.2)()
        finally:
            stop.set()


def test_a_closed_port_is_an_error_that_names_the_url():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/jwks.json"
    with pytest.raises(FetchError, match=url):
        fetch_url(url)()
