"""Words for operations in rules: `*:change` takes away, allows and forbids all that is not a read."""

import pytest

from authz.core import catalogue
from authz.core.decision.decide import evaluate
from authz.core.model import Allow
from tests.support.factories.policies import claims, load, request

EVERYTHING = "{id: all, plane: inbound, roles: [viewer], operations: [airflow.admin]}\n"
ROLES = "\n  viewer: {groups: [g]}\n"


def allowed(policy, *question):
    return isinstance(evaluate(request(*question), policy.identify(claims(groups=["g"])), policy), Allow)


def test_a_deny_rule_for_changes_leaves_what_reads():
    policy = load(
        EVERYTHING + '{id: no, deny: true, plane: inbound, roles: [viewer], operations: ["*:change"]}', roles=ROLES
    )
    assert allowed(policy, "GET", "/api/v2/dags/x")
    assert allowed(policy, "GET", "/")
    for question in (
        ("PATCH", "/api/v2/connections"),
        ("POST", "/api/v2/dags/x/dagRuns"),
        ("POST", "/api/v2/dags/x/favorite"),
        ("PUT", "/api/v2/parseDagFile/x"),
        ("POST", "/auth/token"),
    ):
        assert not allowed(policy, *question), question


def test_changes_of_one_area_may_be_allowed_and_never_include_what_a_rule_must_name():
    policy = load('{id: pools, plane: inbound, roles: [viewer], operations: ["pools:change"]}', roles=ROLES)
    assert allowed(policy, "POST", "/api/v2/pools")
    assert allowed(policy, "PATCH", "/api/v2/pools")
    assert not allowed(policy, "GET", "/api/v2/pools")
    policy = load('{id: any, plane: inbound, roles: [viewer], operations: ["*:change"]}', roles=ROLES)
    assert not allowed(policy, "POST", "/auth/token")


@pytest.mark.parametrize("version", catalogue.versions())
def test_an_operation_that_no_one_has_thought_of_is_a_change(version):
    known = catalogue.load(version).operations
    assert all(known[name].changes for name in known if name.endswith(("bulk", ":create", ":use", ":call", ":test")))
