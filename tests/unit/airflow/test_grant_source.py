"""The DAGs that an assertion names by a digest: what is taken for them, what is remembered, what a failure means."""

import json
import logging
import threading

import pytest

from authz.airflow import grant_source
from authz.airflow.grant_source import GrantError, GrantSource, fetch_page, parse_grant
from authz.airflow.jwks_client import FetchError
from authz.core.model import DagGrant
from authz.core.policy.dags import grant_json, reference_of
from tests.unit.airflow.test_jwks_client import http_server

GRANT = grant_json(DagGrant(("sales_*", "é"), ("*_secret",)))
REFERENCE = reference_of(GRANT)
BASE, OTHER = "http://one.test/grants/", "http://two.test/grants/"


class Gates:
    """What the gates answer, by URL, and how often each was asked."""

    def __init__(self, answers=None):
        self.answers = answers if answers is not None else {BASE + REFERENCE: GRANT}
        self.asked = []

    def __call__(self, url):
        self.asked.append(url)
        answer = self.answers.get(url, FetchError(f"{url}: 404"))
        if isinstance(answer, Exception):
            raise answer
        return answer


def ask(source, reference=REFERENCE):
    return source.ask(reference).result(timeout=10)


def test_what_the_gate_writes_is_what_is_read():
    grant = parse_grant(GRANT, REFERENCE)
    assert (grant.allowed, grant.denied) == (("sales_*", "é"), ("*_secret",))
    assert grant.permits("sales_a")
    assert not grant.permits("sales_secret")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"allowed":["*"]}',
        b'{"allowed":"*","denied":[]}',
        b'{"allowed":[1],"denied":[]}',
        b'{"allowed":[""],"denied":[]}',
        b'{"allowed":["a"],"denied":null}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_is_no_grant_is_refused_whatever_its_digest(data):
    with pytest.raises(GrantError, match="not a grant"):
        parse_grant(data, reference_of(data))


def test_what_has_another_digest_is_refused():
    with pytest.raises(GrantError, match="a different digest"):
        parse_grant(b'{"allowed":["*"],"denied":[]}', REFERENCE)


def test_a_grant_is_fetched_once_and_remembered():
    gates = Gates()
    source = GrantSource([BASE], gates)
    assert source.get(REFERENCE) is None
    found = ask(source)
    assert source.get(REFERENCE) is found
    assert gates.asked == [BASE + REFERENCE]


def test_gates_are_asked_one_after_the_other():
    gates = Gates({BASE + REFERENCE: b'{"allowed":["*"],"denied":[]}', OTHER + REFERENCE: GRANT})
    assert ask(GrantSource([BASE, OTHER], gates)).allowed == ("sales_*", "é")
    assert gates.asked == [BASE + REFERENCE, OTHER + REFERENCE]


def test_a_failure_is_no_grant_is_said_and_is_not_remembered(caplog):
    gates = Gates({})
    source = GrantSource([BASE], gates)
    with caplog.at_level(logging.WARNING):
        assert ask(source) is None
    assert "503" in caplog.text
    assert f"{BASE}{REFERENCE}: 404" in caplog.text
    gates.answers[BASE + REFERENCE] = GRANT
    assert ask(source) is not None


def test_without_an_address_there_is_no_grant_and_the_log_names_the_options(caplog):
    with caplog.at_level(logging.WARNING):
        assert ask(GrantSource([], Gates())) is None
    assert "grants_url" in caplog.text


def test_those_who_ask_for_the_same_at_the_same_time_wait_for_one_fetch():
    go = threading.Event()
    asked = []

    def slow(url):
        asked.append(url)
        go.wait(10)
        return GRANT

    source = GrantSource([BASE], slow)
    flights = {id(source.ask(REFERENCE)) for _ in range(20)}
    assert len(flights) == 1
    flight = source.ask(REFERENCE)
    go.set()
    assert flight.result(10).denied == ("*_secret",)
    assert asked == [BASE + REFERENCE]


def many(count):
    grants = [grant_json(DagGrant((f"g{number}",))) for number in range(count)]
    return {reference_of(data): data for data in grants}


@pytest.mark.parametrize(("bound", "value"), [("MAX_KEPT", 3), ("MAX_KEPT_BYTES", 3 * 30)])
def test_what_is_remembered_is_bounded_and_the_least_used_goes_first(monkeypatch, bound, value):
    monkeypatch.setattr(grant_source, bound, value)
    known = many(6)
    source = GrantSource([BASE], Gates({BASE + reference: data for reference, data in known.items()}))
    first, *others = known
    ask(source, first)
    for reference in others:
        ask(source, reference)
        assert source.get(first) is not None
    assert len(source._kept) == 3
    assert source._bytes == sum(size for _, size in source._kept.values())


def test_one_that_is_larger_than_all_room_is_kept_alone(monkeypatch):
    monkeypatch.setattr(grant_source, "MAX_KEPT_BYTES", 1)
    source = GrantSource([BASE], Gates())
    assert ask(source) is source.get(REFERENCE) is not None
    ask(source)
    assert source._bytes == len(GRANT)


def test_a_page_is_fetched_over_http_and_a_large_one_too():
    data = json.dumps({"allowed": ["x" * 100] * 20_000, "denied": []}).encode()

    def respond(handler):
        handler.send_response(200)
        handler.send_header("content-length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    with http_server(respond) as (url, _seen):
        assert fetch_page(url) == data
