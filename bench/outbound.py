"""A task's call of a destination: straight there, through an Envoy that asks no one, and through the gate.

One connection, one call at a time, as a task makes them: what matters here is how much later the answer comes and what
that costs, not how many calls a second there could be. The destination is the fast upstream of the other rows.
"""

import contextlib
import http.client
import itertools
import time

from bench import checks, envoys, load, runs
from bench.rulebook import ORDERS, ORDERS_PATH
from bench.samples import Meter, Row
from demo.ports import free_ports

_LABELS = {
    "direct": "straight to the destination",
    "unguarded": "through Envoy, no authorization",
    "service": "through the gate, a service account's token",
    "credential": "… and Envoy adds the destination's credential",
    "proxy": "through the gate, a run's token for proxies",
    "proof": "through the gate, a run's token and a proof for each call",
}


class Outbound:
    """Starts everything, proves that the gate judges, and measures call after call."""

    def __init__(self, fleet, keys, folder, plan):
        self._stack, self._plan, self._serial = contextlib.ExitStack(), plan, itertools.count(1)
        airflow = runs.Airflow()
        self._stack.callback(airflow.close)
        self._gate = fleet.gate("outbound", airflow=airflow.url)
        self._task = runs.Task(self._gate.folder)
        self._service = checks.service_headers(keys["RS256"])
        self._gate.start()
        self._stack.callback(self._gate.stop)
        self._gate.wait_allowed(lambda: next(self._task.proven([next(self._serial)])))
        base = free_ports(4)[0]
        secret = folder / "destination.secret"
        secret.write_text("a-secret-of-the-benchmark")
        self._stack.enter_context(envoys.upstream(base, folder, "destination"))
        judged = list(self._gate.endpoints)
        systems = {"unguarded": (base + 1, []), "guarded": (base + 2, judged), "credential": (base + 3, judged)}
        secrets = {"credential": secret}
        self._envoy = self._stack.enter_context(envoys.gate(systems, base, folder, egress=True, secrets=secrets))
        self._ports = {"direct": base, "unguarded": base + 1, "credential": base + 3}
        self._guarded = base + 2
        self.rows = {f"call_{name}": Row(f"call_{name}", "call", label) for name, label in _LABELS.items()}

    def close(self):
        self._stack.close()

    def _headers(self, name, count):
        """The headers of that many calls."""
        if name == "proof":
            return self._task.headers(itertools.islice(self._serial, count))
        always = {"service": self._service, "credential": self._service, "proxy": self._task.proxy_headers()}
        return [always.get(name, {})] * count

    def prove_equal(self):
        """Every way leads to the destination, and the gate lets nothing through that it should not.

        Raises:
            AssertionError: that is not so, and measuring it would compare nothing.
        """
        for name in _LABELS:
            self._calls(name, self._headers(name, 2))
        (proven,) = self._headers("proof", 1)
        (other,) = self._headers("proof", 1)
        self._calls("proof", [proven])
        for headers in ({}, proven, proven | {"x-run-proof": other["x-run-proof"][:-8] + "AAAAAAAA"}):
            seen = envoys.status(self._guarded, ORDERS_PATH, {"host": ORDERS} | headers)
            assert seen == 401, f"the gate answers {seen}, not 401"

    def warm_up(self):
        for name in _LABELS:
            self._calls(name, self._headers(name, max(10, self._plan.singles // 10)))

    def round(self, number):
        """Measure every way once, beginning with another one each time."""
        names = list(_LABELS)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            headers = self._headers(name, self._plan.singles)
            with Meter(self._envoy.pids) as envoy, Meter(self._gate.pids) as server:
                latencies = self._calls(name, headers)
            p50, p99 = load.percentiles(latencies)
            row = self.rows[f"call_{name}"]
            row.add(one_p50_us=p50, one_p99_us=p99)
            if name != "direct":
                row.add(envoy_cpu_us=envoy.per(len(headers)))
            if name not in {"direct", "unguarded"}:
                row.add(cpu_us=server.per(len(headers)))

    def _calls(self, name, calls):
        """Make these calls over one connection; microseconds of each."""
        latencies = []
        connection = http.client.HTTPConnection("127.0.0.1", self._ports.get(name, self._guarded), timeout=10)
        with contextlib.closing(connection):
            for headers in calls:
                started = time.perf_counter_ns()
                connection.request("GET", ORDERS_PATH, headers={"host": ORDERS} | headers)
                answer = connection.getresponse()
                answer.read()
                latencies.append((time.perf_counter_ns() - started) / 1000)
                if answer.status != http.client.OK:
                    raise load.LoadError(f"{_LABELS[name]}: status {answer.status}")
        return latencies
