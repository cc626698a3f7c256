"""What the rendered configuration lets through, asked of a real Envoy with raw bytes (d-01 … d-08, d-17)."""

import json

import pytest

from authz._generated.envoy.service.auth.v3.external_auth_pb2 import HeaderValue
from authz.core import edge, stripped
from tests.e2e.raw_h2 import exchange_h2
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import allow, deny

pytestmark = pytest.mark.e2e

OURS = (*edge.IDENTITY_HEADERS, edge.DECISION)
NAMES = {*stripped.INBOUND_HEADERS, *stripped.RUN_HEADERS}
FORBIDDEN = (*OURS, "x-authz-anything", "x-original-url", "x-rewrite-url", *sorted(NAMES))
FORGED = "forged"


def spellings(name):
    return [name, name.upper(), name.title(), "".join(c.upper() if i % 2 else c for i, c in enumerate(name))]


def told(gate):
    """The headers that the authorizer was shown."""
    entries = gate.authz.only.attributes.request.http.header_map.headers
    return [(header.key, header.raw_value) for header in map(HeaderValue.FromString, entries)]


def h2(*extra, path="/", authority="gate.test", method="GET"):
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *extra]


# --- what the authorizer is shown


def test_only_headers_that_are_read_are_shown_and_each_line_of_them(gate):
    sent = ["Authorization: Bearer one", "Cookie: a=1", "Cookie: b=2", "ACCEPT: text/html", "traceparent: 00-1"]
    secret = ["X-Api-Key: not for you", "User-Agent: x", "X-Authorization: y"]
    assert gate.get("/x?y=z", *sent, *secret, *(f"X-Fill-{number}: {number}" for number in range(40))).status == 200
    shown = told(gate)
    assert {name for name, _ in shown} <= set(edge.READ_HEADERS)
    assert [value for name, value in shown if name == "authorization"] == [b"Bearer one"]
    assert b"; ".join(value for name, value in shown if name == "cookie") == b"a=1; b=2"
    assert (("accept", b"text/html") in shown, len(gate.authz.only.attributes.request.http.headers)) == (True, 0)
    assert gate.authz.only.attributes.request.http.path == "/x?y=z"
    assert gate.upstream.only.all("x-api-key") == ["not for you"]


# --- identity headers (d-17)


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_spoofed_header_reaches_neither_authorizer_nor_upstream_in_any_spelling(gate, name):
    sent = [f"{spelling}: {FORGED}" for spelling in spellings(name)]
    assert gate.get("/x", *sent).status == 200
    assert FORGED not in gate.upstream.only.head.decode("latin-1")
    assert FORGED.encode() not in [value for _, value in told(gate)]
    assert gate.upstream.only.all(name) == []


@pytest.mark.parametrize("name", OURS)
def test_the_answers_value_is_the_only_one(gate, name):
    gate.authz.answer = lambda _: allow(headers={name: "genuine"})
    forged = [f"{spelling}: {FORGED}" for spelling in spellings(name)]
    assert gate.get("/x", *forged, f"Connection: {name}, close").status == 200
    assert gate.upstream.only.all(name) == ["genuine"]


@pytest.mark.parametrize("name", OURS)
def test_a_spoofed_header_does_not_pass_over_http_2_either(gate, name):
    assert exchange_h2(gate.envoy.inbound, h2((name, FORGED), (name, FORGED))) == 200
    assert FORGED not in gate.upstream.only.head.decode("latin-1")
    gate.reset()
    assert exchange_h2(gate.envoy.inbound, h2(method="POST"), trailers=[(name, FORGED)]) == 200
    assert FORGED not in (gate.upstream.only.head + gate.upstream.only.body).decode("latin-1")


@pytest.mark.parametrize("name", [*OURS, "remote-user"])
def test_an_underscore_in_a_name_is_refused(gate, name):
    assert gate.get("/x", f"{name.replace('-', '_')}: {FORGED}").status == 400
    assert exchange_h2(gate.envoy.inbound, h2((name.replace("-", "_"), FORGED))) is None
    assert gate.authz.checks == []
    assert gate.upstream.requests == []


