"""Fronts over HTTP as `authz front` renders them, before a real gate: denied is never served, served is what was asked.

Raw bytes in, raw bytes out: what the upstream received is the oracle, and the gate's record of the same decision.
"""

import contextlib
import json
import random
import ssl
import threading

import jwt
import pytest

from authz.core.edge import ASSERTION, DECISION, IDENTITY_HEADERS
from authz.core.request.path import canonical_host, canonicalise
from authz.fronts.render import OVER_FASTCGI
from demo.fronts import STARTS
from tests.attacks import corpus
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_site import HOST, OVER_TCP, FrontSite
from tests.e2e.front_words import MARKS
from tests.e2e.raw_http import request

pytestmark = pytest.mark.e2e
FRONTS = sorted({*STARTS} - OVER_FASTCGI - {"worker"})  # of those: test_front_fastcgi.py, test_front_worker.py
DAGS, POOLS, HEALTH = "/api/v2/dags", "/api/v2/pools", "/api/v2/monitor/health"
FORGED = "forged-by-the-caller"


@pytest.fixture(scope="module", params=FRONTS)
def running(request, idp, tmp_path_factory):
    with FrontSite(tmp_path_factory.mktemp(request.param), idp, request.param) as site:
        yield site


@pytest.fixture
def site(running):
    running.upstream.reset()
    return running


def test_an_allowed_request_reaches_airflow_with_the_gates_identity_alone(site):
    said = site.get(f"{DAGS}?limit=1", site.bearer("data-readers"), "Accept: application/json", "Cookie: _token=a")
    received = site.upstream.only
    assert (said.status, received.method, received.target) == (200, "GET", f"{DAGS}?limit=1")
    record = site.record(said.header(DECISION))
    assert (record["decision"], record["rule"], record["path"]) == ("allow", "readers", DAGS)
    assert (record["source"], record["host"]) == ("" if site.name in OVER_TCP else "127.0.0.1", HOST)
    assert received.all(DECISION) == [record["id"]]
    claims = jwt.decode(received.all(ASSERTION)[0], options={"verify_signature": False})
    assert (claims["aud"], claims["sub"]) == ("airflow", "id-ann")
    assert (received.all("x-authz-user"), received.all("host")) == (["ann"], [HOST])
    assert (received.all("authorization"), received.all("cookie")) == ([], [])
    assert (received.all("x-forwarded-proto"), received.all("x-forwarded-for")) == (["https"], ["127.0.0.1"])
    assert received.all("accept") == ["application/json"]


def test_a_body_reaches_airflow_and_is_not_part_of_the_question(site):
    body = json.dumps({"logical_date": None, "note": "x" * 200_000}).encode()
    said = site.get(f"{DAGS}/sales/dagRuns", site.bearer("data-ops"), "Content-Type: a/b", method="POST", body=body)
    assert (said.status, site.upstream.only.body, site.upstream.only.all("content-type")) == (200, body, ["a/b"])
    assert site.record(said.header(DECISION))["method"] == "POST"
    chunks = b"5\r\nhello\r\n0\r\n\r\n"
    data = request(DAGS, site.bearer("data-ops"), "Transfer-Encoding: chunked", method="PATCH", host=HOST)
    said = site.send(data + chunks)
    if site.name == "apache":  # it could not say how long a body may be
        assert (said.status, len(site.upstream.requests)) == (411, 1)
        return
    assert (said.status, site.upstream.requests[1].body) == (200, b"hello")


def test_a_body_that_is_too_long_is_refused(site):
    """nginx says so before it asks. Caddy counts what it passes on: Airflow gets no whole request."""
    data = request("/open", site.bearer("data-ops"), method="POST", body=b"a" * 1_500_000, host=HOST)
    with site.connect() as connection:
        with contextlib.suppress(OSError):  # it may answer, and read no more, before all was sent
            connection.send(data)
        assert connection.response().status == 413
    if site.name == "caddy":  # what it passed on may come after its answer: not to the next test
        wait_for(lambda: bool(site.upstream.requests), "nothing was passed on", pause=site.pause)
    else:
        assert site.upstream.requests == []
    assert all(len(one.body) < int(one.all("content-length")[0]) for one in site.upstream.requests)


