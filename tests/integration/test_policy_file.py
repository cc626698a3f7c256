"""The policy file of a real `authz serve`: what stands in its place, and saves that take their time."""

import os
import re
import subprocess
import sys
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.simulators.idp import IdP

LIVE_S = 1.0  # DESIGN §5: from the edit to the answer, on every worker
NOBODY = POLICY.replace("roles: [viewer], operations", "roles: [copilot], operations")
DENY = '  - {{id: no-dags, deny: true, paths: ["/api/v2/dags"]}}\n'
WITH_FILE = TWO + "revocation: {{file: revocations.jsonl, keep: 2h}}\n"


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


@pytest.fixture
def pair(tmp_path, idp):
    with Pair(tmp_path, idp, settings=WITH_FILE) as pair:
        yield pair


def saved(pair, text):
    return text.format(issuer=pair.idp.url).encode()


def by_rename(path, data):
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(path)


def both(pair):
    return [pair.check(index).http for index in range(2)]


def until(pair, statuses):
    begun = time.monotonic()
    wait_for(lambda: both(pair) == statuses, f"it is not live: {both(pair)}", pause=threading.Event().wait)
    return time.monotonic() - begun


def reasons(pair):
    return "\n".join(pair.get("/readyz").json()["reasons"])


def until_told(pair, words):
    wait_for(lambda: reasons(pair).count(words) == 2, f"not told: {reasons(pair)}", pause=threading.Event().wait)


def test_a_fifo_in_the_place_of_the_policy_stops_no_reload(pair):
    pair.policy.unlink()
    os.mkfifo(pair.policy)
    until_told(pair, "policy.yaml: cannot be read: it is a FIFO, not a regular file")
    assert both(pair) == [200, 200]
    by_rename(pair.policy, saved(pair, NOBODY))
    until(pair, [403, 403])
    assert reasons(pair) == ""


@pytest.mark.alone  # a busy machine is late by itself: beside other tests it is waited for, with patience
def test_what_is_saved_is_live_on_both_within_a_second(pair):
    """Also after what could not be used, and over the file itself."""
    assert both(pair) == [200, 200]
    for policy, statuses in ((NOBODY, [403, 403]), (POLICY, [200, 200])):
        by_rename(pair.policy, saved(pair, policy))
        assert until(pair, statuses) <= LIVE_S
    pair.policy.unlink()
    os.mkfifo(pair.policy)
    until_told(pair, "it is a FIFO, not a regular file")
    by_rename(pair.policy, saved(pair, NOBODY))
    assert until(pair, [403, 403]) <= LIVE_S
    pair.policy.write_bytes(saved(pair, POLICY))
    assert until(pair, [200, 200]) <= LIVE_S
    by_rename(pair.policy, saved(pair, NOBODY + READERS))
    until_told(pair, "the test `readers read DAGs` fails")
    by_rename(pair.policy, saved(pair, NOBODY))
    assert until(pair, [403, 403]) <= LIVE_S


def test_what_readiness_says_is_what_is_wrong_now(pair):
    pair.policy.unlink()
    until_told(pair, "cannot be read: No such file or directory")
    pair.policy.mkdir()
    until_told(pair, "cannot be read: it is a folder, not a regular file")
    assert "No such file" not in reasons(pair)


@pytest.mark.parametrize(
    "within", [None, pytest.param(LIVE_S, marks=pytest.mark.alone)], ids=["patiently", "within a second"]
)
def test_a_fifo_in_the_place_of_the_revocations_keeps_no_session_alive(pair, tmp_path, within):
    credential = pair.token(sid="s1")
    assert [pair.check(index, credential).http for index in range(2)] == [200, 200]
    file = tmp_path / "revocations.jsonl"
    file.rename(tmp_path / "away")
    os.mkfifo(file)
    until_told(pair, "the revocation file cannot be read")
    (tmp_path / "away").replace(file)
    command = [Path(sys.executable).with_name("authz"), "revoke", "--settings", pair.settings]
    subprocess.run([*command, "--issuer", "corp", "--sid", "s1"], check=True, capture_output=True, timeout=30)
    begun = time.monotonic()
    wait_for(
        lambda: [pair.check(index, credential).http for index in range(2)] == [401, 401],
        "the session lives on",
        pause=threading.Event().wait,
    )
    assert within is None or time.monotonic() - begun <= within


@pytest.mark.parametrize("name", ["authz.yaml", "assertion.pem"])
def test_what_is_no_file_at_the_start_is_an_error_at_once(tmp_path, idp, name):
    with Pair(tmp_path, idp) as pair:
        pass
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    command = [Path(sys.executable).with_name("authz"), "serve", "--settings", pair.settings]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert f"{name}: " in ended.stderr
    assert "it is a FIFO, not a regular file" in ended.stderr


