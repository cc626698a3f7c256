"""Which rights a log used, by role, rule and DAG, and which no one used."""

import pytest

from authz.core.documents import yaml_document
from authz.core.model import Level, Plane, Run
from authz.core.policy import Bundle
from authz.core.policy import load as load_bundle
from authz.core.proof.diff import changes
from authz.core.traffic import evaluating
from authz.core.traffic.evaluating import Traffic
from authz.core.traffic.narrowing import proposal
from authz.core.traffic.usage import rights_unused, rights_used, rules_unused, use
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.policies import ISSUER, narrowing, text

RULES = """{id: readers, plane: inbound, roles: [viewer, copilot],
  operations: ["dags:*", "pools:*"], dags: ["s*", "hr*"]}
{id: pools, plane: inbound, roles: [viewer], operations: ["pools:read"]}
{id: pages, plane: inbound, roles: [viewer], paths: ["/api/v2/dags/*/tasks"], methods: [GET], dags: ["s*"]}
{id: health, public: true, plane: inbound, operations: ["health:read"]}
{id: no-secrets, deny: true, roles: [viewer], dags: ["*_secret"]}
{id: orders, plane: egress, destinations: [orders, stock], paths: ["/**"], dags: ["s*"], identity: asserted}
{id: etl, plane: egress, roles: [sales-etl, authenticated], hosts: [files.test], paths: ["/**"]}
{id: never, plane: egress, roles: [copilot], hosts: [files.test], paths: ["/x"]}"""
TEXT = text(RULES)
POLICY = narrowing(load_bundle(Bundle(TEXT.encode(), "policy.yaml")))
ALICE = claims(ISSUER, "alice", groups=["data-readers"])
EVE = claims(ISSUER, "eve")
ETL = claims(ISSUER, client="sales-etl")
RUN = Run("s1", "r1", "load", -1, 1, Level.VERIFIED)


def inbound(path, **more):
    return request(Plane.INBOUND, "GET", "airflow.test", path, **more)


def outbound(host="orders.test", **more):
    return request(Plane.EGRESS, "GET", host, "/v1/x", **more)


ASKED = [
    (inbound("/api/v2/dags/s1"), ALICE),
    (inbound("/api/v2/dags/s2"), ALICE),
    (inbound("/api/v2/dags/s_secret"), ALICE),
    (inbound("/api/v2/pools"), ALICE),
    (inbound("/api/v2/pools"), EVE),
    (inbound("/api/v2/monitor/health"), None),
    (outbound(destination="orders"), None, RUN),
    (outbound("files.test"), ETL),
]


def used(*asked, policy=POLICY):
    writer = Writer(policy)
    for one in asked:
        writer.ask(*one)
    traffic = Traffic(policy, use)
    for line in b"".join(writer.sink.lines).splitlines():
        traffic.read(line)
    return traffic.found


def proposed(uses, policy_text=TEXT, policy=POLICY):
    return proposal(yaml_document.parse(policy_text.encode(), "policy.yaml"), policy_text, policy, uses)


def rules_of(made):
    return {
        rule["id"]: {name: value for name, value in rule.items() if name not in {"id", "plane", "paths", "methods"}}
        for rule in yaml_document.parse(made.encode(), "policy.yaml").data["rules"]
    }


def test_it_says_what_each_role_used_by_which_rule():
    found = rights_used(POLICY, used(*ASKED))
    assert [(right.role, right.target, right.rule, right.dags, right.tally.count) for right in found] == [
        ("any caller", "health:read", "health", [], 1),
        ("any caller", "orders", "orders", ["s1"], 1),
        ("authenticated", "files.test", "etl", [], 1),
        ("sales-etl", "files.test", "etl", [], 1),
        ("viewer", "dags:read", "readers", ["s1", "s2"], 2),
        ("viewer", "pools:read", "pools", [], 1),
    ]
    assert all(right.tally.last.startswith("2026-11-22T") for right in found)