def test_trailers_are_no_headers(site):
    chunks = f"1\r\na\r\n0\r\nX-Authz-Subject: {FORGED}\r\n\r\n".encode()
    lines = (site.bearer("data-ops"), "Transfer-Encoding: chunked", "Trailer: X-Authz-Subject")
    said = site.send(request("/open", *lines, method="POST", host=HOST) + chunks)
    if site.name == "apache":
        assert (said.status, site.upstream.requests) == (411, [])
        return
    assert (said.status, site.upstream.only.body) == (200, b"a")
    assert (site.upstream.only.all("x-authz-subject"), site.upstream.only.trailers) == (["id-ann"], b"")


def test_an_answer_is_passed_on_while_it_comes(site):
    """Airflow's logs are streams."""
    site.upstream.stream = ends = threading.Event()
    with site.connect() as connection:
        connection.send(request(DAGS, site.bearer("data-readers"), host=HOST))
        while connection.line():
            pass
        assert (connection.line(), connection.read(5)) == (b"5", b"first")
        ends.set()
        assert connection.line() == b""
        assert (connection.line(), connection.line(), connection.line()) == (b"4", b"last", b"0")


def test_connections_are_kept_on_both_sides(site):
    before = len(site.upstream.connections)
    with site.connect() as connection:
        for _ in range(20):
            connection.send(request(DAGS, site.bearer("data-readers"), host=HOST))
            assert connection.response().status == 200
    assert len(site.upstream.connections) - before <= 2


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_method_that_is_asked_about_is_the_callers(site, method):
    said = site.get("/open/a", site.bearer("data-ops"), method=method)
    assert (said.status, site.upstream.only.method) == (200, method)
    assert site.record(said.header(DECISION))["method"] == method
    assert site.get(POOLS, site.bearer("data-ops"), method=method, body=b"" if method == "HEAD" else b"a").status == 403
    assert len(site.upstream.requests) == 1


@pytest.mark.parametrize(
    ("target", "groups", "status"),
    [(POOLS, ["data-ops"], 403), (POOLS, [], 403), (DAGS, None, 401), ("/api/v2/dags/../pools", ["data-ops"], 400)],
)
def test_a_refusal_has_its_status_and_its_decision_and_airflow_is_not_called(site, target, groups, status):
    said = site.get(target, *([] if groups is None else [site.bearer(*groups)]), "Accept: application/json")
    assert (said.status, site.upstream.requests) == (status, [])
    record = site.record(said.header(DECISION))
    assert (record["decision"], json.loads(said.body)["decision_id"]) == ("deny", record["id"])
    assert said.header("content-type") == "application/json"
    assert said.header("cache-control") == "no-store"
    assert said.header("www-authenticate") == ('Bearer realm="airflow"' if status == 401 else None)
    assert ASSERTION not in dict(said.headers)


def test_a_refused_change_does_not_break_the_next_request_of_its_connection(site):
    with site.connect() as connection:
        refused = request(POOLS, site.bearer("data-ops"), method="POST", body=b"a" * 50_000, host=HOST)
        connection.send(refused)
        assert connection.response().status == 403
        again = request(DAGS, site.bearer("data-ops"), host=HOST)
        try:
            connection.send(again)
            status = connection.response().status
        except (AssertionError, OSError):  # closed by Jetty, if the body was not all there when it answered
            assert site.name == "jetty"
            status = site.send(again).status
        assert status == 200
    assert [one.target for one in site.upstream.requests] == [DAGS]


def test_pipelined_requests_are_each_asked_about(site):
    reader, op = site.bearer("data-readers"), site.bearer("data-ops")
    targets = [
        (DAGS, reader, 200),
        (POOLS, op, 403),
        (HEALTH, "Accept: */*", 200),
        (POOLS, reader, 403),
        (DAGS, op, 200),
    ]
    with site.connect() as connection:
        connection.send(b"".join(request(target, caller, host=HOST) for target, caller, _ in targets))
        answers = [connection.response() for _ in targets]
    assert [answer.status for answer in answers] == [status for _, _, status in targets]
    assert [site.record(one.header(DECISION))["path"] for one in answers] == [target for target, _, _ in targets]
    assert [one.target for one in site.upstream.requests] == [DAGS, HEALTH, DAGS]


