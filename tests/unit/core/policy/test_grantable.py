"""`grantable`: what an entry becomes, and who has it. Mistakes are in tests/cases/invalid."""

import pytest

from authz.core.decision.decide import evaluate
from authz.core.documents.moments import parse_end
from authz.core.errors import PolicyError
from authz.core.model import Allow, HeldGrant
from authz.core.policy import NEVER, Grantable, as_of, json_schema
from tests.support.factories import policies
from tests.support.factories.policies import claims, request

ENTRIES = """{id: oncall, requesters: [viewer], approvers: [op], longest: 3d, roles: [user], description: "Help out",
  operations: ["dag_runs:create"], dags: ["sales_*"]}
{id: alone, requesters: [authenticated], approvers: none, longest: 90m, roles: [night]}
{id: call, requesters: [op], approvers: [admin], longest: 30d, plane: egress, hosts: [a.internal], paths: ["/x"]}"""
ROLES = policies.ROLES + "  night: {}\n"
RULES = """{id: read, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: late, plane: inbound, roles: [night], operations: ["pools:read"], until: 2026-12-01T12:00Z}
{id: keep, plane: inbound, deny: true, operations: ["dags:read"], dags: [sales_secret]}"""
POLICY = policies.load(RULES, roles=ROLES, grantable=ENTRIES)
TRIGGER = "/api/v2/dags/{}/dagRuns"


def held(*entries):
    return tuple(HeldGrant(entry, f"g-{number}", 1e9, 0, is_approved=True) for number, entry in enumerate(entries))


def allowed(method, path, *entries, policy=POLICY, **who):
    return isinstance(evaluate(request(method, path), policy.identify(claims(**who), held(*entries)), policy), Allow)


def problems(entries, rules=RULES, roles=ROLES, **parts):
    with pytest.raises(PolicyError) as caught:
        policies.load(rules, roles=roles, grantable=entries, **parts)
    return [problem.message for problem in caught.value.problems]


def test_an_entry_says_who_may_ask_who_approves_and_for_how_long():
    found = POLICY.grantable["oncall"]
    assert found == Grantable(
        id="oncall",
        requesters=frozenset({"viewer"}),
        approvers=frozenset({"op"}),
        longest=3 * 86400.0,
        description="Help out",
        line=found.line,
        column=found.column,
    )
    assert POLICY.grantable["alone"].approvers == frozenset()
    assert list(POLICY.grantable) == ["oncall", "alone", "call"]


def test_an_entry_becomes_a_role_that_includes_what_it_gives_and_an_allow_rule():
    role, rule = POLICY.roles["grant/oncall"], POLICY.rules["grant/oncall"]
    assert role.includes == {"grant/oncall", "user", "viewer"}
    assert (role.grants, role.groups, role.clients, role.subjects, role.issuers) == ({"oncall"}, *[frozenset()] * 4)
    assert (rule.roles, rule.operations, rule.written) == (("grant/oncall",), ("dag_runs:create",), "grant/oncall")
    assert role.line == rule.line == POLICY.grantable["oncall"].line > 0
    assert "grant/alone" not in POLICY.rules
    assert not any(role.grants for name, role in POLICY.roles.items() if not name.startswith("grant/"))


def test_no_token_has_the_role_of_an_entry():
    for name in ("grant/oncall", "oncall", "user", "night"):
        found = POLICY.identify(claims(groups=[name], client=name, subject=name))
        assert (found.roles, found.grants) == (frozenset(), ())


def test_a_grant_gives_its_holder_what_the_entry_gives():
    assert not allowed("POST", TRIGGER.format("sales_a"), groups=["data-readers"])
    assert allowed("POST", TRIGGER.format("sales_a"), "oncall")
    assert not allowed("POST", TRIGGER.format("hr_a"), "oncall")
    assert allowed("GET", "/api/v2/dags/any", "oncall")  # by the role `user`, which includes `viewer`
    assert allowed("GET", "/api/v2/pools", "alone")


def test_a_deny_rule_wins_over_a_grant():
    assert allowed("GET", "/api/v2/dags/sales_a", "oncall")
    assert not allowed("GET", "/api/v2/dags/sales_secret", "oncall")


def test_several_grants_add_up_and_the_identity_names_them():
    grants = held("oncall", "alone")
    found = POLICY.identify(claims(groups=["data-readers"]), grants)
    assert found.roles == {"grant/oncall", "grant/alone", "user", "viewer", "night"}
    assert found.grants is grants  # sessions compare it by `is`


def test_a_grant_of_an_entry_that_the_policy_has_not_gives_nothing_and_is_left_out():
    found = POLICY.identify(claims(), held("gone", "alone"))
    assert [grant.entry for grant in found.grants] == ["alone"]
    assert found.roles == {"grant/alone", "night"}


