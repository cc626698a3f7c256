"""lighttpd and Apache httpd as rendered, before a real gate: they ask it as FastCGI servers ask an authorizer.

The oracle is what the upstream received, byte for byte, and what the gate recorded. What all fronts promise is tested
by the same tests (`test_fronts.py`), on the sites of this file.
"""

import contextlib
import itertools
import random
import re
import signal
import socket
import ssl
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

import pytest

from authz.core import edge
from authz.fronts import crossing
from tests.e2e.certificates import Authority
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST, FrontSite
from tests.e2e.raw_http import Connection
from tests.e2e.test_fronts import (  # noqa: F401 pytest collects them here too
    test_a_body_reaches_airflow_and_is_not_part_of_the_question,
    test_a_body_that_is_too_long_is_refused,
    test_a_caller_cannot_have_the_gates_headers_dropped,
    test_a_refusal_has_its_status_and_its_decision_and_airflow_is_not_called,
    test_airflows_api_for_tasks_is_not_there_whatever_the_policy_says,
    test_no_identity_of_a_callers_arrives_in_any_spelling,
    test_pipelined_requests_are_each_asked_about,
    test_redirects_and_errors_of_airflow_are_airflows,
    test_the_access_log_has_the_decision_and_no_query_and_no_token,
    test_trailers_are_no_headers,
    test_websockets_are_not_let_through,
    test_what_airflow_may_not_say_does_not_reach_a_caller,
)
from tests.e2e.test_fronts_changes import refused
from tests.support import fastcgi

pytestmark = pytest.mark.e2e
ABSOLUTE = re.compile(r"^http://[^/?]*")
LONGEST = 1024
"""Of a path that is recorded whole."""
SEED = 20261130
IDENTITY = (*edge.IDENTITY_HEADERS, edge.DECISION)
OF_HTTPD = {("apache", "*"), ("apache", "?"), ("apache", "")}
"""httpd answers OPTIONS itself where the target has no path."""
AWAY = {"lighttpd": 503, "apache": 500}
"""The status without an answer of the gate; mod_authnz_fcgi knows only one."""


@pytest.fixture(scope="module", params=["lighttpd", "apache"])
def whole(request, idp, tmp_path_factory):
    with FrontSite(tmp_path_factory.mktemp(request.param), idp, request.param) as site:
        yield site


@pytest.fixture
def site(whole):
    whole.upstream.reset()
    return whole


def identity(received):
    """All that the upstream could take for an identity header, by its name in the usual spelling."""
    found = {}
    for name, value in received.headers:
        usual = "".join(letter if letter.isalnum() else "-" for letter in name)
        if usual in IDENTITY or usual in crossing.REMOVED:
            found.setdefault(usual, []).append((name, value))
    return found


def test_an_allowed_request_has_the_answers_identity_and_no_credentials(site):
    said = site.get("/api/v2/dags?limit=1", site.bearer("data-readers"), "Cookie: a=b")
    received = site.upstream.only
    assert (said.status, received.method, received.target) == (200, "GET", "/api/v2/dags?limit=1")
    found = identity(received)
    record = site.record(said.header(edge.DECISION))
    assert [value for _, value in found[edge.USER]] == ["ann"]
    assert [value for _, value in found[edge.DECISION]] == [record["id"]]
    assert len(found[edge.ASSERTION]) == 1
    assert {"authorization", "cookie"} & {name for name, _ in received.headers} == set()
    assert (record["decision"], record["path"], record["host"]) == ("allow", "/api/v2/dags", "gate.test")
    assert received.all("x-forwarded-proto") == ["https"]


