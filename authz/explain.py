"""Why a request is allowed or denied: every rule considered, condition by condition, and what was missing.

Law: the decision comes from `decide.evaluate`, the very function that serves. The conditions are judged here one by one
by the plain definition of each pattern, without the index; tests compare the two.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from authz.catalogue import ANY_DAG, Route
from authz.decide import evaluate, narrows, route_of
from authz.model import Allow, Decision, Deny, Identity, Plane, Request
from authz.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.policy.index import METHOD_KEYS
from authz.policy.operations import words_for
from authz.policy.rules import BUILT_IN, RESERVED
from authz.reasons import ANSWERS, Reason
from authz.rights import airflow_role, dags_json, dags_text

# How far a rule is from applying, by what is missing: a rule about something else is no help to the reader, one for the
# same operation that lacks the role is, and one that lacks only the DAG is nearer still.
_DISTANCES: Final = {"dags": 1, "roles": 2}
_ABOUT_SOMETHING_ELSE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of one rule: whether it holds, and what was expected and found."""

    name: str
    holds: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One rule of the request's plane, and each condition that it has."""

    rule: str
    effect: Effect
    place: str
    conditions: tuple[Condition, ...]

    @property
    def missing(self) -> tuple[Condition, ...]:
        """The conditions that do not hold."""
        return tuple(condition for condition in self.conditions if not condition.holds)

    @property
    def applies(self) -> bool:
        """Whether every condition holds."""
        return not self.missing

    @property
    def distance(self) -> int:
        """How far the rule is from applying; 0 when it does."""
        return sum(_DISTANCES.get(condition.name, _ABOUT_SOMETHING_ELSE) for condition in self.missing)


