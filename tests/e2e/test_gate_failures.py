"""The gate ends, dies, cannot record, cannot start: no call is lost that need not be, and nothing passes unjudged."""

import contextlib
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY, SETTINGS, Gate
from tests.e2e.stack import ORDERS, Stack, Traffic, id_of
from tests.support.factories.tokens import make_key
from tests.support.ports import free_port
from tests.support.simulators.idp import IdP

pytestmark = pytest.mark.e2e

AUTHZ = Path(sys.executable).with_name("authz")


# --- ending


def test_a_gate_that_is_stopped_costs_no_call(tmp_path):
    """Two gates behind one Envoy, kept connections from raw clients; one gate ends and begins again.

    The delay is the default one: it must be longer than Envoy's interval between health checks, one second.
    """
    settings = SETTINGS.replace("shutdown: {{drain_delay: 500ms}}\n", "")
    assert settings != SETTINGS
    with Stack(tmp_path, gates=2, settings=settings) as stack:
        leaving, staying = stack.gates
        with Traffic(stack, "/api/v2/dags", token=stack.token(), clients=8) as traffic:
            traffic.more(100, stack)
            assert leaving.decisions, "both gates have work"
            assert staying.decisions, "both gates have work"
            assert leaving.stop() == 0
            traffic.more(100, stack)
            leaving.start()
            wait_for(lambda: stack.envoy.healthy("authz"), "the gate is not found again", pause=stack.envoy.pause)
            traffic.more(100, stack)
        assert list(traffic.statuses) == [200]
        forwarded = [seen.all("x-authz-decision")[0] for seen in stack.upstream.requests]
        for gate in stack.gates:
            gate.until(lambda gate=gate: gate.metric("authz_sink_queue") == 0, "records wait")
        recorded = {record["id"] for gate in stack.gates for record in gate.decisions}
        assert set(forwarded) <= recorded, "every call that was forwarded is on record"
        assert len(forwarded) == traffic.count


def test_records_that_wait_are_written_before_the_end(tmp_path):
    with Stack(tmp_path) as stack:
        ids = [id_of(stack.get("/api/v2/dags")) for _ in range(30)]
        assert stack.gate.stop() == 0
        assert [record["id"] for record in stack.gate.decisions] == ids


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_without_the_only_gate_nothing_passes(tmp_path, number):
    with Stack(tmp_path) as stack:
        token = stack.token()
        assert stack.get("/api/v2/dags", token=token).status == 200
        stack.upstream.reset()
        stack.gate.process.send_signal(number)
        try:
            for target in ("/api/v2/dags", "/api/v2/monitor/health", "/nothing"):
                assert stack.get(target, token=token).status == 503
            assert stack.get("/v1/orders", token=stack.etl(), **ORDERS).status == 503
            assert stack.upstream.requests == []
        finally:
            stack.gate.process.send_signal(signal.SIGCONT)
        if number is signal.SIGKILL:
            assert stack.gate.process.wait(10) == -signal.SIGKILL
            stack.gate.start()
        recovered = "the gate does not come back"
        wait_for(lambda: stack.get("/api/v2/dags", token=token).status == 200, recovered, pause=stack.envoy.pause)


def test_a_gate_that_dies_under_load_lets_nothing_through_unjudged(tmp_path):
    with Stack(tmp_path) as stack, Traffic(stack, "/api/v2/config", token=stack.token()) as traffic:
        traffic.more(50, stack)
        stack.gate.process.kill()
        wait_for(lambda: 503 in traffic.statuses, "nobody notices", pause=stack.envoy.pause)
        traffic.more(50, stack)
    assert set(traffic.statuses) == {403, 503}
    assert stack.upstream.requests == []


# --- the decision log cannot be written


def test_what_cannot_be_recorded_does_not_pass(tmp_path):
    settings = SETTINGS.replace("decisions: decisions.jsonl", "decisions: /dev/full")
    with Stack(tmp_path, settings=settings) as stack:
        token = stack.token()

        def denied():
            return stack.get("/api/v2/dags", token=token).status == 503

        wait_for(denied, "the gate goes on without a log", pause=stack.envoy.pause)
        stack.upstream.reset()
        statuses = [stack.get("/api/v2/dags", token=token).status for _ in range(10)]
        assert statuses == [503] * 10
        assert stack.upstream.requests == []
        assert stack.gate.metric("authz_sink_failed") == 1
        assert "No space left on device" in stack.gate.get("/readyz").text
        assert stack.envoy.stat("http.inbound.ext_authz.authz.error") == 0, "a denial of ours, not an outage"


