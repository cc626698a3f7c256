"""Lint says what has ended, what ends late, and what deny rules stop to forbid."""

import pytest

from authz.core.documents.moments import parse_end
from authz.core.lint import ends as lint_of_ends
from authz.core.lint.ends import about_ends
from authz.core.lint.review import lint
from authz.core.proof import never as proof_of_never
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


def test_the_end_of_a_deny_rule_is_noted():
    deny = "{id: freeze, deny: true, plane: inbound, roles: [op], operations: ['dags:*'], until: 2026-12-24}"
    ends = "ends on 2026-12-25T00:00Z, and what it forbids ends too"
    assert found(deny) == [("note", 16, 5, f"the rule `freeze` {ends}")]


ROLES = """
  op: {{groups: [ops]}}
  base: {{groups: [a]}}
  guest: {{groups: [x, {{name: b, until: {}}}], includes: [base]}}
"""
DENY = "{id: freeze, deny: true, plane: inbound, roles: [base], operations: ['dag_runs:*']}"
ALLOW = "{id: operate, plane: inbound, roles: [op], operations: ['dag_runs:create']}"
LOST = (
    "the deny rule `freeze` no longer reaches the group `b` of the role `guest`:"
    " group `ops` and group `b` may dag_runs:create, DAG *, by rule `operate` at policy.yaml:"
)


@pytest.mark.parametrize(
    ("until", "when"), [("2026-12-24", "from 2026-12-25T00:00Z on"), ("2026-11-01", "since 2026-11-02T00:00Z")]
)
def test_a_member_that_a_deny_rule_loses_is_a_warning_whether_it_has_ended_or_not(until, when):
    """To remove it would leave what they may do."""
    policy = load(f"{DENY}\n{ALLOW}", roles=ROLES.format(until))
    [one] = about_ends(policy, NOW)
    assert one.severity == "warning"
    assert one.problem.message.startswith(f"{when} {LOST}")
    assert one.problem.hint == "keep the group in the role without an end, and put the end on what they may do"


@pytest.mark.parametrize(
    ("rules", "roles"),
    [
        (f"{DENY}\n{ALLOW[:-1]}, until: 2026-12-24}}", ROLES),  # what they may do ends at once
        (f"{DENY}\n{ALLOW.replace('op]', 'guest]')}", ROLES),  # they have it by the same role
        (f"{DENY}\n{ALLOW.replace('dag_runs:create', 'pools:read')}", ROLES),  # the deny rule forbids something else
        (f"{DENY[:-1]}, until: 2026-12-24}}\n{ALLOW}", ROLES),  # the deny rule ends too, which is said there
        (f"{DENY}\n{ALLOW}", ROLES.replace("[a]", "[a, b]")),  # they are in it in another way
        (f"{DENY.replace('roles: [base], ', '')}\n{ALLOW}", ROLES),  # it is about everybody
    ],
)
def test_a_member_whose_end_opens_nothing_is_no_warning(rules, roles):
    policy = load(rules, roles=roles.format("2026-12-24"))
    assert [one for one in about_ends(policy, NOW) if one.severity == "warning"] == []


def test_paths_with_variables_are_shown_as_they_are():
    deny = DENY.replace("operations: ['dag_runs:*']", "paths: ['/x/{y}']")
    allow = ALLOW.replace("operations: ['dag_runs:create']", "paths: ['/x/{y}']")
    [one] = about_ends(load(f"{deny}\n{allow}", roles=ROLES.format("2026-12-24")), NOW)
    assert "no longer reaches the group `b` of the role `guest`: group `ops` and group `b` may" in one.problem.message
    assert "/x/{y}" in one.problem.message


def test_of_a_role_and_of_members_whose_ends_are_different_each_is_said():
    roles = ROLES.format("2026-12-24").replace("[x,", "[{name: x, until: 2026-12-01},")
    policy = load(f"{DENY}\n{ALLOW}", roles=roles)
    assert [one.problem.message.partition(" of the role")[0].rpartition(" ")[2] for one in about_ends(policy, NOW)] == [
        "`x`",
        "`b`",
    ]


def test_where_it_is_too_much_to_prove_it_is_a_note(monkeypatch):
    note = ["the group `b` of the role `guest` ends on 2026-12-25T00:00Z, and what deny rules forbid by it ends too"]
    policy = load(f"{DENY}\n{ALLOW}", roles=ROLES.format("2026-12-24"))
    monkeypatch.setattr(proof_of_never, "MOST_ASKED", 0)
    assert [one.problem.message for one in about_ends(policy, NOW)] == note
    monkeypatch.undo()
    assert [one.problem.message for one in about_ends(policy, NOW, proven=False)] == note, "as in the gate's log"
    monkeypatch.setattr(lint_of_ends, "_MOST_PROVEN", 0)
    assert [one.problem.message for one in about_ends(policy, NOW)] == note
    past = load(f"{DENY}\n{ALLOW}", roles=ROLES.format("2026-11-01"))
    assert [one.problem.message for one in about_ends(past, NOW)] == [
        "the group `b` of the role `guest` ended on 2026-11-02T00:00Z"
    ]


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
