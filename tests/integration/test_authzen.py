"""AuthZEN on a real `authz serve`: the page's session, a client of somebody else's, and odd bytes."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from decern import Client, DecernError

from authz import settings as settings_file
from tests.e2e.raw_http import Connection, exchange
from tests.integration.test_http_check import KEY, Asked
from tests.support.missing import skip_or_fail
from tests.support.ports import free_port
from tests.support.simulators.idp import IdP

PAGE = (Path(__file__).parents[2] / "docs" / "authzen.md").read_text()
COMMANDS = re.findall(r"^\$ (.*?)\n(\{[^\n]*\})\n```$", PAGE, re.MULTILINE | re.DOTALL)
PORTAL = {"sub": "service-account-portal", "groups": [], "client_id": "portal"}
HOST = "airflow.example.com"


class AskedFor(Asked):
    """A gate with the page's section."""

    def __init__(self, folder, idp):
        super().__init__(folder, idp)
        (saved,) = re.findall(r"`authz\.yaml`:\n\n```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        section = yaml.safe_load(saved.replace("https://idp.example.com/realms/data", idp.url))["http_check"]["authzen"]
        written = yaml.safe_load(self.settings.read_text())
        self.port = free_port()
        written["http_check"] |= {"listen": [f"127.0.0.1:{self.port}", f"unix:{self.socket}"], "authzen": section}
        del written["http_check"]["client_address"]
        self.settings.write_text(json.dumps(written))

    def client(self, token=None):
        return Client(f"http://127.0.0.1:{self.port}", 15, token=token)

    def evaluate(self, body, *headers, target="/access/v1/evaluation"):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"POST {target} HTTP/1.1", "Host: authz.test", "Content-Type: application/json", *headers]
        head = "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""])
        return exchange(self.socket, head.encode() + content)


@pytest.fixture(scope="module")
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture(scope="module")
def gate(idp, tmp_path_factory):
    with AskedFor(tmp_path_factory.mktemp("authzen"), idp) as gate:
        yield gate


def route(target="/api/v2/dags", **properties):
    return {"type": "route", "id": target, "properties": {"hostname": HOST, **properties}}


def question(target="/api/v2/dags", subject="alice", **members):
    return {"subject": {"type": "user", "id": subject}, "action": {"name": "GET"}, "resource": route(target), **members}


@pytest.mark.parametrize(("command", "output"), COMMANDS)
def test_the_session_of_the_page_is_true(gate, command, output):
    if shutil.which("curl") is None:
        skip_or_fail("curl")
    environment = {**os.environ, "ALICE": gate.token(), "PORTAL": gate.token(**PORTAL), "no_proxy": "*"}
    command = command.replace("127.0.0.1:9191", f"127.0.0.1:{gate.port}")
    said = subprocess.run(
        ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert re.sub(r"[0-9a-f]{24}", "…", said.stdout) == output


def test_the_page_shows_a_session():
    assert len(COMMANDS) == 4


def test_a_client_of_somebody_elses_gets_decisions(gate):
    alice = {"type": "user", "id": "alice"}
    allowed = gate.client().evaluate(alice, "GET", route(), {"token": gate.token()})
    denied = gate.client().evaluate(alice, "GET", route("/api/v2/pools"), {"token": gate.token()})
    assert (allowed.allowed, denied.allowed, denied.context["reason"]) == (True, False, "no_rule")
    carol = {"type": "user", "id": "carol", "properties": {"groups": ["data-readers"]}}
    stated = gate.client(gate.token(**PORTAL)).evaluate(carol, "GET", route())
    assert stated.allowed
    record = gate.decision(stated.context["decision_id"])
    assert (record["subject"], record["stated_by"], record["rule"]) == ("carol", "portal", "readers")
    with pytest.raises(DecernError) as caught:
        gate.client().evaluate(carol, "GET", route())
    assert caught.value.status_code == 401


def test_a_decision_is_that_of_the_check(gate):
    for target in ("/api/v2/dags", "/api/v2/pools", "/api/v2/dags/../pools", "//api/v2/dags", "/api/v2/monitor/health"):
        for changes in ({}, {"groups": []}, {"exp": 1}, {"aud": "other"}):
            token = gate.token(**changes)
            said = gate.evaluate(question(target, context={"token": token}))
            checked = gate.ask(f"GET airflow{target}", f"Authorization: Bearer {token}")
            assert json.loads(said.body)["decision"] is (checked.status == 200), (target, changes)


def test_two_questions_and_a_check_on_one_connection(gate):
    token = gate.token()
    content = json.dumps(question(context={"token": token})).encode()
    asked = (
        f"POST /access/v1/evaluation HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Request-ID: r-1\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content
    with Connection(gate.socket) as connection:
        connection.send(asked + gate.question("GET airflow/api/v2/dags", f"Authorization: Bearer {token}") + asked)
        found = [connection.response() for _ in range(3)]
    assert [one.status for one in found] == [200, 200, 200]
    assert [one.header("x-request-id") for one in found] == ["r-1", None, "r-1"]
    assert [b'"decision":true' in one.body for one in found] == [True, False, True]


@pytest.mark.parametrize("target", ["/check/airflow/api/v2/dags", "/healthz", "/.well-known/authzen-configuration"])
def test_what_had_no_body_has_none_still(gate, target):
    assert gate.evaluate(question(), target=target).status == 413


def test_a_body_may_be_as_long_as_a_head_and_no_longer(gate):
    rest = json.dumps(question(context={"token": gate.token()}))[:-1] + ', "x": "'
    most = settings_file.load(gate.settings).headers_kib * 1024
    for length, status in ((most, 200), (most + 1, 413)):
        body = rest + "x" * (length - len(rest) - 2) + '"}'
        assert (len(body), gate.evaluate(body.encode()).status) == (length, status)


def test_no_token_is_in_any_log(gate):
    token = gate.token()
    body = json.dumps(question(context={"token": token})).encode()
    gate.evaluate(body[:-1])
    gate.evaluate(question(subject=token, context={"token": token}))
    said = gate.evaluate(question(context={"token": token}))
    gate.decision(json.loads(said.body)["context"]["decision_id"])
    signature = token.rpartition(".")[2]
    assert signature not in gate.log.read_text()
    assert signature not in said.body.decode()


def test_without_the_section_there_is_nothing(idp, tmp_path):
    with Asked(tmp_path, idp) as plain:
        lines = "POST /access/v1/evaluation HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        assert exchange(plain.socket, f"{lines}Content-Length: 2\r\n\r\n{{}}".encode()).status == 413
        for target in ("/access/v1/evaluation", "/.well-known/authzen-configuration"):
            assert exchange(plain.socket, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).status == 404