def test_a_grant_gives_nothing_to_a_token_of_an_issuer_that_the_policy_has_not():
    found = POLICY.identify(claims(issuer="gone"), held("oncall"))
    assert (found.roles, found.grants) == (frozenset(), ())


def test_a_grant_works_at_every_issuer():
    issuers = policies.ISSUERS + policies.ISSUERS.replace("corp", "other").replace("realms/data", "realms/other")
    policy = policies.load(RULES, roles=ROLES, grantable=ENTRIES, issuers=issuers)
    assert policy.identify(claims(issuer="other"), held("alone")).roles == {"grant/alone", "night"}


def test_the_level_in_airflow_follows_from_what_is_granted():
    assert POLICY.identify(claims(), held("oncall")).airflow_role == "user"


def test_entries_stay_when_something_else_in_the_policy_has_ended():
    later = as_of(POLICY, parse_end("2026-12-01T12:00Z"))
    assert later.grantable == POLICY.grantable
    assert later.valid_until == NEVER
    assert not allowed("GET", "/api/v2/pools", "alone", policy=later)
    assert allowed("POST", TRIGGER.format("sales_a"), "oncall", policy=later)


def test_entries_stand_beside_teams_and_built_in_roles():
    top = 'version: 1\nteams: [{names: [sales, hr], dags: ["{team}_*"]}]'
    roles = '\n  "{team}-editor": {groups: ["{team}"]}\n  lead: {groups: [lead]}\n'
    rules = '{id: edit, plane: inbound, roles: ["{team}-editor"], operations: ["dags:read"], dags: team}'
    entries = """{id: sales, requesters: [hr-editor], approvers: [lead], longest: 1d, roles: [sales-editor]}
{id: op, requesters: [lead], approvers: none, longest: 1h, roles: [airflow.op]}"""
    policy = policies.load(rules, roles=roles, grantable=entries, top=top)
    assert policy.identify(claims(groups=["hr"]), held("sales")).roles == {"grant/sales", "sales-editor", "hr-editor"}
    assert "airflow.viewer" in policy.identify(claims(), held("op")).roles
    assert allowed("POST", TRIGGER.format("x"), "op", policy=policy)
    assert policy.roles["airflow.op"].line == policy.grantable["op"].line


def test_no_entry_has_the_rule_of_a_team():
    top = 'version: 1\nteams: [{names: [sales], dags: ["{team}_*"]}]'
    roles = '\n  "{team}-editor": {groups: ["{team}"]}\n'
    rules = '{id: grant, plane: inbound, roles: ["{team}-editor"], operations: ["dags:read"], dags: team}'
    entry = "{{id: {}, requesters: [authenticated], approvers: none, longest: 1d, roles: [sales-editor]}}"
    found = problems(entry.format("sales"), rules=rules, roles=roles, top=top)
    assert found == ["its rule is `grant/sales`, which is the id of a team's rule too"]
    policies.load(rules, roles=roles, grantable=entry.format("hr"), top=top)


def test_a_role_that_is_only_granted_is_had_unless_no_one_can_ask_or_approve():
    entry = "{{id: a, requesters: [{}], approvers: {}, longest: 1d, roles: [night]}}"
    policies.load(RULES, roles=ROLES, grantable=entry.format("viewer", "[op]"))
    assert problems(entry.format("night", "none")) == ["no one can have the role `night`"]
    assert problems(entry.format("viewer", "[night]")) == ["no one can have the role `night`"]


def test_an_entry_may_give_the_role_that_asks_for_another():
    roles = ROLES + "  day: {}\n"
    entries = """{id: b, requesters: [night], approvers: none, longest: 1d, roles: [day]}
{id: a, requesters: [viewer], approvers: none, longest: 1d, roles: [night]}"""
    assert policies.load(RULES, roles=roles, grantable=entries).roles["grant/b"].includes == {"grant/b", "day"}


def test_nothing_else_in_a_policy_can_name_the_role_of_an_entry():
    found = problems(
        "{id: a, requesters: [grant/alone], approvers: [grant/a], longest: 1d, roles: [grant/a, night]}",
        rules='{id: grant.a, plane: inbound, roles: [grant/a], operations: ["pools:read"]}',
        roles=ROLES + "  x: {includes: [grant/a]}\n",
    )
    assert found == [
        "no one can have the role `x`", "unknown role `grant/a`", "unknown role `grant/a`",
        "unknown role `grant/alone`", "unknown role `grant/a`", "unknown role `grant/a`",
    ]  # fmt: skip


def test_the_json_schema_knows_entries():
    properties = json_schema()["$defs"]["GrantableEntry"]["properties"]
    assert {"requesters", "approvers", "longest", "roles", "operations", "tasks"} <= properties.keys()
    assert {"const": "none"} in properties["approvers"]["anyOf"]
