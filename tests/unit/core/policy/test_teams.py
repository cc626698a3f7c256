"""Teams: what one role and one rule for all of them become, and the limits. Mistakes are in tests/cases/invalid."""

from pathlib import Path

import pytest

from authz.core.documents.yaml_document import parse
from authz.core.errors import PolicyError
from authz.core.policy import Bundle, json_schema, load
from authz.core.policy.draft import draft
from authz.core.policy.team_schema import parse_team_dag
from tests.support.factories import policies

FORTY = Path(__file__).parents[3] / "cases" / "policies" / "forty-teams.yaml"
TOP = """version: 1
teams:
  - {names: [sales, hr], dags: ["{team}_*", "{team}.*"]}
  - {names: [finance], dags: ["{team}_*", billing]}"""
ROLES = """
  "{team}-viewer": {groups: ["airflow-{team}-viewers", platform], description: "Readers of {team}"}
  "{team}-owner": {clients: ["{team}-ci"], subjects: ["{team}-s"], includes: ["{team}-viewer"], airflow: op}
  auditor: {groups: [audit], includes: [sales-viewer]}
"""
RULES = """
{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: team, description: "for {team}"}
{id: own, plane: inbound, roles: ["{team}-owner"], operations: ["dags:delete"]}
{id: calls, plane: egress, dags: team, hosts: [a.internal], paths: ["/x/{id}"]}
{id: audit, plane: inbound, roles: [auditor, hr-viewer], operations: ["dags:read"], dags: [team]}
"""


def made(rules=RULES, roles=ROLES, top=TOP):
    return policies.load(rules, roles=roles, top=top)


def problems(rules=RULES, roles=ROLES, top=TOP):
    with pytest.raises(PolicyError) as caught:
        made(rules, roles, top)
    return [f"{problem.line}: {problem.message}" for problem in caught.value.problems]


def test_forty_teams_with_three_levels_take_less_than_25_lines():
    text = FORTY.read_text()
    policy = load(Bundle(text.encode(), "policy.yaml"))
    assert len(text.splitlines()) < 25
    assert len({role.team for role in policy.roles.values() if role.team}) == 40
    assert len([role for role in policy.roles.values() if role.team]) == 40 * 3
    assert len([rule for rule in policy.rules.values() if rule.team]) == 40 * 6


def test_each_team_has_roles_of_its_own():
    roles = made().roles
    assert [name for name in roles if roles[name].team] == [
        "sales-viewer", "hr-viewer", "finance-viewer", "sales-owner", "hr-owner", "finance-owner",
    ]  # fmt: skip
    assert roles["hr-viewer"].groups == {"airflow-hr-viewers", "platform"}
    assert roles["hr-viewer"].description == "Readers of hr"
    owner = roles["finance-owner"]
    assert (owner.clients, owner.subjects, owner.airflow) == ({"finance-ci"}, {"finance-s"}, "op")
    assert owner.includes == {"finance-owner", "finance-viewer"}
    assert (owner.team, roles["auditor"].team) == ("finance", "")
    assert (owner.line, owner.column) == (13, 3)


def test_each_team_has_a_rule_of_its_own():
    rules = made().rules
    assert list(rules) == [
        "audit", *(f"{name}/{team}" for name in ("calls", "own", "view") for team in ("finance", "hr", "sales")),
    ]  # fmt: skip
    view = rules["view/finance"]
    assert (view.team, view.written, view.roles, view.description) == (
        "finance",
        "view",
        ("finance-viewer",),
        "for finance",
    )
    assert [glob.text for glob in view.dags] == ["finance_*", "billing"]
    assert (rules["own/hr"].dags, rules["calls/hr"].roles) == ((), ())
    assert [glob.text for glob in rules["calls/hr"].dags] == ["hr_*", "hr.*"]
    assert (rules["audit"].team, rules["audit"].written, rules["audit"].dags[0].text) == ("", "audit", "team")
    assert rules["view/hr"].line == rules["view/sales"].line == view.line


def test_the_patterns_of_a_team_are_one_object():
    rules = made().rules
    assert rules["view/hr"].dags is rules["calls/hr"].dags


def test_a_pattern_that_two_texts_make_is_there_once():
    top = 'version: 1\nteams: [{names: [sales], dags: ["{team}_*", "sales_*"]}]'
    assert [glob.text for glob in made(top=top, rules=RULES.replace(", hr-viewer", "")).rules["view/sales"].dags] == [
        "sales_*"
    ]


