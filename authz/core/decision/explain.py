"""Explains why a request is allowed or denied: each rule, condition by condition, and what was missing.

Law: the decision comes from `decide.evaluate`, which also serves requests. The conditions are evaluated one by one,
without the index (`authz.core.decision.conditions`); tests compare the two.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from authz.core.characters import one_line
from authz.core.decision.conditions import Condition, Facts, conditions
from authz.core.decision.decide import evaluate, route_of
from authz.core.decision.lifetime import condition as end_of
from authz.core.decision.rights import airflow_role, dags_json, dags_text
from authz.core.model import Allow, Decision, Deny, Identity, Plane, Request, Run
from authz.core.policy import Effect, Policy, Rule
from authz.core.policy.rules import AIRFLOW_ROLES, RESERVED, written
from authz.core.reasons import ANSWERS, Reason

# How far a rule is from applying, by what is missing: a rule about something else is no help to the reader, one for the
# same operation that lacks the role is, and one that lacks only the DAG, the task or a higher level is nearer still.
_DISTANCES: Final = {"until": 1, "identity": 1, "dags": 1, "tasks": 1, "roles": 2}
_ABOUT_SOMETHING_ELSE: Final = 8
_STRENGTH: Final = {RESERVED + role: number for number, role in enumerate(AIRFLOW_ROLES, 1)}  # of built-in roles' rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """One rule of the request's plane, with its conditions; `team` where it is a team's, of a rule for all teams."""

    rule: str
    team: str
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
_ASKS_FOR_A_RULE: Final = frozenset(
    {Reason.NO_RULE, Reason.NO_ROLE, Reason.NO_TOKEN, Reason.UNKNOWN_ROUTE, Reason.IDENTITY_TOO_WEAK}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision with its grounds. `considered` has the rules that apply first, then the nearest to applying.

    `nearest` is the rule that would allow the request with the fewest changes; None when it is allowed, and when a deny
    rule won, which another rule cannot override.
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
            "port": self.request.port,
            "path": self.request.path,
            "destination": self.request.destination,
            "route": self.template,
            "operation": decision.operation,
            "dag": decision.dag_id,
            "dags": dags_json(decision),
            "subject": identity.claims.subject if identity else None,
            "issuer": identity.claims.issuer_name if identity else None,
            "groups": sorted(identity.claims.groups) if identity else [],
            "roles": sorted(identity.roles) if identity else [],
            "airflow_role": self.airflow_role,
            "run": _run_json(identity.run) if identity and identity.run else None,
            "revision": self.revision,
            "considered": [_rule_json(rule) for rule in self.considered],
            "nearest": _rule_json(self.nearest) if self.nearest else None,
        }

    def lines(self) -> list[str]:
        """The same as text for a terminal: each is one line, whatever a rule, a request or a token says."""
        return [*map(one_line, (*_decision_lines(self), *_rule_lines(self.considered), *_nearest_lines(self.nearest)))]


def explain(request: Request, identity: Identity | None, policy: Policy) -> Explanation:
    """Decide, and say why."""
    route = route_of(request, policy)
    facts = Facts(request=request, identity=identity, route=route, policy=policy)
    considered = sorted(
        (_consider(rule, facts) for rule in (*policy.rules.values(), *policy.ended) if request.plane in rule.planes),
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
        airflow_role=airflow_role(identity, decision) if identity and isinstance(decision, Allow) else role,
    )


def _nearness(rule: Considered) -> tuple[bool, bool, int, int, str]:
    """Sort key: rules that apply first, deny rules leading; then the nearest to applying, deny rules last.

    Among equally near rules, the policy's own come before those of built-in roles, and the weakest of these first: a
    reader who needs one permission is not sent to a role that has all.
    """
    deny = rule.effect is Effect.DENY
    return not rule.applies, deny != rule.applies, rule.distance, _STRENGTH.get(rule.rule, 0), rule.rule


def _consider(rule: Rule, facts: Facts) -> Considered:
    return Considered(
        rule=rule.id,
        team=rule.team,
        effect=rule.effect,
        place=facts.policy.where(rule),
        conditions=(*conditions(rule, facts), *end_of(rule, facts.policy)),
    )


def _run_json(run: Run) -> dict[str, Any]:
    return {**run._asdict(), "level": run.level.value}


def _run_text(run: Run) -> str:
    task = run.task_id if run.map_index < 0 else f"{run.task_id}[{run.map_index}]"
    named = f"task `{task}`" if task else "no task named"
    return f"{run.level}: DAG `{run.dag_id}`, {named}, run `{run.run_id}`, try {run.try_number}"


def _rule_json(rule: Considered) -> dict[str, Any]:
    return {
        "rule": rule.rule,
        "team": rule.team or None,
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
    where = request.host if request.port is None or request.path else f"{request.host}:{request.port}"
    yield f"  request    {request.plane} {request.method} {where}{request.path}"
    if request.destination:
        yield f"  goes to    {request.destination}"
    if decision.operation:
        dag = f", DAG `{decision.dag_id}`" if decision.dag_id else ""
        yield f"  operation  {decision.operation} ({explanation.template}){dag}"
        for text in filter(None, (dags_text(decision), decision.detail if isinstance(decision, Deny) else "")):
            yield f"  DAGs       {text}"
    elif request.plane is Plane.INBOUND:
        yield "  operation  none: the path and method are no route of the catalogue"
    elif isinstance(decision, Deny) and decision.detail:
        yield f"  because    {decision.detail}"
    if identity is None:
        yield "  identity   anonymous: no valid token"
    else:
        yield f"  identity   {identity.claims.subject} of {identity.claims.issuer_name}"
        yield f"  groups     {', '.join(sorted(identity.claims.groups)) or 'none'}"
        yield f"  roles      {', '.join(sorted(identity.roles)) or 'none'}"
        if identity.run:
            yield f"  run        {_run_text(identity.run)}"
        yield f"  in Airflow {explanation.airflow_role or 'no role'}"
    yield f"  policy     revision {explanation.revision[:12]}"


def _rule_lines(considered: Iterable[Considered]) -> Iterator[str]:
    """The rules; of the rules for all teams those that apply, and the one that is nearest to it."""
    yield "rules considered:"
    others = Counter(written(rule.rule) for rule in considered if rule.team and not rule.applies)
    shown: set[str] = set()
    for rule in considered:
        name = written(rule.rule) if rule.team else rule.rule
        if name in shown and rule.team and not rule.applies:
            continue
        verdict = "applies" if rule.applies else "does not apply"
        yield f"  {rule.effect} `{rule.rule}` ({rule.place}): {verdict}"
        for condition in rule.conditions:
            yield f"    {'✓' if condition.holds else '✗'} {condition.name}: {condition.text}"
        if rule.team and name not in shown and (more := others[name] - (not rule.applies)):
            yield f"    and for {more} other team{'s' * (more > 1)}, whose `{name}` does not apply"
        shown.add(name)


def _nearest_lines(nearest: Considered | None) -> Iterator[str]:
    if nearest is None:
        return
    yield f"nearest rule that would allow: `{nearest.rule}` ({nearest.place})"
    for condition in nearest.missing:
        yield f"  missing {condition.name}: {condition.text}"
