"""What holds for every policy and every request. The reference here is written from the documentation, not the code."""

import re
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from authz.core import catalogue
from authz.core.decision.decide import evaluate
from authz.core.decision.explain import explain
from authz.core.errors import PolicyError
from authz.core.model import Allow, Deny, Plane, Request
from authz.core.policy import Effect
from authz.core.reasons import ANSWERS, Reason
from tests.support.examples import examples
from tests.support.factories.policies import identity, load, request

TABLE = catalogue.load("3.3")
FEW = examples(200)
ROLES = ("viewer", "user", "op", "copilot", "authenticated")


def some(*entries):
    return st.lists(st.sampled_from(entries), min_size=1, max_size=4, unique=True)


conditions = {
    "roles": some(*ROLES),
    "operations": some(
        "dags:read", "dag_runs:create", "dag_runs:*", "*:read", "*", "pools:*", "tokens:create", "dag_runs:bulk",
    ),
    "hosts": some("a.test", "b.a.test", "*.test", "*.a.test"),
    "methods": some("GET", "HEAD", "POST", "PATCH"),
    "paths": some(
        "/", "/x", "/x/{y}", "/x/y*", "/x/*z/{y}", "/**", "/api/v2/**", "/api/v2/dags", "/api/v2/dags/{d}",
        "/api/v2/dags/s_*/**", "/ui/auth/token", "/api/v2/dags/*_a/dagRuns",
    ),
    "dags": some("*", "s_*", "s_a", "*_a", "s*a", "x", "*_*"),
}  # fmt: skip


def rule(effect, *must, may=(), plane=None, **more):
    given_plane = {"plane": st.just(plane)} if plane else {}
    wanted = {"effect": st.just(effect), **given_plane, **{key: conditions[key] for key in must}, **more}
    return st.fixed_dictionaries(wanted, optional={key: conditions[key] for key in may})


public_paths = some("/x", "/x/1", "/api/v2/dags", "/api/v2/dags/s_a")
allow_rules = (
    rule("allow", "roles", "operations", may=("hosts", "methods", "dags"), plane="inbound")
    | rule("allow", "roles", "paths", may=("hosts", "methods", "dags", "operations"), plane="inbound")
    | rule("allow", "roles", "hosts", "paths", may=("methods", "dags"), plane="egress")
    | rule("allow", "roles", "hosts", "paths", may=("methods", "dags"))
    | rule("public", "methods", paths=public_paths)
    | rule("public", operations=some("dags:favorite", "version:read"), may=("methods",))
)
deny_rules = (
    rule("deny", "roles", may=("methods", "operations"))
    | rule("deny", "methods", may=("hosts", "roles"), plane="egress")
    | rule("deny", "paths", may=("hosts", "roles"))
    | rule("deny", "dags", may=("roles", "methods"), plane="inbound")
    | rule("deny", "dags", "hosts", plane="egress")
    | rule("deny", "operations", may=("dags", "roles", "hosts"), plane="inbound")
)
rules = st.one_of(allow_rules, allow_rules, allow_rules, allow_rules, deny_rules)
requests = st.builds(
    request,
    st.sampled_from(["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"]),
    st.sampled_from(
        [
            "/api/v2/dags/s_a/dagRuns", "/api/v2/dags/s_a", "/api/v2/dags", "/x", "/x/1", "/api/v2/dags/x/dagRuns",
            "/api/v2/dags/~/dagRuns", "/api/v2/pools", "/ui/auth/token", "/x/yes", "/x/fuzz/1", "/x/", "/", "/y",
            "/api/v2/dags/b/dagRuns", "/api/v2/pools/a%2Fb", "/api/v2/dags/s_a/", "/api/v2/nothing",
            "/api/v2/dags/sa/dagRuns", "/api/v2/dags/s_/dagRuns", "/api/v2/version",
        ]
    ),
    plane=st.sampled_from(["inbound", "inbound", "egress"]),
    host=st.sampled_from(["a.test", "b.a.test", "test", "c.b.a.test", "other"]),
)  # fmt: skip
somebody = st.lists(st.sampled_from(ROLES[:-1]), min_size=1, max_size=3).map(lambda names: identity(*names))
callers = st.sampled_from([None, identity()]) | somebody | somebody | somebody


def written(name, rule):
    """The rule as a line of YAML, which JSON is."""
    words = [f"id: {name}", *([f"{rule['effect']}: true"] if rule["effect"] != "allow" else [])]
    words += [f"plane: {rule['plane']}"] if "plane" in rule else []
    return "{" + ", ".join(words + [f"{key}: {str(rule[key])!s}" for key in conditions if key in rule]) + "}"


@cache
def valid(line):
    try:
        load(line)
    except PolicyError:
        return False
    return True


def named(drawn):
    """The valid ones of the drawn rules, by id; the ids' order is not the rules' order."""
    kept = [rule for rule in drawn if valid(written("x", rule))]
    return {f"r{(index * 7) % 11:02}": rule for index, rule in enumerate(kept)}


def policy_of(table, order=None):
    return load("\n".join(written(name, table[name]) for name in order or table))


policies = st.lists(rules, min_size=4, max_size=10).map(named)
several_asks = st.lists(st.tuples(requests, callers), min_size=1, max_size=12)


# The reference: every rule is looked at, every condition by a regular expression.


def glob(pattern):
    return "".join(".*" if character == "*" else re.escape(character) for character in pattern)