def test_with_allow_it_passes_and_the_gap_is_counted(tmp_path):
    settings = SETTINGS.replace("decisions: decisions.jsonl", "decisions: /dev/full") + "audit: {{on_failure: allow}}\n"
    with Stack(tmp_path, settings=settings) as stack:
        token = stack.token()

        def counted():
            assert stack.get("/api/v2/dags", token=token).status == 200
            return stack.gate.metric("authz_sink_dropped_total") >= 3

        wait_for(counted, "no gap is counted", pause=stack.envoy.pause)


def test_a_log_that_can_be_written_again_ends_the_denials(tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails, and later it does not."""
    with Stack(tmp_path) as stack:
        token, pid = stack.token(), stack.gate.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        assert stack.get("/api/v2/dags", token=token).status == 200
        stack.gate.until(lambda: len(stack.gate.decisions) == 1, "no record")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, ((stack.gate.folder / "decisions.jsonl").stat().st_size, hard))

        def answer():
            return stack.get("/api/v2/dags", token=token).status

        wait_for(lambda: answer() == 503, "the gate goes on without a log", pause=stack.envoy.pause)
        passed = len(stack.upstream.requests)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
        wait_for(lambda: answer() == 200, "the gate does not go on", pause=stack.envoy.pause)
        assert stack.gate.stop() == 0
        recorded = {record["id"] for record in stack.gate.decisions}
        assert passed >= 1
        assert {seen.all("x-authz-decision")[0] for seen in stack.upstream.requests} <= recorded


# --- it does not start


def serve(folder, settings):
    path = folder / "authz.yaml"
    path.write_text(settings)
    command = [AUTHZ, "serve", "--settings", path]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)


def test_settings_with_mistakes_end_with_status_2_and_all_of_them(tmp_path):
    text = """
version: 1
listen: ["0.0.0.0:9190"]
polcy: policy.yaml
limits: {token_bytes: lots, parked: -1}
shutdown: {drain_delay: tomorrow}
"""
    ended = serve(tmp_path, text)
    assert ended.returncode == 2
    assert ended.stdout == ""
    told = ended.stderr.splitlines()
    places = [line.removeprefix(f"error: {tmp_path}/authz.yaml:").partition(": ")[0] for line in told]
    assert {place.partition(":")[0] for place in places} >= {"4", "5", "6"}
    assert "policy" in ended.stderr
    assert all(line.startswith(f"error: {tmp_path}/authz.yaml:") for line in told)
    assert "Traceback" not in ended.stderr


def test_settings_that_are_not_there_end_with_status_2(tmp_path):
    command = [AUTHZ, "serve", "--settings", tmp_path / "none.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "none.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr


@contextlib.contextmanager
def occupied():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize("which", ["listen", "admin"])
def test_an_address_in_use_ends_it_with_a_clear_text(tmp_path, which):
    with occupied() as port:
        listen = port if which == "listen" else free_port()
        admin = port if which == "admin" else free_port()
        (tmp_path / "policy.yaml").write_text(POLICY.format(issuer="https://idp.example"))
        ended = serve(tmp_path, SETTINGS.format(listen=f"127.0.0.1:{listen}", admin=admin))
    assert ended.returncode != 0
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_gate_on_one_socket_does_not_start_and_does_not_harm_the_first(tmp_path):
    with IdP([make_key("ES256", kid="k1")]) as idp, Gate(tmp_path / "first", idp) as first:
        second = tmp_path / "second"
        second.mkdir()
        (second / "policy.yaml").write_text(POLICY.format(issuer=idp.url))
        ended = serve(second, SETTINGS.format(listen=first.listen, admin=free_port()))
        assert ended.returncode != 0
        assert first.listen in ended.stderr
        assert first.is_ready()
        assert Path(first.listen.removeprefix("unix:")).is_socket()


def test_a_policy_that_cannot_be_used_at_the_start_denies_everything_and_is_mended_live(tmp_path):
    with Stack(tmp_path, ready=False, policy="version: 9\n") as stack:
        page = stack.gate.get("/readyz")
        assert page.status_code == 503
        assert "policy.yaml:1:" in page.text
        assert stack.get("/api/v2/monitor/health").status == 503
        assert stack.upstream.requests == []
        stack.gate.policy.write_text(POLICY.format(issuer=stack.idp.url))
        health = "/api/v2/monitor/health"
        wait_for(lambda: stack.get(health).status == 200, "it is not mended", pause=stack.envoy.pause)
