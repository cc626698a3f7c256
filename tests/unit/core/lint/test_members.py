"""Lint finds a member of a role that is nearly another one which the policy names."""

import pytest

from authz.core.lint import members
from authz.core.lint.members import near_members
from tests.support.factories.policies import load

RULE = "{id: readers, plane: inbound, roles: [a], operations: ['dags:read']}"


def found(roles, top="version: 1", rules=RULE):
    return [(one.line, one.message) for one in near_members(load(rules, roles=f"\n{roles}\n", top=top))]


def names(one, other, kind="groups"):
    return found(f"  a: {{{kind}: [{one}, x]}}\n  b: {{{kind}: [{one}]}}\n  c: {{{kind}: [{other}]}}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("contractors", "contractor"),
        ("billing-leads", "bilingg-leads"),  # a letter is doubled at another place
        ("sales-leads", "sales-laeds"),
        ("data_science.readers", "data_science.redaers"),
        ("data-ops", "Data-Ops"),
        ("corp/platform:admins", "corp/platfrom:admins"),
        ("operators", "operatirs"),
    ],
)
def test_a_name_that_is_nearly_another_is_a_note_with_both_places(one, other):
    message = f"the role `c` has the group `{other}`, and the role `a` at policy.yaml:9:3 has `{one}`"
    assert names(one, other) == [(11, message)]
    [client] = names(one, other, "clients")
    assert client[1] == message.replace("group", "client")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sales-leaders", "sales-readers"),  # the first letter is seldom a slip
        ("sales-de", "sales-dk"),
        ("shift-2026", "shift-2027"),
        ("team0001", "team0002"),
        ("sales-leads", "hr-laeds"),
        ("operators", "operations"),
        ("analysts-eu", "analyst-us"),
        ("data-ops", "data.ops"),
        ("data", "database"),
    ],
)
def test_names_that_may_well_be_two_are_no_finding(one, other):
    assert names(one, other) == []


def test_names_that_more_than_one_role_has_are_both_meant():
    assert found("  a: {groups: [lead, leads]}\n  b: {groups: [lead]}\n  c: {groups: [leads]}") == []
    assert found("  a: {groups: [lead]}\n  b: {clients: [leads]}") == []


def test_of_two_that_are_there_once_the_later_is_named():
    assert [line for line, _ in found("  a: {groups: [lead]}\n  b: {groups: [leads]}")] == [10]
    assert [line for line, _ in found("  a: {groups: [lead, leads]}")] == [9]


def test_what_the_file_has_once_for_all_teams_is_said_once_and_teams_are_not_compared():
    top = 'version: 1\nteams:\n  - {names: [sale, sales], dags: ["{team}_*"]}'
    role = '  a: {groups: [x]}\n  "{team}-viewer": {groups: ["{team}-leads"]}'
    rules = RULE + "\n" + RULE.replace("readers", "views").replace("[a]", "['{team}-viewer']")[:-1] + ", dags: team}"
    assert found(role, top, rules) == []
    assert len(found(role.replace("[x]", "[sales-laeds]"), top, rules)) == 1
    [(_, message)] = found(role + '\n  "{team}-op": {groups: ["{team}-laeds"]}', top, rules)
    assert message.startswith("the role `sale-op` has the group `sale-laeds`, and the role `sale-viewer` at ")


def test_of_very_many_like_each_other_none_is_compared(monkeypatch):
    monkeypatch.setattr(members, "_MOST_LIKE", 1)
    assert names("contractors", "contractor") == []