def path_regex(pattern):
    regex = ""
    for segment in pattern[1:].split("/"):
        if segment == "**":
            regex += "/.*"
        elif segment.startswith("{"):
            regex += "/[^/]+"
        else:
            regex += "/" + ("(?=[^/])" if "*" in segment else "") + glob(segment).replace(".*", "[^/]*")
    return regex


def dag_holds(rule, asked, route):
    if asked.plane is Plane.EGRESS:
        return rule["effect"] == "deny"
    dag = route.dag_id if route else ""
    if dag == "~":
        return rule["effect"] == "deny" or "*" in rule["dags"]
    return bool(dag) and any(re.fullmatch(glob(value), dag) for value in rule["dags"])


def holds(rule, key, asked, who, route):
    values = rule.get(key)
    if key == "operations" and route and TABLE.operations[route.operation].never and rule["effect"] != "deny":
        return route.operation in (values or ())
    if values is None:
        return True
    judge = {
        "roles": lambda: who is not None and bool({*who.roles, "authenticated"} & set(values)),
        "operations": lambda: route is not None and any(re.fullmatch(glob(v), route.operation) for v in values),
        "hosts": lambda: any(re.fullmatch(glob(value).replace(".*", ".+", 1), asked.host) for value in values),
        "methods": lambda: asked.method in values or (asked.method == "HEAD" and "GET" in values),
        "paths": lambda: any(re.fullmatch(path_regex(value), "/" + "/".join(asked.segments)) for value in values),
        "dags": lambda: dag_holds(rule, asked, route),
    }
    return judge[key]()


def planes(rule):
    return {rule["plane"]} if "plane" in rule else {"inbound"} if rule["effect"] == "public" else {"inbound", "egress"}


def reference(table, asked, who):
    route = TABLE.match(asked.segments, asked.method) if asked.plane is Plane.INBOUND else None
    applying = {"deny": [], "public": [], "allow": []}
    for name, rule in table.items():
        if asked.plane.value in planes(rule) and all(holds(rule, key, asked, who, route) for key in conditions):
            applying[rule["effect"]].append(name)
    if who is None and not applying["public"]:
        return Reason.NO_TOKEN, ""
    for effect, reason in (("deny", Reason.DENY_RULE), ("public", Reason.PUBLIC), ("allow", Reason.RULE)):
        if applying[effect]:
            return reason, min(applying[effect])
    return None, ""


@FEW
@given(policies, several_asks)
def test_the_index_agrees_with_the_plain_reference(table, asks):
    policy = policy_of(table)
    for asked, who in asks:
        decision = evaluate(asked, who, policy)
        reason, rule = reference(table, asked, who)
        assert decision.rule == rule
        if reason is None:
            assert decision.reason in {Reason.NO_ROLE, Reason.NO_RULE, Reason.UNKNOWN_ROUTE}
        else:
            assert decision.reason is reason
        assert isinstance(decision, Allow) is (ANSWERS[decision.reason].grpc == 0)


@FEW
@given(policies, st.randoms(use_true_random=False), several_asks)
def test_the_order_of_rules_never_matters(table, random, asks):
    order = list(table)
    random.shuffle(order)
    one, other = policy_of(table), policy_of(table, order)
    for asked, who in asks:
        assert evaluate(asked, who, one) == evaluate(asked, who, other)


@FEW
@given(policies, rules.filter(lambda drawn: valid(written("x", drawn))), several_asks)
def test_an_allow_rule_only_widens_and_a_deny_rule_only_narrows(table, more, asks):
    for name in ("a", "z"):
        before, after = policy_of(table), policy_of({**table, name: more})
        for asked, who in asks:
            was, now = (isinstance(evaluate(asked, who, policy), Allow) for policy in (before, after))
            assert (now or not was) if more["effect"] != "deny" else (was or not now)


@FEW
@given(policies, several_asks)
def test_an_explanation_has_the_decision_and_the_rules_that_led_to_it(table, asks):
    policy = policy_of(table)
    for asked, who in asks:
        explanation, decision = explain(asked, who, policy), evaluate(asked, who, policy)
        assert explanation.decision == decision
        assert len(explanation.considered) == sum(asked.plane.value in planes(rule) for rule in table.values())
        applying = {
            effect: [c.rule for c in explanation.considered if c.applies and c.effect is effect] for effect in Effect
        }
        if decision.reason in {Reason.DENY_RULE, Reason.PUBLIC, Reason.RULE}:
            effect = {"deny_rule": Effect.DENY, "public": Effect.PUBLIC, "rule": Effect.ALLOW}[decision.reason]
            assert decision.rule == min(applying[effect])
        elif decision.reason is not Reason.NO_TOKEN:
            assert not any(applying.values())
        if isinstance(decision, Deny) and explanation.nearest and decision.reason is not Reason.DENY_RULE:
            assert explanation.nearest.missing
        assert all(explanation.lines())
        assert explanation.as_json()["reason"] == decision.reason


odd_requests = st.builds(
    lambda segments, **parts: Request(port=None, path="/" + "/".join(segments), segments=segments, **parts),
    segments=st.lists(st.text(max_size=12), min_size=1, max_size=9).map(tuple),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    plane=st.sampled_from(Plane),
    host=st.text(max_size=12),
)


@FEW
@given(policies, odd_requests, callers | st.lists(st.text(max_size=4), max_size=3).map(lambda names: identity(*names)))
def test_evaluate_is_total(table, asked, who):
    decision = evaluate(asked, who, policy_of(table))
    assert isinstance(decision, Allow | Deny)
    assert not isinstance(decision, Allow) or decision.rule in table
