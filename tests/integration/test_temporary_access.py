"""Temporary access at the real `authz serve`: two workers, real sockets, kills, restarts, the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.simulators.idp import IdP

LIVE_S = 1.0
WITH_FILE = TWO + "grants: {{file: grants.jsonl}}\n"
ENTRIES = """
grantable:
  - {{id: oncall, requesters: [authenticated], approvers: [op], longest: 3d, roles: [viewer], description: Read DAGs}}
  - {{id: brief, requesters: [authenticated], approvers: none, longest: 1h, roles: [viewer]}}
"""
ANA = {"sub": "ana", "preferred_username": "ana", "groups": ["nothing"], "realm_access": None}
BO = {"sub": "bo", "preferred_username": "bo", "groups": ["data-ops"]}
ASK = {"entry": "oncall", "duration": "1h", "reason": "incident 4711"}


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture
def pair(tmp_path, idp):
    with Pair(tmp_path, idp, settings=WITH_FILE, policy=POLICY + ENTRIES) as pair:
        yield pair


def post(pair, path, credential, body=None):
    return httpx.post(pair.admin + path, json=body or {}, headers={"Authorization": f"Bearer {credential}"}, timeout=10)


def statuses(pair, credential):
    return [pair.check(index, credential).http for index in range(2)]


def until(pair, credential, status):
    begun = time.monotonic()
    wait_for(lambda: statuses(pair, credential) == [status] * 2, f"not {status}", pause=threading.Event().wait)
    return time.monotonic() - begun


def granted(pair, credential, **change):
    asked = post(pair, "/grants", credential, ASK | change)
    assert asked.status_code == 201, asked.text
    name = asked.json()["id"]
    approved = post(pair, f"/grants/{name}/approve", pair.token(**BO))
    assert approved.status_code == 200, approved.text
    return name


def command(pair, *arguments, credential="", stdin=""):
    program = [Path(sys.executable).with_name("authz"), "grant", *arguments]
    environment = {**os.environ, "AUTHZ_TOKEN": credential}
    return subprocess.run(
        program, capture_output=True, text=True, timeout=60, check=False, env=environment, input=stdin, cwd=pair.folder
    )


@pytest.mark.alone  # a busy machine is late by itself: beside other tests it is waited for, with patience
def test_an_approval_is_live_on_both_workers_within_a_second_and_so_is_an_end(pair):
    credential = pair.token(**ANA)
    assert statuses(pair, credential) == [403, 403]
    name = granted(pair, credential)
    assert until(pair, credential, 200) <= LIVE_S
    assert post(pair, f"/grants/{name}/end", credential).status_code == 200
    assert until(pair, credential, 403) <= LIVE_S
    local = ("--local", "--settings", str(pair.settings))
    whose = ("--issuer", pair.idp.url, "--subject", "ana", "--for", "1h", "--reason", "help out", "--json")
    name = json.loads(command(pair, "request", "oncall", *whose, *local).stdout)["id"]
    assert command(pair, "approve", name, *local).returncode == 0
    assert until(pair, credential, 200) <= LIVE_S
    assert command(pair, "end", name, *local).returncode == 0
    assert until(pair, credential, 403) <= LIVE_S


def test_it_ends_by_itself_on_both_workers(pair):
    credential = pair.token(**ANA)
    granted(pair, credential, duration="6s")  # long enough to be seen on a busy machine
    until(pair, credential, 200)
    until(pair, credential, 403)
    assert statuses(pair, credential) == [403, 403], "for good"


def test_what_was_answered_outlives_kill_9_and_what_has_ended_stays_ended(pair, idp, tmp_path):
    credential = pair.token(**ANA)
    name = granted(pair, credential)
    other = granted(pair, pair.token(**{**ANA, "sub": "eve"}))
    assert post(pair, f"/grants/{other}/end", pair.token(**BO)).status_code == 200
    pair.kill()
    pair.start()
    pair.connect_again()
    until(pair, credential, 200)
    assert statuses(pair, pair.token(**{**ANA, "sub": "eve"})) == [403, 403]
    killed = pair.workers[0]
    os.kill(killed, signal.SIGKILL)
    pair.until(lambda: pair.workers.get(0, killed) != killed and pair.is_ready(), "no new worker")
    pair.connect_again()
    until(pair, credential, 200)
    listed = httpx.get(pair.admin + "/grants", headers={"Authorization": f"Bearer {credential}"}, timeout=10).json()
    assert [(one["id"], one["state"]) for one in listed["grants"]] == [(name, "active")]


def test_the_port_answers_while_one_worker_is_away(pair):
    os.kill(pair.workers[0], signal.SIGSTOP)
    try:
        stopped = post(pair, "/grants", pair.token(**ANA), ASK | {"entry": "brief"})
        assert stopped.status_code in {201, 504}, "the stopped one takes the request, and may answer it later"
    finally:
        os.kill(pair.workers[0], signal.SIGCONT)
    killed = pair.workers[0]
    os.kill(killed, signal.SIGKILL)
    pair.until_gone([killed])  # one that dies while it has the request may have recorded it: that is the 504 above
    assert post(pair, "/grants", pair.token(**{**ANA, "sub": "eve"}), ASK).status_code == 201


def test_metrics_readiness_and_log(pair):
    name = granted(pair, pair.token(**ANA))
    post(pair, f"/grants/{name}/approve", pair.token(**ANA))
    wait_for(lambda: pair.metric('authz_grants{state="active"}') == 1.0, "no metric", pause=threading.Event().wait)
    assert pair.metric('authz_grant_events_total{event="approve",result="done"}') == 1.0
    assert pair.metric('authz_grant_events_total{event="approve",result="own_request"}') == 1.0
    with (pair.folder / "grants.jsonl").open("ab") as file:
        file.write(b"nonsense\n")
    problem = "are no events of grants"
    wait_for(lambda: problem in pair.get("/readyz").text, "no note", pause=threading.Event().wait)
    assert pair.get("/readyz").status_code == 200
    text = pair.log.read_text()
    assert text.count(f"grant {name}: ana (sub ana") == 1
    assert text.count(f"grant {name}: bo (sub bo") == 1


def test_the_command_line(pair, tmp_path):
    ana, bo = pair.token(**ANA), pair.token(**BO)
    gate = ("--gate", pair.admin)
    waiting = subprocess.Popen(
        [
            Path(sys.executable).with_name("authz"),
            *("grant", "request", "oncall", "--for", "1h", "--reason", "incident", "--wait", "--json", *gate),
        ],
        env={**os.environ, "AUTHZ_TOKEN": ana},
        stdout=subprocess.PIPE,
        text=True,
    )
    found = []

    def asked():
        listed = command(pair, "list", "--json", *gate, credential=bo)
        found[:] = json.loads(listed.stdout)["grants"]
        return bool(found)

    wait_for(asked, "no request", pause=threading.Event().wait)
    [request] = found
    assert request["reason"] == "incident"
    own = command(pair, "approve", request["id"], *gate, credential=ana)
    assert (own.returncode, "you asked for this yourself" in own.stderr) == (1, True)
    done = command(pair, "approve", request["id"], "--token-file", "-", *gate, stdin=bo)
    assert (done.returncode, " active until " in done.stdout) == (0, True), done.stderr
    output, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, json.loads(output)["state"]) == (0, "active")
    until(pair, ana, 200)
    ended = command(pair, "end", request["id"], *gate, credential=ana)
    assert (ended.returncode, ended.stdout.split()[1]) == (0, "ended")
    until(pair, ana, 403)


def test_the_operators_own_way(pair, idp):
    local = ("--local", "--settings", str(pair.settings))
    whose = ("--issuer", idp.url, "--subject", "ana")
    asked = command(pair, "request", "oncall", "--for", "3d", "--reason", "help out", "--json", *whose, *local)
    assert asked.returncode == 0, asked.stderr
    name = json.loads(asked.stdout)["id"]
    credential = pair.token(**ANA)
    assert statuses(pair, credential) == [403, 403]
    assert command(pair, "approve", name, *local).returncode == 0
    until(pair, credential, 200)
    assert name in command(pair, "list", *local).stdout
    assert command(pair, "end", name, *local).returncode == 0
    until(pair, credential, 403)
    lines = [line for line in pair.log.read_text().splitlines() if f"grant {name}" in line]
    assert len(lines) == 3
    assert all("local " in line for line in lines)
    refused = command(pair, "request", "oncall", "--for", "4d", "--reason", "x", *whose, *local)
    assert refused.returncode == 1
