"""Jetty's front where it differs: what it asks, what it takes for an allow, and how little it holds while it waits.

What all fronts promise is in `test_fronts.py`, `test_fronts_changes.py` and `test_fronts_airflow.py`; the filter alone,
in applications, in `test_servlet_filter.py`.
"""

import asyncio
import contextlib
import functools
import threading
from pathlib import Path

import pytest

from authz.core.edge import DECISION, USER
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST, FrontSite
from tests.e2e.raw_http import request
from tests.e2e.scripted_gate import ScriptedGate, allow
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e
DAGS, POOLS, RUNS = "/api/v2/dags", "/api/v2/pools", "/api/v2/dags/sales/dagRuns"
CALLERS, LINGERING = 200, 300
MOST_THREADS = 64 + 40
"""Those of Jetty's pool, and those of the JVM, its HTTP clients, acceptors and timers."""


class Asking(FrontSite):
    """A front that asks other gates than its own, and has other limits: lines that replace those of its settings."""

    instead: dict[str, str]

    def write(self):
        super().write()
        file = self.place / "authz-0.properties"
        said = dict(line.split(" =", 1) for line in file.read_text().splitlines())
        file.write_text("".join(f"{key} = {value}\n" for key, value in {**said, **self.instead}.items()))


@pytest.fixture(scope="module")
def scripted(idp, tmp_path_factory):
    """A front that asks a scripted gate, three questions at once, two seconds each; one of two addresses is wrong."""
    with ScriptedGate() as gate:
        site = Asking(tmp_path_factory.mktemp("scripted"), idp, "jetty")
        gates = f"http://127.0.0.1:{free_port()} {gate.address}"
        site.instead = {"gate": gates, "deadline_ms": "2000", "questions": "3"}
        with site:
            yield site, gate


@pytest.fixture
def asking(scripted):
    site, gate = scripted
    site.upstream.reset()
    gate.questions.clear()
    gate.answer, gate.go = allow(), None
    return site, gate


def threads(site):
    status = Path(f"/proc/{site.process.pid}/status").read_text()
    return int(status.partition("Threads:")[2].split()[0])


def test_many_triggers_at_a_slow_gate_hold_no_threads_and_none_is_lost(idp, tmp_path):
    """While others linger: they say nothing, stop in the middle of a head, or never send a refused request's body."""
    site = Asking(tmp_path, idp, "jetty")
    gate = site.gate
    real = next(line.split('"')[1] for line in gate.settings.read_text().splitlines() if "  listen: [" in line)
    host, _, port = real.rpartition(":")
    with ScriptedGate((host, int(port))) as slow:
        site.instead = {"gate": slow.address, "deadline_ms": "120000"}
        with site:
            slow.go = threading.Event()
            tokens = [
                site.token("data-ops", sub=f"id-{at}", preferred_username=f"person-{at}") for at in range(CALLERS)
            ]
            found = asyncio.run(crowd(site, slow, tokens))
        assert [status for status, _ in found] == [200] * CALLERS
        arrived = {one.all(DECISION)[0]: one.all(USER) for one in site.upstream.requests}
        assert arrived == {decision: [f"person-{at}"] for at, (_, decision) in enumerate(found)}
        assert {one.method for one in site.upstream.requests} == {"POST"}
        records = [site.record(decision) for _, decision in found]
        assert [one["subject"] for one in records] == [f"id-{at}" for at in range(CALLERS)]
        assert {(one["decision"], one["path"]) for one in records} == {("allow", RUNS)}


async def crowd(site, slow, tokens):
    """What each caller got, (status, decision); the gate goes on when it has all questions and threads are counted."""

    async def connect(said):
        reader, writer = await asyncio.open_connection(*site.address, ssl=site.tls, server_hostname=HOST)
        writer.write(said)
        await writer.drain()
        return reader, writer

    head = request(DAGS, host=HOST)
    begun = [b"", head[:-2], request("/x;y", "Content-Length: 9", method="POST", host=HOST)]
    lingering = [await connect(begun[at % 3]) for at in range(LINGERING)]
    asked = [
        await connect(request(RUNS, f"Authorization: Bearer {one}", method="POST", host=HOST, body=b"{}"))
        for one in tokens
    ]
    everyone = functools.partial(wait_for, lambda: slow.held == len(tokens), "not all are held", pause=site.pause)
    await asyncio.to_thread(everyone)
    assert threads(site) <= MOST_THREADS
    beside = await connect(request("/x;y", host=HOST))  # answered without the gate: a thread is free
    assert (await beside[0].readline()).split()[1] == b"400"
    assert site.upstream.requests == []
    slow.go.set()
    found = [await answer(reader) for reader, _ in asked]
    assert threads(site) <= MOST_THREADS
    for _, writer in [*lingering, *asked, beside]:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return found


