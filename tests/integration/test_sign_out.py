"""Signing out at the real `authz serve`: two workers, real sockets, kills, restarts, a file that several write."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import httpx
import pytest

from tests.e2e.envoy_harness import wait_for
from tests.integration.test_workers import KEY, TWO, Pair
from tests.support.factories.tokens import logout_claims, make_key, sign
from tests.support.ports import free_port
from tests.support.simulators.idp import IdP

LOGOUT = {"method": "GET", "target": "/api/v2/auth/logout", "signout": "/oauth2/signout"}
LIVE_S = 1.0
WITH_FILE = TWO + "revocation: {{file: revocations.jsonl, keep: 2h}}\n"


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture
def pair(tmp_path, idp):
    with Pair(tmp_path, idp, settings=WITH_FILE) as pair:
        yield pair


def refused_by_both(pair, credential):
    answers = [pair.check(index, credential) for index in range(2)]
    return [(answer.http, answer.reason) for answer in answers] == [(401, "revoked")] * 2


def answers(pair, index):
    try:
        return pair.check(index).http == 200
    except grpc.RpcError:  # the connection to the one that was killed
        return False


def until_refused_by_both(pair, credential):
    begun = time.monotonic()
    wait_for(lambda: refused_by_both(pair, credential), "it is not live on both", pause=threading.Event().wait)
    return time.monotonic() - begun


def revoke(pair, *arguments):
    command = [Path(sys.executable).with_name("authz"), "revoke", "--settings", pair.settings, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.alone  # a busy machine is late by itself: beside other tests it is waited for, with patience
@pytest.mark.parametrize("file", [True, False], ids=["with a file", "without a file"])
def test_what_ends_a_session_is_live_on_both_within_a_second(tmp_path, idp, file):
    port = free_port()
    kept = "file: revocations.jsonl, keep: 2h, " if file else ""
    settings = TWO + f'revocation: {{{{{kept}backchannel: "127.0.0.1:{port}", clients: [airflow-gate]}}}}\n'
    with Pair(tmp_path, idp, settings=settings) as pair:
        for name, end in ways_to_end(pair, port, tmp_path if file else None).items():
            credential = pair.token(sid=name)
            assert [pair.check(index, credential).http for index in range(2)] == [200, 200]
            end(name, credential)
            assert until_refused_by_both(pair, credential) <= LIVE_S, name
            assert until_refused_by_both(pair, pair.token(sid=name, jti="refreshed")) <= LIVE_S, name


def ways_to_end(pair, port, folder):
    """What ends the session of that name; a file can be written by others too."""

    def at_a_worker(_name, credential):
        assert pair.check(0, credential, **LOGOUT).http == 302

    def by_the_issuer(name, _credential):
        assert httpx.post(f"http://127.0.0.1:{port}/", data=logout_form(pair.idp, name)).status_code == 200

    def by_the_operator(name, _credential):
        assert revoke(pair, "--issuer", "corp", "--sid", name).returncode == 0

    def by_a_line(name, _credential):
        with (folder / "revocations.jsonl").open("a") as file:
            file.write(json.dumps({"issuer": pair.idp.url, "sid": name, "until": int(time.time()) + 600}) + "\n")

    ways = {"worker": at_a_worker, "issuer": by_the_issuer}
    return ways | ({"operator": by_the_operator, "line": by_a_line} if folder else {})


def logout_form(idp, sid):
    now = int(time.time())
    claims = logout_claims(iss=idp.url, iat=now, exp=now + 60, aud="airflow-gate", sid=sid, jti=f"ends-{sid}")
    return {"logout_token": sign(claims, KEY, {"typ": "logout+jwt"})}


def test_a_sign_out_is_the_first_request_with_a_new_key(pair, idp):
    """The key is fetched, and the session revoked, within one check."""
    idp.keys = [KEY, rotated := make_key("ES256", kid="rotated")]
    credential = pair.token(rotated, sid="s1")
    answer = pair.check(0, credential, **LOGOUT)
    assert (answer.http, answer.reason) == (302, "signed_out")
    until_refused_by_both(pair, credential)


def test_a_sign_out_at_one_worker_is_live_on_both_and_outlives_them(pair, idp, tmp_path):
    credential, other = pair.token(sid="s1"), pair.token(sid="s2")
    assert [pair.check(index, one).http for index in range(2) for one in (credential, other)] == [200] * 4
    answer = pair.check(0, credential, **LOGOUT)
    assert (answer.http, answer.set["location"]) == (302, "/oauth2/signout")
    assert pair.check(0, credential).reason == "revoked"  # at once where it was revoked
    until_refused_by_both(pair, credential)
    until_refused_by_both(pair, pair.token(sid="s1", jti="refreshed"))
    assert [pair.check(index, other).http for index in range(2)] == [200, 200]
    assert pair.metric("authz_revocations") == 1
    file = tmp_path / "revocations.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    [line] = file.read_text().splitlines()
    assert json.loads(line)["sid"] == "s1"
    assert answer.metadata["decision_id"] in line
    pair.stop()
    pair.start()
    assert refused_by_both(pair, credential)


def test_a_promise_outlives_a_kill_right_after_the_answer(pair):
    """d-19: what was said is on the disk; a worker that comes anew reads it."""
    for index in range(2):
        credential = pair.token(sid=f"s{index}")
        before = pair.workers[index]
        assert pair.check(index, credential, **LOGOUT).http == 302
        os.kill(before, signal.SIGKILL)
        pair.until(lambda index=index, before=before: pair.workers.get(index, before) != before, "nobody came anew")
        pair.until(pair.is_ready, "the new one is not ready")
        pair.until(lambda index=index: answers(pair, index), "the new one cannot be reached")
        assert refused_by_both(pair, credential)


def test_without_a_file_the_workers_share_their_memory(tmp_path, idp):
    with Pair(tmp_path, idp) as pair:
        credential = pair.token(sid="s1")
        assert pair.check(1, credential, **LOGOUT).http == 302
        until_refused_by_both(pair, credential)
        shared = pair.folder_of_workers() / "revocations.jsonl"
        assert shared.stat().st_mode & 0o777 == 0o600
        assert list(tmp_path.glob("revocations*")) == []


@pytest.mark.parametrize("how", ["--sid", "--jti", "--subject"])
def test_the_operator_revokes_at_a_gate_that_runs(pair, how):
    credential = pair.token(sid="s1", jti="j1", sub="alice")
    other = pair.token(sid="s2", jti="j2", sub="bob")
    assert [pair.check(index, one).http for index in range(2) for one in (credential, other)] == [200] * 4
    value = {"--sid": "s1", "--jti": "j1", "--subject": "alice"}[how]
    told = revoke(pair, "--issuer", "corp", how, value)
    assert told.returncode == 0, told.stderr
    assert f"{how[2:]} {value} of {pair.idp.url}" in told.stdout
    until_refused_by_both(pair, credential)
    assert [pair.check(index, other).http for index in range(2)] == [200, 200]


def test_broken_lines_of_the_file_are_counted_and_the_other_lines_are_in_force(pair, tmp_path):
    credential = pair.token(sid="s1")
    line = json.dumps({"issuer": pair.idp.url, "sid": "s1", "until": int(time.time()) + 600})
    foreign = json.dumps({"issuer": "https://other.test", "sid": "s2", "until": int(time.time()) + 600})
    with (tmp_path / "revocations.jsonl").open("a") as file:
        file.write(f'{{"sid":\n\xff\n{line}\n{foreign}\n{{"issuer": "')
    until_refused_by_both(pair, credential)
    assert pair.check(0, pair.token(sid="s2")).http == 200  # a `sid` of another issuer says nothing about ours
    wait_for(lambda: pair.metric("authz_revocation_broken_lines") == 3, "not told", pause=threading.Event().wait)
    state = pair.get("/readyz")
    assert state.status_code == 200
    assert "3 line(s) are not revocations" in state.text
    assert pair.check(0, pair.token(sid="s3"), **LOGOUT).http == 302
    until_refused_by_both(pair, pair.token(sid="s3"))


def test_a_sign_out_that_cannot_be_written_is_503_and_the_session_stays(pair, tmp_path):
    file = tmp_path / "revocations.jsonl"
    credential = pair.token(sid="s1")
    with file.open("rb+") as huge:
        huge.truncate((16 << 20) + 1)  # neither written nor read any more
    answer = pair.check(0, credential, **LOGOUT)
    assert (answer.http, answer.reason) == (503, "revocation_unavailable")
    assert [pair.check(index, credential).http for index in range(2)] == [200, 200]
    assert pair.metric("authz_revocation_failed") == 1
    assert "sign-out is answered 503" in pair.get("/readyz").text
    with file.open("rb+") as small:
        small.truncate(0)
    assert pair.check(0, credential, **LOGOUT).http == 302
    until_refused_by_both(pair, credential)


def test_many_sign_outs_at_once_lose_none(pair):
    credentials = [pair.token(sid=f"s{number}") for number in range(40)]
    answers = {}

    def sign_out(number):
        answers[number] = pair.check(number % 2, credentials[number], **LOGOUT).http

    threads = [threading.Thread(target=sign_out, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert answers == dict.fromkeys(range(40), 302)
    for credential in credentials:
        until_refused_by_both(pair, credential)


def test_a_gate_whose_file_cannot_be_read_does_not_start(tmp_path, idp):
    """It would not know what is revoked."""
    (tmp_path / "revocations.jsonl").mkdir()
    one = WITH_FILE.replace("workers: 2", "workers: 1")
    with contextlib.suppress(AssertionError), Pair(tmp_path, idp, settings=one) as pair:
        pytest.fail(f"it serves: {pair.get('/readyz').text}")
    assert "the revocation file cannot be used" in (tmp_path / "authz.log").read_text()


def test_an_issuer_ends_a_session_on_both_workers(tmp_path, idp):
    port = free_port()
    told = WITH_FILE.replace("keep: 2h", f'keep: 2h, backchannel: "127.0.0.1:{port}", clients: [airflow-gate]')
    with Pair(tmp_path, idp, settings=told) as pair:
        credential = pair.token(sid="s1")
        assert [pair.check(index, credential).http for index in range(2)] == [200, 200]
        form = logout_form(idp, "s1")
        assert [httpx.post(f"http://127.0.0.1:{port}/", data=form).status_code for _ in range(2)] == [200, 400]
        until_refused_by_both(pair, credential)
