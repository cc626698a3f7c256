"""Evaluates the conditions of a rule one by one, by the plain definition of each pattern, and words them.

Law: this decides nothing and does not use the index: tests compare these results with what the index finds.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from authz.core.catalogue import ANY_DAG, Route
from authz.core.decision.decide import narrows
from authz.core.model import Identity, Level, Plane, Request, Run
from authz.core.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.core.policy.index import METHOD_KEYS
from authz.core.policy.operations import words_for
from authz.core.policy.outbound import concerns, is_tunnel, strong_enough, sure
from authz.core.policy.patterns import Glob
from authz.core.policy.rules import BUILT_IN, RESERVED
from authz.core.request.path import CONNECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of one rule: whether it holds, and what was expected and found."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What rules' conditions evaluate: the request, its caller, and its route in Airflow."""

    request: Request
    identity: Identity | None
    route: Route | None
    policy: Policy

    @property
    def operation(self) -> str:
        """The operation in the catalogue; "" if it is none."""
        return self.route.operation if self.route else ""

    @property
    def dag_id(self) -> str:
        """The DAG that the request names; "" if it names none."""
        return self.route.dag_id if self.route else ""

    @property
    def narrowed(self) -> bool:
        """Whether Airflow itself limits this request to the assertion's DAGs."""
        return narrows(self.request, self.identity, self.route)

    @property
    def run(self) -> Run | None:
        """The calling run, if one is known."""
        return self.identity.run if self.identity else None


def conditions(rule: Rule, facts: Facts) -> Iterator[Condition]:
    """Every condition of the rule on the request's plane."""
    if rule.roles:
        yield _roles(rule, facts.identity)
    operation = _operations(rule, facts)
    if operation is not None:
        yield operation
    request = facts.request
    if rule.hosts:
        holds = any(host.matches(request.host) for host in rule.hosts)
        yield _condition("hosts", (host.text for host in rule.hosts), request.host, holds=holds)
    if rule.destinations:
        yield _destinations(rule, request)
    yield from _methods_and_paths(rule, request)
    if request.plane is Plane.INBOUND:
        if rule.dags:
            yield _dags(rule, facts)
        return
    if rule.dags:
        yield _of_run("dags", "DAG", rule, rule.dags, facts.run)
    if rule.tasks:
        yield _of_run("tasks", "task", rule, rule.tasks, facts.run)
    if rule.identity is not None:
        yield _identity(rule.identity, facts.run)


def _destinations(rule: Rule, request: Request) -> Condition:
    if not request.destination:
        text = f"needs one of {_quoted(rule.destinations)} — the request goes to no named destination"
        return Condition(name="destinations", holds=False, text=text)
    holds = request.destination in rule.destinations
    return _condition("destinations", rule.destinations, request.destination, holds=holds)


def _methods_and_paths(rule: Rule, request: Request) -> Iterator[Condition]:
    """The conditions on method and path. Inside a tunnel neither is known."""
    if request.method == CONNECT and not is_tunnel(rule.methods):
        deny = rule.effect is Effect.DENY
        if deny and (rule.methods or rule.paths):
            yield Condition(name="methods", holds=True, text="a tunnel (CONNECT) may carry any method and path")
        elif not deny:
            text = "needs `CONNECT` — only a rule that says so allows a tunnel"
            yield Condition(name="methods", holds=False, text=text)
        return
    if rule.methods:
        holds = any(method in METHOD_KEYS.get(request.method, (request.method,)) for method in rule.methods)
        yield _condition("methods", rule.methods, request.method, holds=holds)
    if rule.paths:
        holds = any(path.matches(request.segments) for path in rule.paths)
        yield _condition("paths", (path.text for path in rule.paths), request.path, holds=holds)


