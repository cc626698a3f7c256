"""The coverage of rules and conditions by its definition: each rule is compared with each request, one by one."""

from authz.core.decision.conditions import Facts, conditions
from authz.core.decision.decide import route_of

RUN = ("dags", "tasks")
_KEYS = ("roles", "operations", "hosts", "destinations", "methods", "paths", "dags", "tasks", "identity")


def uncovered(policy, asked):
    """Pairs of rule and condition, "" for the rule itself, as `authz.core.cases.coverage` orders them."""
    found = []
    for rule in policy.rules.values():
        missing = [
            [
                condition.name
                for condition in conditions(rule, facts(policy, request, identity))
                if not condition.holds and not _none(rule, condition.name)
            ]
            for request, identity in asked
            if request.plane in rule.planes and not request.outside
        ]
        found += [] if [] in missing else [(rule.id, "")]
        found += [(rule.id, key) for key in _KEYS if _counts(rule, key) and [key] not in missing]
    return found


def _counts(rule, key):
    """A known run is needed for `dags` and `tasks` anyway: beside them `identity: asserted` asks for nothing more."""
    if key == "identity" and rule.identity == "asserted":
        return not any(getattr(rule, one) and not _none(rule, one) for one in RUN)
    return bool(getattr(rule, key)) and not _none(rule, key)


def _none(rule, key):
    """Whether a condition keeps nothing out: every path, or every run, which `identity` wants to be known."""
    texts = {getattr(one, "text", one) for one in getattr(rule, key) or ()}
    return "/**" in texts if key == "paths" else key in RUN and "*" in texts and rule.planes == {"egress"}


def facts(policy, request, identity):
    return Facts(request=request, identity=identity, route=route_of(request, policy), policy=policy)
