"""The Cloudflare Worker as `authz front` renders it, in the real workerd, before a real gate.

What all fronts promise is tested by the same tests (`test_fronts.py`), on the site of this file; here is what differs:
the Worker sees a URL that was parsed, and refuses bad tokens itself. `test_front_worker_edge.py` has the Worker alone,
`test_front_worker_tasks.py` calls of tasks.
"""

import gzip
import json
import re
import ssl
from collections import Counter

import pytest
from click.testing import CliRunner

from authz.cli.main import main
from authz.core.edge import ASSERTION, DECISION, IDENTITY_HEADERS
from authz.core.request.path import canonicalise
from tests.e2e.certificates import Authority
from tests.e2e.front_site import HOST, FrontSite
from tests.e2e.raw_http import request
from tests.e2e.test_fronts import (  # noqa: F401 pytest collects them here too
    DAGS,
    FORGED,
    HEALTH,
    POOLS,
    lines,
    mutated,
    test_a_caller_cannot_have_the_gates_headers_dropped,
    test_a_large_identity_and_large_answers_pass,
    test_airflows_api_for_tasks_is_not_there_whatever_the_policy_says,
    test_an_allowed_request_reaches_airflow_with_the_gates_identity_alone,
    test_an_answer_is_passed_on_while_it_comes,
    test_connections_are_kept_on_both_sides,
    test_no_identity_of_a_callers_arrives_in_any_spelling,
    test_pipelined_requests_are_each_asked_about,
    test_redirects_and_errors_of_airflow_are_airflows,
    test_trailers_are_no_headers,
    test_websockets_are_not_let_through,
    test_what_airflow_may_not_say_does_not_reach_a_caller,
)
from tests.e2e.test_fronts_changes import refused

pytestmark = pytest.mark.e2e
SEED, COUNT = "worker 1", 1_000


@pytest.fixture(scope="module")
def running(idp, tmp_path_factory):
    with FrontSite(tmp_path_factory.mktemp("worker"), idp, "worker") as site:
        yield site


@pytest.fixture
def site(running):
    running.upstream.reset()
    return running


@pytest.mark.parametrize(
    ("target", "groups", "status"),
    [
        (DAGS, None, 401),
        (DAGS, [], 403),
        (POOLS, ["data-ops"], 403),
        (f"{POOLS}%2Fdefault", ["data-ops"], 403),
        ("/api/v2%2Fpools", ["data-ops"], 403),
        ("/no/such/page", None, 401),
        (f"{DAGS}%00", ["data-ops"], 400),
        (f"{DAGS}//x", ["data-ops"], 400),
    ],
)
def test_a_refusal_of_the_gate_is_the_callers_and_airflow_is_not_called(site, target, groups, status):
    credential = [] if groups is None else [site.bearer(*groups)]
    for accepts in ("application/json", "text/html"):
        said = site.get(target, *credential, f"Accept: {accepts}")
        assert (said.status, site.upstream.requests) == (status, [])
        assert site.record(said.header(DECISION))["decision"] == "deny"
        assert said.header("content-type").startswith(accepts)
        assert (said.header("www-authenticate") is not None) == (status == 401)


@pytest.mark.parametrize("target", [f"{DAGS}/../pools", f"{HEALTH}/%2e%2e/health", f"{DAGS}\\x", "/x/./y", "/é", "*"])
def test_a_path_that_the_urls_parser_would_rewrite_is_refused(site, target):
    said = site.get(target.encode(), site.bearer("data-ops"))
    assert (said.status, said.header(DECISION), site.upstream.requests) == (400, None, [])


@pytest.mark.parametrize(
    "head",
    [
        f"GET {POOLS} HTTP/1.1\r\nHost: {HOST}\r\nX-Original-URL: {HEALTH}\r\nX-Forwarded-Uri: {HEALTH}\r\n",
        f"POST {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-Method: GET\r\nX-HTTP-Method-Override: GET\r\n",
        f"GET http://{HOST}{POOLS} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nHost: other.test\r\n",
        f"GET {HEALTH} HTTP/1.1\r\n",
        f"CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n",
        f"TRACE {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"OPTIONS * HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET ?{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH[1:]} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET 2{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH}%0a HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET /{HEALTH} HTTP/1.1\r\nHost: {HOST}\r\n",
        f"GET {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\nContent-Length: 4\r\n",
        f"GET {HEALTH} HTTP/1.1\r\nHost: {HOST}\r\nX: a\r\n b\r\nX : c\r\n",
    ],
)
def test_what_is_ambiguous_or_claims_another_request_is_not_served(site, head):
    with site.connect() as connection:
        connection.send(f"{head}\r\n".encode())
        assert connection.response().status >= 400
    assert site.upstream.requests == []


