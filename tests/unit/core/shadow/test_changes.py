"""A request that no changed rule is about is decided alike, and every other one is evaluated."""

import random

import pytest

from authz.core.decision.decide import evaluate
from authz.core.model import Plane
from authz.core.shadow import Changes
from authz.core.shadow.changes import MOST
from tests.support.factories import small_policies
from tests.support.factories.policies import ROLES, claims, identity, load, narrowing, request, run

RULES = """{id: read, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: pages, plane: inbound, roles: [viewer], paths: ["/x/**"]}
{id: orders, plane: egress, roles: [sales-etl], hosts: [orders.internal], methods: [GET], paths: ["/**"]}
"""
POLICIES = 60  # of each plane, most of them near the one before
PAIRS = 1_000
SEED = 20261130


def test_a_rule_that_only_moved_or_is_described_otherwise_is_no_change():
    described = RULES.replace("id: read,", "id: read, description: those who read,")
    changes = Changes(
        load(RULES), load('{id: late, plane: egress, roles: [op], hosts: [a.test], paths: ["/**"]}\n' + described)
    )
    who = identity("viewer")
    asked = request("GET", "/api/v2/dags")
    assert not changes.may_differ(asked, who, who, evaluate(asked, who, load(RULES)))


@pytest.mark.parametrize(
    ("added", "asked", "may"),
    [
        ('{id: pools, plane: inbound, roles: [viewer], operations: ["pools:read"]}', "/api/v2/pools", True),
        ('{id: pools, plane: inbound, roles: [viewer], operations: ["pools:read"]}', "/api/v2/dags", False),
        ('{id: pools, plane: inbound, roles: [op], operations: ["pools:read"]}', "/api/v2/pools", False),
        ('{id: named, plane: inbound, roles: [op], paths: ["/y"]}', "/y", True),  # of which the reason depends
        (
            '{id: some, plane: inbound, roles: [viewer], operations: ["dags:read"], dags: ["a*"]}',
            "/api/v2/dags/b",
            True,
        ),
    ],
)
def test_only_what_a_changed_rule_may_be_about_is_evaluated(added, asked, may):
    before, after = load(RULES), load(RULES + added)
    who, asked = identity("viewer"), request("GET", asked)
    assert Changes(before, after).may_differ(asked, who, who, evaluate(asked, who, before)) is may
    assert Changes(after, before).may_differ(asked, who, who, evaluate(asked, who, after)) is may


def test_other_roles_another_catalogue_and_many_changes_are_always_evaluated():
    before = load(RULES)
    who, asked = identity("viewer"), request("GET", "/api/v2/dags")
    decision = evaluate(asked, who, before)
    assert not Changes(before, before).may_differ(asked, who, identity("viewer"), decision)
    assert Changes(before, before).may_differ(asked, who, identity("op"), decision)
    assert Changes(before, before).may_differ(asked, who, None, decision)
    assert Changes(before, narrowing(before)).may_differ(asked, who, who, decision)
    many = RULES + "".join(f"{{id: r{n}, plane: inbound, roles: [op], paths: [/r{n}]}}\n" for n in range(MOST + 1))
    assert Changes(before, load(many)).may_differ(asked, who, who, decision)


@pytest.mark.parametrize(
    ("added", "asked", "concern", "may"),
    [
        ('{id: more, plane: inbound, roles: [viewer], operations: ["dags:read"]}', "/api/v2/dags", False, False),
        ('{id: no, deny: true, plane: inbound, operations: ["dags:read"]}', "/api/v2/dags", False, False),
        ('{id: no, deny: true, plane: inbound, operations: ["health:read"]}', "/api/v2/monitor/health", True, True),
        ('{id: no, deny: true, plane: inbound, operations: ["version:read"]}', "/api/v2/monitor/health", True, False),
        ('{id: all, public: true, plane: inbound, operations: ["version:read"]}', "/api/v2/version", True, True),
        ('{id: all, public: true, plane: inbound, operations: ["version:read"]}', "/api/v2/dags", True, False),
    ],
)
def test_what_an_anonymous_caller_may_do_depends_on_public_rules_and_what_denies_them(added, asked, concern, may):
    rules = RULES + '{id: health, public: true, plane: inbound, operations: ["health:read"]}\n'
    before, after = load(rules), load(rules + added)
    asked = request("GET", asked)
    decision = evaluate(asked, None, before)
    changes = Changes(before, after)
    assert (changes.concern_anonymous(decision), changes.may_differ(asked, None, None, decision)) == (concern, may)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("viewer: {", "viewer: {description: those who read, "), True),
        (("[data-readers]", "[data-readers, more]"), False),
        (("viewer:", "reader: {groups: [x]}\n  viewer:"), False),
        (("agent: true", "agent: false"), False),
    ],
)
def test_callers_are_the_same_where_their_roles_are(change, same):
    assert change[0] in ROLES
    before, after = load(RULES), load(RULES, roles=ROLES.replace(*change))
    assert Changes(before, after).same_callers is Changes(after, before).same_callers is same


def test_on_egress_every_change_counts():
    before = load(RULES)
    who = identity("sales-etl", run=run())
    asked = request("GET", "/v1", host="orders.internal", plane=Plane.EGRESS)
    decision = evaluate(asked, who, before)
    inbound = load(RULES.replace("/x/**", "/z/**"))
    assert not Changes(before, inbound).may_differ(asked, who, who, decision)
    assert Changes(before, load(RULES.replace("[GET]", "[POST]"))).may_differ(asked, who, who, decision)


@pytest.mark.parametrize("plane", [Plane.INBOUND, Plane.EGRESS])
def test_what_need_not_be_evaluated_is_decided_alike(plane):
    rng = random.Random(SEED)  # noqa: S311 no secret
    skipped, differed = 0, 0
    drawn = small_policies.near(rng, plane.value, POLICIES)
    for number in range(PAIRS):
        at = rng.randrange(1, POLICIES)
        before, after = (drawn[at - 1], drawn[at]) if number % 2 else rng.sample(drawn, 2)
        changes = Changes(before, after)
        for asked, calling in small_policies.requests(rng, plane, 12):
            ours, theirs = callers(rng, before, after, calling)
            decision, other = evaluate(asked, ours, before), evaluate(asked, theirs, after)
            if not changes.may_differ(asked, ours, theirs, decision):
                assert decision == other
                skipped += 1
            elif ours is None:
                assert changes.concern_anonymous(decision)
            differed += decision != other
    assert differed > PAIRS / 10
    assert skipped > PAIRS / 10


def callers(rng, before, after, calling):
    """The same caller under both policies."""
    kind = rng.random()
    if kind < 0.2:
        return None, None
    if calling is not None and kind < 0.5:
        return (identity(run=calling),) * 2
    groups = rng.sample(small_policies.GROUPS, rng.randint(0, 2))
    who = claims(groups=groups, client=rng.choice(["", "c0"]))
    found = before.identify(who), after.identify(who)
    for one in found:
        one.run = calling
    return found
