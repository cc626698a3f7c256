"""Temporary access with everything real: Envoy, two workers, an upstream that is called only while a grant lasts."""

import threading
import time

import httpx
import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY, SETTINGS
from tests.e2e.stack import Stack

pytestmark = pytest.mark.e2e

TWO = SETTINGS.replace("workers: 1", "workers: 2") + "grants: {{file: grants.jsonl}}\n"
ENTRIES = """
grantable:
  - {{id: oncall, requesters: [authenticated], approvers: [op], longest: 3d, roles: [viewer]}}
"""
SECONDS = 30  # so that a busy machine has shown the access on all connections before its end
MANY = 12  # requests, on connections of their own, that both workers get some of


def post(stack, path, token, body=None):
    address = stack.gate.admin + path
    return httpx.post(address, json=body or {}, headers={"Authorization": f"Bearer {token}"}, timeout=10)


def statuses(stack, token):
    return {stack.get("/api/v2/dags", token=token).status for _ in range(MANY)}


def workers_that_answered(stack, since):
    return {record["worker"] for record in stack.gate.decisions[since:]}


def until(stack, token, status):
    wait_for(lambda: statuses(stack, token) == {status}, f"not {status}", pause=threading.Event().wait)


def test_a_person_gets_access_for_a_time_with_the_same_token(tmp_path):
    with Stack(tmp_path, settings=TWO, policy=POLICY + ENTRIES) as stack:
        ana = stack.token(sub="ana", groups=["nothing"], realm_access=None)
        assert statuses(stack, ana) == {403}
        assert stack.upstream.requests == []

        asked = post(stack, "/grants", ana, {"entry": "oncall", "duration": f"{SECONDS}s", "reason": "incident 4711"})
        assert asked.status_code == 201, asked.text
        name = asked.json()["id"]
        assert post(stack, f"/grants/{name}/approve", ana).status_code in {403, 404}
        assert statuses(stack, ana) == {403}
        assert stack.upstream.requests == []

        approver = stack.token(sub="bo", groups=["data-ops"])
        begun = time.monotonic()
        assert post(stack, f"/grants/{name}/approve", approver).status_code == 200
        wait_for(lambda: stack.get("/api/v2/dags", token=ana).status == 200, "no access", pause=threading.Event().wait)
        until(stack, ana, 200)
        assert stack.upstream.requests
        decisions = len(stack.gate.decisions)
        assert decisions

        # One request at a time meanwhile: other tests need the machine.
        wait_for(
            lambda: stack.get("/api/v2/dags", token=ana).status == 403,
            "it does not end",
            pause=lambda _: threading.Event().wait(0.2),
            seconds=2 * SECONDS,
        )
        until(stack, ana, 403)
        ended, called = time.monotonic() - begun, len(stack.upstream.requests)
        assert ended > SECONDS - 2, "its duration counts from the approval"
        assert statuses(stack, ana) == {403}
        assert len(stack.upstream.requests) == called
        assert workers_that_answered(stack, 0) == {0, 1}
        granted = [record for record in stack.gate.decisions if record["decision"] == "allow"]
        assert granted
        assert all(record["grants"] == [{"entry": "oncall", "id": name, "seconds": SECONDS}] for record in granted)
