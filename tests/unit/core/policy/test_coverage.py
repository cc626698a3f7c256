import pytest

from authz.core.policy.coverage import covers
from authz.core.policy.operations import Words
from tests.support.factories.policies import load


def covered(wide, narrow):
    policy = load(f"{{id: wide, deny: true, {wide}}}\n{{id: narrow, deny: true, {narrow}}}")
    return covers(policy.rules["wide"], policy.rules["narrow"], Words(policy.catalogue))


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("methods: [GET, POST]", "methods: [GET]", True), ("methods: [GET]", "methods: [HEAD]", True),
        ("methods: [HEAD]", "methods: [GET]", False), ("methods: [GET]", "paths: [/a]", False),
        ("methods: [GET], plane: inbound", "methods: [GET]", False),
        ("methods: [GET]", "methods: [GET], plane: egress", True),
        ('operations: ["dags:*"]', "operations: [dags:read]", True),
        ("operations: [dags:read]", 'operations: ["dags:*"]', False),
        ('operations: ["*"]', "operations: [tokens:create]", True), ("operations: [dags:read]", "paths: [/a]", False),
        ("hosts: [a.b]", "hosts: [a.b]", True), ("hosts: ['*.b']", "hosts: [a.b]", True),
        ("hosts: ['*.b']", "hosts: [b]", False),
        ("hosts: ['*.b']", "hosts: ['*.a.b']", True), ("hosts: ['*.a.b']", "hosts: ['*.b']", False),
        ("hosts: ['*.b']", "hosts: ['*.b']", True), ("hosts: [a.b]", "hosts: ['*.b']", False),
        ("paths: [/a]", "paths: [/a]", True), ("paths: [/a]", "paths: [/a, /b]", False),
        ("paths: ['/{x}']", "paths: [/a]", True),
        ("paths: ['/{x}']", "paths: [/]", False), ("paths: ['/{x}']", "paths: ['/{y}']", True),
        ("paths: ['/{x}']", "paths: ['/a*']", True), ("paths: ['/a*']", "paths: ['/ab*']", True),
        ("paths: ['/a*']", "paths: ['/{x}']", False), ("paths: ['/a*']", "paths: [/ab]", True),
        ("paths: ['/a*']", "paths: [/b]", False), ("paths: [/a]", "paths: ['/a*']", False),
        ("paths: ['/a/**']", "paths: [/a/b/c]", True), ("paths: ['/a/**']", "paths: [/a]", False),
        ("paths: ['/a/**']", "paths: ['/a/**']", True), ("paths: ['/a/**']", "paths: ['/a/b/**']", True),
        ("paths: ['/a/b/**']", "paths: ['/a/**']", False), ("paths: [/a/b]", "paths: ['/a/**']", False),
        ("paths: ['/**']", "paths: [/]", True), ("paths: [/a]", "paths: [/a/b]", False),
        ("dags: ['*']", "dags: ['x*', y]", True), ("dags: ['x*']", "dags: ['xy*', 'x*z', xa]", True),
        ("dags: ['x*']", "dags: ['*']", False), ("dags: ['x*']", "methods: [GET]", False),
    ],
)  # fmt: skip
def test_a_rule_covers_what_its_conditions_include(wide, narrow, expected):
    assert covered(wide, narrow) is expected


OUT = "plane: egress, "
DENY = f"deny: true, {OUT}"


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("destinations: [a, b]", "destinations: [b]", True), ("destinations: [a]", "destinations: [a, b]", False),
        ("destinations: [a]", "hosts: [a]", False), ("hosts: [a]", "hosts: [a], destinations: [a]", True),
        ("tasks: ['x*']", "tasks: ['xy*', xa]", True), ("tasks: [x]", "tasks: ['x*']", False),
        ("tasks: [x]", "dags: [x]", False), ("dags: ['*']", "dags: [x], tasks: [x]", True),
    ],
)  # fmt: skip
def test_coverage_of_calls(wide, narrow, expected):
    assert covered(OUT + wide, OUT + narrow) is expected


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        ("hosts: [a], paths: [/x], identity: asserted", "hosts: [a], paths: [/x], identity: verified", True),
        ("hosts: [a], paths: [/x], identity: verified", "hosts: [a], paths: [/x], identity: asserted", False),
        ("hosts: [a], paths: [/x], identity: verified", "hosts: [a], paths: [/x], tasks: [t]", True),
        ("hosts: [a], paths: [/x], identity: asserted", "hosts: [a], paths: [/x], roles: [viewer]", False),
        ("hosts: [a], paths: ['/**'], identity: verified", "hosts: [a], methods: [CONNECT], identity: verified", False),
        ("hosts: [a], methods: [CONNECT], identity: asserted", "hosts: [a], methods: [CONNECT], dags: [x]", True),
        ("hosts: [a], methods: [CONNECT], identity: asserted", "hosts: [a], paths: [/x], dags: [x]", False),
    ],
)
def test_coverage_of_what_is_allowed(wide, narrow, expected):
    policy = load(f"{{id: wide, {OUT}{wide}}}\n{{id: narrow, {OUT}{narrow}}}")
    assert covers(policy.rules["wide"], policy.rules["narrow"], Words(policy.catalogue)) is expected


@pytest.mark.parametrize(
    ("deny", "expected"),
    [
        ("hosts: [a]", True), ("hosts: [a], methods: [DELETE]", True), ("hosts: ['*.b']", False),
        ("paths: [/x]", True), ("methods: [CONNECT]", True), ("hosts: [a], dags: [x]", True), ("dags: [y]", False),
    ],
)  # fmt: skip
def test_deny_rules_cover_tunnels_whatever_their_methods_and_paths(deny, expected):
    policy = load(f"{{id: no, {DENY}{deny}}}\n{{id: tunnel, {OUT}hosts: [a], methods: [CONNECT], dags: [x]}}")
    assert covers(policy.rules["no"], policy.rules["tunnel"], Words(policy.catalogue)) is expected


def test_an_allow_rule_with_wildcards_is_covered_without_what_must_be_named():
    rules = """{id: x, plane: inbound, roles: [viewer], operations: ["ui:*", "*:read"]}
{id: no, deny: true, operations: ["*"]}
{id: y, plane: inbound, roles: [op], operations: ["*"]}"""
    policy = load(rules)
    assert covers(policy.rules["no"], policy.rules["x"], Words(policy.catalogue))
    assert covers(policy.rules["no"], policy.rules["y"], Words(policy.catalogue))
    assert not covers(policy.rules["y"], policy.rules["no"], Words(policy.catalogue))