def test_it_says_what_no_caller_with_a_role_used():
    left = {one.role: one.cells for one in rights_unused(POLICY, used(*ASKED))}
    assert "dags:delete" in left["viewer"]
    assert "dags:read" not in left["viewer"]
    assert "pools:read" not in left["viewer"]
    assert "dags:read" in left["copilot"]
    assert left["viewer"]["dags:delete"].dags == ["hr*", "s*"]
    assert "without a token" not in left


def test_it_says_which_rules_decided_nothing():
    assert rules_unused(POLICY, used(*ASKED)) == ["never", "pages"]


def test_the_proposal_has_what_was_used():
    made = proposed(used(*ASKED))
    assert rules_of(made) == {
        "readers": {"roles": ("viewer",), "operations": ("dags:read",), "dags": ("s1", "s2")},
        "pools": {"roles": ("viewer",), "operations": ("pools:read",)},
        "health": {"public": True, "operations": ("health:read",)},
        "no-secrets": {"deny": True, "roles": ("viewer",), "dags": ("*_secret",)},
        "orders": {"destinations": ("orders",), "dags": ("s1",), "identity": "asserted"},
        "etl": {"roles": ("sales-etl", "authenticated"), "hosts": ("files.test",)},
    }
    assert "  # pages: not used\n" in made
    assert made.startswith(TEXT.partition("rules:")[0])
    narrowed = load_bundle(Bundle(made.encode(), "policy.yaml"))
    found = list(changes(load_bundle(Bundle(TEXT.encode(), "policy.yaml")), narrowed))
    assert found
    assert not [change for change in found if change.gained]


def test_lists_keep_the_patterns_and_named_dags_are_listed():
    both = used((inbound("/api/v2/dags", narrowed=True), ALICE), (inbound("/api/v2/dags/s1/details"), ALICE))
    assert rules_of(proposed(both))["readers"] == {
        "roles": ("viewer",), "operations": ("dags:read",), "dags": ("s*", "hr*"),
    }  # fmt: skip


def test_operations_with_and_without_a_dag_are_two_rules():
    rules = """{id: all, plane: inbound, roles: [viewer], operations: ["*"]}
{id: all-2, plane: inbound, roles: [viewer], operations: ["pools:read"]}"""
    policy = load_bundle(Bundle(text(rules).encode(), "policy.yaml"))
    uses = used((inbound("/api/v2/dags/s1"), ALICE), (inbound("/api/v2/variables"), ALICE), policy=policy)
    assert rules_of(proposed(uses, text(rules), policy)) == {
        "all": {"roles": ("viewer",), "operations": ("dags:read",), "dags": ("s1",)},
        "all-3": {"roles": ("viewer",), "operations": ("variables:read",)},
    }


@pytest.mark.parametrize("dag", ["s%20x", "s!", "s" + "%C3%A4" * 300])
def test_dags_that_a_rule_cannot_name_keep_the_patterns_that_they_match(dag):
    uses = used((inbound(f"/api/v2/dags/{dag}"), ALICE))
    assert rules_of(proposed(uses))["readers"]["dags"] == ("s*",)


def test_many_dags_keep_the_patterns_that_they_match():
    uses = used(*((inbound(f"/api/v2/dags/s{number}"), ALICE) for number in range(21)))
    assert rules_of(proposed(uses))["readers"]["dags"] == ("s*",)
    rules = "{id: all, plane: inbound, roles: [viewer], operations: ['dags:*']}"
    policy = load_bundle(Bundle(text(rules).encode(), "policy.yaml"))
    uses = used(*((inbound(f"/api/v2/dags/s{number}"), ALICE) for number in range(21)), policy=policy)
    assert rules_of(proposed(uses, text(rules), policy)) == {
        "all": {"roles": ("viewer",), "operations": ("dags:read",)}
    }


def test_rules_about_paths_keep_them():
    rules = RULES.replace('"dags:*", "pools:*"', '"dag_runs:*"')
    policy = load_bundle(Bundle(text(rules).encode(), "policy.yaml"))
    uses = used((inbound("/api/v2/dags/s1/tasks"), ALICE), policy=policy)
    made = proposed(uses, text(rules), policy)
    assert 'paths: ["/api/v2/dags/*/tasks"], methods: [GET], dags: [s1]' in made
    plain = "{id: x, plane: inbound, roles: [viewer, copilot], paths: [/x/**]}"
    policy = load_bundle(Bundle(text(plain).encode(), "policy.yaml"))
    made = proposed(used((inbound("/x/y"), ALICE), policy=policy), text(plain), policy)
    assert '  - {id: x, plane: inbound, roles: [viewer], paths: ["/x/**"]}\n' in made