SPELLINGS = (
    str.lower,
    str.upper,
    str.title,
    lambda name: name.replace("-", "_"),
    lambda name: name.title().replace("-", "_", 1),
    *(lambda name, mark=mark: name.replace("-", mark) for mark in MARKS),
)


OF_OTHERS = (
    *("remote-user", "x-remote-user", "x-forwarded-user", "x-original-url", "x-rewrite-url", "x-forwarded-uri"),
    *("x-http-method-override", "x-run-proof", "x-run-identity", "proxy-authorization", "x-auth-request-user"),
    *("x-goog-iap-jwt-assertion", "x-authz-anything", "ssl-client-cert", "x-airflow-user", "forwarded", "x-real-ip"),
)


@pytest.mark.parametrize("caller", ["anonymous", "reader"])
def test_no_identity_of_a_callers_arrives_in_any_spelling(site, caller):
    """Also where the answer says nothing of a header: GHSA-7r4p-vjf4-gxv4, and with `_`: GHSA-f59h-q822-g45g."""
    names = (*IDENTITY_HEADERS, DECISION, *OF_OTHERS)
    credential = [site.bearer("data-readers")] if caller == "reader" else []
    for spelt in SPELLINGS:
        lines = [f"{spelt(name)}: {FORGED}" for name in names]
        assert site.get(HEALTH, *credential, *lines, f"Cookie: _token={FORGED}; BearerToken={FORGED}").status == 200
    assert len(site.upstream.requests) == len(SPELLINGS)
    for received in site.upstream.requests:
        assert FORGED.encode() not in received.head
        assert [name for name, _ in received.headers if {*name} & {"_", *MARKS}] == []
        assert len(received.all(ASSERTION)) == (caller == "reader")
        assert received.all("authorization") == []


@pytest.mark.parametrize(
    "named", ["x-authz-assertion", "x-authz-roles", "authorization", "host", "x-authz-subject, te"]
)
def test_a_caller_cannot_have_the_gates_headers_dropped(site, named):
    """`Connection` names headers that a proxy does not pass on (RFC 9110 §7.6.1)."""
    said = site.get(DAGS, site.bearer("data-readers"), f"Connection: keep-alive, {named}")
    assert said.status == 200
    received = site.upstream.only
    assert [len(received.all(name)) for name in (ASSERTION, "x-authz-roles", "x-authz-subject", "host")] == [1] * 4


@pytest.mark.parametrize(
    "head",
    [
        f"GET {POOLS} HTTP/1.1\r\nHost: {HOST}\r\nX-Original-URL: {HEALTH}\r\nX-Forwarded-Uri: {HEALTH}\r\n",
        f"POST {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Method: GET\r\nX-HTTP-Method-Override: GET\r\n",
        f"GET http://{HOST}{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET http://other.test{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nHost: other.test\r\n",
        f"GET {HEALTH} HTTP/1.1\r\n",
        f"GET {HEALTH} HTTP/1.0\r\n",
        f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n",
        f"TRACE {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"get {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH[1:]} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET 2{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET ?{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH}%00 HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH}%0a HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH}/%2e%2e/health HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET /{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH}#x HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        f"GET {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nX: a\r\n b\r\nX : c\r\n",
    ],
)
def test_what_is_ambiguous_or_claims_another_request_is_not_served(site, head):
    """Of the one public route, or of one that claims to be it."""
    with site.connect() as connection:
        connection.send(f"{head}\r\n".encode())
        assert connection.response().status >= 400 or head.startswith("OPTIONS *")  # which Go answers itself
    assert site.upstream.requests == []


@pytest.mark.parametrize(
    "target", ["/execution/", "/Execution/x", "/%65xecution", "//execution", "/execution%2frun", "/execution"]
)
def test_airflows_api_for_tasks_is_not_there_whatever_the_policy_says(site, target):
    assert site.get(target, site.bearer("data-ops")).status in {400, 403, 404}  # 403 of Apache httpd
    assert site.upstream.requests == []


