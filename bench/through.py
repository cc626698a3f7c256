"""The whole way: client, Envoy, authorization, upstream. What a request costs and how long it takes.

Saturation is measured with wrk (32 connections), half load with h2load at half of the rate that the same system had in
the saturation just before, the unloaded latency with one connection and one request at a time.
"""

import contextlib

from bench import checks, envoys, load
from bench.rulebook import ALLOWED, DENIED, native_filters
from bench.samples import Meter, Row
from bench.sender import ask
from demo.ports import free_ports

_RULES = 10  # few, because RBAC looks at one after the other, and ours does not
_LABELS = {
    "none": "no authorization",
    "native": f"Envoy's jwt_authn + rbac, {_RULES} rules",
    "guarded_by_echo": "ext_authz with the bare echo, Unix socket",
    "ours_1": f"ours, {_RULES} rules, 1 worker, Unix socket",
    "ours_tcp": f"ours, {_RULES} rules, 1 worker, TCP",
    "ours_2": f"ours, {_RULES} rules, 2 workers, Unix sockets",
    "ours_http": f"ours, {_RULES} rules, asked over HTTP, Unix socket",
    "guarded_by_peer": "peer",
}


class Through:
    """Starts everything, proves that the systems agree, and measures them round by round."""

    def __init__(self, fleet, keys, folder, plan, peer=None):
        self._stack, self._plan = contextlib.ExitStack(), plan
        bearer = checks.token(keys["RS256"])
        self._headers = {
            "authorization": f"Bearer {bearer}",
            "accept": "application/json",
            "accept-language": "en-US,en;q=0.5",
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "referer": "https://airflow.example.com/dags/sales_daily",
        }
        body = checks.framed(checks.request(bearer))
        self._servers = {"none": [], "native": []}
        systems = {"none": [], "native": native_filters(_RULES, fleet.jwks.read_text())}
        for workers in (1, 2):
            server = fleet.gate(f"ours-{workers}", workers=workers, rules=_RULES)
            systems[f"ours_{workers}"], self._servers[f"ours_{workers}"] = list(server.endpoints), [server]
            server.start()
        over_tcp = fleet.gate("ours-tcp", rules=_RULES, tcp=True)
        over_tcp.start()
        systems["ours_tcp"], self._servers["ours_tcp"] = list(over_tcp.endpoints), [over_tcp]
        over_tcp.wait_allowed(lambda: body)
        over_http = fleet.gate("ours-http", rules=_RULES, http=True)
        over_http.start()
        systems["ours_http"] = envoys.OverHttp(over_http.http_check)
        self._servers["ours_http"] = [over_http]
        over_http.wait_allowed(lambda: body)
        echo = fleet.echo(ask(over_tcp.address, body))
        echo.start()
        echo.wait(body)
        systems["guarded_by_echo"], self._servers["guarded_by_echo"] = list(echo.endpoints), [echo]
        if peer:
            systems["guarded_by_peer"], self._servers["guarded_by_peer"] = list(peer.endpoints), [peer]
        for name in ("ours_1", "ours_2"):
            self._servers[name][0].wait_allowed(lambda: body)
        base = free_ports(len(systems) + 1)[0]
        self._ports = {name: base + 1 + number for number, name in enumerate(systems)}
        self._stack.enter_context(envoys.upstream(base, folder))
        wanted = {name: (self._ports[name], authorizer) for name, authorizer in systems.items()}
        self._envoy = self._stack.enter_context(envoys.gate(wanted, base, folder))
        self.rows = {name: Row(name, "envoy", _LABELS[name]) for name in systems}

    def close(self):
        self._stack.close()
        for name in ("ours_1", "ours_2", "ours_tcp", "ours_http", "guarded_by_echo"):
            self._servers[name][0].stop()

    def prove_equal(self):
        """Every system that authorizes lets the same requests through and stops the same. The echo allows everything:
        it shows what Envoy's filter costs with a server that does not think.

        Raises:
            AssertionError: one does not, and measuring it would compare nothing.
        """
        anonymous = {name: value for name, value in self._headers.items() if name != "authorization"}
        forged = self._headers | {"authorization": self._headers["authorization"][:-8] + "AAAAAAAA"}
        for name, port in self._ports.items():
            seen = [
                envoys.status(port, ALLOWED, self._headers),
                envoys.status(port, DENIED, self._headers),
                envoys.status(port, ALLOWED, anonymous),
                envoys.status(port, ALLOWED, forged),
            ]
            expected = [200] * 4 if name in {"none", "guarded_by_echo"} else [200, 403, 401, 401]
            assert seen == expected, f"{name} answers {seen}, not {expected}"

    def _url(self, name):
        return f"http://127.0.0.1:{self._ports[name]}{ALLOWED}"

    def warm_up(self):
        for name in self.rows:
            load.saturate(self._url(name), self._headers, seconds=1)

    def round(self, number):
        """Measure every system once, beginning with another one each time."""
        names = list(self.rows)
        start = number % len(names)
        for name in names[start:] + names[:start]:
            self._measure(name)

    def _measure(self, name):
        url, row, plan = self._url(name), self.rows[name], self._plan
        ours = [pid for server in self._servers[name] for pid in server.pids]
        with Meter(self._envoy.pids) as envoy, Meter(ours) as server:
            full = load.saturate(url, self._headers, seconds=plan.seconds)
        row.add(rate=full.rate, p50_us=full.p50, p99_us=full.p99)
        row.add(envoy_cpu_us=envoy.per(full.done), cpu_us=server.per(full.done))
        with Meter(self._envoy.pids) as envoy, Meter(ours) as server:
            half = load.paced(url, self._headers, rate=full.rate / 2, seconds=plan.seconds)
        row.add(half_rate=half.rate, half_p50_us=half.p50, half_p99_us=half.p99)
        row.add(half_envoy_cpu_us=envoy.per(half.done), half_cpu_us=server.per(half.done))
        alone = load.single(url, self._headers, count=plan.singles)
        row.add(one_p50_us=alone.p50, one_p99_us=alone.p99)
        if self._servers[name]:
            row.add(peak_mb=max(server.peak_mb() for server in self._servers[name]))
