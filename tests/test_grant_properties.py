"""Which DAGs a decision grants, for every policy and request. The reference looks at every rule, one by one."""

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.decide import evaluate
from authz.explain import explain
from authz.model import Allow, DagGrant, Deny, Plane
from authz.policy import Effect
from authz.reasons import Reason
from tests.policies import narrowing, request
from tests.test_policy_properties import (
    allow_rules,
    callers,
    conditions,
    deny_rules,
    glob,
    holds,
    named,
    odd_requests,
    planes,
    policies,
    policy_of,
    rule,
    rules,
    somebody,
    valid,
    written,
)  # fmt: skip

FEW = settings(max_examples=100, deadline=None)
IDS = ("s_a", "s_b", "b_a", "s", "sa", "x", "s_", "secret", "*", "s_*", "S_a", "é_a", "a" * 300)
OPERATIONS = ("dags:read", "dag_runs:*", "*:read", "*", "pools:*")
TARGETS = (
    "/api/v2/dags", "/api/v2/dags/~/dagRuns", "/api/v2/dags/%7E/dagRuns", "/api/v2/dags/s_a/dagRuns", "/api/v2/dags/x",
    "/api/v2/dags/~/dagRuns/~/dagRuns", "/api/v2/dagStats", "/api/v2/backfills", "/api/v2/pools", "/x", "/x/1",
    "/api/v2/dags/s_a/dagRuns/list", "/api/v2/dags/*/dagRuns", "/api/v2/dags/~/dagRuns/list", "/api/v2/dags/b_a",
)  # fmt: skip
asked_for = st.builds(
    request,
    st.sampled_from(["GET", "HEAD", "POST", "PATCH", "DELETE"]),
    st.sampled_from(TARGETS),
    plane=st.sampled_from(["inbound", "inbound", "inbound", "egress"]),
    host=st.sampled_from(["a.test", "other"]),
    narrowed=st.booleans(),
)
some_asked = st.lists(st.tuples(asked_for, callers), min_size=1, max_size=12)
some_asked_by_somebody = st.lists(st.tuples(asked_for, somebody), min_size=1, max_size=8)

# Rules about operations and DAGs, with nothing that tells a list from the DAGs in it.
by_operation = st.one_of(
    rule(
        "allow", "roles", may=("dags",), plane="inbound", operations=st.lists(st.sampled_from(OPERATIONS), min_size=1)
    ),
    rule("deny", "dags", may=("roles",), plane="inbound"),
    rule("deny", "roles", "dags", plane="inbound", operations=st.lists(st.sampled_from(OPERATIONS), min_size=1)),
)


def covers(texts, dag_id):
    return any(re.fullmatch(glob(text), dag_id, re.DOTALL) for text in texts)


def granted(grant, dag_id):
    return covers(grant.allowed, dag_id) and not covers(grant.denied, dag_id)


def apart_from_dags(table, effect, asked, who, route):
    others = [key for key in conditions if key != "dags"]
    for name, found in sorted(table.items()):
        concerned = found["effect"] == effect and asked.plane.value in planes(found)
        if concerned and all(holds(found, key, asked, who, route) for key in others):
            yield name, found


def union(found):
    texts = {text for _, one in found for text in one.get("dags", ("*",))}
    return ("*",) if "*" in texts else tuple(sorted(texts))


def reference(table, policy, asked, who):
    """(reason, rule, grant) of an allow; None of a denial."""
    route = policy.catalogue.match(asked.segments, asked.method) if asked.plane is Plane.INBOUND else None
    narrowed = who is not None and asked.narrowed and route is not None and route.narrowed
    deny, public, allow = (
        list(apart_from_dags(table, effect, asked, who, route)) for effect in ("deny", "public", "allow")
    )

    def concerning(found, *, whole):
        if narrowed:
            return [name for name, one in found if "dags" not in one or not whole]
        return [name for name, one in found if "dags" not in one or holds(one, "dags", asked, who, route)]

    if who is None and not public:
        return None
    if concerning(deny, whole=True):
        return None
    granting = public or allow
    ids = concerning(granting, whole=False)
    if not ids:
        return None
    grant = DagGrant(union(granting), union(deny)) if who is not None and asked.plane is Plane.INBOUND else None
    return Reason.PUBLIC if public else Reason.RULE, min(ids), grant


@FEW
@given(policies, some_asked)
def test_the_grant_is_that_of_looking_at_every_rule(table, asks):
    policy = narrowing(policy_of(table))
    for asked, who in asks:
        decision = evaluate(asked, who, policy)
        expected = reference(table, policy, asked, who)
        got = (decision.reason, decision.rule, decision.dags) if isinstance(decision, Allow) else None
        assert got == expected