def test_a_list_by_its_path_keeps_the_patterns():
    rules = '{id: x, plane: inbound, roles: [viewer], paths: ["/api/v2/dags"], dags: ["s*", "t*"]}'
    policy = narrowing(load_bundle(Bundle(text(rules).encode(), "policy.yaml")))
    made = proposed(used((inbound("/api/v2/dags", narrowed=True), ALICE), policy=policy), text(rules), policy)
    assert rules_of(made) == {"x": {"roles": ("viewer",), "dags": ("s*", "t*")}}


def test_a_policy_of_which_nothing_was_used_has_no_allow_rules():
    rules = "\n".join(RULES.splitlines()[:2])
    policy = load_bundle(Bundle(text(rules).encode(), "policy.yaml"))
    made = proposed(used((inbound("/x"), None), policy=policy), text(rules) + "description: after\n", policy)
    assert made.endswith("rules: []\n  # readers: not used\ndescription: after\n")
    assert not load_bundle(Bundle(made.encode(), "policy.yaml")).rules


def test_a_file_without_a_section_of_rules_is_left_alone():
    whole = '{"version": 1, "rules": []}'
    assert proposed({}, whole) is None
    assert proposed({}, "version: 1\nrules:\n").endswith("rules: []\n")


def test_a_value_that_yaml_would_take_for_another_is_quoted():
    rules = '{id: "no", description: "1: é", plane: inbound, roles: [viewer], operations: ["dags:read"]}'
    policy = load_bundle(Bundle(text(rules).encode(), "policy.yaml"))
    made = proposed(used((inbound("/api/v2/dags/s1"), ALICE), policy=policy), text(rules), policy)
    assert (
        '{id: "no", description: "1: é", plane: inbound, roles: [viewer], operations: ["dags:read"], dags: [s1]}'
        in made
    )
    assert load_bundle(Bundle(made.encode(), "policy.yaml")).rules["no"].description == "1: é"


def test_where_there_are_too_many_kinds_nothing_is_called_unused(monkeypatch):
    monkeypatch.setattr(evaluating, "MOST_KINDS", 1)
    uses = used(*((inbound(f"/api/v2/dags/s{number}"), ALICE) for number in range(4)))
    assert len(uses) == 2
    assert rules_of(proposed(uses))["readers"]["operations"] == ("dags:*", "pools:*")
    assert not list(rights_unused(POLICY, uses))
    assert [(right.role, right.target) for right in rights_used(POLICY, uses)] == [
        ("others", "others"),
        ("viewer", "dags:read"),
    ]


def test_a_rule_for_all_teams_stays():
    rule = "{id: view, plane: inbound, roles: ['{team}-viewer'], operations: ['dags:*'], dags: team}"
    whole = text(rule, roles="\n  '{team}-viewer': {groups: ['{team}-viewers']}\n").replace(
        "roles:\n", "teams:\n  - {names: [sales, hr], dags: ['{team}_*']}\nroles:\n", 1
    )
    policy = load_bundle(Bundle(whole.encode(), "policy.yaml"))
    uses = used((inbound("/api/v2/dags/hr_x"), claims(ISSUER, "eve", groups=["hr-viewers"])), policy=policy)
    assert {one.rule for one in uses} == {"view/hr"}
    made = proposed(uses, whole, policy)
    assert load_bundle(Bundle(made.encode(), "policy.yaml")).rules.keys() == policy.rules.keys()


def test_paths_of_no_operation_are_named_so():
    rules = "{id: x, plane: inbound, roles: [viewer], paths: [/x/**]}"
    policy = load_bundle(Bundle(text(rules).encode(), "policy.yaml"))
    (right,) = rights_used(policy, used((inbound("/x/y"), ALICE), policy=policy))
    assert right.target == "paths of no operation"
