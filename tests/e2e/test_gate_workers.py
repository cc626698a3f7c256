"""Two workers behind one real Envoy: what the death of one costs."""

import os
import signal

import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import SETTINGS
from tests.e2e.stack import Stack, Traffic

pytestmark = pytest.mark.e2e

TWO = SETTINGS.replace("workers: 1", "workers: 2")
CLIENTS = 8
KILLS = 5
assert TWO != SETTINGS


def until_replaced(stack, index, pid):
    """Until the seat has a new worker, and Envoy has looked at both twice since then and found them well."""
    gate, pause = stack.gate, stack.envoy.pause
    wait_for(lambda: gate.workers.get(index, pid) != pid and gate.is_ready(), "nobody takes the seat", pause=pause)
    looks = "cluster.authz.health_check.success"
    enough = stack.envoy.stat(looks) + 4
    wait_for(lambda: stack.envoy.stat(looks) >= enough, "Envoy does not look", pause=pause)
    wait_for(lambda: stack.envoy.healthy("authz"), "Envoy does not find it", pause=pause)


def test_envoy_is_told_one_endpoint_per_worker(tmp_path):
    with Stack(tmp_path, settings=TWO) as stack:
        clusters = stack.envoy.admin("/clusters").body.decode()
        assert {f"{stack.gate.folder}/worker-{index}.sock" for index in range(2)} == {
            line.split("::")[1] for line in clusters.splitlines() if line.startswith("authz::/")
        }


def test_a_worker_that_is_killed_under_load_costs_no_more_than_what_it_held(tmp_path, capsys):
    """kill -9, again and again, with clients that never pause for long.

    A client has one request under way, so that a worker held as many as there are clients at most: that many may fail
    at worst. Envoy tries each of them once more, on the other worker, which is well: so none does.
    """
    with Stack(tmp_path, settings=TWO) as stack:
        costs = []
        with Traffic(stack, "/api/v2/dags", token=stack.token(), clients=CLIENTS) as traffic:
            traffic.more(200, stack)
            for turn in range(KILLS):
                index = turn % 2
                pid, before = stack.gate.workers[index], failures(traffic)
                os.kill(pid, signal.SIGKILL)
                traffic.more(300, stack)
                until_replaced(stack, index, pid)
                traffic.more(100, stack)
                costs.append(failures(traffic) - before)
        retries = stack.envoy.stat("cluster.authz.upstream_rq_retry")
        with capsys.disabled():
            print(  # noqa: T201 the number that this test is about
                f"\n{KILLS} x kill -9 of one of two workers, {CLIENTS} clients, {traffic.count} requests:"
                f" failed per kill {costs}, Envoy's retries {retries}, answers {traffic.statuses}"
            )
        assert retries > 0, "no worker held anything when it was killed: this shows nothing"
        assert costs == [0] * KILLS
        assert list(traffic.statuses) == [200]
        assert len(stack.upstream.requests) == traffic.count


def failures(traffic):
    return sum(count for status, count in traffic.statuses.items() if status != 200)
