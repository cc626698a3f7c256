"""`--gate URL` of `who-can`, `what-can` and `matrix`: only about the revision that a gate's operators' port names."""

import contextlib
import socket
import threading

import pytest
from click.testing import CliRunner

from authz.cli import main, running_gate
from authz.core.policy import Bundle
from authz.ops.admin import AdminServer, Readiness
from authz.ops.metrics import Metrics
from authz.sessions.grants_port import not_enabled
from tests.support.ports import free_port
from tests.support.simulators.idp import PATIENCE_S

POLICY = b"""
version: 1
issuers:
  - {name: corp, issuer: https://idp.example.com, audiences: {inbound: [a]}, algorithms: [RS256]}
roles:
  r: {groups: [g]}
rules:
  - {id: base, plane: inbound, roles: [r], operations: ["pools:read"]}
"""
REVISION = Bundle(POLICY, "policy.yaml").revision
COMMANDS = [("who-can", "pools:read"), ("what-can", "--group", "g"), ("matrix",)]


@pytest.fixture
def port():
    """The real operators' port, and what the gate says of itself."""
    state = {"ready": True, "reasons": (), "details": {"revision": REVISION}}
    server = AdminServer("127.0.0.1:0", Metrics(), lambda: Readiness(**state), dict, grants={}.get, access=not_enabled)
    server.start()
    server.state = state
    yield server
    server.stop(PATIENCE_S)


@pytest.fixture
def ask(tmp_path, monkeypatch, port):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_bytes(POLICY)

    def call(*words, gate=f"http://127.0.0.1:{port.port}"):
        return CliRunner().invoke(main, [*words, "--gate", gate], catch_exceptions=False)

    return call


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_the_policy_that_the_gate_serves_has_an_answer(ask, command):
    found = ask(*command)
    assert (found.exit_code, "pools:read" in found.output or "group `g`" in found.output) == (0, True)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_another_revision_has_none(ask, port, command):
    port.state["details"] = {"revision": "0" * 64}
    found = ask(*command)
    assert found.exit_code == 2
    revisions = f"serves revision {'0' * 12}, this file is {REVISION[:12]}"
    assert f"policy.yaml: the gate at http://127.0.0.1:{port.port} {revisions}" in found.output
    assert "yes" not in found.output


def test_a_gate_that_is_not_ready_names_its_revision_too(ask, port):
    port.state.update(ready=False, reasons=("no keys yet",))
    assert ask("matrix").exit_code == 0


def test_a_gate_whose_workers_differ_has_none(ask, port):
    port.state.update(ready=False, reasons=("policy: a at 1, b at 2\x1b[2K",), details={"revision": ""})
    found = ask("matrix")
    assert found.exit_code == 2
    assert r"its workers serve different ones (policy: a at 1, b at 2\x1b[2K)" in found.output


@pytest.mark.parametrize("details", [{}, {"revision": 1}])
def test_something_else_is_no_gate(ask, port, details):
    port.state["details"] = details
    found = ask("matrix")
    assert (found.exit_code, "is not that of a gate's operators' port" in found.output) == (2, True)


def test_a_path_that_is_no_gate(ask, port):
    found = ask("matrix", gate=f"http://127.0.0.1:{port.port}/elsewhere")
    assert (found.exit_code, "answers 404" in found.output) == (2, True)


def test_no_one_listens(ask):
    found = ask("matrix", gate=f"http://127.0.0.1:{free_port()}")
    assert (found.exit_code, "is it the gate's operators' port" in found.output) == (2, True)


@pytest.mark.parametrize("gate", ["127.0.0.1:9180", "ftp://x", "http://u:secret@x"])
def test_what_is_no_url_is_not_asked(ask, gate):
    found = ask("matrix", gate=gate)
    assert (found.exit_code, "--gate: " in found.output, "secret" in found.output) == (2, True, False)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n"])
def test_a_gate_that_answers_byte_by_byte_has_a_deadline(ask, monkeypatch, start):
    """Each byte comes in time, and all of them never do."""
    monkeypatch.setattr(running_gate, "_TIMEOUT_S", 0.5)
    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(start)
                while not closed.wait(0.02):
                    connection.sendall(b"1")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        found = ask(*COMMANDS[0], gate=url)
        closed.set()
        thread.join(PATIENCE_S)
    assert found.exit_code == 2
    assert f"{url}/readyz: no complete answer within 0.5 seconds" in found.output
