"""security.md d-19, d-20, d-29, d-30, d-36, d-42 end to end: what breaks, what is emitted, shown and written."""

import json

import pytest

from authz.core import edge
from tests.e2e.gate import now
from tests.e2e.raw_http import Connection, request
from tests.e2e.stack import KEY, id_of
from tests.support.factories.tokens import b64, dump, make_key, sign

pytestmark = pytest.mark.e2e

OURS = (*edge.IDENTITY_HEADERS, edge.DECISION)
CANARY = "canary5ecret"

# --- what breaks


def test_d19_ugly_requests_are_never_served_unjudged(lane):
    token = lane.viewer()
    ugly = [
        request("/api/v2/config", b"X-Bytes: \xff\xfe\x80", f"Authorization: Bearer {token}"),
        request("/api/v2/config", b"Authorization: Bearer \xc3\x28"),
        request("/api/v2/config", f"Authorization: Bearer {'a' * 40_000}"),
        request("/api/v2/config", "Authorization: Bearer " + ".".join(["e30"] * 5000)),
        request("/api/v2/config", f"Cookie: {'c' * 50_000}"),
        request("/api/v2/config", *(f"X-{number}: y" for number in range(90))),
        request("/" + "a" * 9000, f"Authorization: Bearer {token}"),
        request("/" + "a/" * 4000, f"Authorization: Bearer {token}"),
        request("/" + "%2e%2e%2f" * 800, f"Authorization: Bearer {token}"),
        request(b"/api/v2/config\xff"),
        b"GET /api/v2/config HTTP/1.1\r\n\r\n",
        b"GET /api/v2/config\r\n\r\n",
        b"\x00\x01\x02\x03\r\n\r\n",
        request("/api/v2/config", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST") + b"0\r\n\r\n",
    ]
    for data in ugly:
        answer = lane.fire(data)
        assert lane.stack.upstream.requests == []
        assert answer is None or 400 <= answer.status < 500, data[:60]


def test_d19_one_connection_does_not_carry_a_right_over(lane):
    """Pipelined: allowed, denied, allowed; and a body that looks like a request is a body."""
    good = request("/api/v2/dags", f"Authorization: Bearer {lane.viewer()}")
    with Connection(lane.stack.envoy.inbound) as connection:
        lane.stack.upstream.reset()
        connection.send(good + request("/api/v2/dags") + good + request("/api/v2/config"))
        assert [connection.response().status for _ in range(4)] == [200, 401, 200, 401]
        assert len(lane.stack.upstream.requests) == 2
    smuggled = request("/api/v2/config")
    answer = lane.get("/api/v2/dags", token=lane.viewer(), method="GET", body=smuggled)
    assert answer.status == 200
    assert lane.received.body == smuggled


def test_d20_a_denial_is_no_error_for_envoy(lane):
    def counts():
        return [lane.stack.envoy.stat(f"http.inbound.ext_authz.authz.{name}") for name in ("denied", "error")]

    denied, errors = counts()
    assert lane.refused("/api/v2/dags") == 401
    assert lane.refused("/api/v2/config", token=lane.viewer()) == 403
    assert lane.refused("/api/v2/dags%0a") == 400
    assert counts() == [denied + 3, errors]


# --- what is emitted


CLAIMS = [
    {"preferred_username": "a\r\nx-authz-roles: admin"},
    {"preferred_username": "a\nb\x00c\x7f"},
    {"preferred_username": "Zoë 日本 %0d%0a"},
    {"preferred_username": " lead and trail "},
    {"preferred_username": "u" * 5000},
    {"sub": "s\r\nhost: evil.test", "jti": "1"},
    {"sub": "\u202eadmin", "jti": "2"},
    {"client_id": "c\r\n\r\nGET /admin HTTP/1.1"},
    {"name": "n\r\nX-Evil: 1"},
    {"groups": ["data-readers", "g\r\nx-evil: 1", "🜏" * 500]},
    {"groups": ["data-readers", *(f"group-{number:04}" for number in range(800))]},
]


@pytest.mark.parametrize("claims", CLAIMS, ids=range(len(CLAIMS)))
def test_d29_claims_cannot_break_out_of_their_header(lane, claims):
    token = lane.viewer(**claims)
    answer = lane.get("/api/v2/dags", token=token)
    if answer.status != 200:
        assert (answer.status, lane.stack.upstream.requests) == (401, [])
        return
    received = lane.received
    names = {name for name, _ in received.headers if name.startswith("x-")}
    assert names <= {*OURS, "x-request-id", "x-forwarded-for", "x-forwarded-proto"}
    assert received.all("host") == ["gate.test"]
    assert received.all("x-authz-roles") == ["viewer"]
    for name in OURS:
        for value in received.all(name):
            assert value.isascii()
            assert value.isprintable()
            assert len(value) <= 1024 or name == edge.ASSERTION
    denied = lane.get("/api/v2/config", "Accept: text/html", token=token)
    assert (denied.status, "x-evil" in dict(denied.headers)) == (403, False)
    json.loads(lane.get("/api/v2/config", token=token).body)


# --- nothing to learn, and nothing across


def test_d36_every_failure_to_authenticate_is_the_same_answer(lane):
    thief = make_key("ES256", kid="thief")
    payload = lane.viewer().split(".")[1]
    tokens = [
        lane.viewer(iat=now() - 900, exp=now() - 600),
        lane.viewer(aud="other"),
        lane.viewer(iss="https://other.example"),
        lane.viewer(key=thief),
        lane.viewer(key=thief, headers={"kid": "k1"}),
        lane.viewer(sub="nobody-ever")[:-6] + "AAAAAA",
        f"{b64(dump({'alg': 'none'}))}.{payload}.",
        "a.b.c",
        "x",
        lane.viewer(headers={"typ": "logout+jwt"}),
        lane.viewer(headers={"kid": "../../etc/passwd"}),
    ]
    shown = set()
    for token in tokens:
        answer = lane.get("/api/v2/dags", token=token)
        headers = tuple(pair for pair in answer.headers if pair[0] not in {"date", "x-authz-decision"})
        shown.add((answer.status, headers, answer.body.replace(id_of(answer).encode(), b"ID")))
    assert len(shown) == 1
    assert next(iter(shown))[0] == 401


def test_d42_every_token_is_good_on_its_own_plane_only(lane):
    tokens = {
        "inbound person": lane.viewer(),
        "inbound service": lane.etl(aud="airflow"),
        "egress service": lane.etl(),
        "egress person": lane.viewer(aud="airflow-egress"),
        "both": lane.etl(aud=["airflow", "airflow-egress"], groups=["data-readers"]),
        "airflow's own": sign({"sub": "1", "aud": "apache-airflow", "iss": None, "exp": now() + 60}, KEY),
        "id token": lane.viewer(nonce="n", at_hash="h", scope=None, headers={"typ": "JWT"}),
        "assertion": None,
        "nobody": None,
    }
    assert lane.get("/api/v2/dags", token=tokens["inbound person"]).status == 200
    (tokens["assertion"],) = lane.received.all(edge.ASSERTION)
    lane.secrets.append(tokens["assertion"])
    statuses = {
        name: (
            lane.get("/api/v2/dags", token=token).status,
            lane.get("/v1/orders", token=token, egress=True).status,
        )
        for name, token in tokens.items()
    }
    assert statuses == {
        "inbound person": (200, 401),
        "inbound service": (403, 401),
        "egress service": (401, 200),
        "egress person": (401, 403),
        "both": (200, 200),
        "airflow's own": (401, 401),
        "id token": (401, 401),
        "assertion": (401, 401),
        "nobody": (401, 401),
    }


def test_d42_the_task_api_is_refused_on_the_inbound_listener(lane):
    for path in ("/execution/health", "/execution", "//execution/x", "/%65xecution/x", "/execution%2Fx"):
        assert lane.refused(path, token=lane.operator()) in {400, 403, 404}


# --- logs (the last test: it reads what all of the above left behind)


def texts(stack):
    """Everything that the gate and Envoy wrote or show."""
    pages = [stack.gate.get(page).text for page in ("/metrics", "/readyz", "/healthz", "/jwks.json")]
    envoy = [stack.envoy.admin(page).body.decode() for page in ("/stats", "/stats/prometheus", "/clusters")]
    logs = [
        path.read_text() for path in stack.folder.rglob("*") if path.suffix in {".log", ".jsonl"} and path.is_file()
    ]
    return "\n".join([*pages, *envoy, *logs])


def test_d30_no_secret_is_written_anywhere_and_every_record_is_one_line_of_json(lane):
    stack = lane.stack
    secret_headers = [
        f"Cookie: {CANARY}=1; IdToken={CANARY}; a={CANARY}",
        f"X-Api-Key: {CANARY}",
        f"Referer: https://x.test/?{CANARY}",
        f"Proxy-Authorization: Basic {CANARY}",
    ]
    bodies = []
    queries = (f"/api/v2/dags?t={CANARY}", f"/api/v2/config?{CANARY}", f"/api/v2/../x%00?{CANARY}", f"/a?b#{CANARY}")
    for target in queries:
        for authorization in (
            f"Bearer {CANARY}",
            f"Basic {CANARY}",
            f"Bearer {CANARY}.{CANARY}.{CANARY}",
            f"Bearer  {CANARY}",
        ):
            answer = lane.get(target, f"Authorization: {authorization}", *secret_headers, "Accept: text/html")
            bodies.append(answer.body)
        bodies.append(
            lane.get(target, *secret_headers, token=lane.viewer(jti=CANARY)).body if "dags" not in target else b""
        )
    lane.get("/v1/orders", token=lane.etl(), egress=True, method="POST", body=CANARY.encode())
    ugly = [
        '/a"b',
        "/a%22,%0a%22x",
        '/{"decision":"allow"}',
        "/%F0%9F%92%A9",
        "/\\u0000",
        "/" + "p" * 5000,
        "/%E2%80%A8",
    ]
    for target in ugly:
        lane.get(target, 'Traceparent: "}\\', b'User-Agent: "\xff\\', token=lane.viewer(sub='"}\n{"x":"', jti="json"))
    last = stack.get("/api/v2/dags")
    stack.gate.decision(id_of(last))
    stack.logged(id_of(last))
    stack.gate.until(lambda: stack.gate.metric("authz_sink_queue") == 0, "records wait")
    everything = texts(stack)
    assert id_of(last) in everything
    assert "alice" in everything
    assert CANARY not in everything
    assert CANARY.encode() not in b"".join(bodies)
    assert len(lane.secrets) > 3
    for secret in {secret for secret in lane.secrets if len(secret) > 20}:
        assert secret not in everything
    for record in stack.gate.decisions:  # every line is JSON, or this fails
        assert len(record["id"]) == 24
        assert record["decision"] in {"allow", "deny"}
    assert all(isinstance(line, dict) for line in stack.envoy.access_log(1))
