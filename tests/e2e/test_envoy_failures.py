"""When the authorizer fails, nothing passes and the answer is 503 (security.md d-19, d-20); and what the logs say."""

import grpc
import pytest

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, settings_for, wait_for
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import GrpcError, ScriptedAuthz, allow, deny
from tests.e2e.way_out import WayOut
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e


# --- the answer is missing or wrong


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_a_grpc_error_is_503_and_nothing_is_forwarded(gate, code):
    def fail(_):
        raise GrpcError(code)

    gate.authz.answer = fail
    assert gate.get("/x").status == 503
    assert gate.upstream.requests == []


def test_only_a_lost_check_is_asked_again_and_only_once(gate):
    def count(code):
        def fail(_):
            raise GrpcError(code)

        gate.reset()
        gate.authz.answer = fail
        gate.get("/x")
        return len(gate.authz.checks)

    assert count(grpc.StatusCode.UNAVAILABLE) == 2
    assert count(grpc.StatusCode.INTERNAL) == 1


def test_an_exception_in_the_server_is_503(gate):
    def crash(_):
        raise ZeroDivisionError

    gate.authz.answer = crash
    assert gate.get("/x").status == 503
    assert gate.upstream.requests == []


def test_an_answer_that_is_no_check_response_is_503(gate):
    gate.authz.answer = lambda _: b"\xff\xff\xff"
    assert gate.get("/x").status == 503
    assert gate.upstream.requests == []


def test_an_answer_that_does_not_come_is_503(gate):
    gate.authz.answer = gate.authz.hang
    assert gate.get("/x").status == 503
    gate.authz.released.set()
    assert gate.upstream.requests == []


def test_a_status_alone_denies(gate):
    response = pb.CheckResponse()
    response.status.code = grpc.StatusCode.UNAVAILABLE.value[0]
    gate.authz.answer = lambda _: response
    assert gate.get("/x").status == 403
    assert gate.upstream.requests == []


def test_envoy_takes_an_empty_check_response_for_an_allow(gate):
    """Envoy reads an all-default CheckResponse as ALLOW: this is why `wire.denied` demands a code that is not zero."""
    gate.authz.answer = lambda _: pb.CheckResponse()
    assert gate.get("/x").status == 200
    assert len(gate.upstream.requests) == 1


def test_errors_and_denials_are_counted_apart(gate):
    before = [gate.envoy.stat(f"http.inbound.ext_authz.authz.{name}") for name in ("error", "denied")]
    gate.authz.answer = lambda _: b"\xff"
    gate.get("/x")
    gate.authz.answer = deny
    gate.get("/x")
    after = [gate.envoy.stat(f"http.inbound.ext_authz.authz.{name}") for name in ("error", "denied")]
    assert after == [before[0] + 1, before[1] + 1]


# --- the authorizer is away


def test_without_an_authorizer_nothing_passes_until_it_comes(envoy_binary, tmp_path):
    endpoint = f"unix:{tmp_path}/authz.sock"
    with EchoUpstream() as upstream:
        settings = settings_for((endpoint,), upstream.address, tmp_path)
        with Envoy(settings, tmp_path, envoy_binary, alone=True) as envoy:
            assert exchange(envoy.inbound, request("/x")).status == 503
            assert upstream.requests == []
            with ScriptedAuthz(endpoint):
                wait_for(lambda: envoy.healthy("authz"), "the authorizer is not found", pause=envoy.pause)
                assert exchange(envoy.inbound, request("/x")).status == 200
            upstream.reset()
            assert exchange(envoy.inbound, request("/x")).status == 503
            assert upstream.requests == []


def test_a_worker_that_dies_costs_no_request(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz() as one, ScriptedAuthz() as other:
        settings = settings_for((one.endpoint, other.endpoint), upstream.address, tmp_path)
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            for _ in range(20):
                assert exchange(envoy.inbound, request("/x")).status == 200
            assert one.checks
            assert other.checks
            one.close()
            assert [exchange(envoy.inbound, request("/x")).status for _ in range(20)] == [200] * 20


def test_an_upstream_that_is_away_is_503_and_stays_so_quickly(envoy_binary, tmp_path):
    with ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), f"127.0.0.1:{free_port()}", tmp_path)
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            assert [exchange(envoy.inbound, request("/x")).status for _ in range(8)] == [503] * 8


