"""Checks over HTTP on a real `authz serve`: the request line is the request, and nothing else is an allow."""

import signal
import threading

import jwt
import pytest

from authz.core.edge import ASSERTION, IDENTITY_HEADERS
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import SETTINGS, Gate, token
from tests.e2e.raw_http import Connection, exchange
from tests.support.factories.tokens import make_key
from tests.support.simulators.idp import IdP

KEY, LATER = make_key("RS256", kid="now"), make_key("RS256", kid="later")
HTTP = (
    SETTINGS
    + """
http_check:
  listen: ["unix:@/http.sock"]
  client_address: x-real-ip
  audiences:
    - {{name: airflow, audience: airflow, narrows_dags: true}}
    - {{name: plain, audience: airflow, statuses: simple}}
    - {{name: below, audience: airflow, base_path: /airflow}}
    - {{name: orders, plane: egress, destination: orders}}
"""
)
pause = threading.Event().wait


class Asked(Gate):
    """A gate that fronts ask."""

    def __init__(self, folder, idp, **options):
        super().__init__(folder, idp, settings=HTTP.replace("@", str(folder)), **options)
        self.idp = idp
        self.socket = f"{folder}/http.sock"

    def token(self, key=KEY, **changes):
        return token(key, **{"iss": self.idp.url, "realm_access": {"roles": []}, **changes})

    def ask(self, line, *headers, host="airflow.example.com"):
        return exchange(self.socket, self.question(line, *headers, host=host))

    @staticmethod
    def question(line, *headers, host="airflow.example.com"):
        method, target = line.split(" ", 1)
        lines = [f"{method} /check/{target} HTTP/1.1", f"Host: {host}", *headers, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def bearer(self, **changes):
        return f"Authorization: Bearer {self.token(**changes)}"


@pytest.fixture(scope="module")
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture(scope="module")
def gate(idp, tmp_path_factory):
    with Asked(tmp_path_factory.mktemp("http-check"), idp) as gate:
        yield gate


def test_an_allow_says_who_it_is_and_is_recorded_like_any_other(gate):
    said = gate.ask("GET airflow/api/v2/dags?limit=1", gate.bearer(), "X-Real-IP: 10.1.2.3")
    assert (said.status, said.body) == (200, b"")
    assert {name for name, _ in said.headers} >= set(IDENTITY_HEADERS)
    assert (said.header("x-authz-subject"), said.header("x-authz-dag")) == ("alice", "")
    claims = jwt.decode(said.header(ASSERTION), options={"verify_signature": False})
    assert (claims["aud"], claims["sub"]) == ("airflow", "alice")
    record = gate.decision(said.header("x-authz-decision"))
    assert (record["path"], record["method"], record["plane"]) == ("/api/v2/dags", "GET", "inbound")
    assert (record["decision"], record["rule"], record["source"]) == ("allow", "readers", "10.1.2.3")
    assert (record["host"], record["narrowed"]) == ("airflow.example.com", True)


def test_an_anonymous_caller_has_every_identity_header_and_each_is_empty(gate):
    """A front that copies them overwrites what the caller made up."""
    said = gate.ask("GET airflow/api/v2/monitor/health", "X-Authz-Subject: root", "X-Authz-Assertion: forged")
    assert said.status == 200
    assert {said.header(name) for name in IDENTITY_HEADERS} == {""}


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("GET airflow/api/v2/pools", 403, "no_rule"),
        ("GET airflow/api/v2/no/such", 403, "unknown_route"),
        ("GET airflow/api/v2/dags/../pools", 400, "bad_path"),
        ("GET airflow//api/v2/dags", 400, "bad_path"),
        ("GET airflow/api/v2/dags%252f", 400, "bad_path"),
        ("GET airflow/api/v2/dags#x", 400, "bad_path"),
        ("PUT airflow/api/v2/dags", 403, "unknown_route"),
        ("GET plain/api/v2/dags/../pools", 403, "bad_path"),
        ("GET below/api/v2/dags", 403, "unknown_route"),
    ],
)
def test_a_refusal_is_the_gates_and_recorded(gate, line, status, reason):
    said = gate.ask(line, gate.bearer())
    assert said.status == status
    assert gate.decision(said.header("x-authz-decision"))["reason"] == reason
    assert ASSERTION not in dict(said.headers)
    assert said.header("x-authz-status") == ("400" if line.startswith("GET plain") else None)


