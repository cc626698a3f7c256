import re

import pytest

from authz.core import policy
from authz.core.decision.decide import evaluate
from authz.core.decision.explain import explain
from authz.core.errors import PolicyError
from authz.core.model import Allow
from tests.support.factories.policies import ISSUERS, claims, load, request

EVERY = ("airflow.viewer", "airflow.user", "airflow.op", "airflow.admin")


def roles_only(roles):
    return policy.load(policy.Bundle(f"version: 1\nissuers:{ISSUERS}roles:\n{roles}".encode(), "policy.yaml"))


def test_three_lines_are_a_policy():
    loaded = roles_only("  airflow.viewer: {groups: [g]}\n  airflow.op: {groups: [h]}\n")
    assert set(loaded.rules) == {"airflow.viewer", "airflow.op"}
    viewer, op = (loaded.identify(claims(groups=[group])) for group in "gh")
    assert (viewer.airflow_role, op.airflow_role) == ("viewer", "op")
    assert viewer.roles == {"airflow.viewer"}
    assert op.roles == {"airflow.viewer", "airflow.user", "airflow.op"}
    assert isinstance(evaluate(request("POST", "/api/v2/pools"), op, loaded), Allow)
    assert not isinstance(evaluate(request("POST", "/api/v2/pools"), viewer, loaded), Allow)


def test_what_is_not_used_is_not_there():
    loaded = load()
    assert not set(EVERY) & (loaded.rules.keys() | loaded.roles.keys() | loaded.airflow_roles.keys())
    loaded = roles_only("  airflow.viewer: {groups: [g]}\n")
    assert set(loaded.rules) == set(loaded.roles) == {"airflow.viewer"}


def test_weaker_roles_come_along_without_a_rule_of_their_own():
    loaded = roles_only("  airflow.admin: {groups: [g]}\n")
    assert set(loaded.rules) == {"airflow.admin"}
    assert loaded.roles["airflow.admin"].includes == set(EVERY)
    assert loaded.identify(claims(groups=["g"])).airflow_role == "admin"


def test_a_rule_may_name_a_role_that_only_came_along():
    rule = '{id: sources, deny: true, roles: [airflow.viewer], operations: ["dag_sources:*"]}'
    loaded = load(rule, roles="\n  airflow.user: {groups: [g]}\n")
    user = loaded.identify(claims(groups=["g"]))
    assert evaluate(request("GET", "/api/v2/dagSources/x"), user, loaded).rule == "sources"
    assert evaluate(request("GET", "/api/v2/dags/x"), user, loaded).rule == "airflow.user"


def test_a_role_of_ones_own_may_include_one():
    loaded = roles_only("  team: {groups: [g], includes: [airflow.user], agent: true}\n")
    who = loaded.identify(claims(groups=["g"]))
    assert who.roles == {"team", "airflow.user", "airflow.viewer"}
    assert (who.airflow_role, who.agent) == ("user", True)
    assert evaluate(request("DELETE", "/api/v2/dags/x"), who, loaded).rule == "airflow.user"


def test_a_set_in_a_rule_says_what_the_role_is_to_airflow():
    rule = '{id: a, plane: inbound, roles: [team], operations: [airflow.op], dags: ["a_*"]}'
    loaded = load(rule, roles="\n  team: {groups: [g]}\n")
    assert loaded.airflow_roles == {"team": "op"}


def test_places_lead_to_where_the_policy_uses_them():
    loaded = roles_only("  airflow.viewer: {groups: [g]}\n  team: {groups: [h], includes: [airflow.op]}\n")
    lines = loaded.file, {name: (rule.line, rule.column) for name, rule in loaded.rules.items()}
    assert lines == ("policy.yaml", {"airflow.viewer": (9, 3), "airflow.op": (10, 34)})
    assert {name: role.line for name, role in loaded.roles.items()} == {
        "airflow.viewer": 9, "team": 10, "airflow.user": 10, "airflow.op": 10,
    }  # fmt: skip


def test_the_rule_is_for_inbound_and_for_every_dag():
    rule = roles_only("  airflow.op: {groups: [g]}\n").rules["airflow.op"]
    assert rule.planes == {"inbound"}
    assert (rule.roles, rule.operations, rule.dags, rule.paths) == (("airflow.op",), ("airflow.op",), (), ())
    assert "op" in rule.description


def test_no_built_in_role_allows_what_a_rule_must_name():
    loaded = roles_only("".join(f"  {name}: {{groups: [{name}]}}\n" for name in EVERY))
    admin = loaded.identify(claims(groups=EVERY))
    for name, operation in loaded.catalogue.operations.items():
        for route in operation.routes:
            target = re.sub(r"\{[^}]+\}", "x", route.template)
            asked = request(route.method, target)
            if loaded.catalogue.match(asked.segments, asked.method).operation == name:
                assert isinstance(evaluate(asked, admin, loaded), Allow) is not operation.never, (name, target)


def test_of_built_in_roles_the_weakest_that_would_do_is_the_nearest():
    loaded = roles_only("".join(f"  airflow.{role}: {{groups: [{role}]}}\n" for role in ("admin", "op", "viewer")))
    nobody = loaded.identify(claims(groups=["g"]))
    assert explain(request("GET", "/api/v2/pools"), nobody, loaded).nearest.rule == "airflow.viewer"
    assert explain(request("POST", "/api/v2/pools"), nobody, loaded).nearest.rule == "airflow.op"


def test_an_explanation_names_the_role_that_airflow_asks_for():
    loaded = roles_only("  airflow.viewer: {groups: [g]}\n")
    viewer = loaded.identify(claims(groups=["g"]))
    explanation = explain(request("POST", "/api/v2/pools"), viewer, loaded)
    [missing] = explanation.nearest.missing
    assert missing.text == (
        "needs one of `airflow.viewer` — the request has `pools:create`, which is for `airflow.op`"
    )  # fmt: skip
    allowed = explain(request("GET", "/api/v2/pools"), viewer, loaded)
    assert allowed.considered[0].conditions[1].text == "`pools:read` is covered by `airflow.viewer`"


@pytest.mark.parametrize("roles", ["", "  team: {groups: [g]}\n"])
def test_without_rules_and_without_a_built_in_role_the_rules_are_missing(roles):
    text = f"version: 1\nissuers:{ISSUERS}" + (f"roles:\n{roles}" if roles else "")
    with pytest.raises(PolicyError) as caught:
        policy.load(policy.Bundle(text.encode(), "policy.yaml"))
    assert [problem.message for problem in caught.value.problems] == ["`rules` is missing"]


def test_no_rules_at_all_may_be_said():
    assert policy.load(policy.Bundle(f"version: 1\nissuers:{ISSUERS}rules: []\n".encode(), "policy.yaml")).rules == {}
