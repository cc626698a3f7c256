"""A rule is covered if it applied; a condition is covered if it was once the only one that did not hold."""

import pytest

from authz.core.cases.coverage import coverage, covered, share
from authz.core.cases.judge import Judge
from authz.core.model import Level
from authz.core.policy import Policy
from tests.support.factories.policies import ISSUERS, identity, load, request, run
from tests.support.factories.suites import read
from tests.support.plain_coverage import uncovered

MANY = """
{id: public, public: true, plane: inbound, methods: [GET], paths: [/x], hosts: [a.test]}
{id: readers, plane: inbound, roles: [viewer, op], operations: ["dags:read", "*:create"], methods: [GET, POST]}
{id: everyone, plane: inbound, roles: [authenticated], paths: ["/x/*", "/api/v2/**"], hosts: ["*.test"]}
{id: some, plane: inbound, roles: [viewer], operations: ["dags:*"], dags: ["s_*"]}
{id: all, plane: inbound, roles: [op], operations: ["dags:*"], dags: ["*"]}
{id: token, plane: inbound, roles: [admin], operations: ["tokens:create"]}
{id: no-dags, deny: true, plane: inbound, operations: ["dags:*"], dags: ["*_x"]}
{id: no-both, deny: true, hosts: [b.test], methods: [DELETE]}
{id: no-runs, deny: true, plane: egress, dags: ["hr_*"], tasks: ["t*"], hosts: [a.test]}
{id: no-paths, deny: true, plane: egress, paths: ["/secret/**"], methods: [PUT], destinations: [orders]}
{id: orders, plane: egress, destinations: [orders, other], methods: [GET], paths: ["/v1/*"], dags: ["s_*"], tasks: [t]}
{id: tunnel, plane: egress, hosts: [a.test], methods: [CONNECT], identity: verified-bearer}
{id: both, roles: [viewer], hosts: [a.test], paths: ["/**"], dags: ["s_*"]}
{id: account, plane: egress, roles: [viewer], hosts: ["*.test"], paths: ["/**"]}
{id: any-run, plane: egress, hosts: ["*.test"], paths: ["/**"], identity: asserted}
{id: asserted, plane: egress, hosts: ["*.test"], paths: ["/**"], dags: ["s_*"], identity: asserted}
{id: every-run, plane: egress, hosts: ["*.test"], paths: [/x, "/**"], dags: [a, "*"], tasks: ["*"], identity: asserted}
{id: every-task, plane: egress, hosts: ["*.test"], paths: [/x], dags: ["s_*"], tasks: ["*"], identity: verified}
{id: no-calls, deny: true, plane: egress, roles: [op], paths: ["/**"], methods: [PUT]}
{id: no-run, deny: true, plane: egress, hosts: [b.test], dags: ["*"], tasks: ["*"]}
"""
CALLERS = [
    None, identity(), identity("viewer"), identity("op", "admin"), identity("admin"),
    *(identity(run=run(dag, task, level)) for dag in ("s_a", "hr_a", "b") for task in ("t", "u") for level in Level),
    identity("viewer", run=run("s_a", "t", "asserted")),
]  # fmt: skip
PATHS = ("/x", "/x/y", "/api/v2/dags", "/api/v2/dags/s_a", "/api/v2/dags/s_x", "/ui/auth/token", "/api/v2/pools")
REQUESTS = [
    *(
        request(method, path, host=host, narrowed=narrowed)
        for method in ("GET", "HEAD", "POST", "DELETE")
        for path in PATHS
        for host in ("a.test", "b.test")
        for narrowed in (False, True)
    ),
    *(
        request(method, path, plane="egress", host=host, destination=destination)
        for method in ("GET", "PUT", "DELETE")
        for path in ("/v1/1", "/secret/1")
        for host in ("a.test", "b.test", "c.other")
        for destination in ("", "orders")
    ),
    *(request("CONNECT", f"{host}.test:443", destination=to) for host in ("a", "b") for to in ("", "orders")),
]  # fmt: skip


