"""The coverage of rules and conditions by its definition: each rule is compared with each request, one by one."""

from authz.core.decision.conditions import Facts, conditions
from authz.core.decision.decide import route_of

_KEYS = ("roles", "operations", "hosts", "destinations", "methods", "paths", "dags", "tasks", "identity")


def uncovered(policy, asked):
    """Pairs of rule and condition, "" for the rule itself, as `authz.core.cases.coverage` orders them."""
    found = []
    for rule in policy.rules.values():
        missing = [
            [condition.name for condition in conditions(rule, facts(policy, request, identity)) if not condition.holds]
            for request, identity in asked
            if request.plane in rule.planes and not request.outside
        ]
        found += [] if [] in missing else [(rule.id, "")]
        found += [(rule.id, key) for key in _KEYS if _counts(rule, key) and [key] not in missing]
    return found


def _counts(rule, key):
    """A known run is needed for `dags` and `tasks` anyway: beside them `identity: asserted` asks for nothing more."""
    return bool(getattr(rule, key)) and not (
        key == "identity" and rule.identity == "asserted" and (rule.dags or rule.tasks)
    )


def facts(policy, request, identity):
    return Facts(request=request, identity=identity, route=route_of(request, policy), policy=policy)
