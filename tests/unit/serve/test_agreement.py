"""Policy and settings together: a deny rule does not become empty because of a slip in a name."""

import pytest

from authz.core import cases
from authz.core.policy import Bundle
from authz.serve import agreement
from authz.settings import Settings
from tests.support.factories.policies import load, text

UPSTREAMS = [{"name": "airflow", "address": "127.0.0.1:8081", "hosts": ("airflow.test", "*.teams.test")}]
ORDERS = {"name": "orders", "address": "10.0.0.1:80", "hosts": ("orders.internal",)}
BASE = "{{id: z, plane: egress, roles: [viewer], destinations: [orders], paths: [/z]}}\n{{id: x, {}}}"


def settings(*, inbound=None, egress=None):
    envoy = {"inbound": inbound, "egress": egress}
    return Settings.model_validate({"version": 1, "envoy": {key: value for key, value in envoy.items() if value}})


def mistakes(rule, **sections):
    policy = load(BASE.format(rule))
    return [problem.message for problem in agreement.mistakes(policy, settings(**sections), "authz.yaml")]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("deny: true, plane: inbound, hosts: [airflow.test]", []),
        ("deny: true, plane: inbound, hosts: [a.teams.test]", []),
        ("plane: inbound, roles: [viewer], operations: [dags:read], hosts: [airfow.test]", []),
        ("deny: true, hosts: [airfow.test], paths: [/x]", []),
        (
            "deny: true, plane: inbound, hosts: [airflow.test, airfow.test]",
            ["the deny rule `x` names the host `airfow.test`, which no upstream serves"],
        ),
    ],
)
def test_hosts_of_the_inbound_plane(rule, expected):
    assert mistakes(rule, inbound={"upstreams": tuple(UPSTREAMS)}) == expected


def found(rule, **sections):
    policy = load(BASE.format(rule))
    return [(one.severity.value, one.problem.message) for one in agreement.findings(policy, settings(**sections), "s")]


def test_rules_limited_to_dags_deny_lists_where_no_upstream_narrows():
    rule = 'plane: inbound, roles: [viewer], operations: [dags:read], dags: ["sales_*"]'
    every = {**UPSTREAMS[0], "hosts": ("*",), "audience": "airflow"}
    told = ("warning", "the rule `x` is limited to some DAGs, and no upstream limits its lists, so lists are denied")
    assert told in found(rule, inbound={"upstreams": (every,)})
    narrowing = {"upstreams": ({**every, "narrows_dags": True},)}
    assert told not in found(rule, inbound=narrowing)
    assert told not in found(rule)
    assert told not in found(rule.replace(', dags: ["sales_*"]', ""), inbound={"upstreams": (every,)})
    assert told not in found(rule.replace("dags:read", "dag_runs:create"), inbound={"upstreams": (every,)})
    assert told in found(rule.replace("dags:read", "airflow.viewer"), inbound={"upstreams": (every,)})


def test_an_upstream_for_every_host_serves_them_all():
    every = {"upstreams": ({**UPSTREAMS[0], "hosts": ("*",)},)}
    assert mistakes("deny: true, plane: inbound, hosts: [airfow.test]", inbound=every) == []


def test_egress_errors_of_a_policy_are_mistakes_and_egress_warnings_are_not():
    egress = {"destinations": (ORDERS,)}
    assert mistakes("deny: true, plane: egress, destinations: [ordres]", egress=egress) == [
        "the rule `x` names an unknown destination `ordres`"
    ]
    warned = "plane: egress, roles: [viewer], hosts: [nobody.test], paths: [/x]"
    assert mistakes(warned, egress=egress) == []
    found = agreement.findings(load(BASE.format(warned)), settings(egress=egress), "authz.yaml")
    assert [finding.severity.value for finding in found] == ["warning"]


def test_without_an_egress_section_destinations_of_rules_are_not_checked():
    assert agreement.mistakes(load(BASE.format("deny: true, plane: egress, destinations: [x]")), settings(), "s") == []


def test_a_destination_that_only_an_entry_of_grantable_names_is_known_to_the_settings():
    entry = "{{id: a, requesters: [viewer], approvers: none, longest: 1d, {}}}"
    rule = 'plane: egress, destinations: [{}], paths: ["/**"]'
    egress = {"destinations": (ORDERS,)}
    for name, count in (("orders", 0), ("ordres", 1)):
        policy = load(BASE.format("public: true, operations: [health:read]"), grantable=entry.format(rule.format(name)))
        found = agreement.mistakes(policy, settings(egress=egress), "authz.yaml")
        assert len(found) == count
        assert all("`grant/a`" in one.message and one.line == policy.grantable["a"].line for one in found)


def test_an_entry_of_never_about_a_destination_that_is_not_there_is_a_mistake():
    rule = BASE.format("plane: egress, roles: [viewer], destinations: [orders], paths: [/x]")
    entry = "never:\n  - {name: no writes, destinations: [ordres, orders], methods: [POST], plane: egress}\n"
    suite = cases.read(Bundle((text(rule) + entry).encode(), "policy.yaml"))
    egress = settings(egress={"destinations": (ORDERS,)})
    [problem] = agreement.mistakes(suite.policy, egress, "s", suite.never)
    assert problem.message == "the entry `no writes` of `never` names an unknown destination `ordres`"
    assert (problem.hint, problem.line > 1) == ("did you mean `orders`?", True)
    assert agreement.mistakes(suite.policy, settings(), "s", suite.never) == []
    assert (agreement.has_ways_out(egress), agreement.has_ways_out(settings())) == (True, False)


def test_a_decision_client_of_an_issuer_that_the_policy_lacks_is_a_warning():
    policy = load(BASE.format("plane: inbound, roles: [viewer], operations: [dags:read]"))

    def about(issuer):
        client = {"name": "portal", "issuer": issuer, "subject": "s"}
        asked = {"audiences": ("a",), "decision_clients": (client,)}
        section = {"listen": ("unix:/h",), "audiences": ({"name": "a"},), "authzen": asked}
        read = Settings.model_validate({"version": 1, "http_check": section})
        return [(one.severity.value, str(one.problem)) for one in agreement.findings(policy, read, "authz.yaml")]

    known = next(iter(policy.issuers))
    message = f"the decision client `portal` is of `{known}x`, which is no issuer of the policy"
    assert about(known) == []
    assert about(f"{known}x") == [("warning", f"authz.yaml: {message} (its issuers: {known})")]