def test_a_fifo_in_the_place_of_the_policy_at_the_start_is_reported_until_it_is_replaced(tmp_path, idp):
    class WithoutPolicy(Pair):
        def start(self):
            if self.process is None:
                self.policy.unlink()
                os.mkfifo(self.policy)
            super().start()

    with WithoutPolicy(tmp_path, idp, ready=False) as pair:
        until_told(pair, "it is a FIFO, not a regular file")
        by_rename(pair.policy, saved(pair, POLICY))
        until(pair, [200, 200])
        assert reasons(pair) == ""


def slowly(path, data, pause):
    """An editor that writes over the file and stops in the middle, before the last rule."""
    middle = data.rindex(b"  - {id: no-dags")
    with path.open("wb", buffering=0) as file:
        file.write(data[:middle])
        pause()
        file.write(data[middle:])


def test_a_save_in_place_that_pauses_is_warned_about(pair):
    whole = saved(pair, POLICY + DENY)
    by_rename(pair.policy, whole)
    until(pair, [403, 403])
    slowly(pair.policy, whole, lambda: until(pair, [200, 200]))  # what the warning is about
    until(pair, [403, 403])
    assert "was written in place" in pair.log.read_text()
    assert "end_mark: true" in pair.log.read_text()


def test_with_an_end_mark_a_save_that_pauses_is_taken_as_a_whole_or_not_at_all(pair):
    whole = saved(pair, POLICY.replace("version: 1", "version: 1\nend_mark: true") + DENY + "...\n")
    by_rename(pair.policy, whole)
    until(pair, [403, 403])
    before = len(pair.decisions)
    revision = pair.get("/readyz").json()["revision"]
    edited = whole.replace(b"id: health", b"id: healthy")
    slowly(pair.policy, edited, lambda: until_told(pair, "the file has no end mark: it is half written"))
    wait_for(
        lambda: pair.get("/readyz").json()["revision"] not in {revision, ""},
        "the whole file is not live",
        pause=threading.Event().wait,
    )
    assert both(pair) == [403, 403]
    assert reasons(pair) == ""
    assert {line["decision"] for line in pair.decisions[before:] if line["path"] == "/api/v2/dags"} == {"deny"}


READERS = """tests:
  - {{name: readers read DAGs, who: {{groups: [data-readers]}}, request: GET /api/v2/dags, expect: allow}}
"""
NAMED = POLICY.replace("version: 1", 'version: 1\ntest_files: ["tests/*.yaml"]')


def refused_tests(pair):
    """The tests that `/metrics` names, and by how many workers."""
    named = re.findall(r'^authz_policy_refused\{test="(.*)"\} (\S+)$', pair.get("/metrics").text, re.MULTILINE)
    return {name: float(number) for name, number in named}


def test_a_policy_whose_own_test_fails_does_not_come_into_force(pair):
    by_rename(pair.policy, saved(pair, POLICY + READERS))
    pair.until(lambda: reasons(pair) == "", "the test passes, and the policy is refused")
    revision = pair.get("/readyz").json()["revision"]
    by_rename(pair.policy, saved(pair, NOBODY + READERS))
    until_told(pair, "the test `readers read DAGs` fails: expected allow, found deny (no_rule)")
    assert both(pair) == [200, 200], "the old policy serves"
    answer = pair.get("/readyz")
    assert (answer.status_code, answer.json()["revision"]) == (200, revision)
    assert refused_tests(pair) == {"readers read DAGs": 2}
    assert pair.metric('authz_policy_reloads_total{result="failed"}') == 2
    assert "the test `readers read DAGs` fails" in pair.log.read_text()
    by_rename(pair.policy, saved(pair, NOBODY))
    until(pair, [403, 403])
    assert (reasons(pair), refused_tests(pair)) == ("", {})


NEVER = """never:
  - {{name: programs change no pools, roles: [sales-etl], except: [op], operations: ["pools:*"]}}
"""
WIDER = POLICY.replace("roles: [op], operations", "roles: [op, sales-etl], operations")


