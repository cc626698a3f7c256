"""`kill -9`, again and again, of each kind of process under load; and ends in order under load.

Law: the moment of a kill is random, so processes die while they start, serve and write.
"""

import os
import random
import signal
from dataclasses import dataclass, field

from bench import envoys
from bench.chaos_clients import Answers, Requests, asking, pause, until
from bench.chaos_gate import KEY, ChaosGate, Log
from demo.ports import free_ports
from tests.e2e.gate import now, token

_LONGEST_PAUSE_S = 0.3


@dataclass(kw_only=True)
class Row:
    """What came of one kind of kill, or of ends."""

    name: str
    kills: int
    answers: Answers = field(default_factory=Answers)
    lost: int = 0
    doubled: int = 0
    verify: int = 0
    status: int = 0

    @property
    def bad(self):
        return bool(self.lost or self.doubled or self.verify or self.status)

    def judge(self, gate):
        """The gate has ended: compare its log with what clients got."""
        log = Log(gate.audit)
        self.lost = log.without(self.answers.decided)
        self.doubled, self.verify = log.doubled, log.verified()
        gate.forget()
        return self


def workers(folder, idp, kills, rate):
    """Kill a worker, the next time another one."""
    gate, row = ChaosGate(folder, idp), Row(name="worker", kills=kills)
    gate.start()
    clients = gate.clients(row.answers, rate)
    with asking(clients, row.answers):
        for turn in range(kills):
            index = turn % len(clients)
            old = gate.workers[index]
            _kill(old)
            until(lambda old=old, index=index: gate.workers.get(index) not in {None, old}, "there is no other worker")
            _served(clients[index], gate)
    return _ended(gate, row)


def writer(folder, idp, kills, rate):
    """Kill the log's writer."""
    gate, row = ChaosGate(folder, idp), Row(name="the log's writer", kills=kills)
    gate.start()
    with asking(gate.clients(row.answers, rate), row.answers):
        for turn in range(kills):
            old, signed = gate.writer, gate.signed_at()
            _kill(old)
            until(lambda old=old: gate.writer not in {None, old}, "there is no other writer")
            if turn % 2:  # the next kill comes while it starts, or while it writes
                until(lambda signed=signed: gate.signed_at() > signed, "nothing is signed")
    return _ended(gate, row)


def supervisor(folder, idp, kills, rate):
    """Kill the supervisor, and start another one at once: the processes of the old one still end."""
    gate, row = ChaosGate(folder, idp), Row(name="supervisor", kills=kills)
    gate.start()
    clients = gate.clients(row.answers, rate)
    with asking(clients, row.answers):
        for turn in range(kills):
            _kill(gate.process.pid)
            gate.process.wait()
            gate.start(ready=turn % 2 == 1)  # the next kill comes while it starts, or while it serves
            if turn % 2 == 0:
                pause(random.uniform(0, 5 * _LONGEST_PAUSE_S))  # noqa: S311 see the law
                continue
            for client in clients:
                _served(client, gate)
    return _ended(gate, row)


def everything(folder, idp, kills, rate):
    """Kill supervisor, workers and the log's writer at once, and start again."""
    gate, row = ChaosGate(folder, idp), Row(name="all at once", kills=kills)
    gate.start()
    clients = gate.clients(row.answers, rate)
    with asking(clients, row.answers):
        for _ in range(kills):
            pause(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 see the law
            os.killpg(gate.process.pid, signal.SIGKILL)
            gate.process.wait()
            gate.start()
            for client in clients:
                _served(client, gate)
    return _ended(gate, row)


def envoy(folder, idp, kills, rate):
    """Kill Envoy, and start another one."""
    gate, row = ChaosGate(folder, idp), Row(name="Envoy", kills=kills)
    gate.start()
    port, upstream = free_ports(2)
    client = Requests(("127.0.0.1", port), _requests(idp), rate, row.answers)
    proxy = envoys.gate({"ours": (port, gate.endpoints)}, upstream, folder)
    with envoys.upstream(upstream, folder), proxy, asking([client], row.answers):
        for _ in range(kills):
            _served(client, gate)
            [pid] = proxy.pids
            _kill(pid)
            proxy.reap()
            proxy.start()
        _served(client, gate)
    return _ended(gate, row)


def ends(folder, idp, count, rate):
    """End in order under load, and start again with the same log: by each way that a gate is ended."""
    ways = {
        "SIGTERM to the supervisor": lambda pid: os.kill(pid, signal.SIGTERM),
        "SIGTERM to all processes at once": lambda pid: os.killpg(pid, signal.SIGTERM),
        "SIGINT to all processes at once (Ctrl-C)": lambda pid: os.killpg(pid, signal.SIGINT),
    }
    for number, (name, end) in enumerate(ways.items()):
        gate = ChaosGate(folder / str(number), idp)
        row = Row(name=name, kills=count)
        gate.start()
        clients = gate.clients(row.answers, rate)
        with asking(clients, row.answers):
            for _ in range(count):
                for client in clients:
                    _served(client, gate)
                end(gate.process.pid)
                status = gate.process.wait(40)
                row.status = row.status or status
                gate.start()
        yield _ended(gate, row)


def _requests(idp):
    bearer = token(KEY, iss=idp.url, exp=now() + 3500)
    headers = f"host: gate.test\r\nauthorization: Bearer {bearer}\r\naccept: application/json\r\n"
    asked = ("GET /api/v2/dags", "DELETE /api/v2/dags/sales_daily")
    return [f"{one} HTTP/1.1\r\n{headers}\r\n".encode() for one in asked]


def _kill(pid):
    pause(random.uniform(0, _LONGEST_PAUSE_S))  # noqa: S311 see the law
    os.kill(pid, signal.SIGKILL)


def _served(client, gate):
    """Wait until the client gets answers again."""
    wanted = client.count + 2
    until(lambda: client.count >= wanted, f"no answers come: see {gate.log}")


def _ended(gate, row):
    until(gate.is_ready, "the gate is not ready")
    row.status = row.status or gate.end()
    return row.judge(gate)