# Denials that another rule, or another role, would turn; a deny rule wins over any.
_ASKS_FOR_A_RULE: Final = frozenset({Reason.NO_RULE, Reason.NO_ROLE, Reason.NO_TOKEN, Reason.UNKNOWN_ROUTE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision with its grounds. `considered` has the rules that apply first, then the nearest to applying.

    `nearest` is the rule that would allow the request with the fewest changes; None when it is allowed, and when a deny
    rule won, which no other rule can turn.
    """

    request: Request
    identity: Identity | None
    revision: str
    template: str
    decision: Decision
    considered: tuple[Considered, ...]
    nearest: Considered | None
    airflow_role: str

    def as_json(self) -> dict[str, Any]:
        """The same as plain data."""
        decision, identity = self.decision, self.identity
        return {
            "decision": "allow" if isinstance(decision, Allow) else "deny",
            "reason": decision.reason.value,
            "rule": decision.rule,
            "help": ANSWERS[decision.reason].help,
            "plane": self.request.plane.value,
            "method": self.request.method,
            "host": self.request.host,
            "path": self.request.path,
            "route": self.template,
            "operation": decision.operation,
            "dag": decision.dag_id,
            "dags": dags_json(decision),
            "subject": identity.claims.subject if identity else None,
            "roles": sorted(identity.roles) if identity else [],
            "airflow_role": self.airflow_role,
            "revision": self.revision,
            "considered": [_rule_json(rule) for rule in self.considered],
            "nearest": _rule_json(self.nearest) if self.nearest else None,
        }

    def lines(self) -> list[str]:
        """The same as text for a terminal."""
        return [*_decision_lines(self), *_rule_lines(self.considered), *_nearest_lines(self.nearest)]


def explain(request: Request, identity: Identity | None, policy: Policy) -> Explanation:
    """Decide, and say why."""
    route = route_of(request, policy)
    facts = _Facts(request=request, identity=identity, route=route, policy=policy)
    considered = sorted(
        (_consider(rule, facts) for rule in policy.rules.values() if request.plane in rule.planes),
        key=_nearness,
    )
    decision = evaluate(request, identity, policy)
    allowing = [rule for rule in considered if rule.effect is not Effect.DENY]
    # Where one applies and the request is denied all the same, no other rule would turn that.
    asks = decision.reason in _ASKS_FOR_A_RULE and not any(rule.applies for rule in allowing)
    role = identity.airflow_role if identity else ""
    return Explanation(
        request=request,
        identity=identity,
        revision=policy.revision,
        template=route.template if route else "",
        decision=decision,
        considered=tuple(considered),
        nearest=allowing[0] if asks and allowing else None,
        airflow_role=airflow_role(identity, decision, policy) if identity and isinstance(decision, Allow) else role,
    )


def _nearness(rule: Considered) -> tuple[bool, bool, int, str]:
    """What applies first, deny rules before the others; then what is nearest to applying, deny rules last."""
    deny = rule.effect is Effect.DENY
    return not rule.applies, deny != rule.applies, rule.distance, rule.rule


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    request: Request
    identity: Identity | None
    route: Route | None
    policy: Policy

    @property
    def operation(self) -> str:
        return self.route.operation if self.route else ""

    @property
    def dag_id(self) -> str:
        return self.route.dag_id if self.route else ""

    @property
    def narrowed(self) -> bool:
        return narrows(self.request, self.identity, self.route)


def _consider(rule: Rule, facts: _Facts) -> Considered:
    return Considered(
        rule=rule.id,
        effect=rule.effect,
        place=f"{facts.policy.file}:{rule.line}:{rule.column}",
        conditions=tuple(_conditions(rule, facts)),
    )


def _conditions(rule: Rule, facts: _Facts) -> Iterator[Condition]:
    if rule.roles:
        yield _roles(rule, facts.identity)
    operation = _operations(rule, facts)
    if operation is not None:
        yield operation
    request = facts.request
    if rule.hosts:
        holds = any(host.matches(request.host) for host in rule.hosts)
        yield _condition("hosts", (host.text for host in rule.hosts), request.host, holds=holds)
    if rule.methods:
        holds = any(method in METHOD_KEYS[request.method] for method in rule.methods)
        yield _condition("methods", rule.methods, request.method, holds=holds)
    if rule.paths:
        holds = any(path.matches(request.segments) for path in rule.paths)
        yield _condition("paths", (path.text for path in rule.paths), request.path, holds=holds)
    if rule.dags:
        yield _dags(rule, facts)


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


def _operations(rule: Rule, facts: _Facts) -> Condition | None:
    """The condition on the operation; None where the rule has none. A `never` operation must be named by the rule."""
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


def _dags(rule: Rule, facts: _Facts) -> Condition:
    wanted = _quoted(glob.text for glob in rule.dags)
    deny, dag_id = rule.effect is Effect.DENY, facts.dag_id
    if facts.request.plane is Plane.EGRESS:
        text = f"DAG {wanted} — the DAG of an outbound request is not known"
        return Condition(name="dags", holds=deny, text=text + (", so it is denied" if deny else ""))
    if not dag_id:
        return Condition(name="dags", holds=False, text=f"DAG {wanted} — the request names no DAG")
    if dag_id == ANY_DAG and facts.narrowed:
        kept = "Airflow keeps to all others" if deny else "Airflow keeps to these"
        return Condition(
            name="dags", holds=not deny, text=f"DAG {wanted} — the request may reach any DAG (`~`), {kept}"
        )
    if dag_id == ANY_DAG:
        holds = deny or any(glob.text == "*" for glob in rule.dags)
        return Condition(name="dags", holds=holds, text=f"DAG {wanted} — the request may reach any DAG (`~`)")
    return _condition("dags", (g.text for g in rule.dags), dag_id, holds=any(g.matches(dag_id) for g in rule.dags))


def _rule_json(rule: Considered) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "effect": rule.effect.value,
        "place": rule.place,
        "applies": rule.applies,
        "conditions": [{"name": c.name, "holds": c.holds, "text": c.text} for c in rule.conditions],
    }


def _decision_lines(explanation: Explanation) -> Iterator[str]:
    decision, request, identity = explanation.decision, explanation.request, explanation.identity
    verdict = "ALLOW" if isinstance(decision, Allow) else "DENY"
    by = f" by rule `{decision.rule}`" if decision.rule else ""
    yield f"{verdict} ({decision.reason}){by}: {ANSWERS[decision.reason].help}"
    yield f"  request    {request.plane} {request.method} {request.host}{request.path}"
    if decision.operation:
        dag = f", DAG `{decision.dag_id}`" if decision.dag_id else ""
        yield f"  operation  {decision.operation} ({explanation.template}){dag}"
        for text in filter(None, (dags_text(decision), decision.detail if isinstance(decision, Deny) else "")):
            yield f"  DAGs       {text}"
    elif request.plane is Plane.INBOUND:
        yield "  operation  none: the path and method are no route of the catalogue"
    if identity is None:
        yield "  identity   nobody: no valid token"
    else:
        yield f"  identity   {identity.claims.subject} of {identity.claims.issuer_name}"
        yield f"  groups     {', '.join(sorted(identity.claims.groups)) or 'none'}"
        yield f"  roles      {', '.join(sorted(identity.roles)) or 'none'}"
        yield f"  in Airflow {explanation.airflow_role or 'nobody'}"
    yield f"  policy     revision {explanation.revision[:12]}"


def _rule_lines(considered: Iterable[Considered]) -> Iterator[str]:
    yield "rules considered:"
    for rule in considered:
        verdict = "applies" if rule.applies else "does not apply"
        yield f"  {rule.effect} `{rule.rule}` ({rule.place}): {verdict}"
        for condition in rule.conditions:
            yield f"    {'✓' if condition.holds else '✗'} {condition.name}: {condition.text}"


def _nearest_lines(nearest: Considered | None) -> Iterator[str]:
    if nearest is None:
        return
    yield f"nearest rule that would allow: `{nearest.rule}` ({nearest.place})"
    for condition in nearest.missing:
        yield f"  missing {condition.name}: {condition.text}"
