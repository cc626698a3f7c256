"""Decision logs as the gate writes them: the engine decides, and the real Recorder makes the lines.

writer = Writer(policy, sink)
writer.ask(request, claims, run)
"""

import random
from dataclasses import replace

from authz.authn.sessions import Session
from authz.check.check_record import CheckRecord, new_id
from authz.check.recorder import Recorder
from authz.core.decision.decide import evaluate
from authz.core.model import NO_CLAIMS, HttpRequest, Identity, Level, Plane, Request, Run
from authz.core.request.path import CanonicalPath, canonicalise

BEGIN = 1_795_315_175.25
DAY = 24 * 3600


class Lines:
    """A sink that keeps bytes."""

    file = 1
    offers = ()

    def __init__(self):
        self.lines = []

    def turn(self):
        raise AssertionError("nothing is offered")

    def put(self, lines):
        self.lines.append(lines)
        return True


class Writer:
    """One worker that records what callers ask under a policy. `policy` may be changed."""

    def __init__(self, policy, sink=None, worker=0, gate="gate", ids=new_id):
        self.policy = policy
        self.sink = Lines() if sink is None else sink
        self.time = BEGIN
        self._ids = ids
        self.recorder = Recorder(self.sink, gate=gate, worker=worker)
        self._sessions = {}

    def ask(self, request, claims=None, run=None, *, step=0.25, reason=None, grants=(), latency=0.0005):
        """Decide and record. `claims` are a token's; `run` alone is a token of the gate. Returns the decision."""
        self.time += step
        identity = session = None
        if claims is not None:
            identity = replace(self.policy.identify(claims, grants), run=run)
            session = self._session(claims, identity)
        elif run is not None:
            identity = Identity(claims=NO_CLAIMS, roles=frozenset(), run=run)
        decision = evaluate(request, identity, self.policy)
        if reason is not None:
            decision = replace(decision, reason=reason, rule="")
        http = HttpRequest(
            plane=request.plane.value,
            audience="airflow",
            method=request.method,
            authority=request.host,
            target=request.whole_path,
            source="10.0.0.1",
            destination=request.destination,
        )
        check = CheckRecord(
            id=self._ids(), time=self.time, http=http, request=request, identity=identity, account=session,
            policy=self.policy,
        )  # fmt: skip
        self.recorder.record(check, decision, latency)
        return decision

    def _session(self, claims, identity):
        key = claims.issuer, claims.subject, claims.client_id, claims.groups
        if key not in self._sessions:
            self._sessions[key] = Session(
                identity=identity, standing=None, starts=0.0, ends=1e12, dies_at=1e12, marks=0, whole=True
            )
        return self._sessions[key]


def claims(issuer, subject="", *, groups=(), client="", name="corp"):
    """The claims of a token."""
    return replace(
        NO_CLAIMS, issuer=issuer, issuer_name=name, subject=subject or client, username=subject, client_id=client,
        groups=frozenset(groups),
    )  # fmt: skip


def request(plane, method, host, path, **more):
    """A request in canonical form; a tunnel has no path."""
    made = canonicalise(path) if path else CanonicalPath(path="", segments=())
    return Request(plane=plane, method=method, host=host, port=None, path=made.path, segments=made.segments, **more)


_SURE = (Level.VERIFIED, Level.VERIFIED_BEARER)
_LISTS = ("/api/v2/dags", "/api/v2/dags/~/dagRuns", "/api/v2/pools", "/api/v2/monitor/health", "/ui/config", "/x/y")


def traffic(policy, count, *, seed=1, issuer, group, host="orders.internal", path="/v1/orders", dags=60, sink=None):
    """A writer that has recorded so many decisions of people, programs and tasks. Half are about something new."""
    rng, writer = random.Random(seed), Writer(policy, sink)  # noqa: S311 no secret
    people = [claims(issuer, f"p{n}", groups=[group] * (n % 2) + [f"team{n % 17}", f"org{n % 5}"]) for n in range(400)]
    programs = [claims(issuer, client=f"etl{n}") for n in range(40)]
    names = [f"{('sales', 'team1', 'finance')[n % 3]}_{n}" for n in range(dags)]
    for number in range(count):
        kind, dag = rng.random(), rng.choice(names)
        if kind < 0.3:
            run = Run(dag, f"scheduled__2026-11-{number}", rng.choice(["extract", "load"]), -1, 1, rng.choice(_SURE))
            writer.ask(request(Plane.EGRESS, "GET", host, path, destination="orders"), None, run, step=0.01)
            continue
        at = rng.randrange(400)
        who, own = (people[at] if kind < 0.8 else rng.choice([*programs, None])), names[(7 * at) % dags]
        if kind < 0.5:
            asked = f"/api/v2/dags/{dag}/dagRuns/manual__2026-11-{number}"
        elif kind < 0.9:
            asked = rng.choice([f"/api/v2/dags/{own}", f"/api/v2/dags/{own}/dagRuns"])
        else:
            asked = rng.choice(_LISTS)
        method = rng.choice(["GET", "GET", "GET", "POST"])
        writer.ask(request(Plane.INBOUND, method, "airflow.test", asked), who, step=0.01)
    return writer


def day_of(policy):
    """The lines of the day that `docs/howto/replay.md` shows, under its policy; the same each time."""
    (issuer,) = policy.issuers
    writer = Writer(policy, ids=(f"{number:024x}" for number in range(1, 1000)).__next__)
    ada, ben = (claims(issuer, name, groups=["data-readers"]) for name in ("ada", "ben"))
    etl = claims(issuer, client="sales-etl")

    def inbound(method, path):
        return request(Plane.INBOUND, method, "airflow.example.com", path)

    for hour in range(8):
        for reader in (ada, ben):
            writer.ask(inbound("GET", "/api/v2/dags/sales_eu_daily/dagRuns"), reader, step=1800.0)
        writer.ask(inbound("POST", "/api/v2/dags/sales_eu_daily/dagRuns"), etl)
        writer.ask(request(Plane.EGRESS, "GET", "orders.internal", "/v1/orders"), etl)
        if hour % 4 == 0:
            writer.ask(inbound("POST", "/api/v2/dags/sales_us_daily/dagRuns"), etl)
    writer.ask(inbound("GET", "/api/v2/dags/sales_eu_daily"), ada)
    return b"".join(writer.sink.lines)
