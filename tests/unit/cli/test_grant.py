"""`authz grant`: what is sent, what is printed, how it ends; the port is real."""

import contextlib
import json
import os
import pwd
import socket
import threading

import pytest
from click.testing import CliRunner

from authz.cli import grant as module
from authz.cli import grant_gate, main
from tests.support.factories.tokens import ISS, make_key
from tests.support.ports import free_port
from tests.support.rigs.grants import TEXT, Rig
from tests.support.rigs.service import load
from tests.support.simulators.idp import PATIENCE_S


@pytest.fixture
def rig(tmp_path):
    made = Rig(tmp_path / "grants.jsonl")
    made.server.start()
    yield made
    made.server.stop()


@pytest.fixture
def run(rig, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTHZ_TOKEN", raising=False)

    def call(*words, token="", gate="", stdin=None):
        gate = gate or f"http://127.0.0.1:{rig.server.port}"
        environment = {"AUTHZ_TOKEN": token} if token else {}
        return CliRunner().invoke(
            main, ["grant", *words, "--gate", gate], env=environment, input=stdin, catch_exceptions=False
        )

    return call


ASK = ("request", "oncall", "--for", "1h", "--reason", "incident 4711")


def ana(rig, *groups):
    return rig.token("ana", *(groups or ["data-readers"]), preferred_username="ana")


def bo(rig):
    return rig.token("bo", "leads", preferred_username="bo")


def test_ask_approve_list_and_end(rig, run):
    asked = run(*ASK, token=ana(rig))
    name = asked.output.split()[0]
    assert asked.exit_code == 0
    assert asked.output == (f"{name}  waiting until 2027-01-22T08:00Z  oncall for 1h  ana: incident 4711\n"), (
        asked.output
    )
    approved = run("approve", name, token=bo(rig))
    assert (approved.exit_code, approved.output) == (
        0,
        f"{name}  active until 2027-01-15T09:00Z  oncall for 1h  ana, approved by bo: incident 4711\n",
    )
    assert rig.held() == ["oncall"]
    listed = run("list", token=ana(rig))
    assert listed.output.splitlines()[1:] == [
        "you may ask for oncall, up to 3d, approved by lead: Help",
        "you may ask for night, up to 1h, needs no approval",
    ]
    ended = run("end", name, token=ana(rig))
    assert (ended.exit_code, " ended since " in ended.output, rig.held()) == (0, True, [])


def test_json_is_what_the_port_answers(rig, run):
    asked = json.loads(run(*ASK, "--json", token=ana(rig)).output)
    assert (asked["state"], asked["seconds"]) == ("waiting", 3600)
    listed = json.loads(run("list", "--json", token=bo(rig)).output)
    assert [one["id"] for one in listed["grants"]] == [asked["id"]]
    refused = run("approve", asked["id"], "--json", token=ana(rig))
    assert (refused.exit_code, json.loads(refused.output)["error"]) == (1, "own_request")


def test_json_holds_nothing_that_a_terminal_obeys(rig, run):
    token = rig.token("ana", "data-readers", preferred_username="Ana\u009b31m\u202e")
    printed = run(*ASK, "--json", token=token).output
    assert printed.isascii()
    assert json.loads(printed)["requester"]["name"] == "Ana\u009b31m\u202e"


def test_a_name_that_a_caller_chose_is_shown_with_the_account(rig, run):
    run(*ASK, token=rig.token("eve", "data-readers", preferred_username="ana"))
    assert "  ana (sub eve): incident" in run("list", token=bo(rig)).output


def test_a_refusal_is_one_line_and_status_1(rig, run):
    refused = run(*ASK, token=rig.token("ana", "no-group"))
    assert refused.exit_code == 1
    assert refused.output == "error: there is no entry of this name that you may ask for (you may ask for: night)\n"
    for words in (("approve", "0" * 20), ("end", "0" * 20), ("end", "../readyz"), ("approve", "")):
        assert run(*words, token=ana(rig)).exit_code == 1


def test_what_has_nothing_to_do_with_the_request_is_status_2(rig, run):
    assert run(*ASK, token="a.b.c").exit_code == 2
    assert run(*ASK, token=ana(rig), gate=f"http://127.0.0.1:{free_port()}").exit_code == 2
    assert run("request", "oncall", "--for", "soon", "--reason", "x", token=ana(rig)).exit_code == 2
    assert run("request", "oncall", "--for", "1h", token=ana(rig)).exit_code == 2
    assert run(*ASK, "--local", token=ana(rig)).exit_code == 2
    assert run(*ASK, "--subject", "eve", "--issuer", ISS, token=ana(rig)).exit_code == 2
    rig.policy = None
    assert run("list", token=ana(rig)).exit_code == 2


def test_too_many_wrong_tokens_are_no_refusal(rig, run):
    wrong = rig.token("ana", key=make_key("ES256", kid="k1 of a thief"), headers={"kid": "k1"})
    for _ in range(20):
        assert rig.send("GET", "/grants", token=wrong)[0] == 401
    found = run("list", token=ana(rig))
    assert (found.exit_code, "too many wrong tokens" in found.output) == (2, True)


def test_a_gate_that_answers_byte_by_byte_has_a_deadline(run, monkeypatch):
    """Each byte comes in time, and all of them never do."""
    monkeypatch.setattr(grant_gate, "_TIMEOUT_S", 0.5)
    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n")
                while not closed.wait(0.02):
                    connection.sendall(b"1")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            found = run("list", token="a.b.c", gate=f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            closed.set()
            thread.join(PATIENCE_S)
    assert found.exit_code == 2
    assert "no complete answer within 0.5 seconds" in found.output


@pytest.mark.parametrize("gate", ["http://gate.internal:9180", "http://192.0.2.1:9180", "ftp://localhost", "nonsense"])
def test_a_token_leaves_the_machine_encrypted_only(rig, run, gate):
    found = run("list", token=ana(rig), gate=gate)
    assert found.exit_code == 2
    assert ana(rig) not in found.output


def test_the_token_comes_from_a_file_or_standard_input(rig, run, tmp_path):
    (tmp_path / "token").write_text(f"Bearer {ana(rig)}\n")
    assert run("list", "--token-file", str(tmp_path / "token")).exit_code == 0
    assert run("list", "--token-file", "-", stdin=ana(rig)).exit_code == 0
    assert run("list", stdin=ana(rig)).exit_code == 0
    assert run("list", stdin="two tokens").exit_code == 2


def test_what_people_wrote_stays_in_one_line(rig, run):
    token = rig.token("ana", "data-readers", preferred_username="Ana\n\x1b[31m\u202eroot")
    asked = run(*ASK, token=token)
    assert asked.output.count("\n") == 1
    assert not {"\x1b", "\u202e"} & set(asked.output)


def test_waiting_ends_when_it_is_approved(rig, run, monkeypatch):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            [grant] = rig.list("bo", "leads")["grants"]
            rig.approve(grant["id"])

    monkeypatch.setattr(module.time, "sleep", sleep)
    done = run(*ASK, "--wait", token=ana(rig))
    assert (done.exit_code, [line.split()[1] for line in done.output.splitlines()]) == (0, ["waiting", "active"])
    assert pauses == [1.0, 2.0, 4.0]


def test_waiting_ends_with_1_when_it_is_refused_and_with_2_when_the_token_expires(rig, run, monkeypatch):
    def refuse(_seconds):
        [grant] = rig.list("bo", "leads")["grants"]
        rig.end(grant["id"], "bo", "leads")

    monkeypatch.setattr(module.time, "sleep", refuse)
    assert run(*ASK, "--wait", token=ana(rig)).exit_code == 1
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: rig.clock.advance(3600))
    assert run(*ASK, "--wait", token=ana(rig)).exit_code == 2


def test_a_request_that_is_gone_is_not_waited_for(rig, run, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _seconds: rig.path.write_bytes(b""))
    assert run(*ASK, "--wait", token=ana(rig)).exit_code == 1


class TestLocal:
    @pytest.fixture
    def local(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "policy.yaml").write_text(TEXT)
        (tmp_path / "authz.yaml").write_text("version: 1\ngrants: {file: grants.jsonl}\n")

        def call(*words):
            return CliRunner().invoke(main, ["grant", *words, "--local"], catch_exceptions=False)

        return call

    WHOSE = ("--issuer", ISS, "--subject", "ana")

    def test_who_did_it_is_recorded(self, local, tmp_path):
        name = local(*ASK, *self.WHOSE).output.split()[0]
        assert local("approve", name).exit_code == 0
        assert local("end", name).exit_code == 0
        account = pwd.getpwuid(os.getuid()).pw_name
        events = [json.loads(line) for line in (tmp_path / "grants.jsonl").read_bytes().splitlines()]
        assert [event["local"] for event in events] == [account] * 3
        assert "ended since" in local("list").output

    def test_the_policy_holds_here_too(self, local, tmp_path):
        for words in (
            ("request", "oncall", "--for", "4d", "--reason", "x", *self.WHOSE),
            ("request", "gone", "--for", "1h", "--reason", "x", *self.WHOSE),
            ("request", "oncall", "--for", "1h", "--reason", "a\nb", *self.WHOSE),
            (*ASK, "--issuer", "https://other.test", "--subject", "ana"),
            ("approve", "0" * 20),
        ):
            assert local(*words).exit_code == 1, words
        assert (tmp_path / "grants.jsonl").read_bytes() == b""

    def test_an_issuer_has_a_name_or_its_iss(self, local, tmp_path):
        for issuer in ("corp", ISS):
            assert local(*ASK, "--issuer", issuer, "--subject", issuer[:4]).exit_code == 0
        events = [json.loads(line) for line in (tmp_path / "grants.jsonl").read_bytes().splitlines()]
        assert [event["issuer"] for event in events] == [ISS, ISS]
        found = local(*ASK, "--issuer", "gone", "--subject", "ana")
        assert (found.exit_code, "there is corp" in found.output) == (1, True)

    def test_without_a_file_there_is_nothing_to_write(self, local, tmp_path):
        (tmp_path / "authz.yaml").write_text("version: 1\n")
        found = local("list")
        assert (found.exit_code, "`grants.file` is not set" in found.output) == (2, True)

    def test_an_account_without_a_name(self, local, monkeypatch, tmp_path):
        def unknown(_number):
            raise KeyError

        monkeypatch.setattr(pwd, "getpwuid", unknown)
        assert local(*ASK, *self.WHOSE).exit_code == 0
        assert f'"local":"uid {os.getuid()}"' in (tmp_path / "grants.jsonl").read_text()


def test_with_nothing_to_see(rig, run):
    rig.policy = load()
    assert (
        run("list", token=ana(rig)).output == "there are no grants that you may see, and nothing that you may ask for\n"
    )
