"""A stack to shoot at with raw bytes, and the oracle of the end-to-end attacks. Test support.

The oracle is the upstream. Denied: its own log shows no call. Served: the rule that allowed it names the very route
that Airflow's routing gives to what the upstream received, decoded and routed without any code of ours.
"""

import contextlib
from dataclasses import dataclass, field

from tests.attacks.route_oracle import served
from tests.e2e.raw_http import exchange, request
from tests.e2e.stack import Stack, id_of

# What each inbound rule of tests/e2e/gate.py may be used for, in the catalogue's words.
GRANTS = {
    "health": {"health:read"},
    "readers": {"dags:read", "dag_runs:read"},
    "operators": {f"{area}:" for area in ("pools", "variables", "connections")},
    "sales-trigger": {"dag_runs:create"},
    "copilot-reads": {"dags:"},
}
PROTECTED = (
    "/api/v2/config",
    "/api/v2/eventLogs",
    "/ui/auth/token",
    "/execution/task-instances/1/run",
    "/api/v2/connections/x",
)
HEALTH = "/api/v2/monitor/health"


@dataclass
class Range:
    """A stack to shoot at, with every secret that was sent."""

    stack: Stack
    secrets: list = field(default_factory=list)
    shots: int = 0
    passed: int = 0

    def viewer(self, **changes):
        """Somebody who may read DAGs and nothing else."""
        return self._remember(self.stack.token(**{"realm_access": None, **changes}))

    def operator(self, **changes):
        return self._remember(self.stack.token(**changes))

    def etl(self, **changes):
        return self._remember(self.stack.etl(**changes))

    def _remember(self, token):
        self.secrets += [token, *token.split(".")[1:]]
        return token

    def fire(self, data, *, egress=False):
        """Send raw bytes and check the oracle. The answer; None when the connection was closed instead."""
        seen = self.stack.upstream.requests
        seen.clear()
        answer = None
        with contextlib.suppress(AssertionError, ConnectionError):
            answer = exchange(self.stack.envoy.egress if egress else self.stack.envoy.inbound, data)
        self.shots += 1
        self.passed += len(seen)
        for received in seen:
            self.judge(received, egress=egress)
        if not seen:
            assert answer is None or answer.status >= 300, f"{data!r} was answered {answer.status} by nobody"
        if answer is not None and seen and answer.status == 200:
            assert id_of(answer) == seen[0].all("x-authz-decision")[0]
        return answer

    def judge(self, received, *, egress):
        """What the upstream received is what was allowed, and the rule is one for it."""
        (decision_id,) = received.all("x-authz-decision")
        record = self.stack.gate.decision(decision_id)
        assert record["decision"] == "allow", f"{received.head!r} was forwarded although denied: {record}"
        assert record["method"] == received.method
        if egress:
            assert record["rule"] == "orders"
            path = received.target.partition("?")[0].split("/")
            assert path[:3] == ["", "v1", "orders"]
            assert len(path) in {3, 4}
            (host,) = received.all("host")
            assert host.lower().partition(":")[0].rstrip(".") == "orders.internal"
            return
        route = served(received)
        assert (record["operation"], record["dag"]) == (route.operation, route.dag), f"{received.head!r}: {record}"
        grants = GRANTS[record["rule"]]
        assert route.operation in grants or f"{route.operation.partition(':')[0]}:" in grants

    def get(self, target, *headers, token=None, egress=False, **parts):
        lines = (f"Authorization: Bearer {token}",) if token else ()
        if egress:
            parts.setdefault("host", "orders.internal")
        return self.fire(request(target, *lines, *headers, **parts), egress=egress)

    def refused(self, *arguments, **parts):
        """The status of a request that nothing of may reach the upstream."""
        answer = self.get(*arguments, **parts)
        assert self.stack.upstream.requests == []
        return answer.status if answer is not None else None

    @property
    def received(self):
        return self.stack.upstream.only
