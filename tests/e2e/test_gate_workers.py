"""Two workers behind one real Envoy: what the death of one costs."""

import os
import signal
import threading
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import SETTINGS
from tests.e2e.raw_http import Connection
from tests.e2e.stack import Stack, Traffic, id_of

pytestmark = pytest.mark.e2e

TWO = SETTINGS.replace("workers: 1", "workers: 2")
CLIENTS = 8
KILLS = 5
FOUND_S = 0.25  # until all threads of an Envoy know what its main thread says
LAST_MOMENT_S = 0.25  # of a killed worker
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


@pytest.mark.alone
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


class Found:
    """Since when each worker serves and Envoy knows it, by asking both again and again, a thread for each worker."""

    def __init__(self, stack):
        self.since = [None] * len(stack.gate.endpoints)
        self._kills = [0] * len(self.since)
        self._envoy = stack.envoy
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._watch, args=item) for item in enumerate(stack.gate.endpoints)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        self._over.set()
        for thread in self._threads:
            thread.join(10)

    def lose(self, index):
        """This worker dies now: what was asked before counts no more."""
        with self._lock:
            self.since[index] = None
            self._kills[index] += 1

    def _watch(self, index, endpoint):
        flag = f"authz::{endpoint.removeprefix('unix:')}::health_flags::healthy"
        while not self._over.wait(0.05):
            kills = self._kills[index]
            there = flag in self._envoy.admin("/clusters").body.decode().splitlines() and serves(endpoint)
            with self._lock:
                if not there:
                    self.since[index] = None
                elif kills == self._kills[index]:
                    self.since[index] = self.since[index] or time.monotonic()


def serves(endpoint):
    with grpc.insecure_channel(endpoint) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


class OnRecord(Traffic):
    """Traffic that notes when each decision was served, and the failures while Envoy had a worker all the time."""

    def __init__(self, stack, found, **options):
        self.served, self.inexcusable = {}, []
        self._found = found
        super().__init__(stack, "/api/v2/dags", **options)

    def call_on(self):
        with Connection(self._address) as connection:
            while not self.ended.is_set():
                before, began = list(self._found.since), time.monotonic()
                connection.send(self._data)
                answer = connection.response()
                if answer.status == 200:
                    self.served[id_of(answer)] = time.monotonic()
                else:
                    there = [old for old, new in zip(before, self._found.since, strict=True) if old and old == new]
                    self.inexcusable += [began - since for since in there if began - since >= FOUND_S]
                self._note(answer.status)
                self.ended.wait(0.005)


@pytest.mark.alone
@pytest.mark.parametrize("seats", [(0,), (0, 1)], ids=["one seat", "in turn"])
def test_kills_every_1_2_seconds_fail_requests_only_while_no_worker_is_there(tmp_path, capsys, seats):
    """A worker takes about a second to start: where both seats are hit in turn, there are moments without any."""
    with Stack(tmp_path, settings=TWO) as stack, Found(stack) as found:
        kills = []
        with OnRecord(stack, found, token=stack.token(), clients=CLIENTS) as traffic:
            traffic.more(200, stack)
            for turn in range(8):
                index = seats[turn % len(seats)]
                if pid := stack.gate.workers.get(index):  # else the seat waits: one that was killed before it listened
                    found.lose(index)  # before, for a request may fail at once
                    kills.append(time.monotonic())
                    os.kill(pid, signal.SIGKILL)
                    found.lose(index)  # and after, for it may just have been found again
                stack.envoy.pause(1.2)
            wait_for(stack.gate.is_ready, "nobody takes the seats", pause=stack.envoy.pause, seconds=40)
            wait_for(lambda: stack.envoy.healthy("authz"), "Envoy does not find them", pause=stack.envoy.pause)
            traffic.more(100, stack)
        stack.gate.until(lambda: stack.gate.metric("authz_sink_queue") == 0, "records wait")
        recorded = {record["id"] for record in stack.gate.decisions}
        lost = [at for name, at in traffic.served.items() if name not in recorded]
        before_a_kill = [round(min((kill - at for kill in kills), key=abs), 3) for at in lost]
        with capsys.disabled():
            print(  # noqa: T201 the numbers that this test is about
                f"\n{len(kills)} x kill -9, 1.2 s apart, {CLIENTS} clients: answers {traffic.statuses}, served without"
                f" a record {len(lost)}, at most {max(map(abs, before_a_kill), default=0)} s before a kill"
            )
        assert set(traffic.statuses) <= {200, 503}
        assert traffic.inexcusable == []
        assert len(seats) == 2 or failures(traffic) == 0, "the other worker was there all the time"
        assert len(stack.upstream.requests) == traffic.statuses[200] == len(traffic.served)
        assert all(abs(moment) < LAST_MOMENT_S for moment in before_a_kill), before_a_kill
        assert len(lost) <= len(kills) * CLIENTS
