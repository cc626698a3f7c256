"""Lint says what has ended, what ends late, and what deny rules stop to forbid."""

import pytest

from authz.core.documents.moments import parse_end
from authz.core.lint.ends import about_ends
from authz.core.lint.review import lint
from tests.support.factories.policies import load

NOW = parse_end("2026-11-30T10:00Z")
RULE = "{{id: readers, plane: inbound, roles: [viewer], operations: ['dags:read'], until: {}}}"


def found(rules, **parts):
    return [
        (one.severity.value, one.problem.line, one.problem.column, one.problem.message)
        for one in about_ends(load(rules, **parts), NOW)
    ]


@pytest.mark.parametrize(
    ("until", "severity", "message"),
    [
        ("2026-11-29", "warning", "the rule `readers` ended on 2026-11-30T00:00Z"),
        ("2026-11-30T10:00Z", "warning", "the rule `readers` ended on 2026-11-30T10:00Z"),
        ("2027-12-02", "note", "the rule `readers` ends on 2027-12-03T00:00Z, more than a year ahead"),
    ],
)
def test_a_past_end_is_a_warning_and_a_far_one_a_note(until, severity, message):
    assert found(RULE.format(until)) == [(severity, 16, 5, message)]


@pytest.mark.parametrize("until", ["2026-11-30T10:01Z", "2026-11-30", "2027-11-30"])
def test_an_end_within_a_year_is_what_it_is_for(until):
    assert found(RULE.format(until)) == []


def test_a_member_is_named_with_its_role_and_its_place():
    roles = "\n  viewer: {groups: [a, {name: b, until: 2026-11-01}]}\n"
    [(severity, line, column, message)] = found(RULE.format("2026-12-24"), roles=roles)
    assert (severity, line, column) == ("warning", 9, 24)
    assert message == "the group `b` of the role `viewer` ended on 2026-11-02T00:00Z"


def test_the_end_of_a_deny_rule_or_of_a_member_that_one_is_about_is_noted():
    deny = "{id: freeze, deny: true, plane: inbound, roles: [op], operations: ['dags:*'], until: 2026-12-24}"
    ends = "ends on 2026-12-25T00:00Z, and what deny rules forbid by it ends too"
    assert [one[3] for one in found(deny)] == [f"the rule `freeze` {ends}"]
    roles = "\n  base: {groups: [a]}\n  op: {clients: [{name: b, until: 2026-12-24}], includes: [base]}\n"
    deny = "{id: freeze, deny: true, plane: inbound, roles: [base], operations: ['dags:*']}"
    assert [one[3] for one in found(deny, roles=roles)] == [f"the client `b` of the role `op` {ends}"]


def messages(rules):
    return [one.problem.message for one in lint(load(rules))]


def test_a_deny_rule_that_ends_makes_no_rule_useless():
    deny = "{{id: no, deny: true, plane: inbound, operations: ['dags:*']{}}}\n" + RULE.replace("{}", "2026-12-24")
    dead = "the rule `readers` can never allow anything: the deny rule `no` covers it"
    assert dead in messages(deny.format(""))
    assert dead not in messages(deny.format(", until: 2026-12-01"))


def test_a_rule_that_ends_does_not_say_the_same_as_one_that_stays():
    same, other = (RULE.format(f"2026-12-0{day}").replace("readers", f"r{day}") for day in (1, 2))
    stays = other.replace(", until: 2026-12-02", "")
    twins = "the rule `r2` says the same as `r1`"
    assert twins in messages(f"{same}\n{other.replace('12-02', '12-01')}")
    assert twins not in messages(f"{same}\n{other}")
    assert twins not in messages(f"{same}\n{stays}")


def test_what_is_there_once_for_all_teams_is_said_once():
    top = 'version: 1\nteams:\n  - {names: [sales, hr], dags: ["{team}_*"]}'
    roles = '\n  "{team}-viewer": {groups: ["{team}-staff"]}\n'
    rule = (
        "{id: view, plane: inbound, roles: ['{team}-viewer'], operations: ['dags:read'], dags: team, until: 2026-11-01}"
    )
    [(severity, _line, _column, message)] = found(rule, roles=roles, top=top)
    assert (severity, message) == ("warning", "the rule `view` ended on 2026-11-02T00:00Z")