@FEW
@given(policies, st.randoms(use_true_random=False), some_asked)
def test_the_order_of_rules_never_matters(table, random, asks):
    order = list(table)
    random.shuffle(order)
    one, other = narrowing(policy_of(table)), narrowing(policy_of(table, order))
    for asked, who in asks:
        assert evaluate(asked, who, one) == evaluate(asked, who, other)


@FEW
@given(
    policies,
    (allow_rules | deny_rules | rules).filter(lambda drawn: valid(written("x", drawn))),
    some_asked_by_somebody,
)
def test_an_allow_rule_only_widens_the_grant_and_a_deny_rule_only_narrows_it(table, more, asks):
    for name in ("a", "z"):
        before, after = (narrowing(policy_of(rows)) for rows in (table, {**table, name: more}))
        for asked, who in asks:
            was, now = (evaluate(asked, who, policy) for policy in (before, after))
            less, most = (was, now) if more["effect"] != "deny" else (now, was)
            assert isinstance(most, Allow) or isinstance(less, Deny)
            if isinstance(less, Allow) and less.dags is not None:
                assert all(granted(most.dags, dag_id) for dag_id in IDS if granted(less.dags, dag_id))


@FEW
@given(st.lists(by_operation, min_size=1, max_size=8).map(named), somebody)
def test_a_list_shows_the_dags_that_may_be_opened_and_no_others(table, who):
    """For every DAG: its own page is allowed if, and only if, the narrowed list shows it."""
    policy = narrowing(policy_of(table))
    for method, every, one in (
        ("GET", "/api/v2/dags", "/api/v2/dags/{}"),
        ("GET", "/api/v2/dags/~/dagRuns", "/api/v2/dags/{}/dagRuns"),
    ):
        listed = evaluate(request(method, every, narrowed=True), who, policy)
        for dag_id in IDS:
            opened = evaluate(request(method, one.format(dag_id.replace("é", "%C3%A9")), narrowed=True), who, policy)
            shown = isinstance(listed, Allow) and granted(listed.dags, dag_id)
            assert isinstance(opened, Allow) is shown
            if shown:
                assert granted(opened.dags, dag_id)


@FEW
@given(policies, some_asked_by_somebody)
def test_what_is_allowed_is_granted_and_airflow_is_never_left_to_guess(table, asks):
    policy = narrowing(policy_of(table))
    for asked, who in asks:
        decision = evaluate(asked, who, policy)
        if isinstance(decision, Allow) and asked.plane is Plane.INBOUND:
            assert decision.dags is not None
            assert decision.dag_id in {"", "~"} or granted(decision.dags, decision.dag_id)
            if decision.dag_id == "~" and not (
                asked.narrowed and policy.catalogue.match(asked.segments, asked.method).narrowed
            ):
                assert decision.dags == DagGrant(("*",))
        else:
            assert not isinstance(decision, Allow) or decision.dags is None


@FEW
@given(policies, asked_for, callers)
def test_narrowing_changes_nothing_but_lists_that_airflow_narrows(table, asked, who):
    policy = narrowing(policy_of(table))
    plain = request(asked.method, asked.path, plane=asked.plane, host=asked.host)
    route = policy.catalogue.match(asked.segments, asked.method)
    if who is None or asked.plane is Plane.EGRESS or route is None or not route.narrowed:
        assert evaluate(asked, who, policy) == evaluate(plain, who, policy)
    elif isinstance(evaluate(plain, who, policy), Allow):
        assert isinstance(evaluate(asked, who, policy), Allow)


@FEW
@given(policies, some_asked)
def test_an_explanation_has_the_rules_that_led_to_the_decision(table, asks):
    policy = narrowing(policy_of(table))
    for asked, who in asks:
        explanation, decision = explain(asked, who, policy), evaluate(asked, who, policy)
        assert explanation.decision == decision
        applying = {
            effect: [c.rule for c in explanation.considered if c.applies and c.effect is effect] for effect in Effect
        }
        if decision.reason in {Reason.DENY_RULE, Reason.PUBLIC, Reason.RULE}:
            effect = {"deny_rule": Effect.DENY, "public": Effect.PUBLIC, "rule": Effect.ALLOW}[decision.reason]
            assert decision.rule == min(applying[effect])
        elif decision.reason is not Reason.NO_TOKEN:
            assert not any(applying.values())
        assert all(explanation.lines())


@FEW
@given(policies, odd_requests, callers, st.booleans())
def test_evaluate_is_total(table, asked, who, narrowed):
    policy = narrowing(policy_of(table))
    decision = evaluate(replace(asked, narrowed=narrowed), who, policy)
    assert isinstance(decision, Allow | Deny)
