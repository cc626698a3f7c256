"""`authz serve` with two workers as real processes: what is shared, what a crash costs, how everything ends."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from authz.core.assertion import generate_pem
from authz.ops.readiness_log import START_S
from tests.e2e.envoy_harness import wait_for, whole_lines
from tests.e2e.gate import POLICY, SETTINGS
from tests.integration.pair_of_workers import KEY, TWO, Pair, alive
from tests.support.factories.tokens import make_key
from tests.support.simulators.idp import IdP

NOBODY = POLICY.replace("roles: [viewer], operations", "roles: [copilot], operations")
assert NOBODY != POLICY


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture
def pair(tmp_path, idp):
    with Pair(tmp_path, idp) as pair:
        yield pair


# --- together


def test_both_serve_and_what_they_share_was_fetched_and_made_once(pair, idp):
    answers = [pair.check(index) for index in range(2)]
    assert [answer.http for answer in answers] == [200, 200]
    assert (idp.count("/jwks"), idp.count("/.well-known/openid-configuration")) == (1, 1)
    [key] = pair.get("/jwks.json").json()["keys"]
    headers = {json.loads(decoded(answer.set["x-authz-assertion"].split(".")[0]))["kid"] for answer in answers}
    assert headers == {key["kid"]}
    revision = hashlib.sha256(pair.policy.read_bytes()).hexdigest()
    state = pair.get("/readyz").json()
    assert (state["revision"], state["workers"]) == (revision, [{"ready": True, "revision": revision}] * 2)
    assert pair.get("/healthz").text == "ok\n"
    pair.until(lambda: len(pair.decisions) == 2, "both are on record")


def test_a_worker_that_replaces_another_signs_with_the_keys_of_the_start(pair):
    """Those are published. A file that was replaced meanwhile waits for the next start of the gate."""
    [published] = pair.get("/jwks.json").json()["keys"]
    (pair.folder / "assertion.pem").write_bytes(generate_pem())
    killed = pair.workers[0]
    os.kill(killed, signal.SIGKILL)
    pair.until(lambda: pair.workers.get(0, killed) != killed and pair.is_ready(), "no worker takes its place")
    pair.connect_again()
    answer = pair.check(0)
    assert json.loads(decoded(answer.set["x-authz-assertion"].split(".")[0]))["kid"] == published["kid"]
    assert pair.get("/jwks.json").json()["keys"] == [published]


def decoded(part):
    import base64

    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_supervisor_has_no_grpc_and_the_folder_is_ours_alone(pair):
    assert "cygrpc" not in Path(f"/proc/{pair.process.pid}/maps").read_text()
    assert "cygrpc" in Path(f"/proc/{pair.workers[0]}/maps").read_text()
    folder = pair.folder_of_workers()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {entry.name for entry in folder.iterdir()} >= {"keys.sock", "admin-0.sock", "admin-1.sock", "settings.yaml"}


def test_the_metrics_are_those_of_both(pair):
    for index, checks in enumerate((3, 5)):
        for _ in range(checks):
            assert pair.check(index).http == 200
    assert pair.metric('authz_checks_total{decision="allow",plane="inbound",reason="rule"}') == 8
    assert pair.metric("authz_check_seconds_count") == 8
    assert (
        pair.metric('authz_token_cache_total{result="hit"}') + pair.metric('authz_token_cache_total{result="miss"}')
        == 8
    )
    assert pair.metric('authz_workers{state="ready"}') == 2
    assert pair.metric('authz_policy_reloads_total{result="ok"}') == 2


def test_an_edit_is_live_on_both_and_readiness_agrees(pair):
    credential = pair.token()
    assert [pair.check(index, credential).http for index in range(2)] == [200, 200]
    draft = pair.policy.with_suffix(".draft")
    for policy, status in ((NOBODY, 403), (POLICY, 200), (NOBODY, 403)):
        draft.write_text(policy.format(issuer=pair.idp.url))
        draft.replace(pair.policy)
        wait_for(
            lambda status=status: [pair.check(index, credential).http for index in range(2)] == [status] * 2,
            "the edit is not live",
            pause=threading.Event().wait,
        )
        state = pair.get("/readyz").json()
        assert state["revision"] == hashlib.sha256(pair.policy.read_bytes()).hexdigest()


def test_a_flood_of_unknown_keys_at_both_is_one_fetch_per_interval(tmp_path, idp):
    interval = 2.0
    settings = TWO.replace("min_interval: 1s", "min_interval: 2s") + "limits: {{wait: 3s}}\n"
    assert settings != TWO
    with Pair(tmp_path, idp, settings=settings) as pair:
        begun, before = time.monotonic(), idp.count("/jwks")
        statuses = []

        def flood(index, number):
            for turn in range(4):
                stranger = pair.token(make_key("ES256", kid=f"unknown-{index}-{number}-{turn}"))
                statuses.append(pair.check(index, stranger).http)

        threads = [threading.Thread(target=flood, args=(index, number)) for index in range(2) for number in range(4)]
        for thread in threads:
            thread.start()
        assert pair.check(0).http == 200, "whoever has a known key does not wait"
        for thread in threads:
            thread.join(60)
        elapsed = time.monotonic() - begun
        fetched = idp.count("/jwks") - before
        assert statuses == [401] * 32
        assert 1 <= fetched <= 1 + elapsed / interval


def test_a_rotated_key_reaches_both(pair, idp):
    idp.keys = [KEY, rotated := make_key("ES256", kid="rotated")]
    assert [pair.check(index, pair.token(rotated)).http for index in range(2)] == [200, 200]
    assert idp.count("/jwks") <= 3


# --- a worker in trouble


def test_a_killed_worker_is_replaced_and_no_total_goes_backwards(pair):
    name = 'authz_checks_total{decision="allow",plane="inbound",reason="rule"}'
    for index in (0, 0, 0, 1):
        pair.check(index)
    assert pair.metric(name) == 4
    pair.settings.write_text("nonsense")  # who comes later reads what the others have read
    before = pair.workers
    os.kill(before[0], signal.SIGKILL)
    seen = []

    def replaced():
        assert pair.check(1).http == 200, "the other one serves on"
        seen.append(pair.metric(name))
        return pair.workers.get(0, before[0]) != before[0] and pair.is_ready()

    pair.until(replaced, "nobody takes the seat")
    assert pair.workers[1] == before[1]
    assert pair.check(0).http == 200
    assert seen == sorted(seen)
    assert seen[0] >= 4
    assert pair.metric('authz_worker_restarts_total{worker="0"}') == 1
    assert pair.metric('authz_worker_restarts_total{worker="1"}') == 0
    assert pair.idp.count("/jwks") == 1, "the successor's keys are there already"
    assert "worker 0 ended (signal SIGKILL), the next starts in 0.1 s" in pair.log.read_text()


def test_crash_after_crash_is_waited_for_longer(pair):
    for _ in range(3):
        pid = pair.workers[1]
        os.kill(pid, signal.SIGKILL)
        pair.until(lambda pid=pid: pair.workers.get(1, pid) != pid, "nobody takes the seat")
    delays = [line.rpartition("starts in ")[2] for line in pair.log.read_text().splitlines() if "starts in" in line]
    assert delays == ["0.1 s", "0.2 s", "0.4 s"]


def test_a_worker_ended_by_sigterm_is_replaced_and_its_counts_stay(pair):
    for _ in range(7):
        pair.check(0)
    pid = pair.workers[0]
    os.kill(pid, signal.SIGTERM)
    pair.until(lambda: pair.workers.get(0, pid) != pid and pair.is_ready(), "nobody takes the seat")
    assert pair.metric('authz_checks_total{decision="allow",plane="inbound",reason="rule"}') == 7


def test_a_worker_that_hangs_holds_up_no_scrape(pair):
    pair.check(0)
    pair.check(1)
    name = 'authz_checks_total{decision="allow",plane="inbound",reason="rule"}'
    assert pair.metric(name) == 2
    os.kill(pair.workers[1], signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert pair.metric(name) == 2
        page = pair.get("/readyz")
        assert time.monotonic() - begun < 15  # 4 s if nothing else runs; the worker never answers
        assert (page.status_code, page.json()["reasons"]) == (503, ["worker 1: does not answer"])
        assert pair.metric('authz_workers{state="silent"}') == 1
        assert pair.check(0).http == 200
    finally:
        os.kill(pair.workers[1], signal.SIGCONT)
    pair.until(pair.is_ready, "it does not come back")


# --- the end


def test_on_sigterm_all_workers_drain_and_every_answer_is_on_record(pair):
    statuses, over = [], threading.Event()

    def ask(index):
        credential = pair.token()
        with contextlib.suppress(grpc.RpcError):  # the listeners close at the end of the delay, as they should
            while not over.is_set():
                statuses.append(pair.check(index, credential).http)

    threads = [threading.Thread(target=ask, args=(index,)) for index in (0, 1, 0, 1)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(statuses) > 100, "no traffic", pause=over.wait)
    pids, folder = pair.workers.values(), pair.folder_of_workers()
    pair.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "ending" in page(pair) or pair.process.poll() is not None, "not told", pause=over.wait)
    assert pair.process.wait(15) == 0
    over.set()
    for channel in pair.channels:
        channel.close()
    for thread in threads:
        thread.join(15)
    assert set(statuses) == {200}
    assert len(pair.decisions) >= len(statuses), "every answer that was seen is on record"
    assert not any(alive(pid) for pid in pids)
    assert not folder.exists()
    assert "all workers have ended" in pair.log.read_text()


def page(pair):
    try:
        return pair.get("/readyz").text
    except OSError:
        return ""
    except Exception as error:  # noqa: BLE001 httpx has many ways to say that the port is closed
        return type(error).__name__


def test_ctrl_c_in_a_terminal_reaches_everybody_and_ends_well(pair):
    for pid in (pair.process.pid, *pair.workers.values()):
        os.kill(pid, signal.SIGINT)
    assert pair.process.wait(15) == 0


def test_when_the_supervisor_dies_the_workers_go_and_leave_nothing(pair):
    pids, folder = list(pair.workers.values()), pair.folder_of_workers()
    pair.process.kill()
    assert pair.process.wait(10) == -signal.SIGKILL
    pair.until_gone(pids)
    assert not folder.exists()


def test_a_supervisor_that_dies_before_it_has_listened_to_them_leaves_none(tmp_path, idp):
    """With words of the workers unread the lifeline does not end, it breaks."""
    loud = TWO.replace("decisions.jsonl}}", "decisions.jsonl, level: debug}}")
    pair = Pair(tmp_path, idp, settings=loud)
    with pair.log.open("wb") as log:
        command = [Path(sys.executable).with_name("authz"), "serve", "--settings", pair.settings]
        pair.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(lambda: len(pair.workers) == 2, "no workers", pause=pair._pause)
        pids, folder = list(pair.workers.values()), pair.folder_of_workers()
        pair.process.send_signal(signal.SIGSTOP)
        wait_for(
            lambda: pair.log.read_text().count("listening on unix:") == 2,
            "they do not listen",
            pause=threading.Event().wait,
        )
    finally:
        pair.process.kill()
        pair.process.wait(10)
    pair.until_gone(pids)
    assert not folder.exists()


def test_hanging_up_reaches_both(pair):
    log = pair.folder / "decisions.jsonl"
    credential = pair.token()
    for index in range(2):
        assert pair.check(index, credential).http == 200
    pair.until(lambda: len(pair.decisions) == 2, "both are on record")
    log.rename(pair.folder / "decisions.1")
    pair.process.send_signal(signal.SIGHUP)
    pair.until(log.exists, "no new log")

    def workers_in_it():
        for index in range(2):
            pair.check(index, credential)
        return {record["worker"] for record in pair.decisions} == {0, 1}

    pair.until(workers_in_it, "both write into the new file")
    for name in ("decisions.1", "decisions.jsonl"):
        entered = {0: set(), 1: set()}
        for line in whole_lines(pair.folder / name):
            if line["type"] == "identity":
                entered[line["worker"]].add(line["id"])
            else:
                assert line["identity"] in entered[line["worker"]], "who it was stands before it, in its own file"


# --- the beginning


def test_an_address_in_use_ends_everything_with_status_2(tmp_path, idp):
    first = Pair(tmp_path, idp)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "worker-1.sock"))
        taken.listen()
        with pytest.raises(AssertionError, match="the gate ended with status 2"):
            first.start()
    text = first.log.read_text()
    assert "worker-1.sock: another process does" in text
    assert "worker 1 cannot start" in text
    assert "Traceback" not in text


def test_the_default_is_one_for_each_cpu(tmp_path, idp):
    settings = SETTINGS.replace("workers: 1\n", "")
    with Pair(tmp_path, idp, settings=settings) as pair:
        from authz.settings import cpus

        assert len(pair.endpoints) == cpus.usable()
        if cpus.usable() > 1:
            assert sorted(pair.workers) == list(range(cpus.usable()))
        for index in range(cpus.usable()):
            assert pair.check(index).http == 200


def test_a_healthy_start_is_three_quiet_lines(tmp_path, idp):
    """A start that takes long, as on a busy machine, says why: that is all that may be added."""
    began = time.monotonic()
    with Pair(tmp_path, idp) as pair:
        wait_for(lambda: "all workers are ready" in pair.log.read_text(), "not ready", pause=threading.Event().wait)
        took = time.monotonic() - began
        text = pair.log.read_text()
    if took >= START_S:
        text = re.sub(r"^.*not ready(?:\n  .*)*\n", "", text, flags=re.MULTILINE)
    lines = text.splitlines()
    assert "all workers are ready, policy " in lines[-1]
    assert len(lines) <= 3, lines
    assert not any("not ready" in line or "WARNING" in line for line in lines)


def test_one_worker_says_what_lint_thinks_of_each_policy(tmp_path, idp):
    regex = POLICY.replace('dags: ["sales_*"]', 'dags: ["sales_.*"]')
    with Pair(tmp_path, idp, policy=regex) as pair:

        def said():
            return [line for line in pair.log.read_text().splitlines() if "lint --settings" in line]

        pair.until(lambda: len(said()) == 1, "one line for two workers")
        edited = pair.policy.with_name("edited.yaml")
        edited.write_text(pair.policy.read_text().replace("sales_.*", "retail_.*"))
        edited.rename(pair.policy)
        pair.until(lambda: pair.log.read_text().count("is in force (before: ") == 2, "both workers have it")
        pair.until(lambda: len(said()) == 2, "one more line")
    first, second = said()
    assert "1 warning(s)" in first
    assert "`sales_.*`" in first
    assert "`retail_.*`" in second