def test_below_a_base_path(gate):
    said = gate.ask("GET below/airflow/api/v2/dags", gate.bearer())
    assert said.status == 200
    assert gate.decision(said.header("x-authz-decision"))["base"] == "/airflow"


def test_a_caller_without_a_token_is_asked_for_one(gate):
    said = gate.ask("GET airflow/api/v2/dags")
    assert (said.status, said.header("www-authenticate")) == (401, 'Bearer realm="airflow"')
    page = gate.ask("GET airflow/api/v2/dags", "Accept: text/html")
    assert (page.status, page.header("content-type")) == (401, "text/html; charset=utf-8")


def test_head_is_asked_about_and_the_answer_has_no_body(gate):
    with Connection(gate.socket) as connection:
        for _ in range(2):
            connection.send(gate.question("HEAD airflow/api/v2/pools", gate.bearer()))
            said = connection.response(head=True)
            assert (said.status, said.body) == (403, b"")
    assert gate.decision(said.header("x-authz-decision"))["method"] == "HEAD"


def test_a_call_of_a_service_account(gate):
    caller = gate.bearer(aud="airflow-egress", client_id="sales-etl", sub="sales-etl", groups=[])
    said = gate.ask("GET orders/v1/orders", caller, host="orders.internal")
    assert said.status == 200
    record = gate.decision(said.header("x-authz-decision"))
    assert (record["plane"], record["destination"], record["rule"]) == ("egress", "orders", "orders")
    assert gate.ask("DELETE orders/v1/orders", caller, host="orders.internal").status == 403
    assert gate.ask("GET orders/v1/orders", gate.bearer(), host="orders.internal").status == 401


@pytest.mark.parametrize(
    "line",
    [
        "GET /check/airflow HTTP/1.1",
        "GET /check/airflow2/api/v2/monitor/health HTTP/1.1",
        "GET /check/air%66low/api/v2/monitor/health HTTP/1.1",
        "GET /check/AIRFLOW/api/v2/monitor/health HTTP/1.1",
        "GET /check//api/v2/monitor/health HTTP/1.1",
        "GET /check/?/airflow/api/v2/monitor/health HTTP/1.1",
        "GET //check/airflow/api/v2/monitor/health HTTP/1.1",
        "GET /x/../check/airflow/api/v2/monitor/health HTTP/1.1",
        "GET http://gate.test/check/airflow/api/v2/monitor/health HTTP/1.1",
        "GET /api/v2/monitor/health HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT airflow.example.com:443 HTTP/1.1",
        "GET /check/airflow/api/v2/monitor/health HTTP/0.9",
        "GET /check/airflow/api/v2/monitor/health HTTP/2.0",
        "get /check/airflow/api/v2/monitor/health HTTP/1.1",
        "GET /check/airflow/api/v2/monitor/health",
        "FOO /check/airflow/api/v2/monitor/health HTTP/1.1",
        "GET /check/airflow/api/v2/monitor/health x HTTP/1.1",
        "GET\t/check/airflow/api/v2/monitor/health HTTP/1.1",
    ],
)
def test_what_is_no_question_is_no_allow(gate, line):
    """Of a route that is public: a question about it would be answered 200."""
    said = exchange(gate.socket, f"{line}\r\nHost: airflow.example.com\r\n\r\n".encode())
    assert said.status in {400, 404, 505}


