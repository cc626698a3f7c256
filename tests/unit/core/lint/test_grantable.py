"""Findings about entries of `grantable`."""

from authz.core.lint.review import lint
from tests.support.factories.policies import ISSUERS, load

ROLES = """
  viewer: {groups: [data-readers]}
  op: {groups: [data-ops], includes: [viewer]}
  night: {}
"""
RULES = """{id: read, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: run, plane: inbound, roles: [op], operations: ["dag_runs:create"]}
{id: late, plane: inbound, roles: [night], operations: ["pools:read"]}"""
NIGHT = "{id: a, requesters: [viewer], approvers: [op], longest: 1d, roles: [night]}"


def findings(*entries, rules=RULES):
    issuers = ISSUERS.replace(", egress: [airflow-egress]", "")
    policy = load(rules, roles=ROLES, issuers=issuers, grantable="\n".join([NIGHT, *entries]))
    return [(finding.severity.value, finding.problem.message) for finding in lint(policy)]


def test_a_good_entry_has_no_finding():
    assert findings('{id: b, requesters: [viewer], approvers: [op], longest: 1d, operations: ["variables:read"]}') == []


def test_an_entry_that_gives_what_all_have_who_may_ask():
    entry = "{{id: b, requesters: [{}], approvers: none, longest: 1d, roles: [viewer]{}}}"
    said = ("note", "the entry `b` gives nothing: all who may ask for it have its roles already")
    assert findings(entry.format("op", "")) == [said]
    assert findings(entry.format("op, viewer", "")) == [said]
    assert findings(entry.format("op, night", "")) == []
    assert findings(entry.format("authenticated", "")) == []
    assert findings(entry.format("op", ', operations: ["pools:read"]')) == []


def test_an_entry_that_everyone_may_approve():
    found = findings("{id: b, requesters: [viewer], approvers: [authenticated], longest: 1d, roles: [op]}")
    assert found == [("warning", "every caller with a valid token may approve grants of `b`")]


def test_an_entry_whose_requesters_approve_each_other():
    entry = '{{id: b, requesters: [{}], approvers: {}, longest: 1d, operations: ["variables:read"]}}'
    said = ("note", "who may ask for `b` may approve it too: colleagues approve each other")
    assert findings(entry.format("op", "[op]")) == [said]
    assert findings(entry.format("viewer, op", "[op, viewer]")) == [said]
    assert findings(entry.format("viewer, op", "[op]")) == []
    assert findings(entry.format("viewer", "none")) == []


def test_a_role_that_no_rule_names_is_found_itself_and_not_its_entry():
    found = findings(rules="\n".join(RULES.splitlines()[:2]))
    assert found == [("note", "no rule names the role `night`")]


def test_a_role_that_asks_or_approves_is_in_use():
    """No rule needs to name who asks and who approves."""
    roles = ROLES + "  science: {groups: [s]}\n  lead: {groups: [l]}\n  base: {groups: [x]}\n"
    roles += "  chief: {groups: [c], includes: [lead]}\n"
    entry = '{id: b, requesters: [science], approvers: [lead], longest: 1d, operations: ["pools:read"]}'
    policy = load(RULES, roles=roles, grantable=f"{NIGHT}\n{entry}")
    unused = [one.problem.message for one in lint(policy) if "no rule names" in one.problem.message]
    assert unused == ["no rule names the role `base`"], "`chief` can approve too"


def test_what_an_entry_allows_is_seen_as_a_rule():
    deny = '{id: never-pools, deny: true, plane: inbound, operations: ["variables:*"]}'
    entry = '{id: b, requesters: [viewer], approvers: [op], longest: 1d, operations: ["variables:read"]}'
    message = "the rule `grant/b` can never allow anything: the deny rule `never-pools` covers it"
    assert ("warning", message) in findings(entry, rules=f"{RULES}\n{deny}")