def test_websockets_are_not_let_through(site):
    said = site.get(
        HEALTH, "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13"
    )
    assert said.status == 200
    assert site.upstream.only.all("upgrade") == []


def test_long_heads_are_refused_by_the_front_and_long_tokens_by_the_gate(site):
    assert site.get(HEALTH, f"Authorization: Bearer {'a' * 90_000}").status == 200
    assert len(site.upstream.requests) == 1
    assert site.get(DAGS, f"Authorization: Bearer {'a' * 90_000}").status == 401
    said = site.get(HEALTH, f"X-Long: {'a' * 140_000}")
    assert said.status in {400, 431}
    many = site.get(HEALTH, *(f"X-{number}: {'a' * 9_000}" for number in range(20)))
    assert many.status in {400, 431}
    assert len(site.upstream.requests) == 1


def test_a_large_identity_and_large_answers_pass(site):
    groups = [f"group-{number:05}" for number in range(2_000)]
    site.upstream.extra_headers = tuple(f"X-Answer-{number}: {'a' * 1_000}" for number in range(20))
    assert site.get(DAGS, site.bearer("data-readers", *groups)).status == 200


def test_what_airflow_may_not_say_does_not_reach_a_caller(site):
    site.upstream.extra_headers = (
        *(f"{name}: {FORGED}" for name in (DECISION, ASSERTION, "X-Authz-User", "Server", "X-Powered-By")),
        "X-Accel-Redirect: /authz_question_0",
    )
    said = site.get(DAGS, site.bearer("data-readers"))
    assert (said.status, [name for name, value in said.headers if value == FORGED]) == (200, [])
    assert site.record(said.header(DECISION))["decision"] == "allow"


def test_redirects_and_errors_of_airflow_are_airflows(site):
    for status, extra in (
        (302, "Location: http://elsewhere.test/x"),
        (404, "X-A: b"),
        (401, "X-A: b"),
        (500, "X-A: b"),
    ):
        site.upstream.status, site.upstream.extra_headers = status, (extra,)
        said = site.get(DAGS, site.bearer("data-readers"))
        assert (said.status, extra.lower().partition(": ")[0] in dict(said.headers)) == (status, True)
        assert json.loads(said.body)["target"] == DAGS


def lines(site):
    return [json.loads(line) for line in (site.gate.folder / "access.log").read_text().splitlines()]


def test_the_access_log_has_the_decision_and_no_query_and_no_token(site):
    secret = "canary-of-the-query"
    answers = [site.get(f"{target}?a={secret}", site.bearer("data-readers")) for target in (DAGS, POOLS, "/x/../y")]
    wanted = [answer.header(DECISION) for answer in answers]
    while not {*wanted} <= {line.get("decision") for line in lines(site)}:
        site.pause(0.02)
    found = {line.get("decision"): line for line in lines(site)}
    assert [int(found[one]["status"]) for one in wanted] == [200, 403, 400]
    text = (site.gate.folder / "access.log").read_text() + (site.place / "front.log").read_text()
    assert secret not in text
    assert "Bearer" not in text


TRICKS = (
    "/ // /. /.. /../ /%2e%2e/ %2f %2F %5c \\ ;x ;/../ %00 %0a %0d%0a ? # %23 %3f %25 %252f %20 % %zz \t é %C3%A9"
    ' {a} $a " < | ^ ` @ : + , = & ~ *'
)
MORE = [
    *("X-Original-URL: /api/v2/monitor/health", "X-HTTP-Method-Override: GET", "X-Forwarded-Host: a", "Via: 1.1 a"),
    *("Connection: close", "Connection: x-authz-assertion", "Transfer-Encoding: identity", "Content-Length: 0"),
    *(
        "Expect: 100-continue",
        "X_Authz_User: root",
        "X-Authz-Subject: root",
        "X-Authz-Assertion: a.b.c",
        "Te: trailers",
    ),
    *("Host: other.test", "Authorization: Basic YTpi", "Accept: text/html", "Range: bytes=0-1", "Max-Forwards: 0"),
    *("Upgrade: h2c", "Cookie: _token=x", "X-Authz-Roles : op", "Forwarded: for=1;host=b"),
]