@pytest.mark.parametrize(
    "headers",
    [
        "",
        "Host: airflow.example.com\r\nHost: airflow.example.com\r\n",
        "Host: airflow.example.com\r\nContent-Length: 5\r\n",
        "Host: airflow.example.com\r\nContent-Length: 0\r\nContent-Length: 5\r\n",
        "Host: airflow.example.com\r\nTransfer-Encoding: chunked\r\n",
        "Host: airflow.example.com\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "Host: airflow.example.com\r\nContent-Length: +0\r\n",
        "Host: airflow.example.com\r\nX: a\r\n b\r\n",
        "Host: airflow.example.com\r\nX : a\r\n",
        "Host: airflow.example.com\r\nX: a\x00b\r\n",
        f"Host: airflow.example.com\r\nX: {'a' * 140_000}\r\n",
    ],
)
def test_heads_that_can_be_read_in_two_ways_are_refused_at_once(gate, headers):
    """Also a length without its body, as nginx sends where its sub-request keeps the header: it does not wait."""
    said = exchange(
        gate.socket, f"GET /check/airflow/api/v2/monitor/health HTTP/1.1\r\n{headers}\r\n".encode("latin-1")
    )
    assert said.status in {400, 413, 431}
    assert said.header("connection") == "close"


@pytest.mark.parametrize(
    "header",
    [
        "X-Original-URL: /api/v2/monitor/health",
        "X-Rewrite-URL: /api/v2/monitor/health",
        "X-Forwarded-Uri: /api/v2/monitor/health",
        "X-Forwarded-Method: OPTIONS",
        "X-HTTP-Method-Override: OPTIONS",
        "X-Forwarded-Host: other.example.com",
        "X-Forwarded-Prefix: /api/v2/monitor",
        "Forwarded: host=other.example.com;proto=https",
        "X-Authz-Roles: op",
        "X-Authz-Plane: egress",
    ],
)
def test_what_fronts_and_callers_add_is_not_read(gate, header):
    said = gate.ask("GET airflow/api/v2/pools", gate.bearer(), header)
    record = gate.decision(said.header("x-authz-decision"))
    assert (said.status, record["path"], record["host"]) == (403, "/api/v2/pools", "airflow.example.com")
    assert gate.ask("GET airflow/api/v2/monitor/health", header).status == 200


def test_two_credentials_are_not_one(gate):
    said = gate.ask("GET airflow/api/v2/dags", gate.bearer(), gate.bearer())
    assert said.status == 400
    assert gate.decision(said.header("x-authz-decision"))["reason"] == "bad_authorization"


def test_answers_have_the_order_of_the_questions_while_one_waits_for_a_key(gate, idp):
    """The first token's key is not known yet: it is fetched while the check waits."""
    idp.keys.append(LATER)
    lines = [
        gate.question("GET airflow/api/v2/dags", gate.bearer(key=LATER)),
        gate.question("GET airflow/api/v2/pools", gate.bearer()),
        gate.question("GET airflow/api/v2/monitor/health"),
    ]
    with Connection(gate.socket) as connection:
        connection.send(b"".join(lines))
        assert [connection.response().status for _ in lines] == [200, 403, 200]
        connection.send(lines[1])
        assert connection.response().status == 403


def test_nothing_is_read_after_a_question_about_a_websocket(gate):
    """Fronts pass on `Upgrade` of what they ask about."""
    upgrade = gate.question("GET airflow/api/v2/monitor/health", "Connection: upgrade", "Upgrade: websocket")
    with Connection(gate.socket) as connection:
        connection.send(upgrade + gate.question("GET airflow/api/v2/monitor/health"))
        assert (connection.response().status, connection.closed()) == (200, True)


def test_health_says_whether_it_is_ready(gate):
    assert exchange(gate.socket, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status == 200


def test_it_answers_until_it_ends_and_says_which_answer_is_the_last(idp, tmp_path):
    with Asked(tmp_path / "gate", idp) as gate:
        with Connection(gate.socket) as connection:
            connection.send(gate.question("GET airflow/api/v2/dags", gate.bearer()))
            assert connection.response().status == 200
            gate.process.send_signal(signal.SIGTERM)

            def ends():
                connection.send(gate.question("GET airflow/api/v2/dags", gate.bearer()))
                said = connection.response()
                assert said.status == 200
                return said.header("connection") == "close"

            wait_for(ends, "it goes on", pause=pause)
            assert connection.closed()
        assert gate.process.wait(20) == 0


def test_envoys_own_port_is_as_before(gate):
    assert len(gate.workers) == 2
    ready = gate.get("/readyz").json()
    assert [one["ready"] for one in ready["workers"]] == [True, True]
    assert gate.metric('authz_engine_info{engine="http"}') == 1
