"""Which DAGs a decision grants, for every policy and request. The reference looks at every rule, one by one."""

import itertools
import re
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.decision.decide import evaluate
from authz.core.decision.explain import explain
from authz.core.model import Allow, DagGrant, Deny, Plane
from authz.core.policy import Effect, dags
from authz.core.policy.patterns import parse_dag
from authz.core.reasons import Reason
from tests.properties.test_policies import (
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
from tests.support.examples import examples
from tests.support.factories.policies import claims, load, narrowing, request

FEW = examples(100)
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
    """What the rules name together, without what one of the others covers; `|` stands in no DAG id."""
    texts = {text for _, one in found for text in one.get("dags", ("*",))}
    kept = {text for text in texts if not covers(texts - {text}, text.replace("*", "|"))}
    return tuple(sorted(kept))


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


def told(decision):
    """The decision but for the way in which the grant is told."""
    if not isinstance(decision, Allow) or decision.dags is None:
        return decision
    return replace(decision, dags=decision.dags[:2])


@contextmanager
def room_for(size):
    """The limit of what an assertion holds, scaled down so that most grants meet it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dags, "MAX_BYTES", size)
        yield


@FEW
@given(policies, some_asked, st.integers(0, 20))
def test_size_never_decides(table, asks, room):
    """Whatever fits into an assertion: the decision and the grant are the same, told by reference or not."""
    whole = narrowing(policy_of(table))
    expected = [evaluate(asked, who, whole) for asked, who in asks]
    with room_for(room):
        policy = narrowing(policy_of(table))
        for (asked, who), wanted in zip(asks, expected, strict=True):
            decision = evaluate(asked, who, policy)
            assert told(decision) == told(wanted)
            grant = decision.dags if isinstance(decision, Allow) else None
            if grant is not None and grant.reference:
                assert grant.reference == dags.reference_of(dags.grant_json(grant))


names = st.text("ab_*", min_size=1, max_size=5).filter(lambda text: "**" not in text)
globs = st.lists(names, min_size=1, max_size=8, unique=True)
teams = st.lists(globs, min_size=3, max_size=3)
WORDS = ["".join(word) for size in range(5) for word in itertools.product("ab_", repeat=size)]


def policy_of_teams(lists, denied=()):
    roles = "".join(f"\n  t{team}: {{groups: [g{team}]}}" for team in range(len(lists)))
    rules = [
        f"{{id: t{team}, plane: inbound, roles: [t{team}], operations: [dags:read], dags: {list(mine)}}}"
        for team, mine in enumerate(lists)
    ]
    rules += [f"{{id: no, deny: true, plane: inbound, dags: {list(denied)}}}"] if denied else []
    return narrowing(load("\n".join(rules), roles=roles + "\n"))


def listed(policy, groups):
    """The DAGs of the list that these groups see; None where it is denied."""
    who = policy.identify(claims(groups=[f"g{team}" for team in groups]))
    decision = evaluate(request("GET", "/api/v2/dags", narrowed=True), who, policy)
    return {word for word in WORDS if granted(decision.dags, word)} if isinstance(decision, Allow) else None


@FEW
@given(
    teams, st.one_of(st.just(()), globs), st.sets(st.integers(0, 2), min_size=1), st.integers(0, 2), st.integers(0, 40)
)
def test_one_more_group_never_takes_a_dag_away(lists, denied, groups, more, room):
    with room_for(room):
        policy = policy_of_teams(lists, denied)
        before, after = listed(policy, groups), listed(policy, groups | {more})
        assert after is not None
        assert before <= after


@FEW
@given(teams, st.one_of(st.just(()), globs), globs, st.sets(st.integers(0, 2), min_size=1), st.integers(0, 40))
def test_one_more_entry_never_takes_a_dag_away_and_one_less_never_gives_one(lists, denied, more, groups, room):
    with room_for(room):
        fewer, wider = policy_of_teams(lists, denied), policy_of_teams([{*lists[0], *more}, *lists[1:]], denied)
        assert listed(fewer, groups) <= listed(wider, groups)
        denied_more = policy_of_teams(lists, {*denied, *more})
        assert listed(denied_more, groups) <= listed(fewer, groups)


@FEW
@given(globs)
def test_what_is_left_of_globs_matches_the_same(texts):
    left = dags.reduced({text: parse_dag(text) for text in texts})
    for word in WORDS:
        assert covers(left, word) == covers(texts, word)
    for text in left:
        assert not covers([other for other in texts if other != text], text.replace("*", "|"))


def test_many_and_large_globs_of_many_groups_are_all_listed():
    """28 globs of 96 bytes for each of 40 groups: any number of groups sees what each of them may see."""
    lists = [[f"{team:02}{number:02}" + "x" * 91 + "*" for number in range(28)] for team in range(40)]
    policy = policy_of_teams(lists)
    for count in (1, 2, 3, 10, 40):
        who = policy.identify(claims(groups=[f"g{team}" for team in range(count)]))
        decision = evaluate(request("GET", "/api/v2/dags", narrowed=True), who, policy)
        assert isinstance(decision, Allow)
        assert set(decision.dags.allowed) == {glob for mine in lists[:count] for glob in mine}
        assert bool(decision.dags.reference) is (count > 2)


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