def test_an_upstream_that_answers_500_is_not_taken_away(gate):
    gate.upstream.status = 500
    assert [gate.get("/broken").status for _ in range(12)] == [500] * 12
    gate.upstream.status = 200
    assert gate.get("/x").status == 200


# --- the access log


def test_the_access_log_joins_the_decision_and_keeps_secrets_out(envoy_binary, tmp_path):
    words = {"decision_id": "d-42", "reason": "rule", "rule": "readers", "revision": "abc", "subject": "anna"}
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    canary = "canary7secret"
    secrets = [f"Authorization: Bearer {canary}", f"Cookie: IdToken={canary}", f"Referer: http://a/?{canary}"]
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        with Envoy(settings_for((authz.endpoint,), upstream.address, tmp_path), tmp_path, envoy_binary) as envoy:
            authz.answer = lambda _: allow(metadata=words, headers={"x-authz-assertion": canary})
            exchange(envoy.inbound, request(f"/api/v2/dags?token={canary}", *secrets, f"Traceparent: {trace}"))
            authz.answer = lambda _: deny(metadata=words | {"reason": "no_rule", "rule": ""})
            exchange(envoy.inbound, request(f"/denied?{canary}", b'User-Agent: a"\\"}{\xff'))
            exchange(envoy.inbound, request(f"/refused?{canary}", f"under_score: {canary}"))
            allowed, denied, refused = envoy.access_log(3)
        assert canary not in (tmp_path / "access.log").read_text() + (tmp_path / "envoy.log").read_text()
    assert allowed.items() >= words.items() - {("decision_id", "d-42")} | {("id", "d-42")}
    assert allowed.items() >= {("plane", "inbound"), ("method", "GET"), ("host", "gate.test"), ("status", 200)}
    assert allowed.items() >= {("path", "/api/v2/dags"), ("trace", trace), ("upstream", "inbound.airflow")}
    assert int(allowed["latency_us"]) > 0
    assert denied.items() >= {("reason", "no_rule"), ("status", 403), ("path", "/denied")}
    assert denied["details"] == "ext_authz_denied"
    assert denied["user_agent"].startswith('a"\\"}{')
    assert (refused["status"], refused["id"]) == (400, None)


# --- WebSockets, only where they are wanted


def test_a_wanted_websocket_is_judged_once_and_carries_no_spoofed_header(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), upstream.address, tmp_path, airflow={"websockets": True})
        with Envoy(settings, tmp_path, envoy_binary) as envoy, Connection(envoy.inbound) as connection:
            upgrade = ["Connection: Upgrade", "Upgrade: websocket", "X-Authz-Subject: forged"]
            connection.send(request("/ws", *upgrade))
            assert connection.response().status == 101
            connection.send(b"ping")
            assert connection.read(4) == b"ping"
            assert upstream.only.all("x-authz-subject") == []
            assert len(authz.checks) == 1
            authz.answer = deny
            assert exchange(envoy.inbound, request("/ws", *upgrade)).status == 403
            assert exchange(envoy.inbound, request("/ws", "Connection: Upgrade", "Upgrade: other")).status == 403
            assert len(upstream.requests) == 1


def test_a_stream_ends_when_its_time_is_up(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        settings = settings_for(
            (authz.endpoint,), upstream.address, tmp_path, airflow={"websockets": True}, longest_stream="2s"
        )
        with Envoy(settings, tmp_path, envoy_binary) as envoy, Connection(envoy.inbound) as connection:
            connection.send(request("/ws", "Connection: Upgrade", "Upgrade: websocket"))
            assert connection.response().status == 101
            assert connection.closed()


def test_a_tunnel_ends_when_its_time_is_up(envoy_binary, tmp_path):
    out = WayOut(tmp_path, envoy_binary, longest_stream="2s")
    out.add("warehouse", tunnel=True)
    place = f"warehouse.test:{out.sites['warehouse'].address.rpartition(':')[2]}"
    with out, Connection(out.envoy.egress) as connection:
        connection.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        assert connection.response().status == 200
        assert connection.closed()