@pytest.mark.parametrize("target", [f"http://other.test{HEALTH}", f"http:/{HEALTH}", f"{HEALTH}#x"])
def test_what_workerd_makes_of_an_odd_target_is_what_is_asked_about_and_served(site, target):
    """The Worker cannot see it: workerd has taken the host of the Host header and the path from the first slash on."""
    said = site.get(target)
    record = site.record(said.header(DECISION))
    served = site.upstream.requests
    assert (record["host"], len(served)) == (HOST, record["decision"] == "allow")
    assert [(one.target, one.all("host")) for one in served] == [(record["path"], [HOST])] * len(served)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_method_that_is_asked_about_is_the_callers(site, method):
    said = site.get("/open/a", site.bearer("data-ops"), method=method)
    assert (said.status, site.upstream.only.method) == (200, method)
    assert site.record(said.header(DECISION))["method"] == method
    body = b"" if method in {"GET", "HEAD"} else b"a"
    assert site.get(POOLS, site.bearer("data-ops"), method=method, body=body).status == 403
    assert len(site.upstream.requests) == 1


def test_bodies_reach_airflow_and_are_not_part_of_the_question(site):
    body = json.dumps({"note": "x" * 200_000}).encode()
    said = site.get(f"{DAGS}/sales/dagRuns", site.bearer("data-ops"), "Content-Type: a/b", method="POST", body=body)
    received = site.upstream.only
    assert (said.status, received.body, received.all("content-type")) == (200, body, ["a/b"])
    assert received.all("content-length") == [str(len(body))]
    data = request("/open", site.bearer("data-ops"), "Transfer-Encoding: chunked", method="PATCH", host=HOST)
    assert site.send(data + b"5\r\nhello\r\n0\r\n\r\n").status == 200
    received = site.upstream.requests[1]
    assert (received.body, received.all("content-length"), received.all("content-type")) == (b"hello", ["5"], [])
    assert site.get("/open", site.bearer("data-ops"), "Content-Length: 1500000", method="POST").status == 413
    with site.connect() as connection:  # cut off in the middle: half a body would be another request
        connection.send(data.replace(b"/open", b"/cut") + b"5\r\nhel")
    assert site.get("/after", site.bearer("data-ops")).status == 200
    assert [one.target for one in site.upstream.requests] == [f"{DAGS}/sales/dagRuns", "/open", "/after"]


def test_answers_are_passed_on_as_they_are(site):
    site.upstream.extra_headers = ("Set-Cookie: a=b", "Set-Cookie: c=d", "Vary: accept", "X-A: 1")
    said = site.get(DAGS, site.bearer("data-ops"))
    assert [value for name, value in said.headers if name == "set-cookie"] == ["a=b", "c=d"]
    for status in (201, 204, 304, 404, 500):
        site.upstream.status = status
        assert site.get(DAGS, site.bearer("data-ops")).status == status
    site.upstream.status = 101
    assert site.get(DAGS, site.bearer("data-ops")).status == 503
    site.upstream.reset()
    packed = gzip.compress(b"packed")
    site.upstream._answer = lambda _: (  # type: ignore[method-assign]
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed
    )
    try:
        said = site.get(DAGS, site.bearer("data-ops"), "Accept-Encoding: gzip")
        assert (said.status, said.header("content-encoding"), gzip.decompress(said.body)) == (200, "gzip", b"packed")
    finally:
        del site.upstream._answer


def test_the_log_has_the_decision_and_the_roles_and_no_query_and_no_token(site):
    secret = "canary-of-the-query"
    bearer = site.bearer("data-readers")
    answers = [site.get(f"{target}?a={secret}", bearer) for target in (DAGS, POOLS)]
    wanted = [answer.header(DECISION) for answer in answers]
    while not {*wanted} <= {line.get("decision") for line in lines(site)}:
        site.pause(0.02)
    found = {line.get("decision"): line for line in lines(site)}
    assert [(found[one]["status"], found[one].get("roles")) for one in wanted] == [(200, "viewer"), (403, None)]
    assert found[wanted[0]]["path"] == DAGS
    assert site.upstream.only.all("x-authz-roles") == ["viewer"]
    text = (site.gate.folder / "access.log").read_text() + (site.place / "front.log").read_text()
    assert secret not in text
    assert bearer[-40:] not in text


def test_long_heads_are_refused(site):
    assert site.get(HEALTH, f"X-Long: {'a' * 140_000}").status == 431
    assert site.get(HEALTH, *(f"X-{number}: {'a' * 9_000}" for number in range(20))).status == 431
    assert site.upstream.requests == []