def test_malformed_header_lines_are_refused_or_stay_inside_their_header(gate):
    assert gate.get("/x", f"X-Authz-Subject : {FORGED}").status == 400
    assert exchange_h2(gate.envoy.inbound, h2(("a", f"b\r\nx-authz-subject: {FORGED}"))) is None
    assert exchange_h2(gate.envoy.inbound, h2(("X-Authz-Subject", FORGED))) is None
    assert gate.upstream.requests == []
    gate.get("/x", "X-Folded: a", f"\tX-Authz-Subject: {FORGED}")
    assert gate.upstream.only.all("x-authz-subject") == []


def test_forwarded_for_holds_only_the_peer(gate):
    gate.get("/x", "X-Forwarded-For: 192.0.2.66", "X-Forwarded-Proto: https", "X-Request-Id: mine")
    assert gate.upstream.only.all("x-forwarded-for") == ["127.0.0.1"]
    assert gate.upstream.only.all("x-forwarded-proto") == ["http"]
    assert gate.upstream.only.all("x-request-id") != ["mine"]
    assert gate.authz.only.attributes.source.address.socket_address.address == "127.0.0.1"


def test_envoys_own_control_headers_are_not_obeyed_from_outside(gate):
    gate.get("/x", "X-Envoy-Upstream-Rq-Timeout-Ms: 1", "X-Envoy-Internal: true", "X-Envoy-Max-Retries: 9")
    assert [name for name, _ in gate.upstream.only.headers if name.startswith("x-envoy")] == []


# --- the answer can change nothing but our headers and the credentials


def test_an_answer_cannot_rewrite_the_request(gate):
    evil = {":path": "/admin", ":authority": "evil.test", "host": "evil.test", ":method": "DELETE", "x-other": "1"}
    gate.authz.answer = lambda _: allow(headers=evil, remove=("user-agent", ":path", "host"))
    assert gate.get("/asked?for=this", "User-Agent: ua").status == 200
    seen = gate.upstream.only
    assert (seen.method, seen.target, seen.all("host")) == ("GET", "/asked?for=this", ["gate.test"])
    assert seen.all("x-other") == []
    assert seen.all("user-agent") == ["ua"]


def test_an_answer_takes_credentials_away_and_replaces_all_cookies(gate):
    gate.authz.answer = lambda _: allow(headers={"cookie": "theme=dark"}, remove=("authorization",))
    gate.get("/x", "Authorization: Bearer t", "Authorization: Bearer u", "Cookie: IdToken=a", "Cookie: theme=dark")
    assert gate.upstream.only.all("authorization") == []
    assert gate.upstream.only.all("cookie") == ["theme=dark"]
    gate.reset()
    gate.authz.answer = lambda _: allow(remove=("cookie",))
    gate.get("/x", "Cookie: IdToken=a", "Cookie: b=c")
    assert gate.upstream.only.all("cookie") == []


def test_an_invalid_header_value_in_an_answer_stops_the_request(gate):
    gate.authz.answer = lambda _: allow(headers={"x-authz-user": "a\r\nx-authz-roles: admin"})
    assert gate.get("/x").status == 500
    assert gate.upstream.requests == []


# --- paths (d-01 … d-06)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/v2/pools/a%2Fb", "/api/v2/pools/a%2Fb"),
        ("/a%2fb%5Cc%3A%2B%20d", "/a%2fb%5Cc%3A%2B%20d"),
        ("/a/..%2fb", "/a/..%2fb"),
        ("/a/%2e%2e/b/./c//d", "/b/c/d"),
        ("//a///b", "/a/b"),
        ("/%64ags", "/dags"),
        ("/a\\..\\b", "/b"),
        ("/a;x/b;y?q=1&q=%2e%2e", "/a;x/b;y?q=1&q=%2e%2e"),
        ("/API/v2/Dags", "/API/v2/Dags"),
    ],
)
def test_the_path_that_is_judged_is_the_path_that_is_served(gate, target, path):
    assert gate.get(target).status == 200
    assert gate.authz.only.attributes.request.http.path == path
    assert gate.upstream.only.target == path