def mutated(seed, count, callers):
    """Raw requests around what is allowed and denied here: target, head lines, framing, method, version."""
    chosen = random.Random(seed)  # noqa: S311 a test's corpus
    bases = [
        DAGS,
        POOLS,
        HEALTH,
        f"{DAGS}/sales",
        f"{DAGS}/sales/dagRuns",
        "/api/v2/connections",
        "/",
        "/x/y",
        "/execution/x",
    ]
    odd, tricks, more = corpus.targets(), TRICKS.split(" "), MORE
    for number in range(count):
        target = chosen.choice(bases)
        kind = chosen.random()
        if kind < 0.3:
            for _ in range(chosen.randint(1, 2)):
                at = chosen.randint(0, len(target))
                target = target[:at] + chosen.choice(tricks) + target[at:]
        elif kind < 0.38:
            target = chosen.choice(odd)
        if chosen.random() < 0.2:
            target += "?" + chosen.choice(["a=b", "a=%2f..", "access_token=x", "a={b}", "x#y", "a=b?c", "", "%00"])
        method = chosen.choice(
            ["GET"] * 14 + ["POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "get", "FOO", "TRACE"]
        )
        version = chosen.choice(["HTTP/1.1"] * 60 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0"])
        head = [f"{method} {target} {version}"]
        head += (
            [f"Host: {chosen.choice([HOST] * 40 + ['other.test', HOST + '.', HOST.upper(), 'a b', ''])}"]
            if chosen.random() < 0.99
            else []
        )
        head += [one for one in [chosen.choice(callers)] if one]
        head += chosen.sample(more, chosen.choice([0, 0, 0, 0, 0, 1, 2]))
        body = b"a=b" if method in {"POST", "PUT", "PATCH"} and chosen.random() < 0.7 else b""
        head += [f"Content-Length: {len(body)}"] if body else []
        yield number, "\r\n".join([*head, f"X-Number: {number}", "", ""]).encode() + body


def test_over_odd_requests_denied_is_never_served_and_served_is_what_was_allowed(site):
    callers = [site.bearer("data-ops")] * 4 + [
        site.bearer("data-readers"),
        site.bearer(),
        "",
        "Authorization: Bearer x",
    ]
    statuses = []
    for number, data in mutated(f"{site.name} 1", 400, callers):
        before = len(site.upstream.requests)
        try:
            said = site.send(data)
        except (AssertionError, OSError, ssl.SSLError, ValueError):  # no answer, or one in HTTP/0.9
            assert len(site.upstream.requests) == before, data
            statuses.append(0)
            continue
        statuses.append(said.status)
        received = site.upstream.requests[before:]
        if not received:
            assert said.status >= 400 or data.startswith(b"OPTIONS"), (number, data, said)
            continue
        [one] = received
        record = site.record(said.header(DECISION))
        assert record["decision"] == "allow", data
        assert one.all(DECISION) == [record["id"]], data
        assert (one.method, one.all("host")) == (record["method"], host_of(data)), data
        assert canonical_host(one.all("host")[0])[0] == record["host"]
        assert canonicalise(one.target).path == record["path"], (data, one.head)
        assert one.target.partition("?")[2] == data.split(b" ")[1].decode("latin-1").partition("?")[2], data
        assert [value for name in IDENTITY_HEADERS for value in one.all(name) if value in {"root", "a.b.c"}] == []
        assert len(one.all(ASSERTION)) == bool(record["subject"]), data
        assert [name for name, _ in one.headers if "_" in name] == []
    served = statuses.count(200)
    assert (served >= 60, sum(one in {401, 403} for one in statuses) >= 60, statuses.count(400) >= 60) == (True,) * 3, (
        statuses
    )


def host_of(data):
    return [
        line.partition(b":")[2].strip().decode() for line in data.split(b"\r\n") if line.lower().startswith(b"host:")
    ][:1]