def test_a_policy_that_allows_what_it_says_is_never_allowed_does_not_come_into_force(pair):
    holding = saved(pair, POLICY + NEVER)
    by_rename(pair.policy, holding)
    pair.until(lambda: pair.get("/readyz").json()["revision"] == sha256(holding).hexdigest(), "not in force")
    revision = pair.get("/readyz").json()["revision"]
    by_rename(pair.policy, saved(pair, WIDER.replace("[viewer], operations", "[copilot], operations") + NEVER))
    until_told(pair, "the entry `programs change no pools` of `never` does not hold: client `sales-etl` may pools:")
    assert both(pair) == [200, 200], "the old policy serves"
    assert re.search(r"\(authz check \S+ /api/v2/pools\S* --host z --client sales-etl --issuer corp\)", reasons(pair))
    answer = pair.get("/readyz")
    assert (answer.status_code, answer.json()["revision"]) == (200, revision)
    assert refused_tests(pair) == {"programs change no pools": 2}
    assert pair.metric('authz_policy_reloads_total{result="failed"}') == 2
    assert "the entry `programs change no pools` of `never` does not hold" in pair.log.read_text()
    by_rename(pair.policy, saved(pair, NOBODY + NEVER))
    until(pair, [403, 403])
    assert (reasons(pair), refused_tests(pair)) == ("", {})


def test_a_policy_and_its_test_files_come_into_force_together(pair):
    tests = pair.policy.parent / "tests"
    tests.mkdir()
    (tests / "readers.yaml").write_bytes(saved(pair, READERS))
    by_rename(pair.policy, saved(pair, NAMED))
    pair.until(lambda: pair.get("/readyz").json()["revision"] == shell_digest(pair), "the bundle is not in force")
    by_rename(tests / "readers.yaml", saved(pair, READERS.replace("allow", "deny")))
    until_told(pair, "tests/readers.yaml:2:5: the test `readers read DAGs` fails: expected deny, found allow")
    assert both(pair) == [200, 200]
    by_rename(pair.policy, saved(pair, NAMED.replace("roles: [viewer], operations", "roles: [copilot], operations")))
    until(pair, [403, 403])
    assert pair.get("/readyz").json()["revision"] == shell_digest(pair)
    (tests / "readers.yaml").unlink()
    until_told(pair, "`tests/*.yaml` names no file")
    assert both(pair) == [403, 403]


def shell_digest(pair, folder="tests"):
    """The revision as docs/policy.md computes it."""
    line = f"sha256sum {pair.policy.name} {folder}/*.yaml | sha256sum"
    found = subprocess.run(["sh", "-c", line], cwd=pair.policy.parent, check=True, capture_output=True, text=True)
    return found.stdout.split()[0]


INCLUDING = NOBODY.replace(
    "version: 1",
    "version: 1\ninclude:\n"
    '  - {{file: teams/a.yaml, roles: [viewer], dags: ["*"]}}\n'
    "  - {{file: teams/b.yaml, roles: [sales-etl], dags: [b]}}",
)
GIVES = 'rules: [{id: see, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["*"]}]\n'
TAKES = GIVES.replace("operations: [", 'operations: ["dag_runs:read", ').replace('"dags:read"', '"dags:update"')


def refused_files(pair):
    """The files of teams that `/metrics` names, what serves in their place, and in how many workers."""
    named = re.findall(r"^authz_policy_file_refused\{(.*)\} (\S+)$", pair.get("/metrics").text, re.MULTILINE)
    return {labels: float(number) for labels, number in named}


def test_a_mistake_in_a_teams_file_keeps_that_file_and_no_other(pair):
    teams = pair.policy.parent / "teams"
    teams.mkdir()
    (teams / "a.yaml").write_text(GIVES)
    (teams / "b.yaml").write_text("rules: []\n")
    by_rename(pair.policy, saved(pair, INCLUDING))
    pair.until(lambda: pair.get("/readyz").json()["revision"] == shell_digest(pair, "teams"), "it is not in force")
    assert both(pair) == [200, 200]
    whole = pair.get("/readyz").json()["revision"]
    by_rename(teams / "a.yaml", TAKES.replace("viewer", "op").encode())
    until_told(pair, "teams/a.yaml: its last good content stays in force: ")
    assert "`op` is not a role of this file (it may name `viewer`)" in reasons(pair)
    answer = pair.get("/readyz")
    assert (both(pair), answer.status_code, answer.json()["revision"]) == ([200, 200], 200, whole)
    assert refused_files(pair) == {'file="teams/a.yaml",serves="last good"': 2}
    (teams / "b.yaml").write_text("description: another team goes on\nrules: []\n")
    pair.until(lambda: pair.get("/readyz").json()["revision"] not in {whole, ""}, "the other team waits")
    by_rename(teams / "a.yaml", TAKES.encode())
    until(pair, [403, 403])
    assert pair.get("/readyz").json()["revision"] == shell_digest(pair, "teams")
    assert (reasons(pair), refused_files(pair)) == ("", {})
    assert "teams/a.yaml cannot be used, its last good content stays in force" in pair.log.read_text()