@pytest.mark.parametrize(
    "target",
    [
        b"/a%00b",
        b"/a#b",
        b"/a#/../b",
        b"/a\tb",
        b"/a b",
        b"/\xff",
        "/ä".encode(),
        b"a",
        b"*",
        b"../x",
        b"/a\x00",
        b"?x",
    ],
)
def test_a_target_without_one_reading_is_refused_before_it_is_judged(gate, target):
    assert gate.get(target).status in {400, 404}
    assert gate.authz.checks == []
    assert gate.upstream.requests == []


@pytest.mark.parametrize(
    "path",
    [
        *("/execution/x", "/EXECUTION", "/%65xecution/x", "/execution%2Fx", "//execution/x", "/%2fexecution/x"),
        *("/a/../execution", "/./execution", "/execution?x=y", "/execution;a/x"),
    ],
)
def test_the_task_api_is_out_of_reach_even_when_the_answer_allows_it(gate, path):
    assert gate.get(path).status == 404
    assert len(gate.authz.checks) == 1
    assert gate.upstream.requests == []


# --- host and method (d-07, d-08)


def test_absolute_form_is_judged_and_routed_by_its_own_host(gate):
    assert gate.get("http://evil.test/x?y", host="gate.test").status == 200
    assert gate.authz.only.attributes.request.http.host == "evil.test"
    assert gate.upstream.only.all("host") == ["evil.test"]
    assert gate.upstream.only.target == "/x?y"


def test_two_hosts_are_shown_to_the_authorizer_as_one_with_a_comma(gate):
    """Envoy joins them; `authz.core.request.path.canonical_host` refuses the comma."""
    gate.get("/x", "Host: other.test")
    assert gate.authz.only.attributes.request.http.host == "gate.test,other.test"


def test_http_2_authority_wins_over_a_host_header(gate):
    assert exchange_h2(gate.envoy.inbound, h2(("host", "evil.test"))) == 200
    assert gate.authz.only.attributes.request.http.host == "gate.test"
    assert gate.upstream.only.all("host") == ["gate.test"]


