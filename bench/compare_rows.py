"""The rows of `bench.compare`: which server is asked what, and what it must answer.

`served` rows go through a socket to `authz serve`; their CPU time is that of the whole process. `inside` rows call the
service in one process (see `inside.py`); their CPU time is that of the serving thread, which is far more precise.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import checks
from bench.parked import PARKED
from bench.rulebook import DENIED

# What `Fleet.gate` is given. `egress` and `slow` know an Airflow that answers, and one that does not.
SERVERS = {
    "base": {},
    "logging": {"decisions": "decisions.jsonl"},
    "rules_10": {"rules": 10},
    "rules_10000": {"rules": 10_000},
    "grants_100": {"grants": 100},
    "tcp": {"tcp": True},
    "aio": {"engine": "aio"},
    "egress": {},
    "slow": {"slow": True},
}

# What each must allow before it is measured: the call that it refuses for longest when it has just started.
FIRST = dict.fromkeys(SERVERS, lambda pool, _task: pool.same["allow"]) | {
    "egress": lambda pool, task: pool.proven(task, 1)[0],
    "slow": lambda pool, _task: pool.same["service"],
}


class Bodies:
    """Framed CheckRequests. Those that must be new each time come from pools, so that both builds get the same."""

    def __init__(self, keys):
        bearer = checks.token(keys["RS256"])
        self.same = {
            "allow": checks.framed(checks.request(bearer)),
            "allow_40": checks.framed(checks.request(bearer, headers=40)),
            "deny": checks.framed(checks.request(bearer, target=DENIED)),
            "service": checks.framed(checks.outbound(checks.service_headers(keys["RS256"]).items())),
        }
        self._key = keys["RS256"]
        self._tokens = []
        self._serial = itertools.count(1)

    def repeated(self, name, count):
        return [self.same[name]] * count

    def new_tokens(self, start, count):
        """Those of the pool from `start` on. A server that was started for this pair has not seen them."""
        missing = start + count - len(self._tokens)
        if missing > 0:
            self._tokens += checks.fresh_bodies(self._key, itertools.islice(self._serial, missing))
        return self._tokens[start : start + count]

    def proven(self, task, count):
        return list(task.proven(itertools.islice(self._serial, count)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One row. `bodies` is called with the pool, the task of the server, where to start in the pool, and a count."""

    key: str
    label: str
    server: str
    inside: bool = False
    allows: bool = True
    parked: int = 0
    bodies: Callable = field(repr=False)


def _repeat(name):
    return lambda pool, _task, _start, count: pool.repeated(name, count)


def _new(pool, _task, start, count):
    return pool.new_tokens(start, count)


def _borne(_pool, task, _start, count):
    return [task.borne()] * count


def _proof(pool, task, _start, count):
    return pool.proven(task, count)


_ALLOW = _repeat("allow")
CASES = (
    Case(key="inside_allow", label="service alone: cached token", server="base", inside=True, bodies=_ALLOW),
    Case(
        key="inside_deny", label="service alone: deny", server="base", inside=True, allows=False, bodies=_repeat("deny")
    ),
    Case(
        key="inside_grants",
        label="service alone: cached token, 100 grants, one of them the caller's",
        server="grants_100",
        inside=True,
        bodies=_ALLOW,
    ),
    Case(key="inside_new", label="service alone: new RS256 token", server="base", inside=True, bodies=_new),
    Case(key="inside_proof", label="service alone: a run's proof", server="egress", inside=True, bodies=_proof),
    Case(key="allow", label="cached token, 100 rules", server="base", bodies=_ALLOW),
    Case(key="log_on", label="… decision log in a file", server="logging", bodies=_ALLOW),
    Case(key="headers_40", label="… 40 headers", server="base", bodies=_repeat("allow_40")),
    Case(key="deny", label="… deny", server="base", allows=False, bodies=_repeat("deny")),
    Case(key="rules_10", label="… 10 rules", server="rules_10", bodies=_ALLOW),
    Case(key="rules_10000", label="… 10,000 rules", server="rules_10000", bodies=_ALLOW),
    Case(key="tcp", label="… over TCP", server="tcp", bodies=_ALLOW),
    Case(key="aio", label="… on grpc.aio", server="aio", bodies=_ALLOW),
    Case(key="new_token", label="new RS256 token", server="base", bodies=_new),
    Case(key="egress_service", label="a service account's call", server="egress", bodies=_repeat("service")),
    Case(key="egress_proxy", label="a run's call, token for proxies", server="egress", bodies=_borne),
    Case(key="egress_proof", label="a run's call, with a proof", server="egress", bodies=_proof),
    Case(
        key="parked",
        label=f"a service account's call while {PARKED:,} wait",
        server="slow",
        parked=PARKED,
        bodies=_repeat("service"),
    ),
)