def test_a_denied_request_gets_the_gates_answer_and_is_not_served(site):
    said = site.get("/api/v2/pools", site.bearer("data-readers"))
    assert (said.status, said.header("content-type")) == (403, "application/json")
    assert b'"error":"no_rule"' in said.body
    assert site.record(said.header(edge.DECISION))["reason"] == "no_rule"
    said = site.get("/api/v2/dags")
    assert (said.status, said.header("www-authenticate")) == (401, 'Bearer realm="airflow"')
    page = site.get("/api/v2/dags", "Accept: text/html")
    assert (page.status, page.header("content-type").partition(";")[0]) == (401, "text/html")
    assert page.body.startswith(b"<!doctype html>")
    assert page.body.rstrip().endswith(b"</html>")
    said = site.get("/api/v2/pools", site.bearer("data-readers"), method="HEAD")
    assert (said.status, said.body) == (403, b"")
    assert site.upstream.requests == []


def spellings(name):
    """A header's name as callers may write it, among them what a WSGI server reads alike."""
    parts = name.split("-")
    for joints in itertools.product("-_", repeat=len(parts) - 1):
        yield "".join(itertools.chain(*zip(parts, (*joints, ""), strict=True)))
    yield name.upper()
    yield name.title()


@pytest.mark.parametrize("groups", [(), ("data-readers",)], ids=["anonymous", "reader"])
def test_an_identity_that_a_caller_made_up_never_arrives(site, groups):
    lines = [site.bearer(*groups)] if groups else []
    target = "/api/v2/dags" if groups else "/api/v2/monitor/health"
    for name in IDENTITY:
        for forged in ([one] for one in spellings(name)):
            said = site.get(target, *(f"{one}: forged" for one in forged), *lines)
            twice = site.get(target, *(f"{one}: forged" for one in forged * 2), f"Connection: {name}", *lines)
            assert {said.status, twice.status} <= {200, 400}
    assert len(site.upstream.requests) >= 4 * len(IDENTITY)
    for received in site.upstream.requests:
        for name, given in identity(received).items():
            assert len(given) == 1, (name, given)
            assert given[0][1] != "forged"
            assert given[0][0] == name


def test_two_credentials_are_refused(site):
    said = site.get("/api/v2/dags", site.bearer("data-readers"), site.bearer("data-ops"))
    assert said.status == 400
    assert site.record(said.header(edge.DECISION))["reason"] == "bad_authorization"
    assert site.upstream.requests == []


PATHS = (
    "/api/v2/dags",
    "/api/v2/dags/sales",
    "/api/v2/pools",
    "/api/v2/variables/a%2Fb",
    "/api/v2/monitor/health",
    "/x/y",
)
TRICKS = (
    *(
        "/",
        "//",
        "/.",
        "/..",
        "/../",
        "/./",
        "%2e",
        "%2e%2e/",
        "%2f",
        "%2F..%2f",
        "%5c",
        "\\",
        ";",
        ";x=y",
        "%3b",
        "%00",
    ),
    *(
        "%0a",
        "%0d%0a",
        "%20",
        " ",
        "\t",
        "%09",
        "%25",
        "%252e",
        "%c0%ae",
        "\xe9",
        "%e9",
        "#",
        "%23",
        "?",
        "%3f",
        "*",
        "|",
    ),
    *("^", "`", "{x}", "<", '"', "'", "[", "+", "~", "@", ":", "&", "%", "%g", "%2", ".", "..", "...", "a" * 3000),
)
ODD = ("*", "", "http://gate.test/api/v2/dags", "http://other.test/api/v2/dags", "gate.test:443", "api/v2/dags", "/")


