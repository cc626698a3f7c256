"""Rules that can never allow anything are found, and no others: random small policies, on both planes."""

import random

import pytest

from authz.core.decision.decide import narrows, route_of, shows
from authz.core.model import Plane
from authz.core.policy.rules import Effect
from authz.core.proof import lifeless as module
from authz.core.proof.gains import Gains
from authz.core.proof.lifeless import lifeless
from authz.core.proof.nothing import without_rules
from authz.core.proof.samples import Samples
from tests.support.factories.policies import SHORT, below
from tests.support.factories.small_policies import DAGS, loaded, policy, requests
from tests.unit.core.proof.test_gains import everybody


def found(*rules, head=SHORT):
    return [(rule.id, names) for rule, names in lifeless(below(head, *rules))]


def allows(known, plane):
    """Whether anyone may do anything: the prover's answer, which brute force tests."""
    return any(True for _ in Gains(without_rules(known), known, plane).all())


def brute_force(rng, known, plane, count):
    """Whether any of some requests is allowed to any caller."""
    issuers = [issuer.name for issuer in known.issuers.values() if plane in issuer.audiences]
    for request, run in requests(rng, plane, count):
        for caller in rng.sample(callers := everybody(issuers, run, request.method), min(len(callers), 12)):
            identity = caller.identity(known, run)
            lists = narrows(request, identity, route_of(request, known))
            if any(shows(request, identity, known, dag) for dag in (DAGS if lists else [""])):
                return True
    return False


def without_rules_of_grants(entries):
    """What is grantable, without what entries allow beside the rules that are asked about."""
    kept = ("id", "requesters", "approvers", "longest", "roles")
    return [{key: entry[key] for key in kept} for entry in entries if "roles" in entry]


def compared(first, count, plane):
    """How many rules were found."""
    lifeless_ones = 0
    for number in range(first, first + count):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        written, whole = policy(rng, plane.value)
        dead = {rule.id for rule, _ in lifeless(whole)}
        denials = [made for made in written["rules"] if whole.rules[made["id"]].effect is Effect.DENY]
        for made in written["rules"]:
            if made in denials:
                continue
            rest = {**written, "grantable": without_rules_of_grants(written["grantable"])}
            alone, among = (loaded({**rest, "rules": rules}) for rules in ([made], [made, *denials]))
            lives, someone = allows(among, plane), allows(alone, plane)
            assert (made["id"] in dead) == (someone and not lives), (number, made["id"])
            if made["id"] in dead:
                lifeless_ones += 1
                assert not brute_force(rng, among, plane, 60), (number, made["id"])
    return lifeless_ones


@pytest.mark.no_cover
@pytest.mark.parametrize("plane", list(Plane))
def test_exactly_the_rules_that_can_never_allow_anything_are_found(plane):
    assert compared(0, 120, plane) > 3


@pytest.mark.full
@pytest.mark.parametrize("plane", list(Plane))
def test_exactly_the_rules_of_many_policies_that_can_never_allow_anything_are_found(plane):
    assert compared(10_000, 800, plane) > 15


ALLOW = 'id: a, plane: inbound, roles: [r], operations: ["pools:read", "variables:read"]'


def test_several_deny_rules_keep_everyone_from_a_rule_together():
    pools, variables = (f'plane: inbound, deny: true, operations: ["{name}:*"]' for name in ("pools", "variables"))
    assert found(ALLOW, f"id: p, {pools}") == []
    assert found(ALLOW, f"id: p, {pools}", f"id: v, {variables}") == [("a", ("p", "v"))]


def test_a_path_is_what_its_operation_is():
    rule = 'id: a, plane: inbound, roles: [r], paths: ["/api/v2/pools"], methods: [GET]'
    assert found(rule, 'id: d, plane: inbound, deny: true, operations: ["pools:read"]') == [("a", ("d",))]
    assert found(rule, 'id: d, plane: inbound, deny: true, operations: ["pools:delete"]') == []