def found(policy, asked):
    return [(one.rule.id, one.condition) for one in covered(policy, asked).uncovered]


def every(requests=REQUESTS, callers=CALLERS):
    return [(asked, who) for asked in requests for who in callers]


def test_the_result_is_that_of_the_definition():
    policy = load(MANY)
    assert found(policy, every()) == uncovered(policy, every())
    assert ("orders", "destinations") in uncovered(policy, [])
    assert found(policy, []) == uncovered(policy, [])


@pytest.mark.no_cover
@pytest.mark.parametrize("step", [7, 11, 13, 29, 101])
def test_the_result_is_that_of_the_definition_for_parts_too(step):
    policy = load(MANY)
    for first in range(step):
        some = every()[first::step]
        assert found(policy, some) == uncovered(policy, some)


def test_what_is_not_below_the_base_path_covers_nothing():
    rule = "{id: all, plane: inbound, roles: [viewer], paths: ['/**']}"
    suite = read("{who: reader, request: GET /other, base: /airflow, expect: deny}", rules=rule)
    assert coverage(suite, Judge(suite.policy)).covered_rules == 0


def test_rules_and_conditions_are_counted():
    tests = """{who: reader, request: GET /api/v2/dags, expect: allow}
{who: reader, request: GET /api/v2/pools, expect: deny}
{who: authenticated, request: GET /api/v2/dags, expect: deny}"""
    rules = """{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: pools, plane: inbound, roles: [viewer], operations: ["pools:create"], methods: [POST]}"""
    suite = read(tests, rules=rules)
    made = coverage(suite, Judge(suite.policy))
    assert (made.rules, made.covered_rules, made.conditions, made.covered_conditions) == (2, 1, 5, 2)
    assert [(one.rule.id, one.condition) for one in made.uncovered] == [
        ("pools", ""), ("pools", "roles"), ("pools", "operations"), ("pools", "methods"),
    ]  # fmt: skip
    assert made.percent == 40.0


def test_a_policy_without_rules_is_covered():
    suite = read(rules="")
    assert isinstance(suite.policy, Policy)
    assert coverage(suite, Judge(suite.policy)).percent == 100.0
    assert (share(0, 0), share(1, 4)) == (100.0, 25.0)


def test_a_token_that_is_refused_is_none():
    issuers = ISSUERS.replace("inbound: [airflow], egress", "egress")
    suite = read("{who: reader, request: GET /api/v2/dags, expect: deny}", issuers=issuers)
    made = coverage(suite, Judge(suite.policy))
    assert ("readers", "roles") not in [(one.rule.id, one.condition) for one in made.uncovered]


def test_a_rule_for_all_teams_counts_once():
    top = 'version: 1\nteams: [{names: [hr, sales], dags: ["{team}_*"]}]'
    roles = '\n  "{team}-viewer": {groups: ["{team}-viewers"]}\n'
    rules = """{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: team}
{id: pools, plane: inbound, roles: ["{team}-viewer"], operations: ["pools:read"]}"""
    tests = """{who: {groups: [sales-viewers]}, request: GET /api/v2/dags/sales_x, expect: allow, rule: view/sales}
{who: {groups: [hr-viewers]}, request: GET /api/v2/dags/sales_x, expect: deny}
{who: {groups: [hr-viewers]}, request: DELETE /api/v2/dags/hr_x, expect: deny}"""
    suite = read(tests, rules=rules, roles=roles, top=top, callers=" {}\n")
    made = coverage(suite, Judge(suite.policy))
    assert (made.rules, made.covered_rules, made.conditions, made.covered_conditions) == (2, 1, 5, 4)
    assert [(one.rule.id, one.condition) for one in made.uncovered] == [("pools/hr", ""), ("pools/hr", "roles")]