async def answer(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers.get(DECISION)


def test_more_questions_than_the_bound_are_refused_at_once(asking):
    site, gate = asking
    gate.go = threading.Event()
    said = []
    waiting = [threading.Thread(target=lambda: said.append(site.get(DAGS).status)) for _ in range(3)]
    for one in waiting:
        one.start()
    while gate.held < 3:
        site.pause(0.01)
    refused = site.get(DAGS)
    assert (refused.status, refused.header("retry-after"), refused.body) == (503, "1", b'{"error":"busy"}')
    assert site.upstream.requests == []
    gate.go.set()
    for one in waiting:
        one.join()
    gate.go = None
    assert site.get(DAGS).status == 200


def test_a_gate_that_is_too_slow_is_a_refusal(asking):
    site, gate = asking
    gate.go = threading.Event()
    said = site.get(DAGS)
    assert (said.status, said.body, site.upstream.requests) == (503, b'{"error":"unavailable"}', [])
    gate.go.set()
    gate.go = None
    for _ in range(4):  # and its place is free again
        assert site.get(DAGS).status == 200


WHOLE = [f"{name}: x" for name in ("x-authz-decision",)]
ODD = {
    "nothing": b"",
    "no HTTP": b"garbage\r\n\r\n",
    "another protocol": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a bare 200": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a decision alone": allow(*WHOLE),
    "an assertion twice": allow().replace(b"x-authz-assertion:", b"x-authz-assertion: a\r\nx-authz-assertion:"),
    "one header less": allow().replace(b"x-authz-subject: \r\n", b""),
    "no id": allow().replace(b"x-authz-decision: id", b"x-authz-decision: "),
    "a 204": allow().replace(b"200 OK", b"204 OK"),
    "a 201": allow().replace(b"200 OK", b"201 OK"),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: /check/airflow/x\r\nContent-Length: 0\r\n\r\n",
    "a redirect with an id": b"HTTP/1.1 302 Found\r\nx-authz-decision: a\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    "no such name": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "a half head": b"HTTP/1.1 200 OK\r\nx-authz-decision: a\r\n",
    "a half body": allow().replace(b"Content-Length: 0", b"Content-Length: 9"),
    "a long body": b"HTTP/1.1 403 No\r\nx-authz-decision: a\r\nContent-Length: 1500000\r\n\r\n" + b"a" * 1_500_000,
    "a switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_answer_is_a_refusal(asking, kind):
    site, gate = asking
    gate.answer = ODD[kind]
    said = site.get(DAGS, "Accept: application/json")
    assert (said.status, said.body, site.upstream.requests) == (503, b'{"error":"unavailable"}', [])


def test_a_refusal_of_the_gate_is_the_callers_whole(asking):
    site, gate = asking
    gate.answer = (
        b"HTTP/1.1 403 No\r\nx-authz-decision: a\r\nWWW-Authenticate: A\r\nWWW-Authenticate: B\r\nX-New: c\r\n"
        b"Connection: close\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\r\npage"
    )
    said = site.get(DAGS)
    assert (said.status, said.body, said.header("content-type"), said.header("x-new")) == (
        403,
        b"page",
        "text/html",
        "c",
    )
    assert [value for name, value in said.headers if name == "www-authenticate"] == ["A", "B"]
    assert site.upstream.requests == []


TARGETS = (
    "/",
    "/a?",
    "/a?b",
    "/a?b=%2F%20+[1]&c=/../x?y",
    "/%C3%A9/a%20b",
    "/a:b@c!$&'()*+,=~",
    "/api/v2/dags/x/dagRuns/scheduled__2026-01-01T00%3A00%3A00%2B00%3A00",
    "/a%2eb/...",
    f"/{'a' * 60_000}?{'%2F' * 20_000}",
    "/a/../b",
    "//a",
    "/%2e%2e/a",
    "/a\\b",
    '/a"b',
    "/a|b",
    "/a{b}",
    "/a%zz",
    "/a%2",
    "/a?b{c}",
    "/a?b|c",
    "/a?b%zz",
    "/a/..%2fb",
    "/..;/a",
    "/a%2f%2fb",
    "/a%5cb",
    "/a%2fb",
    "/a%2Fb",
    "/a;b",
    "/a%3bb",
    "/\xe9",
    "/a#b",
)


def test_what_is_asked_about_is_what_came_and_what_goes_on(asking):
    """Byte by byte, or nothing. All of these would be allowed here."""
    site, gate = asking
    served = 0
    for target in TARGETS:
        for method in ("GET", "POST", "DELETE"):
            gate.questions.clear()
            site.upstream.reset()
            said = site.get(target.encode("latin-1"), "Content-Length: 0", method=method)
            asked = [one.partition(b"\r\n")[0].decode("latin-1") for one in gate.questions]
            assert asked in ([], [f"{method} /check/airflow{target} HTTP/1.1"]), target
            if site.upstream.requests:
                assert (site.upstream.only.method, site.upstream.only.target) == (method, target)
                assert (said.status, len(asked)) == (200, 1)
                served += 1
            else:
                assert said.status == 400, target
    assert served == 3 * 8


def test_a_question_has_the_callers_host_and_credentials_and_nothing_else_of_it(asking):
    site, gate = asking
    lines = [
        "Authorization: Bearer a",
        "Authorization: Bearer b",
        "Accept: text/html",
        "Accept: a/b",
        "traceparent: c",
        "Cookie: d=e",
    ]
    lines += [
        "X-Forwarded-Uri: /x",
        "X-Original-URL: /x",
        "X-Real-IP: 9.9.9.9",
        "X-Run-Proof: x",
        "Proxy-Authorization: x",
        "X-Other: x",
    ]
    site.get(
        DAGS, *lines, "Content-Type: a/b", "Expect: 100-continue", method="POST", body=b"abc", host="Other.test:8443"
    )
    [asked] = gate.questions
    found = [tuple(line.split(": ", 1)) for line in asked.decode().split("\r\n")[1:] if line]
    found = sorted((name.lower(), value) for name, value in found if name.lower() != "user-agent")
    wanted = [("accept", "text/html"), ("accept", "a/b"), ("authorization", "Bearer a"), ("authorization", "Bearer b")]
    wanted += [("content-length", "0"), ("host", "Other.test:8443"), ("traceparent", "c")]
    assert found == sorted(wanted)


@pytest.mark.parametrize(
    "lines",
    [
        ("Authorization: Bearer \xe9",),
        ("Host: other.test",),
        ("Transfer-Encoding: chunked", "Content-Length: 3"),
        ("Content-Length: 3", "Content-Length: 4"),
        ("Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity"),
        ("X: a", " folded: b"),
        ("X-Authz-User : a",),
        ("\x00: a",),
    ],
)
def test_heads_that_servers_read_differently_are_not_served(asking, lines):
    site, gate = asking
    assert site.get(DAGS, *lines, method="POST").status == 400
    assert (gate.questions, site.upstream.requests) == ([], [])


def test_chunks_with_extensions_and_a_smuggled_request_are_one_body(asking):
    site, gate = asking
    inner = request(POOLS, host=HOST)
    body = b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)
    said = site.send(request(DAGS, "Transfer-Encoding: chunked", method="POST", host=HOST) + body)
    assert (said.status, site.upstream.only.body, len(gate.questions)) == (200, inner, 1)


def test_a_refusal_waits_for_no_body_and_what_comes_later_is_no_request(asking):
    site, gate = asking
    gate.answer = b"HTTP/1.1 403 No\r\nx-authz-decision: a\r\nContent-Length: 0\r\n\r\n"
    late = request("/late", host=HOST)
    for target, status in ((DAGS, 403), ("/x;y", 400)) * 3:
        with site.connect() as connection:
            connection.send(request(target, f"Content-Length: {len(late)}", method="POST", host=HOST))
            assert connection.response().status == status
            with contextlib.suppress(OSError, AssertionError):  # Jetty may have closed: the body was not there
                connection.send(late)
                connection.send(request("/last", host=HOST))
                connection.response()
    lines = {one.partition(b"\r\n")[0] for one in gate.questions}
    wanted = {b"POST /check/airflow/api/v2/dags HTTP/1.1", b"GET /check/airflow/last HTTP/1.1"}
    assert (lines - wanted, site.upstream.requests) == (set(), [])


def test_an_upgrade_to_another_protocol_is_not_made(asking):
    site, gate = asking
    said = site.get(
        DAGS, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
    )
    assert (said.status, site.upstream.only.all("upgrade"), len(gate.questions)) == (200, [], 1)
    prior = site.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (prior.status >= 400, len(site.upstream.requests)) == (True, 1)