def test_a_trailing_dot_is_dropped_from_the_host(gate):
    gate.get("/x", host="gate.test.:8080")
    assert gate.authz.only.attributes.request.http.host == "gate.test:8080"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (h2(path="http://evil.test/x"), "absolute path"),
        (h2(path="x"), "no leading slash"),
        (h2((":path", "/y")), "two paths"),
        (h2(("connection", "x-authz-user")), "connection header"),
        (h2(("transfer-encoding", "chunked")), "transfer-encoding"),
        ([(":method", "CONNECT"), (":protocol", "websocket"), *h2()[1:]], "extended CONNECT"),
    ],
)
def test_malformed_http_2_is_reset(gate, fields, why):
    assert exchange_h2(gate.envoy.inbound, fields) is None, why
    assert (gate.authz.checks, gate.upstream.requests) == ([], [])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.0\r\nHost: gate.test\r\n\r\n", 426),
        (b"GET / HTTP/1.0\r\n\r\n", 426),
        (request("/", host=None), 400),
        (request("/", method="get"), 400),
        (request("/", method="FOO"), 400),
        (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n", 404),
        (request("/", "Content-Length: 0", "Content-Length: 4", method="POST"), 400),
        (request("/", "Content-Length: 3", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n", 400),
        (request("/", "Transfer-Encoding: identity, chunked", method="POST") + b"0\r\n\r\n", 501),
        (request("/", "X-Big: " + "a" * 140_000), 431),
        (request("/", *(f"X-{number}: a" for number in range(120))), 431),
    ],
)
def test_malformed_or_oversized_requests_are_refused_before_the_check(gate, data, status):
    assert exchange(gate.envoy.inbound, data).status == status
    assert (gate.authz.checks, gate.upstream.requests) == ([], [])


def test_too_large_or_too_many_headers_are_431_headers_too_large(gate):
    for lines in (["Authorization: Bearer " + "a" * 140_000], [f"X-{number}: a" for number in range(120)]):
        answer = gate.get("/", *lines)
        assert (answer.status, answer.header("content-type")) == (431, "application/json")
        assert json.loads(answer.body)["error"] == "headers_too_large"
    assert (gate.authz.checks, gate.upstream.requests) == ([], [])


@pytest.mark.parametrize("protocol", ["websocket", "h2c-nonsense", "TLS/1.3"])
def test_an_upgrade_is_refused_where_none_is_wanted(gate, protocol):
    assert gate.get("/x", "Connection: Upgrade", f"Upgrade: {protocol}").status == 403
    assert gate.upstream.requests == []


def test_an_h2c_upgrade_is_served_as_plain_http_1(gate):
    answer = gate.get("/x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    assert answer.status == 200
    names = [name for name, _ in gate.upstream.only.headers]
    assert [name for name in ("upgrade", "connection", "http2-settings") if name in names] == []


# --- what an answer and a response look like


def test_a_denied_request_never_reaches_the_upstream(gate):
    gate.authz.answer = lambda _: deny(status=401, headers={"www-authenticate": "Bearer", "x-authz-decision": "d-1"})
    answer = gate.get("/x", method="POST", body=b"payload")
    assert answer.status == 401
    assert answer.header("www-authenticate") == "Bearer"
    assert answer.header("x-authz-decision") == "d-1"
    assert answer.body == b"denied by script"
    assert gate.upstream.requests == []


def test_the_body_goes_to_the_upstream_and_not_to_the_authorizer(gate):
    assert gate.get("/x", method="POST", body=b"payload").status == 200
    assert gate.upstream.only.body == b"payload"
    assert b"payload" not in gate.authz.only.SerializeToString()


def test_responses_hide_the_upstreams_server_and_forged_headers(gate):
    gate.upstream.extra_headers = ("Server: Apache/9", "X-Powered-By: PHP", *(f"{name}: {FORGED}" for name in OURS))
    gate.authz.answer = lambda _: allow(response_headers={"x-authz-decision": "d-2"})
    answer = gate.get("/x")
    assert answer.header("x-authz-decision") == "d-2"
    assert FORGED not in str(answer.headers)
    assert {name for name, _ in answer.headers} == {"content-type", "content-length", "date", "x-authz-decision"}
    assert gate.get("/execution").header("server") is None


def test_each_check_carries_its_plane_and_its_audience_or_destination(gate):
    gate.get("/x")
    assert dict(gate.authz.only.attributes.context_extensions) == {"plane": "inbound", "audience": "airflow-test"}
    gate.reset()
    gate.get("/x", host="orders.internal:8090", egress=True)
    assert dict(gate.authz.only.attributes.context_extensions) == {"plane": "egress", "destination": "orders"}
    assert gate.upstream.only.all("x-forwarded-for") == []


def test_what_a_task_says_about_itself_is_shown_line_by_line_and_goes_no_further(gate):
    lines = [f"{name}: {FORGED}-{number}" for name in stripped.RUN_HEADERS for number in (1, 2)]
    gate.get("/x", *lines, "Authorization: Bearer mine", host="orders.internal", egress=True)
    shown = [value for name, value in told(gate) if name in stripped.RUN_HEADERS]
    assert sorted(value for line in shown for value in line.split(b",")) == [b"forged-1"] * 3 + [b"forged-2"] * 3
    assert ("authorization", b"Bearer mine") in told(gate)
    assert FORGED not in gate.upstream.only.head.decode("latin-1")
    assert gate.upstream.only.all("authorization") == []


def test_an_unknown_host_on_egress_is_judged_like_any_other_and_then_leads_nowhere(gate):
    assert gate.get("/x", host="other.internal", egress=True).status == 404
    assert dict(gate.authz.only.attributes.context_extensions) == {"plane": "egress"}
    gate.authz.answer = lambda _: deny(status=401)
    assert gate.get("/x", host="other.internal", egress=True).status == 401
    assert gate.upstream.requests == []


def test_requests_on_one_connection_are_judged_one_by_one(gate):
    with Connection(gate.envoy.inbound) as connection:
        connection.send(request("/a") + request("/b"))
        assert [connection.response().status for _ in range(2)] == [200, 200]
        gate.authz.answer = deny
        connection.send(request("/c"))
        assert connection.response().status == 403
    assert [check.attributes.request.http.path for check in gate.authz.checks] == ["/a", "/b", "/c"]
    assert [seen.target for seen in gate.upstream.requests] == ["/a", "/b"]


def test_the_admin_interface_changes_nothing(gate):
    for target in ("/runtime_modify?a=b", "/quitquitquit", "/logging?level=trace", "/healthcheck/fail", "/config_dump"):
        assert gate.envoy.admin(target, "POST").status == 403
    assert gate.envoy.admin("/ready").status == 200
    assert b"envoy_" in gate.envoy.admin("/stats/prometheus").body


# Identities and overrides that gates, clouds and proxies pass on, one of each family and each single name.
OF_OTHER_GATES = (
    *("x-airflow-user", "x-airflow-anything", "client-cert", "client-cert-chain", "x-forwarded-client-cert"),
    *("x-ssl-client-cert", "x-ssl-client-s-dn", "x-ssl-anything", "ssl-client-verify", "x-client-cert", "x-client-dn"),
    *("x-client-verify", "x-client-ip", "x-tls-client-subject", "x-forwarded-tls-client-cert"),
    *("x-goog-iap-jwt-assertion", "x-goog-authenticated-user-email", "x-goog-authenticated-user-id", "x-goog-any"),
    *("x-amzn-oidc-data", "x-amzn-oidc-identity", "x-amzn-oidc-accesstoken"),
    *("x-ms-client-principal", "x-ms-client-principal-name", "x-ms-client-principal-id", "x-ms-token-aad-id-token"),
    *("cf-access-jwt-assertion", "cf-access-authenticated-user-email", "cf-access-client-id", "cf-connecting-ip"),
    *("x-auth-request-user", "x-auth-request-groups", "x-auth-request-access-token", "x-authenticated-userid"),
    *("x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-preferred-username"),
    *("remote-user", "remote-groups", "x-remote-user", "x-remote-group", "x-remote-extra-scopes", "x-user-id"),
    *("x-consumer-username", "x-credential-identifier", "x-pomerium-jwt-assertion", "x-webauth-user"),
    *("x-vouch-user", "tailscale-user-login", "teleport-jwt-assertion", "x-userinfo", "x-id-token"),
)
# A destination may know a task by these of its own accord.
A_DESTINATIONS_OWN = {"x-airflow-user", "x-airflow-anything", "x-goog-any", "cf-access-client-id"}
A_DESTINATIONS_OWN |= {name for name in OF_OTHER_GATES if name.startswith("x-client-")}


ALL_OF_OTHERS = sorted({*OF_OTHER_GATES, *stripped.CLIENT_HEADERS})


@pytest.mark.parametrize("egress", [False, True], ids=["inbound", "egress"])
def test_no_identity_of_another_gate_gets_through_in_any_spelling(gate, egress):
    host = {"host": "orders.internal"} if egress else {}
    for at in range(0, len(ALL_OF_OTHERS), 20):
        names = ALL_OF_OTHERS[at : at + 20]
        gate.reset()
        lines = [f"{spelling}: {FORGED}" for name in names for spelling in (name, name.upper(), name.title())]
        assert gate.get("/x", *lines, egress=egress, **host).status == 200
        kept = {name for name, value in gate.upstream.only.headers if FORGED in value}
        assert kept == (A_DESTINATIONS_OWN & {*names} if egress else set())
        assert FORGED not in str(gate.authz.only)
    gate.reset()
    for name in ALL_OF_OTHERS:
        for spelling in {name.replace("-", "_"), name.upper().replace("-", "_", 1)} - {name, name.upper()}:
            assert gate.get("/x", f"{spelling}: {FORGED}", egress=egress, **host).status == 400, spelling
    assert (gate.authz.checks, gate.upstream.requests) == ([], [])


def test_our_own_identity_headers_are_still_ours(gate):
    gate.authz.answer = lambda _: allow(headers={"x-authz-user": "ann"})
    gate.get("/x", f"X-Authz-User: {FORGED}", *(f"{name}: {FORGED}" for name in ALL_OF_OTHERS[:40]))
    assert gate.upstream.only.all("x-authz-user") == ["ann"]
    assert FORGED not in gate.upstream.only.head.decode()