def test_over_odd_requests_denied_is_never_served_and_served_is_what_was_allowed(site):
    callers = [site.bearer("data-ops")] * 4 + [
        site.bearer("data-readers"),
        site.bearer(),
        "",
        "Authorization: Bearer x",
    ]
    statuses = Counter()
    for number, data in mutated(SEED, COUNT, callers):
        before = len(site.upstream.requests)
        try:
            said = site.send(data)
        except (AssertionError, OSError, ssl.SSLError, ValueError):  # no answer, or one in HTTP/0.9
            assert len(site.upstream.requests) == before, data
            statuses["none"] += 1
            continue
        received = site.upstream.requests[before:]
        statuses["served" if received else said.status] += 1
        if not received:
            assert said.status >= 400, (number, data, said)
            continue
        [one] = received
        record = site.record(said.header(DECISION))
        assert (record["decision"], one.all(DECISION)) == ("allow", [record["id"]]), data
        assert (one.method, canonicalise(one.target).path) == (record["method"], record["path"]), (data, one.head)
        assert [host.partition(":")[0].rstrip(".") for host in one.all("host")] == [record["host"]], data
        assert one.target == spelt(data), (data, one.head)
        assert [value for name in IDENTITY_HEADERS for value in one.all(name) if value in {"root", "a.b.c"}] == []
        assert len(one.all(ASSERTION)) == bool(record["subject"]), data
        assert [name for name, _ in one.headers if "_" in name] == []
    denied = statuses[401] + statuses[403]
    assert (statuses["served"] >= 200, denied >= 150, statuses[400] >= 100) == (True, True, True), statuses


def spelt(data):
    """What of the request line can be seen here: all from the first slash on, without a fragment; the query as the
    URL's parser writes it."""
    target = re.match(rb"[^ ]+ (.*) HTTP/", data).group(1).partition(b"#")[0]
    path, _, query = re.sub(rb"^http:/+[^/?]*|^[^/?]+", b"", target).decode("utf-8").partition("?")
    for sign in "\"'<>":
        query = query.replace(sign, f"%{ord(sign):02X}")
    return (path or "/") + (f"?{query}" if query else "")


def test_without_the_gate_nothing_is_served_and_with_it_again_it_is(site):
    caller = site.bearer("data-ops")
    assert site.get(DAGS, caller).status == 200
    site.gate.kill()
    site.upstream.reset()
    for target, method in ((f"{DAGS}?a=canary-of-a-failure", "GET"), (DAGS, "POST"), (HEALTH, "GET")):
        said = site.get(target, caller, method=method)
        assert (said.status, said.header(DECISION), json.loads(said.body)) == (503, None, {"error": "unavailable"})
    assert site.upstream.requests == []
    site.gate.start()
    assert site.get(DAGS, caller).status == 200


def test_airflow_away_is_503(site):
    site.upstream.close()
    said = site.get(f"{DAGS}?a=canary-of-a-failure", site.bearer("data-ops"))
    assert (said.status, json.loads(said.body)["error"]) == (503, "airflow_unavailable")
    assert site.record(said.header(DECISION))["decision"] == "allow"
    site.upstream.open()
    assert site.get(DAGS, site.bearer("data-ops")).status == 200
    text = (site.gate.folder / "access.log").read_text() + (site.place / "front.log").read_text()
    assert ("airflow_unavailable" in text, "canary-of-a-failure" in text) == (True, False)


def test_two_workers_of_the_gate_certificates_of_callers_and_of_airflow_and_a_base_path(idp, tmp_path):
    """What else the settings can say, at once."""
    authority = Authority(tmp_path)
    wrong, right, caller = (authority.issue(one) for one in ("someone.else", "airflow.internal", "caller"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(wrong.certificate, wrong.key)
    airflow = f'tls: true, tls_ca: "{authority.ca}", tls_name: airflow.internal'
    options = {
        "audience": "base_path: /airflow, statuses: simple",
        "airflow": airflow,
        "upstream_tls": tls,
        "workers": 2,
    }
    with FrontSite(tmp_path / "site", idp, "worker", client_ca=authority.ca, client=caller, **options) as site:
        (site.gate.folder / "http-0.sock").unlink()  # it cannot be reached any more
        op = site.bearer("data-ops")
        assert [site.get(f"/airflow{DAGS}", op).status for _ in range(3)] == [503] * 3
        assert site.upstream.requests == []
        tls.load_cert_chain(right.certificate, right.key)
        assert [site.get(f"/airflow{DAGS}", op).status for _ in range(6)] == [200] * 6
        assert {one.target for one in site.upstream.requests} == {f"/airflow{DAGS}"}
        assert [site.get(target, op).status for target in (DAGS, "/airflow/execution/x")] == [403, 404]
        strange = ssl.create_default_context(cafile=str(site.authority.ca))
        assert refused(site.address, strange)
        assert len(site.upstream.requests) == 6


def test_the_command_writes_what_the_policy_trusts(site, tmp_path):
    made = CliRunner().invoke(
        main, ["front", "worker", "--settings", str(site.gate.settings), "--output", str(tmp_path)]
    )
    assert made.exit_code == 0, made.output
    [found] = json.loads((tmp_path / "config" / "issuers.json").read_text())["issuers"]
    assert (found["issuer"], found["algorithms"], found["audiences"]) == (
        site.idp.url,
        ["ES256"],
        {"inbound": ["airflow"]},
    )
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    config = {"config/airflow.json", "config/issuers.json"}
    assert written == {"worker.capnp", "wrangler-airflow.jsonc", "headers.js", *config}
