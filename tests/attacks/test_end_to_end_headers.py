"""d-16, d-17, d-21, d-22, d-25, d-26 end to end: what a client says about itself. Oracle: `firing_range`."""

import pytest

from authz.check import wire
from authz.core import edge
from tests.attacks.firing_range import HEALTH
from tests.e2e.raw_http import request
from tests.e2e.stack import id_of

pytestmark = pytest.mark.e2e

# --- credentials


def test_d16_anything_but_one_bearer_token_is_refused(lane):
    token = lane.viewer()
    refused = [
        [f"Authorization: Bearer  {token}"],
        [f"Authorization: Bearer\t{token}"],
        [f"Authorization: Bearer {token} x"],
        [f"Authorization: Bearer {token},"],
        [f"Authorization: Bearer {token}, Bearer {token}"],
        [f"Authorization: Bearer {token}", f"Authorization: Bearer {token}"],
        [f"Authorization: Bearer {token}", "Authorization: Basic eDp5"],
        [f"Authorization: Bearer={token}"],
        [f"Authorization: Bearer:{token}"],
        [f"Authorization: {token}"],
        [f"Authorization: Token {token}"],
        [f"Authorization: Basic {token}"],
        [f'Authorization: Bearer "{token}"'],
        ["Authorization: Bearer"],
        ["Authorization: Bearer "],
        [f"Authorization: Bearer {token}".encode() + b"\xff"],
        [f"Authorization: bearer {token}\x0b"],
    ]
    for headers in refused:
        assert lane.refused("/api/v2/dags", *headers) in {400, 401}, headers[0][:30]
    # Envoy joins an empty line and a full one to the full one: there is one credential, so it counts
    assert lane.get("/api/v2/dags", "Authorization:", f"Authorization: Bearer {token}").status == 200
    assert lane.refused("/api/v2/dags", "Authorization:") in {400, 401}
    for scheme in ("Bearer", "bearer", "BEARER", "bEaReR"):
        assert lane.get("/api/v2/dags", f"Authorization: {scheme} {token}").status == 200


def test_d16_a_token_elsewhere_is_no_token(lane):
    token = lane.viewer()
    for query in (f"access_token={token}", f"a=b&access_token={token}", f"id_token={token}", f"access%5Ftoken={token}"):
        assert lane.refused(f"/api/v2/dags?{query}") == 400
    form = f"access_token={token}".encode()
    assert (
        lane.refused("/api/v2/dags", "Content-Type: application/x-www-form-urlencoded", method="POST", body=form) == 401
    )
    for header in (
        "Cookie: access_token=",
        "Proxy-Authorization: Bearer ",
        "X-Authorization: Bearer ",
        "Cookie: _token=",
    ):
        assert lane.refused("/api/v2/dags", f"{header}{token}") == 401
    assert lane.refused("/api/v2/dags", "Connection: Authorization", f"Cookie: Bearer={token}") == 401


OURS = (*edge.IDENTITY_HEADERS, edge.DECISION)
OF_RUNS = (edge.DAG, edge.RUN, edge.TASK, edge.LEVEL)  # who comes in is no run
FORGED = "forged-by-client"


def spellings(name):
    return [name, name.upper(), name.title(), "".join(c.upper() if i % 2 else c for i, c in enumerate(name))]


@pytest.mark.parametrize("name", [*OURS, *wire.NEVER_FORWARDED[1:]])
def test_d17_no_spelling_of_an_identity_header_passes(lane, name):
    forged = [f"{spelling}: {FORGED}" for spelling in spellings(name)]
    for extra in ([], [f"Connection: {name}, close"], [f"Connection: {name.upper()}", f"X-Pad: {FORGED[:4]}"]):
        for token in (None, lane.viewer()):
            target = "/api/v2/dags" if token else HEALTH
            answer = lane.get(target, *forged, *extra, token=token)
            if extra and answer.status == 400:
                continue  # Envoy does not let a client nominate this header
            assert answer.status == 200
            assert FORGED not in lane.received.head.decode("latin-1")
            expected = 1 if (token and name in OURS and name not in OF_RUNS) or name == edge.DECISION else 0
            assert len(lane.received.all(name)) == expected, f"{name}: {lane.received.all(name)}"
        assert lane.refused("/api/v2/config", *forged, *extra, token=lane.viewer()) in ({400, 403} if extra else {403})
        assert lane.refused("/api/v2/dags", *forged, *extra) in ({400, 401} if extra else {401})
    assert lane.refused(HEALTH, f"{name.replace('-', '_')}: {FORGED}") == (400 if "-" in name else None)


def test_d17_not_as_a_trailer_a_folded_line_or_with_a_space(lane):
    token = lane.viewer()
    chunked = request(
        "/api/v2/dags", f"Authorization: Bearer {token}", "Transfer-Encoding: chunked", f"Trailer: {edge.ROLES}"
    )
    lane.fire(chunked + f"0\r\n{edge.ROLES}: {FORGED}\r\n\r\n".encode())
    assert FORGED not in (lane.received.head + lane.received.body).decode("latin-1")
    assert lane.refused("/api/v2/dags", f"{edge.ROLES} : {FORGED}", token=token) == 400
    lane.get("/api/v2/dags", "X-Pad: a", f" {edge.ROLES}: {FORGED}", token=token)
    for received in lane.stack.upstream.requests:
        assert received.all(edge.ROLES) == ["viewer"]


