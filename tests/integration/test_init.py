"""A gate that `authz init` has written: asked for at a real terminal, started, and asked."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from authz.engine.contract import CHECK
from tests.e2e.gate import Gate, token
from tests.support.factories.tokens import make_key
from tests.support.rigs.service import message, read
from tests.support.simulators.idp import IdP

KEY = make_key("ES256", kid="k1")
AUTHZ = Path(sys.executable).with_name("authz")
PATIENCE_S = 60.0


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


def at_a_terminal(arguments, answers, folder):
    """Run the command at a terminal of its own: each answer is typed once its question is there. Status and screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [AUTHZ, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, start_new_session=True
    )
    os.close(theirs)
    screen, left, end = "", list(answers), time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < end:
            ready, _, _ = select.select([ours], [], [], 0.2)
            try:
                more = os.read(ours, 65536) if ready else b""
            except OSError:  # the other side is closed
                break
            screen += more.decode()
            if left and left[0][0] in screen:
                question, answer = left.pop(0)
                screen = screen.replace(question, "(asked)", 1)
                os.write(ours, f"{answer}\n".encode())
        return process.wait(PATIENCE_S), screen
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_what_is_answered_at_a_terminal_becomes_a_gate_that_allows_and_denies(tmp_path, idp):
    status, screen = at_a_terminal(
        ["init", "gate"],
        [
            ("that your provider writes into `iss`:", idp.url),
            ("The group of those who administer Airflow:", "airflow-admins"),
            ("(viewer, user, op, admin; empty: no more):", "data-readers=viewer"),
            ("(viewer, user, op, admin; empty: no more):", ""),
            ("Where Airflow's API server listens [127.0.0.1:8080]:", ""),
        ],
        tmp_path,
    )
    assert (status, "no findings" in screen, "PASS" in screen) == (0, True, True), screen
    policy = (tmp_path / "gate" / "policy.yaml").read_text()
    settings = (tmp_path / "gate" / "authz.yaml").read_text()
    settings = settings.replace("127.0.0.1:9190", "{listen}").replace("127.0.0.1:9180", "127.0.0.1:{admin}")
    readers, others, admins = (
        token(KEY, iss=idp.url, groups=[group]) for group in ("data-readers", "others", "airflow-admins")
    )
    asked = [
        ("GET", "/api/v2/dags/x", readers),
        ("POST", "/api/v2/dags/x/dagRuns", readers),
        ("GET", "/api/v2/dags/x", others),
        ("DELETE", "/api/v2/connections/x", admins),
    ]
    found = []
    with (
        Gate(tmp_path / "served", idp, policy=_literal(policy), settings=_braces(settings)) as gate,
        grpc.insecure_channel(gate.endpoints[0]) as channel,
    ):
        call = channel.unary_unary(CHECK)
        for method, path, credential in asked:
            headers = [("authorization", f"Bearer {credential}".encode())]
            sent = message(method, path, headers=headers, audience="airflow")
            answer = read(call(sent, timeout=10, wait_for_ready=True))
            found.append((answer.http, answer.reason))
    assert found == [(200, "rule"), (403, "no_rule"), (403, "no_role"), (200, "rule")]


def _literal(text):
    """The text as `str.format` gives it back."""
    return text.replace("{", "{{").replace("}", "}}")


def _braces(text):
    return _literal(text).replace("{{listen}}", "{listen}").replace("{{admin}}", "{admin}")