def test_teams_and_rules_have_a_limit_together():
    names = ", ".join(f"t{number}" for number in range(25_001))
    found = problems(
        top=f'version: 1\nteams: [{{names: [{names}], dags: ["{{team}}.*"]}}]', rules=RULES.replace(", hr-viewer", "")
    )
    assert found == ["2: with 25001 teams, the roles and rules for all of them are 125005: more than 100000"]


def test_teams_that_cannot_be_read_are_not_missed():
    found = problems(top='version: 1\nteams: [{names: [sales], dags: ["{team}_*"]}, {names: [hr], dags: ["{team"]}]')
    assert found == ["2: `{team` has more than `{team}` in braces"]
    found = problems(top="version: 1\nteams: [{names: [sales], dags: [x]}, hr]")
    assert found == ["2: expected a mapping, found text"]


def test_roles_that_cannot_be_read_are_there_for_each_team():
    found = problems(
        roles=ROLES.replace('{groups: ["airflow-{team}-viewers", platform], description: "Readers of {team}"}', "x")
    )
    assert found == ["12: expected a mapping, found text"]
    assert problems(roles=" x\n") == ["11: expected a mapping, found text"]


def test_a_mistake_in_a_rule_for_all_teams_is_one_problem():
    rules = '{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:raed", "dags:read"], dags: team}'
    assert problems(rules) == ["16: unknown operation `dags:raed` (Airflow 3.3)"]
    rules = '{id: view, plane: inbound, roles: ["{team}-viewer"], dags: team}'
    assert problems(rules) == ["16: an inbound allow rule names operations or paths"]


def test_combinations_are_counted_for_every_team():
    names = ", ".join(f"t{number}" for number in range(11))
    many = ", ".join(f"/{number}" for number in range(50_000))
    rules = f"{{id: a, plane: egress, hosts: [a.internal], dags: team, paths: [{many}]}}"
    found = problems(
        rules, roles=" {}\n", top=f'version: 1\nteams: [{{names: [{names}], dags: ["{{team}}_*", "{{team}}.*"]}}]'
    )
    assert found == ["11: with the rule `a/t10` the rules have more than 1000000 combinations of entries in all"]


def test_a_draft_says_where_the_role_of_a_team_stands():
    text = policies.text(RULES, roles=ROLES, top=TOP)
    drafted, found = draft(parse(text.encode(), "policy.yaml"))
    assert found == []
    assert drafted.role_loc("hr-owner") == ("roles", "{team}-owner")
    assert drafted.role_loc("auditor") == ("roles", "auditor")
    assert drafted.for_team("hr-owner") == " of the team `hr`"
    assert drafted.for_team("auditor") == ""


def test_what_stands_for_many_teams_in_the_schema():
    schema = json_schema()
    dags = schema["$defs"]["RuleEntry"]["properties"]["dags"]
    assert dags["anyOf"][0] == {"const": "team"}
    assert dags["anyOf"][1]["items"]["pattern"] == r"^[^~/ ]+$"
    names = schema["$defs"]["TeamEntry"]["properties"]["names"]
    assert names["items"]["pattern"] == "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
    assert schema["$defs"]["TeamEntry"]["required"] == ["names", "dags"]


def test_a_pattern_is_valid_for_the_longest_name():
    assert parse_team_dag("{team}_*") == "{team}_*"
    assert parse_team_dag("x" * 186 + "{team}*")
    with pytest.raises(ValueError, match="too long"):
        parse_team_dag("x" * 187 + "{team}*")


def test_without_teams_no_name_is_made_up():
    roles = '\n  "{team}-viewer": {groups: ["{team}"]}\n  "team-viewer": {groups: [a]}\n'
    assert problems(roles=roles, rules="", top="version: 1") == [
        "9: this is for each team, and the file has no `teams`"
    ]


def test_rules_that_cannot_be_read_may_use_the_teams():
    text = policies.text(RULES, roles=ROLES, top=TOP).partition("rules:")[0] + "rules: x\n"
    with pytest.raises(PolicyError) as caught:
        load(Bundle(text.encode(), "policy.yaml"))
    assert [problem.message for problem in caught.value.problems] == ["expected a list, found text"]
