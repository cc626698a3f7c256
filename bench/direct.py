"""Checks straight to the servers, without Envoy: what one Check costs, and what changes the cost."""

import contextlib
import itertools
from dataclasses import dataclass
from functools import partial

from bench import checks, load, parked, runs
from bench.rulebook import ALLOWED, DENIED
from bench.samples import Meter, Row
from bench.sender import ask, send

RULES = (10, 100, 1_000, 10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row: which server gets which body. `fresh` makes an iterable of bodies that were never sent before.

    `lookups` says how the server must have found their tokens; without it every answer is read. `parked` calls wait
    meanwhile for an Airflow that does not answer. `http`: the request is asked about over HTTP.
    """

    row: Row
    server: object
    body: object = None
    fresh: object = None
    lookups: str = ""
    parked: int = 0
    http: bool = False


class Direct:
    """Starts the servers, proves that they agree, and measures them round by round."""

    def __init__(self, fleet, keys, folder, plan, peer=None):
        self._keys, self._folder, self._plan = keys, folder, plan
        bearer = checks.token(keys["RS256"])
        self._bodies = {
            "allow": checks.framed(checks.request(bearer)),
            "allow40": checks.framed(checks.request(bearer, headers=40)),
            "deny": checks.framed(checks.request(bearer, target=DENIED)),
        }
        self._headers = checks.headers(bearer)
        self._serial = itertools.count(1)
        self._base = fleet.gate("base")
        self._logging = fleet.gate("logging", decisions="decisions.jsonl")
        self._tcp = fleet.gate("tcp", tcp=True)
        self._http = fleet.gate("http", http=True)
        self._aio = fleet.gate("aio", engine="aio")
        self._threads = fleet.gate("threads", engine="threads")
        self._tokens = fleet.gate("tokens")
        self._airflow = runs.Airflow()
        self._egress = fleet.gate("egress", airflow=self._airflow.url)
        self._task = runs.Task(self._egress.folder)
        self._slow_airflow = parked.Slow()
        self._slow = fleet.gate("slow", airflow=self._slow_airflow.url, slow=True)
        self._slow_task = runs.Task(self._slow.folder)
        self._rules = {
            rules: self._base if rules == 100 else fleet.gate(f"rules-{rules}", rules=rules) for rules in RULES
        }
        inbound = {
            self._base,
            self._logging,
            self._tcp,
            self._http,
            self._aio,
            self._threads,
            self._tokens,
            *self._rules.values(),
        }
        for server in inbound | {self._egress, self._slow}:
            server.start()
        for server in inbound:
            server.wait_allowed(lambda: self._bodies["allow"])
        self._egress.wait_allowed(lambda: next(self._task.proven([next(self._serial)])))
        self._service = checks.framed(checks.outbound(checks.service_headers(keys["RS256"]).items()))
        self._slow.wait_allowed(lambda: self._service)
        self._echo = fleet.echo(ask(self._base.address, self._bodies["allow"]))
        self._echo.start()
        self._echo.wait(self._bodies["allow"])
        self._peer = peer
        self.judges = sorted(inbound, key=lambda server: server.name) + ([peer] if peer else [])
        self.cases = list(self._cases())
        self.rows = {case.row.key: case.row for case in self.cases}

    def _file(self, name):
        path = self._folder / f"{name}.bin"
        path.write_bytes(self._bodies[name])
        return path

    def _cases(self):
        allow, allow40, deny = map(self._file, ("allow", "allow40", "deny"))
        group = "check"
        yield Case(row=Row("echo", group, "bare echo on our loop, nothing decoded"), server=self._echo, body=allow)
        label = "ours, cached token, 100 rules, 14 headers, allow, log off"
        yield Case(row=Row("ours", group, label), server=self._base, body=allow)
        yield Case(row=Row("log_on", group, "… log on (a file)"), server=self._logging, body=allow)
        yield Case(row=Row("headers_40", group, "… 40 headers"), server=self._base, body=allow40)
        yield Case(row=Row("tcp", group, "… over TCP"), server=self._tcp, body=allow)
        yield Case(row=Row("http", group, "… over HTTP (64 connections)"), server=self._http, http=True)
        yield Case(row=Row("deny", group, "… deny"), server=self._base, body=deny)
        for rules in RULES:
            if rules != 100:
                yield Case(
                    row=Row(f"rules_{rules}", group, f"… {rules:,} rules"), server=self._rules[rules], body=allow
                )
        yield Case(row=Row("aio", group, "the same handler on grpc.aio"), server=self._aio, body=allow)
        yield Case(
            row=Row("threads", group, "the same handler on grpc.server, 8 threads"), server=self._threads, body=allow
        )
        if self._peer:
            yield Case(row=Row("peer", group, f"peer {self._peer.address[1]}, allow"), server=self._peer, body=allow)
            yield Case(row=Row("peer_deny", group, "peer, deny"), server=self._peer, body=deny)
        yield from self._token_cases()
        yield from self._egress_cases()

    def _token_cases(self):
        """All by our own sender, which costs the server as much as h2load does; compare these rows with each other."""

        def cached():
            return itertools.repeat(next(self._fresh("RS256")), self._plan.fresh)

        group = "token"
        row = Row("token_cached", group, "the same token again (cached)")
        yield Case(row=row, server=self._tokens, fresh=cached, lookups="hit")
        for alg in ("RS256", "ES256", "EdDSA"):
            row = Row(f"token_{alg}", group, f"another {alg} token each time")
            yield Case(row=row, server=self._tokens, fresh=lambda alg=alg: self._fresh(alg), lookups="miss")
        row = Row("token_assertion", group, "another RS256 token, and an assertion signed for it")
        fresh = partial(self._fresh, "RS256", audience="airflow")
        yield Case(row=row, server=self._tokens, fresh=fresh, lookups="miss")

    def _egress_cases(self):
        """By our own sender too: what a task's call costs, by how it says who it is."""
        group, count = "egress", self._plan.fresh
        service = self._service
        rows = (
            ("egress_service", "a service account's token (cached)", lambda: itertools.repeat(service, count)),
            ("egress_proxy", "a run's token for proxies (cached)", lambda: itertools.repeat(self._task.borne(), count)),
            (
                "egress_proof",
                "a run's token (cached), and another proof each time",
                lambda: self._task.proven(itertools.islice(self._serial, count)),
            ),
        )
        for key, label, fresh in rows:
            yield Case(row=Row(key, group, label), server=self._egress, fresh=fresh)
        for waiting in (0, parked.PARKED):
            row = Row(
                f"parked_{waiting}", group, f"a service account's token, while {waiting:,} calls wait for Airflow"
            )
            yield Case(row=row, server=self._slow, fresh=rows[0][2], parked=waiting)

    def _fresh(self, alg, **options):
        serials = itertools.islice(self._serial, self._plan.fresh)
        return checks.fresh_bodies(self._keys[alg], serials, **options)

    def prove_equal(self):
        """Every server that judges answers the same requests the same way.

        Raises:
            AssertionError: one does not, and measuring it would compare nothing.
        """
        for server in self.judges:
            for name, expected in (("allow", True), ("allow40", True), ("deny", False)):
                answer = checks.allows(ask(server.address, self._bodies[name]))
                assert answer is expected, f"{server.name} answers {name!r} with {'allow' if answer else 'deny'}"
        for server, engine in ((self._base, "cq"), (self._tcp, "cq"), (self._aio, "aio")):
            assert server.metric(f'authz_engine_info{{engine="{engine}"}}') == 1, f"{server.name} does not run {engine}"

    def warm_up(self):
        for case in self.cases:
            if case.http:
                self._over_http(case, max(64, self._plan.checks // 10))
            elif case.body:
                load.grpc(case.server.address, case.body, max(64, self._plan.checks // 10))

    def round(self, number):
        """Measure every row once, beginning with another one each time."""
        start = number % len(self.cases)
        for case in self.cases[start:] + self.cases[:start]:
            if case.body or case.http:
                self._measure_same(case)
            else:
                self._measure_fresh(case)
            case.row.add(peak_mb=case.server.peak_mb())

    def _measure_same(self, case):
        count = self._plan.checks
        with Meter(case.server.pids) as meter:
            done = self._over_http(case, count) if case.http else load.grpc(case.server.address, case.body, count)
        if not case.http and done.data < done.done * 5:
            raise load.LoadError(f"{case.row.label}: {done.data} bytes of answers to {done.done} checks")
        case.row.add(cpu_us=meter.per(count), rate=done.rate, p50_us=done.p50, p99_us=done.p99)

    def _over_http(self, case, count):
        return load.http_check(case.server.http_check, ALLOWED, self._headers, count)

    def _measure_fresh(self, case):
        bodies = list(case.fresh())
        if case.lookups != "miss":
            ask(case.server.address, bodies.pop())
        sample = f'authz_token_cache_total{{result="{case.lookups}"}}'
        before = case.server.metric(sample)
        with self._waiting(case), Meter(case.server.pids) as meter:
            sent = send(case.server.address, bodies, keep=not case.lookups)
        right = case.server.metric(sample) - before if case.lookups else sum(map(checks.allows, sent.answers))
        assert (sent.failed, right) == (0, len(bodies)), (
            f"{case.row.label}: {sent.failed} failed, {right:.0f} of {len(bodies)} {case.lookups or 'allowed'}"
        )
        p50, p99 = load.percentiles(sent.latencies)
        case.row.add(cpu_us=meter.per(len(bodies)), rate=len(bodies) / sent.seconds, p50_us=p50, p99_us=p99)

    @contextlib.contextmanager
    def _waiting(self, case):
        """The calls that wait while the case is measured, of other task instances each time."""
        with contextlib.ExitStack() as stack:
            if case.parked:
                stack.enter_context(self._slow_airflow.silence())
                address, task = case.server.address, self._slow_task
                stack.enter_context(parked.held(address, task, case.parked, self._serial, self._service))
            yield

    def close(self):
        """End the servers: what is measured next has the machine for itself."""
        self._slow_airflow.close()
        for server in {case.server for case in self.cases} - {self._peer}:
            with contextlib.suppress(ProcessLookupError):
                server.stop()
        self._airflow.close()