def _of_run(name: str, what: str, rule: Rule, globs: Sequence[Glob], run: Run | None) -> Condition:
    """The condition on the calling run's DAG or task."""
    found = None if run is None else run.dag_id if name == "dags" else run.task_id
    deny = rule.effect is Effect.DENY
    holds = concerns(globs, found, surely=sure(run), deny=deny)
    wanted = f"{what} {_quoted(glob.text for glob in globs)}"
    if found is None:
        so = ", so it is denied" if deny else ""
        return Condition(name=name, holds=holds, text=f"{wanted} — it is not known which run calls{so}")
    if deny and not sure(run):
        text = f"{wanted} — `{found}` is only asserted and may be another one, so it is denied"
        return Condition(name=name, holds=holds, text=text)
    return _condition(name, (glob.text for glob in globs), found, holds=holds)


def _identity(least: Level, run: Run | None) -> Condition:
    if run is None:
        text = f"needs a run that is at least `{least}` — it is not known which run calls"
        return Condition(name="identity", holds=False, text=text)
    if strong_enough(run, least):
        return Condition(name="identity", holds=True, text=f"the run is `{run.level}`, at least `{least}` is needed")
    text = f"needs a run that is at least `{least}` — the run is `{run.level}`"
    return Condition(name="identity", holds=False, text=text)


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _condition(name: str, wanted: Iterable[str], found: str, *, holds: bool) -> Condition:
    words = _quoted(wanted)
    text = f"`{found}` is covered by {words}" if holds else f"needs one of {words} — the request has `{found}`"
    return Condition(name=name, holds=holds, text=text)


def _roles(rule: Rule, identity: Identity | None) -> Condition:
    wanted = _quoted(f"{role}" for role in rule.roles)
    if identity is None:
        return Condition(name="roles", holds=False, text=f"role {wanted} — the request has no valid token")
    held = [role for role in rule.roles if role == AUTHENTICATED or role in identity.roles]
    if held:
        return Condition(name="roles", holds=True, text=f"you have {_quoted(held)}")
    yours = f"your roles are {_quoted(sorted(identity.roles))}" if identity.roles else "you have no role"
    return Condition(name="roles", holds=False, text=f"role {wanted} — {yours}")


def _operations(rule: Rule, facts: Facts) -> Condition | None:
    """The condition on the operation; None if the rule has none. The rule must name a `never` operation."""
    name = facts.operation
    known = facts.policy.catalogue.operations.get(name)
    if known is not None and known.never and rule.effect is not Effect.DENY:
        holds = name in rule.operations
        text = f"`{name}` is named" if holds else f"`{name}` is allowed only by a rule that names it"
        return Condition(name="operations", holds=holds, text=text)
    if not rule.operations:
        return None
    if known is None:
        where = "operations are on the inbound plane" if facts.request.plane is Plane.EGRESS else "it is no known route"
        text = f"needs one of {_quoted(rule.operations)} — {where}"
        return Condition(name="operations", holds=False, text=text)
    holds = any(word in words_for(known) for word in rule.operations)
    condition = _condition("operations", rule.operations, name, holds=holds)
    if holds or BUILT_IN.keys().isdisjoint(rule.operations):
        return condition
    return replace(condition, text=f"{condition.text}, which is for `{RESERVED}{known.airflow_role}`")


def _dags(rule: Rule, facts: Facts) -> Condition:
    wanted = _quoted(glob.text for glob in rule.dags)
    deny, dag_id = rule.effect is Effect.DENY, facts.dag_id
    if not dag_id:
        return Condition(name="dags", holds=False, text=f"DAG {wanted} — this request is about no DAG")
    if dag_id == ANY_DAG and facts.narrowed:
        kept = "Airflow keeps to all others" if deny else "Airflow keeps to these"
        return Condition(
            name="dags", holds=not deny, text=f"DAG {wanted} — the request may reach any DAG (`~`), {kept}"
        )
    if dag_id == ANY_DAG:
        holds = deny or any(glob.text == "*" for glob in rule.dags)
        return Condition(name="dags", holds=holds, text=f"DAG {wanted} — the request may reach any DAG (`~`)")
    return _condition("dags", (g.text for g in rule.dags), dag_id, holds=any(g.matches(dag_id) for g in rule.dags))