def test_a_group_that_gives_a_denied_role_too_is_kept_from_the_rule():
    assert found(ALLOW, "id: d, plane: inbound, deny: true, roles: [s]") == [("a", ("d",))]
    assert found(ALLOW.replace("[r]", "[s]"), "id: d, plane: inbound, deny: true, roles: [r]") == []


def test_a_deny_rule_about_another_destination_keeps_no_one_from_a_rule():
    head = SHORT.replace("inbound: [a]", "egress: [a]")
    rule = 'id: a, plane: egress, roles: [r], destinations: [orders], paths: ["/**"]'
    deny = "id: d, plane: egress, deny: true, destinations: "
    assert found(rule, f"{deny}[stock]", head=head) == []
    assert found(rule, f"{deny}[stock, orders]", head=head) == [("a", ("d",))]


def test_a_deny_rule_with_an_end_keeps_no_one_for_ever():
    deny = "id: d, plane: inbound, deny: true, roles: [s]"
    assert found(ALLOW, f"{deny}, until: 2030-01-01") == []
    assert found(ALLOW, f"{deny}, until: 2030-01-01", deny.replace("id: d", "id: e")) == [("a", ("e",))]


def test_a_membership_with_an_end_keeps_no_one_for_ever():
    deny = "id: d, plane: inbound, deny: true, roles: [s]"
    head = SHORT.replace("s: {groups: [g, h]}", "s: {groups: [{name: g, until: 2030-01-01}, h]}")
    assert found(ALLOW, deny, head=head) == []
    later = SHORT.replace("r: {groups: [g]}", "r: {groups: [{name: g, until: 2030-01-01}]}")
    assert found(ALLOW, deny, head=later) == [("a", ("d",))]


def test_a_rule_of_a_role_that_no_one_has_is_not_meant():
    far = '  - {name: far, issuer: "https://far.example.com", audiences: {egress: [b]}, algorithms: [RS256]}'
    head = SHORT.replace("\nroles: {", f"\n{far}\nroles: {{far: {{groups: [x], issuers: [far]}}, ")
    rules = ALLOW.replace("[r]", "[far]"), "id: d, plane: inbound, deny: true, roles: [s]"
    assert found(*rules, head=head) == []
    assert found(*rules, "id: e, plane: inbound, deny: true, operations: ['*']", head=head) == []


def test_a_rule_of_both_planes_is_dead_on_both():
    both = 'id: a, roles: [r], hosts: [x.test], paths: ["/x"]'
    deny = "id: d, deny: true, plane: inbound, hosts: [x.test]"
    assert found(both, deny) == []  # no deny rule is there on egress
    also = "id: e, deny: true, plane: egress, hosts: [y.test]"
    assert found(both, deny, also) == [("a", ("d",))]  # no issuer's tokens are accepted there
    head = SHORT.replace("inbound: [a]", "inbound: [a], egress: [b]")
    assert found(both, deny, also, head=head) == []
    assert found(both, deny, also.replace("y.test", "x.test"), head=head) == [("a", ("d", "e"))]


def test_a_rule_about_which_too_much_would_be_asked_counts_as_alive(monkeypatch):
    deny = 'id: d, plane: inbound, deny: true, operations: ["*"]'
    assert found(ALLOW, deny) == [("a", ("d",))]
    monkeypatch.setattr(module, "MOST_ASKED", 0)
    assert found(ALLOW, deny) == []


@pytest.mark.no_cover
@pytest.mark.parametrize("plane", list(Plane))
def test_a_sample_is_a_request_that_the_rule_allows(plane):
    some = 0
    for number in range(150):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        written, whole = policy(rng, plane.value)
        for made in written["rules"]:
            rule = whole.rules[made["id"]]
            at = Samples(whole, plane).of(rule) if rule.effect is not Effect.DENY else None
            if at is not None:
                some += 1
                alone = loaded(
                    {**written, "rules": [{**made, "roles": ["authenticated"]} if "roles" in made else made]}
                )
                issuers = [issuer.name for issuer in alone.issuers.values()]
                identities = (
                    caller.identity(alone, at.run) for caller in everybody(issuers, at.run, at.request.method)
                )
                assert any(shows(at.request, one, alone, "") for one in identities), (number, rule, at)
    assert some > 100
