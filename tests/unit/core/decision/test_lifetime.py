"""What ends says until when; what has ended says since when, where it would have applied."""

from authz.core.decision.decide import evaluate
from authz.core.decision.explain import explain
from authz.core.decision.lifetime import lifetime
from authz.core.documents.moments import parse_end
from authz.core.policy import as_of
from tests.support.factories.policies import claims, load, request

RULES = """{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2026-12-01T12:00Z}
{id: pools, plane: inbound, roles: [viewer], operations: ["pools:read"]}
{id: orders, plane: egress, roles: [viewer], hosts: [orders.internal], paths: ["/**"], until: 2026-12-01T12:00Z}
{id: freeze, deny: true, plane: inbound, operations: ["pools:read"], hosts: [frozen], until: 2026-12-01T12:00Z}"""
ROLES = """
  viewer: {groups: [data-readers, {name: contractors, until: 2026-12-02T00:00Z}]}
  op: {clients: [{name: ops, until: 2026-12-02T00:00Z}], includes: [viewer]}
  boss: {subjects: [{name: anna, until: 2026-12-02T00:00Z}]}
"""
WRITTEN = load(RULES, roles=ROLES)
AFTER = as_of(WRITTEN, parse_end("2026-12-01T12:00Z"))
LATER = as_of(WRITTEN, parse_end("2026-12-02T00:00Z"))
DAGS, POOLS = "/api/v2/dags", "/api/v2/pools"


def said(policy, path, *, host="airflow.example.com", **who):
    asked, identity = request("GET", path, host=host), policy.identify(claims(**who)) if who else None
    return [*lifetime(asked, identity, evaluate(asked, identity, policy), policy)]


def test_the_end_of_the_rule_that_decided_is_said():
    assert said(WRITTEN, DAGS, groups=["data-readers"]) == ["the rule `readers` holds until 2026-12-01T12:00Z"]
    assert said(WRITTEN, POOLS, groups=["data-readers"]) == []
    assert said(WRITTEN, POOLS, host="frozen", groups=["data-readers"]) == [
        "the rule `freeze` holds until 2026-12-01T12:00Z"
    ]


def test_the_end_of_a_membership_that_gives_one_of_its_roles_is_said():
    group = "the group `contractors` has the role `viewer` until 2026-12-02T00:00Z"
    assert said(WRITTEN, POOLS, groups=["contractors"]) == [group]
    assert said(WRITTEN, POOLS, client="ops") == ["the client `ops` has the role `op` until 2026-12-02T00:00Z"]
    assert said(WRITTEN, POOLS, subject="anna", groups=["data-readers"]) == [], "it gives none of the rule's roles"


def test_what_ended_and_would_have_applied_is_said_of_a_denial():
    ended = "the rule `readers` would have applied: it ended on 2026-12-01T12:00Z"
    assert said(AFTER, DAGS, groups=["data-readers"]) == [ended]
    assert said(AFTER, DAGS, groups=["strangers"]) == []
    assert said(AFTER, POOLS, host="frozen", groups=["data-readers"]) == [], "it is allowed"


def test_what_a_membership_gave_is_said_of_a_denial():
    assert said(LATER, POOLS, groups=["contractors"]) == [
        "the group `contractors` had the role `viewer`: that ended on 2026-12-02T00:00Z"
    ]
    assert said(LATER, POOLS, subject="anna") == [
        "the subject `anna` had the role `boss`: that ended on 2026-12-02T00:00Z"
    ]
    assert said(LATER, POOLS) == [], "anonymous"


def conditions_of(policy, rule, path=DAGS):
    asked, identity = request("GET", path), policy.identify(claims(groups=["data-readers"]))
    found = explain(asked, identity, policy)
    [considered] = [one for one in found.considered if one.rule == rule]
    return found, [(one.name, one.holds, one.text) for one in considered.conditions if one.name == "until"]


def test_explain_has_the_end_as_a_condition_of_the_rule():
    found, until = conditions_of(WRITTEN, "readers")
    assert (found.decision.rule, until) == ("readers", [("until", True, "until 2026-12-01T12:00Z")])
    assert conditions_of(WRITTEN, "pools")[1] == []


def test_explain_shows_an_ended_rule_as_the_nearest_one():
    found, until = conditions_of(AFTER, "readers")
    assert until == [("until", False, "ended on 2026-12-01T12:00Z")]
    assert (found.nearest.rule, [one.name for one in found.nearest.missing]) == ("readers", ["until"])
    assert "  missing until: ended on 2026-12-01T12:00Z" in found.lines()