def test_d21_a_doubled_header_is_refused_or_wholly_ours(lane):
    token = lane.viewer()
    assert lane.refused("/api/v2/dags", f"AUTHORIZATION: Bearer {token}", f"authorization: Bearer {token}") == 400
    assert lane.refused("/api/v2/dags", "Host: gate.test", token=token) == 400
    cookies = ["Cookie: _token=a; x=1", "cookie: y=2", "COOKIE: OauthHMAC=b", f"Cookie: BearerToken={token};z=3"]
    assert lane.get("/api/v2/dags", *cookies, token=token).status == 200
    assert lane.received.all("cookie") == ["x=1; y=2; z=3"]
    lane.get("/api/v2/dags", "Traceparent: a", "Traceparent: b", "Accept: a", "Accept: text/html", token=token)
    assert lane.received.all("x-authz-subject") == ["alice"]


@pytest.mark.parametrize(
    "name", ["IdToken", "BearerToken", "__Host-IdToken", "__Secure-BearerToken", "_token", "RefreshToken"]
)
def test_d22_a_token_in_a_cookie_is_no_identity_and_ends_at_the_gate(lane, name):
    token = lane.viewer()
    for cookies in (f"{name}={token}", f"{name}={token}; OauthHMAC=x; OauthExpires=9"):
        assert lane.refused("/api/v2/dags", f"Cookie: {cookies}") == 401
        assert lane.get(HEALTH, f"Cookie: {cookies}; theme=dark").status == 200
        assert lane.received.all("cookie") == [] or token not in lane.received.all("cookie")[0]
        assert token.encode() not in lane.received.head


@pytest.mark.parametrize("name", ["IdToken", "BearerToken", "__Host-IdToken", "__Secure-BearerToken"])
def test_d16_a_session_of_another_subject_beside_the_bearer_token_is_refused(lane, name):
    token, bob = lane.viewer(), lane.viewer(sub="bob", jti="b")
    for other in (bob, "encrypted", ""):
        assert lane.refused("/api/v2/dags", f"Cookie: {name}={other}", token=token) == 400
        assert lane.refused(HEALTH, f"Cookie: {name}={other}", token=token) == 400
    for same in (token, lane.viewer(jti="older")):
        assert lane.get("/api/v2/dags", f"Cookie: {name}={same}; theme=dark", token=token).status == 200
        assert lane.received.all("x-authz-subject") == ["alice"]
        assert lane.received.all("cookie") == ["theme=dark"]
        assert token.encode() not in lane.received.head


@pytest.mark.parametrize("name", ["IdToken", "BearerToken", "RefreshToken", "OauthHMAC", "OauthExpires"])
def test_d22_a_duplicate_session_cookie_is_refused(lane, name):
    token = lane.viewer()
    for cookies in (
        [f"Cookie: {name}={token}; a=1; {name}={token}"],
        [f"Cookie: {name}={token}", f"Cookie: {name}={token}"],
        [f"Cookie: __Host-{name}={token}", f"Cookie: __Secure-{name}={token}"],
    ):
        for credential in (token, None):
            assert lane.refused("/api/v2/dags", *cookies, token=credential) == 400
        assert lane.refused(HEALTH, *cookies) == 400


FORWARDED = (
    *(
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-For: 10.0.0.1, 127.0.0.1",
        "X-Real-Ip: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
    ),
    *(
        "X-Forwarded-Uri: /api/v2/monitor/health",
        "X-Original-Url: /api/v2/monitor/health",
        "X-Rewrite-Url: /api/v2/dags",
    ),
    *("X-Forwarded-Method: GET", "X-Forwarded-Host: orders.internal", "X-Forwarded-Prefix: /api/v2/monitor"),
    *(
        "X-Forwarded-Proto: https",
        "X-Envoy-Original-Path: /api/v2/monitor/health",
        "X-Envoy-External-Address: 10.0.0.1",
    ),
    *("X-Envoy-Internal: true", "X-Forwarded-Client-Cert: Subject=admin", "X-Envoy-Decorator-Operation: health"),
)


@pytest.mark.parametrize("header", FORWARDED)
def test_d25_what_a_client_says_about_its_way_changes_nothing(lane, header):
    name, _, value = header.partition(": ")
    assert lane.refused("/api/v2/config", header) == 401
    assert lane.refused("/api/v2/config", header, token=lane.viewer()) == 403
    answer = lane.get("/api/v2/dags", header, token=lane.viewer())
    assert answer.status == 200
    assert value not in lane.received.all(name) or name == "X-Forwarded-For"
    assert lane.received.all("x-forwarded-for") == ["127.0.0.1"]
    assert lane.stack.gate.decision(id_of(answer))["source"] == "127.0.0.1"


@pytest.mark.parametrize(
    "agent", ["kube-probe/1.30", "GoogleHC/1.0", "ELB-HealthChecker/2.0", "Prometheus/3", "Envoy/HC"]
)
def test_d26_a_monitoring_client_is_a_client(lane, agent):
    for path in (
        "/api/v2/dags",
        "/api/v2/config",
        "/health",
        "/healthz",
        "/metrics",
        "/ping",
        "/static/x",
        f"{HEALTH}/x",
    ):
        assert lane.refused(path, f"User-Agent: {agent}", "X-Envoy-Hc: 1") == 401
    assert lane.refused(HEALTH, f"User-Agent: {agent}", "Content-Length: 0", method="POST") == 401