@pytest.mark.parametrize(
    ("level", "conditions"),
    [
        ("dags: [s_a], identity: asserted", ["hosts", "paths", "dags"]),  # without it the rule is stricter
        ("tasks: [t], identity: asserted", ["hosts", "paths", "tasks"]),
        ("dags: [s_a], identity: verified-bearer", ["hosts", "paths", "dags", "identity"]),
        ("dags: [s_a]", ["hosts", "paths", "dags", "identity"]),  # the level is verified
        ("identity: asserted", ["hosts", "paths", "identity"]),  # without it no run is needed
        ('dags: ["*"], tasks: ["*"], identity: asserted', ["hosts", "paths", "identity"]),
        ('dags: ["*"], tasks: [t], identity: asserted', ["hosts", "paths", "tasks"]),
    ],
)
def test_a_level_counts_where_it_keeps_somebody_out(level, conditions):
    policy = load(f"{{id: o, plane: egress, hosts: [a.test], paths: [/x], {level}}}")
    assert found(policy, []) == [("o", ""), *(("o", name) for name in conditions)]
    assert found(policy, every()) == uncovered(policy, every())
    assert ("o", "identity") not in found(policy, every([request("GET", "/x", plane="egress", host="a.test")]))


@pytest.mark.parametrize(
    ("rule", "conditions"),
    [
        ('deny: true, plane: egress, paths: ["/**"]', []),
        ('deny: true, plane: egress, paths: ["/secret", "/**"], hosts: [a.test]', ["hosts"]),
        ('plane: egress, roles: [op], hosts: [a.test], paths: ["/**"]', ["roles", "hosts"]),
        ('plane: inbound, roles: [op], paths: ["/**"]', ["roles"]),
        ('plane: inbound, roles: [op], paths: ["/x/**", "/{a}"]', ["roles", "paths"]),
        ('deny: true, plane: egress, dags: ["*"]', []),
        ('deny: true, plane: egress, hosts: [a.test], tasks: [x, "*"]', ["hosts"]),
        ('plane: inbound, roles: [op], operations: ["dags:*"], dags: ["*"]', ["roles", "operations", "dags"]),
        ('deny: true, hosts: [a.test], dags: ["*"]', ["hosts", "dags"]),  # inbound, a request may be about no DAG
    ],
)
def test_a_pattern_that_keeps_nothing_out_is_no_condition(rule, conditions):
    policy = load(f"{{id: o, {rule}}}")
    assert found(policy, []) == [("o", ""), *(("o", name) for name in conditions)]
    assert found(policy, every()) == uncovered(policy, every())


def test_a_rule_for_everything_is_covered_by_one_request():
    policy = load('{id: no-calls, deny: true, plane: egress, paths: ["/**"]}')
    made = covered(policy, [(request("GET", "/x", plane="egress", host="a.test"), None)])
    assert (made.percent, made.rules, made.conditions) == (100.0, 1, 0)


def test_what_is_covered_says_nothing_about_the_answer_of_other_rules():
    """The deny rule answers alike without the condition: what is measured is that it alone did not hold."""
    rules = """{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"]}
{id: no-pools, deny: true, plane: inbound, operations: ["pools:read"]}"""
    suite = read("{who: reader, request: GET /api/v2/pools, expect: deny, rule: no-pools}", rules=rules)
    made = coverage(suite, Judge(suite.policy))
    assert ("readers", "operations") not in [(one.rule.id, one.condition) for one in made.uncovered]


def test_an_entry_of_grantable_is_covered_by_a_test_of_its_grant():
    entries = """{id: a, requesters: [viewer], approvers: none, longest: 1d, operations: ["pools:read"]}
{id: b, requesters: [viewer], approvers: none, longest: 1d, operations: ["variables:read"]}"""
    tests = """{who: {grants: [a]}, operation: "pools:read", expect: allow}
{who: authenticated, operation: "pools:read", expect: deny}
{who: {grants: [a]}, operation: "assets:read", expect: deny}"""
    suite = read(tests, grantable=entries)
    found = coverage(suite, Judge(suite.policy))
    left = {(one.rule.written, one.condition) for one in found.uncovered if one.rule.id.startswith("grant/")}
    assert left == {("grant/b", ""), ("grant/b", "roles"), ("grant/b", "operations")}
