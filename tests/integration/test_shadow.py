"""A candidate beside the policy of a real `authz serve` with two workers: from absent to promoted."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.simulators.idp import IdP

NARROWER = POLICY.replace("roles: [viewer], operations", "roles: [copilot], operations")
SHADOWED = TWO + "shadow: candidate.yaml\n"


@pytest.fixture
def pair(tmp_path):
    with IdP([KEY]) as idp, Pair(tmp_path, idp, settings=SHADOWED) as pair:
        yield pair


def save(pair, text):
    draft = pair.policy.with_name("draft")
    draft.write_bytes(text.format(issuer=pair.idp.url).encode())
    draft.replace(pair.policy.with_name("candidate.yaml"))


def states(pair):
    return [worker["shadow"]["state"] for worker in pair.get("/readyz").json()["workers"]]


def until(pair, state):
    wait_for(lambda: states(pair) == [state] * 2, f"it is not {state}", pause=threading.Event().wait)
    assert pair.get("/readyz").status_code == 200
    assert [pair.check(index).http for index in range(2)] == [200, 200]


def report(pair):
    command = [Path(sys.executable).with_name("authz"), "shadow", "report", "--json", "--settings", pair.settings]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, json.loads(ended.stdout)


def test_a_candidate_is_absent_broken_compared_and_promoted_on_every_worker(pair):
    until(pair, "absent")
    assert report(pair)[1]["candidates"] == []
    save(pair, NARROWER.replace("operations", "operation"))
    until(pair, "refused")
    assert "authz_shadow_refused 2.0" in pair.get("/metrics").text
    save(pair, NARROWER)
    until(pair, "compared")
    wait_for(lambda: report(pair)[1]["candidates"], "nothing is on record", pause=threading.Event().wait)

    def both_are_on_record():
        [found] = report(pair)[1]["candidates"]
        return found["loss"] == 2

    wait_for(both_are_on_record, "not both are on record", pause=threading.Event().wait)
    status, found = report(pair)
    [candidate] = found["candidates"]
    assert (status, candidate["compared"], candidate["agree"]) == (1, 2, 0)
    [difference] = candidate["differences"]
    assert (difference["caller"], difference["rule"], difference["count"]) == ("alice", "readers", 2)
    assert 'authz_shadow_checks_total{outcome="loss",rule="readers"} 2.0' in pair.get("/metrics").text
    pair.policy.with_name("candidate.yaml").replace(pair.policy)
    wait_for(
        lambda: [pair.check(index).http for index in range(2)] == [403, 403],
        "it is not promoted",
        pause=threading.Event().wait,
    )
    wait_for(lambda: states(pair) == ["absent"] * 2, "it is still compared", pause=threading.Event().wait)


TESTS = """tests:
  - {{name: readers, who: {{groups: [data-readers]}}, request: GET /api/v2/dags, expect: {answer}}}
"""


def folder_of(pair, name, text, answer):
    """A policy with its tests in a folder of their own."""
    folder = pair.folder / name
    folder.mkdir()
    (folder / "policy.yaml").write_text("test_files: [tests/*.yaml]\n" + text.format(issuer=pair.idp.url).lstrip())
    (folder / "tests").mkdir()
    (folder / "tests" / "readers.yaml").write_text(TESTS.format(answer=answer))
    return folder


def point(pair, link, folder):
    """`ln -sfn`, in one step."""
    made = pair.folder / f"{link}.new"
    made.symlink_to(folder.name)
    made.replace(pair.folder / link)


def test_a_candidate_in_a_folder_of_its_own_brings_its_own_tests_and_is_promoted_with_them(tmp_path):
    settings = TWO.replace("policy: policy.yaml", "policy: current/policy.yaml") + "shadow: next/policy.yaml\n"
    with IdP([KEY]) as idp:
        pair = Pair(tmp_path, idp, settings=settings)
        point(pair, "current", folder_of(pair, "v1", POLICY, "allow"))
        with pair:
            until(pair, "absent")
            point(pair, "next", folder_of(pair, "v2", NARROWER, "deny"))
            until(pair, "compared")
            point(pair, "current", pair.folder / "v2")
            (pair.folder / "next").unlink()
            wait_for(
                lambda: [pair.check(index).http for index in range(2)] == [403, 403],
                "it is not promoted",
                pause=threading.Event().wait,
            )
            wait_for(lambda: states(pair) == ["absent"] * 2, "it is still compared", pause=threading.Event().wait)
            assert pair.get("/readyz").json()["reasons"] == []