def shots(chance, bearers):
    """Raw requests without an end, each unlike what a browser sends."""
    while True:
        path = chance.choice(PATHS)
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            at = chance.choice([chance.randrange(1, len(path) + 1), len(path)] * 5 + [0])
            path = path[:at] + chance.choice(TRICKS) + path[at:]
        target = chance.choice(ODD) if chance.random() < 0.04 else path
        target += chance.choice(["", "", "", "", "?a=b", "?a=b", "?/../x", "?a=%00", "?" + "q" * 2000, "?a b"])
        method = chance.choice(["GET"] * 20 + ["POST", "HEAD", "PUT", "OPTIONS", "get", "TRACE", "FOO", "CONNECT"])
        version = chance.choice(["HTTP/1.1"] * 40 + ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", ""])
        lines = [chance.choice(["Host: gate.test"] * 40 + ["host: GATE.test", "Host: a,b", "X: y", "Host: a b"])]
        lines += [chance.choice(bearers)] * chance.choice([1] * 12 + [0, 2])
        extra = ["X_Authz_Subject: forged", "X-Authz-Assertion: forged", "Host: gate.test", "X : y", " folded", "X-L: "]
        extra += [
            "Connection: close, authorization",
            "Content-Length: 0",
            "Content-Length: 1",
            "Expect: x",
            "A: b\rC: d",
        ]
        extra += [
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: x",
            "X-N: " + "n" * 20_000,
            "Upgrade: h2c",
            "\x00: x",
        ]
        lines += chance.sample(extra, chance.choice([0] * 8 + [1, 1, 2]))
        chance.shuffle(lines)
        body = b"x" if "Content-Length: 1" in lines else b"0\r\n\r\n" if "Transfer-Encoding: chunked" in lines else b""
        yield (
            target,
            f"{method} {target} {version}\r\n".encode("latin-1"),
            [one.encode("latin-1") for one in lines],
            body,
        )


def fired(site, number, line, lines, body):
    """The answer to a raw request, which names itself `User-Agent: shot-N`; None without one."""
    data = line + b"\r\n".join([*lines, b"User-Agent: shot-%d" % number, b"", body])
    try:
        with Connection(site.address, site.tls, timeout=3) as connection:
            connection.send(data)
            return connection.response(head=line.startswith(b"HEAD"))
    except (AssertionError, OSError, ValueError):
        return None


def test_what_is_served_is_what_the_gate_allowed(site):
    """At least 300 requests to each front are judged by the gate; what a front refuses itself is not served."""
    chance = random.Random(SEED)  # noqa: S311 the same requests in each run
    bearers = [
        site.bearer("data-readers"),
        *[site.bearer("data-ops")] * 3,
        site.bearer(),
        "X-None: x",
        "Authorization: Basic eA==",
    ]
    made = list(itertools.islice(shots(chance, bearers), 1000))
    answers = [fired(site, number, *shot[1:]) for number, shot in enumerate(made)]
    served = {}
    for received in site.upstream.requests:
        served.setdefault(received.all("user-agent")[0], []).append(received)
    counts = Counter()
    for number, (target, line, lines, _) in enumerate(made):
        said, received = answers[number], served.pop(f"shot-{number}", [])
        decision = said and said.header(edge.DECISION)
        record = site.record(decision) if decision else None
        shot = (line, lines, said, record)
        if not received:
            assert said is None or said.status >= 400 or (site.name, target[:1]) in OF_HTTPD, shot
            counts["denied" if record and record["decision"] == "deny" else "refused"] += 1
            continue
        [one] = received
        assert record, shot
        assert (record["decision"], [record["id"]]) == ("allow", one.all(edge.DECISION)), shot
        asked = ABSOLUTE.sub("", target)  # lighttpd takes such a target for the path and Host in it (RFC 9112 §3.2.2)
        assert [value.lower() for value in one.all("host")] == [record["host"]], shot
        assert one.head.partition(b"\r\n")[0] == f"{record['method']} {asked} HTTP/1.1".encode("latin-1"), shot
        recorded, path = unquote_to_bytes(record["path"]), unquote_to_bytes(asked.partition("?")[0])
        assert path == recorded or (len(recorded) >= LONGEST and path.startswith(recorded)), shot
        assert "forged" not in str(identity(one)), shot
        counts["served"] += 1
    assert served == {}
    assert min(counts[kind] for kind in ("served", "denied", "refused")) >= 100, counts
    assert counts["served"] + counts["denied"] >= 300, counts


@pytest.mark.parametrize("name", ["lighttpd", "apache"])
def test_certificates_of_callers_and_a_base_path(idp, tmp_path, name):
    authority = Authority(tmp_path)
    caller = authority.issue("caller")
    options = {"client_ca": authority.ca, "client": caller, "audience": "base_path: /airflow"}
    made = FrontSite(tmp_path / "site", idp, name, **options)
    with made.pair.certificate.open("ab") as chain:  # without one lighttpd looks for it among the callers' authorities
        chain.write(made.authority.ca.read_bytes())
    with made as site:
        assert site.get("/airflow/api/v2/dags", site.bearer("data-readers")).status == 200
        assert site.upstream.only.target == "/airflow/api/v2/dags"
        assert site.get("/api/v2/dags", site.bearer("data-readers")).status == 403
        assert site.get("/airflow/execution/x", site.bearer("data-ops")).status in {403, 404}
        assert refused(site.address, ssl.create_default_context(cafile=str(site.authority.ca)))
        assert len(site.upstream.requests) == 1


def test_lighttpd_asks_another_worker_when_one_is_away(idp, tmp_path):
    with FrontSite(tmp_path, idp, "lighttpd", workers=2, audience="statuses: simple") as site:
        (site.gate.folder / "fastcgi-0.sock").unlink()
        for _ in range(6):
            assert site.get("/api/v2/dags", site.bearer("data-ops"), method="PUT", body=b"a").status == 200
        assert len(site.upstream.requests) == 6
        assert site.get("/api/v2/../pools", site.bearer("data-ops")).status == 403


@pytest.fixture
def one_answer():
    """Answers the next FastCGI request with these bytes, as something that is not this gate."""

    @contextlib.contextmanager
    def answering(path, data):
        def answer():
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(data)

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            thread = threading.Thread(target=answer)
            thread.start()
            yield
            thread.join(10)

    return answering


def test_lighttpd_takes_an_end_without_a_status_for_an_allow(idp, tmp_path, one_answer):
    """Why the engine never sends one (`authz/engine/fastcgi_connection.py`), whatever the end says: here OVERLOADED."""
    end = fastcgi.record(fastcgi.END, bytes([0, 0, 0, 0, 2, 0, 0, 0]))
    refusal = fastcgi.record(fastcgi.STDOUT, b"Status: 503\r\n\r\n")
    with FrontSite(tmp_path, idp, "lighttpd") as site:
        site.gate.stop()
        path = site.gate.folder / "fastcgi.sock"
        for data, status in ((end, 200), (refusal + end, 503)):
            path.unlink(missing_ok=True)
            with one_answer(path, data):
                assert site.get("/api/v2/pools").status == status
        assert len(site.upstream.requests) == 1


def serial(site):
    with socket.create_connection(site.address) as plain, site.tls.wrap_socket(plain, server_hostname=HOST) as secured:
        return secured.getpeercert()["serialNumber"]


def test_a_new_certificate_is_served_after_a_reload_and_no_request_is_lost(site):
    """With the signal for a graceful restart of both servers."""
    before, over, statuses = serial(site), threading.Event(), []

    def ask():
        while not over.is_set():
            statuses.append(site.get("/api/v2/monitor/health").status)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            site.authority.issue(HOST)  # in place of the first one
            site.process.send_signal(signal.SIGUSR1)
            wait_for(lambda: serial(site) != before, "the old certificate is served", pause=site.pause)
            enough = len(statuses) + 50
            wait_for(lambda: len(statuses) >= enough, "nothing is served", pause=site.pause)
        finally:
            over.set()
        for one in asking:
            one.result()
    assert set(statuses) == {200}


def test_without_the_gate_nothing_is_served(whole):
    """And it is served again once the gate is back. Last in this file, as it ends the gate."""
    site = whole
    site.upstream.reset()
    site.gate.stop()
    for target in ("/api/v2/monitor/health", "/api/v2/dags"):
        said = site.get(target, site.bearer("data-ops"))
        assert said.status == AWAY[site.name]
    assert site.upstream.requests == []
    site.gate.start()
    site.gate.until(lambda: site.get("/api/v2/monitor/health").status == 200, "it is not served again")
