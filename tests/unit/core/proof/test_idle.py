"""Rules that change nothing are found, and no others: random small policies, on both planes."""

import json
import random
from dataclasses import replace
from types import MappingProxyType

import pytest

from authz.core.decision.decide import route_of
from authz.core.errors import PolicyError
from authz.core.model import Plane
from authz.core.policy.compiled import Gate
from authz.core.policy.index import Index
from authz.core.policy.patterns import parse_dag, parse_host, parse_path
from authz.core.policy.rules import Effect, Rule
from authz.core.proof import idle as module
from authz.core.proof import others
from authz.core.proof.gains import Gains
from authz.core.proof.idle import idle
from authz.core.proof.lifeless import lifeless
from authz.core.proof.points import point
from authz.core.proof.regions import of_denial, of_rule
from authz.core.proof.space import Space
from authz.core.request.path import CONNECT
from tests.support.factories.policies import SHORT, below
from tests.support.factories.small_policies import OPERATIONS, PATHS, policy
from tests.support.factories.small_policies import rule as drawn_rule


def found(*rules, head=SHORT):
    return {one.rule.id: (*one.by, *one.denied) for one in idle(below(head, *rules))}


def with_rules(known, rules):
    """The policy with these rules in place of its own."""
    gates = {}
    for plane in Plane:
        deny, public, allow = (
            Index(rules, plane=plane, effect=effect, catalogue=known.catalogue)
            for effect in (Effect.DENY, Effect.PUBLIC, Effect.ALLOW)
        )
        gates[plane] = Gate(deny=deny, public=public, allow=allow)
    return replace(known, rules=MappingProxyType({rule.id: rule for rule in rules}), gates=MappingProxyType(gates))


def everything(known, plane):
    """Rules that allow every request to everyone, whose ids are those of no other rule."""
    all_names = tuple(known.catalogue.operations)
    kind = {"effect": Effect.PUBLIC if plane is Plane.INBOUND else Effect.ALLOW, "planes": frozenset({plane})}
    yield Rule(id="z0", **kind)
    if plane is Plane.INBOUND:
        yield Rule(id="z1", operations=all_names, **kind)
    else:
        yield Rule(id="z1", methods=(CONNECT,), **kind)


class Known:
    """A policy, asked whether some of its rules change anything beside others of them."""

    def __init__(self, known, plane):
        self.known, self.plane = known, plane
        self.denials = [rule for rule in known.rules.values() if rule.effect is Effect.DENY]
        self.granting = [rule for rule in known.rules.values() if rule.effect is not Effect.DENY]

    def gains(self, before, after):
        return any(True for _ in Gains(*(with_rules(self.known, rules) for rules in (before, after)), self.plane).all())

    def does(self, rule, beside):
        """Whether a rule allows or denies anyone anything that these of its kind do not."""
        if rule.effect is Effect.DENY:
            every = [*everything(self.known, self.plane)]
            return self.gains([*every, *beside, rule], [*every, *beside])
        return self.gains([*beside, *self.denials], [*beside, rule, *self.denials])

    def check(self):
        """How many rules were found."""
        ids = {}
        for one in idle(self.known, [rule.id for rule, _ in lifeless(self.known)]):
            ids[one.rule.id] = one
        for of_kind in (self.granting, self.denials):
            left = [rule for rule in of_kind if rule.id not in ids]
            for rule in of_kind:
                others_left = [other for other in left if other is not rule]
                if rule.id not in ids:
                    assert self.does(rule, others_left) or not self.does(rule, []), rule.id
                    continue
                one = ids[rule.id]
                assert not self.does(rule, others_left), rule.id
                assert not self.does(rule, [self.known.rules[name] for name in one.by]), rule.id
                assert one.same or bool(one.by) == self.does(rule, []), rule.id
        return len(ids)


def compared(first, count, plane):
    total = 0
    for number in range(first, first + count):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        _, known = policy(rng, plane.value)
        try:
            total += Known(known, plane).check()
        except AssertionError as error:
            raise AssertionError(number) from error
    return total


@pytest.mark.no_cover
@pytest.mark.parametrize("plane", list(Plane))
def test_exactly_the_rules_that_change_nothing_are_found(plane):
    assert compared(0, 60, plane) > 3


@pytest.mark.full
@pytest.mark.parametrize("plane", list(Plane))
def test_exactly_the_rules_of_many_policies_that_change_nothing_are_found(plane):
    assert compared(10_000, 600, plane) > 50


def test_a_path_that_a_route_has_is_met_as_that_route():
    rules = (
        'id: a, plane: inbound, roles: [r], operations: ["pools:*"]',
        'id: p, plane: inbound, roles: [r], paths: ["/api/v2/pools/{p}"], methods: [GET]',
    )
    assert found(*rules) == {"p": ("a",)}
    assert found(*rules[1:]) == {}


def meets_nothing(known, rule):
    """Whether no region of an inbound rule is of its own route."""
    space = Space(Plane.INBOUND, with_rules(known, [rule]))
    regions = (of_denial if rule.effect is Effect.DENY else of_rule)(rule, Plane.INBOUND, space)
    routes = ((one, route_of(point(one, space.symbol).request, known)) for one in regions)
    return not any((route.template if route else "") == one.template for one, route in routes)


def test_the_loader_and_lint_say_together_of_exactly_the_rules_that_no_request_meets_that_they_never_apply():
    known = below(SHORT, "id: a, plane: inbound, roles: [r], operations: [dags:read]")
    refused, idle_ones = 0, 0
    for number in range(150):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        made = {**drawn_rule(rng, 0, "inbound"), "operations": [rng.choice(OPERATIONS)], "roles": ["r"]}
        made |= {"paths": [rng.choice(PATHS), "/api/v2/dags/b"]} if number % 2 else {}
        made.pop("public", None)
        try:
            [rule] = below(SHORT, json.dumps(made)[1:-1]).rules.values()
        except PolicyError as error:
            others_said = [one for one in error.problems if "can never apply" not in one.message]
            parts = {"paths": parse_path, "dags": parse_dag, "hosts": parse_host, "operations": str, "methods": str}
            entries = {key: tuple(map(parse, made.get(key, ()))) for key, parse in parts.items()}
            effect = Effect.DENY if made.get("deny") else Effect.ALLOW
            rule = Rule(id="x", effect=effect, planes=frozenset({Plane.INBOUND}), roles=("r",), **entries)
            refused += 1
            assert not others_said
            assert meets_nothing(known, rule), number
        else:
            alone = [one for one in idle(with_rules(known, [rule])) if not one.by]
            idle_ones += len(alone)
            assert bool(alone) == meets_nothing(known, rule), number
    assert refused > 5
    assert idle_ones > 1


READS = 'plane: inbound, roles: [r], operations: ["dags:read"]'


def pools(name, words, more=""):
    return f"id: {name}, plane: inbound, roles: [r], operations: [{words}]{more}"


def test_rules_cover_another_one_together():
    both = pools("c", "pools:read, variables:read")
    assert found(both, pools("a", "pools:read")) == {"a": ("c",)}
    assert found(pools("a", "'pools:*'"), both, pools("v", "'variables:*'")) == {"c": ("a", "v")}


def test_one_wide_rule_is_named_before_several_narrow_ones():
    rules = pools("a", "pools:read"), pools("z", "pools:create"), pools("m", "'pools:*'")
    assert found(*rules, pools("c", "pools:read, pools:create")) == dict.fromkeys("acz", ("m",))


def test_of_rules_that_cover_each_other_the_last_one_is_found():
    a, b = f"id: a, {READS}, dags: ['x*']", f"id: b, {READS}, dags: ['x*', 'xy*']"
    assert found(a, b) == {"b": ("a",)}
    assert found(b, a) == {"a": ("b",)}
    twins = f"id: a, {READS}", f"id: b, {READS}, description: again", f"id: c, {READS}"
    assert found(*twins) == {"b": ("a",), "c": ("a",)}


def test_of_many_rules_that_cover_each_other_one_is_left():
    """At the end neither the first nor the last of the rules that apply is one that is left."""
    numbers = (3, 0, 5, 1, 4, 2)
    rules = [f"id: r{number}, {READS}, dags: ['x*', 'xy{number}*']" for number in numbers]
    assert found(*rules) == {f"r{number}": ("r3",) for number in numbers[1:]}


def test_what_callers_have_by_another_role_counts():
    rule, wide = pools("a", "pools:read"), pools("w", "'pools:*'").replace("[r]", "[s]")
    assert found(rule, wide) == {"a": ("w",)}  # who has r has s, by the same group
    assert found(rule, wide, head=SHORT.replace("r: {groups: [g]", "r: {groups: [g, x]")) == {}


def test_deny_rules_keep_everyone_from_the_rest():
    deny = "id: d, plane: inbound, deny: true, operations: ['variables:*']"
    assert found(pools("a", "pools:read"), pools("c", "pools:read, variables:read"), deny) == {"c": ("a", "d")}


def test_a_deny_rule_that_others_cover():
    deny = "plane: inbound, deny: true, operations: ['pools:*'], roles: [s]"
    assert found(f"id: a, {deny}", "id: d, deny: true, roles: [r], methods: [DELETE]") == {}
    narrow = "id: d, plane: inbound, deny: true, roles: [r], operations: ['pools:delete']"
    assert found(f"id: a, {deny}", narrow) == {"d": ("a",)}
    assert found(narrow, f"id: a, {deny}") == {"d": ("a",)}


def test_a_deny_rule_about_runs_is_about_every_call_that_is_not_sure():
    head = SHORT.replace("inbound: [a]", "inbound: [a], egress: [b]")
    one, other = (f"id: {dag}, plane: egress, deny: true, hosts: [x.test], dags: [{dag}]" for dag in "ab")
    assert found(one, other, head=head) == {}
    accounts = f"{other}, roles: [r]"  # which never bring a run that is sure
    assert found(one, accounts, head=head) == {"b": ("a",)}
    tunnel = "id: t, plane: egress, deny: true, hosts: [x.test], methods: [CONNECT], roles: [r]"
    assert found(one, tunnel, head=head) == {"t": ("a",)}


def test_the_rule_of_a_built_in_role_stays():
    head = SHORT.replace("roles: {", "roles: {airflow.viewer: {groups: [g]}, ")
    wide = "plane: inbound, roles: [authenticated], operations: [airflow.viewer]"
    assert found(f"id: a, {wide}", head=head) == {}
    assert found(f"id: a, {wide.replace('authenticated', 'r')}", head=head) == {"a": ("airflow.viewer",)}


def test_a_rule_that_no_request_meets():
    assert found(f"id: a, {READS}, paths: ['/api/v2/dags/a'], dags: ['b*']") == {"a": ()}
    assert found(f"id: a, {READS}, paths: ['/api/v2/dags/a'], dags: ['a*']") == {}


def test_a_rule_of_a_role_that_no_one_has_is_not_meant():
    far = '  - {name: far, issuer: "https://far.example.com", audiences: {egress: [b]}, algorithms: [RS256]}'
    head = SHORT.replace("\nroles: {", f"\n{far}\nroles: {{n: {{groups: [x], issuers: [far]}}, ")
    assert found(pools("a", "pools:read").replace("[r]", "[n]"), pools("w", "'pools:*'"), head=head) == {}
    deny = "plane: inbound, deny: true, roles: [{}], operations: ['pools:*']"
    assert found(f"id: a, {deny.format('n')}", f"id: b, {deny.format('r')}", head=head) == {}


def test_what_ends_covers_nothing_that_stays():
    wide, narrow = pools("w", "'pools:*'"), pools("a", "pools:read")
    assert found(f"{wide}, until: 2030-01-01", narrow) == {}
    assert found(wide, f"{narrow}, until: 2030-01-01") == {"a": ("w",)}
    assert found(f"{narrow}, until: 2030-01-01", f"{narrow.replace('a,', 'b,')}, until: 2030-01-01") == {"b": ("a",)}
    ending = SHORT.replace("s: {groups: [g, h]}", "s: {groups: [{name: g, until: 2030-01-01}, h]}")
    assert found(narrow, wide.replace("[r]", "[s]"), head=ending) == {}
    assert found(narrow.replace("[r]", "[s]"), wide, head=ending) == {}  # h has s alone
    assert found(narrow.replace("[r]", "[s]"), wide.replace("[r]", "[r, s]"), head=ending) == {"a": ("w",)}


def test_rules_for_all_teams_are_one_rule_of_the_file():
    head = SHORT.replace(
        "roles: {", "teams: [{names: [x, y], dags: ['{team}_*']}]\nroles: {'{team}': {groups: ['{team}']}, "
    )
    rule = "id: {}, plane: inbound, roles: ['{{team}}'], operations: [dags:read], dags: team"
    own = "id: o, plane: inbound, roles: [x], operations: [dags:read], dags: ['x*']"
    assert found(rule.format("a"), own, head=head) == {}  # not that of y
    also = own.replace("id: o", "id: p").replace("[x]", "[y]").replace("x*", "y*")
    assert found(rule.format("a"), own, also, head=head) == {"a/x": ("o", "p")}
    assert found(rule.format("a"), rule.format("b"), head=head) == {"b/x": ("a/x",)}


def test_where_too_much_would_be_asked_no_rule_is_found(monkeypatch):
    rules = pools("a", "pools:read, variables:read"), pools("w", "'pools:*', 'variables:*'")
    assert found(*rules) == {"a": ("w",)}
    for name in ("MOST_ASKED", "MOST_ASKED_IN_ALL", "MOST_RULES", "MOST_ROLES"):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, 1)
            assert found(*rules) == {}, name


def test_where_too_many_indexes_would_be_made_a_rule_counts_as_one_that_does_something(monkeypatch):
    numbers = (3, 0, 5, 1, 4, 2)
    rules = [f"id: r{number}, {READS}, dags: ['x*', 'xy{number}*']" for number in numbers]
    monkeypatch.setattr(others, "MOST_SORTED", -1)
    assert found(*rules) == {f"r{number}": ("r0",) for number in (1, 2, 3, 4, 5)}  # and not r0, by r3


def test_patterns_that_overlap_in_too_many_ways_are_not_asked_about():
    few, many = (["*".join(f"a{middle[:size]}z") for middle in ("bcdefghi", "jklmnopq")] for size in (2, 8))
    deny = "id: {}, plane: inbound, deny: true, paths: ['/{}', '/{}']"
    for two, covered in ((few, {"b": ("a",)}), (many, {})):
        wide = deny.format("a", *two).replace("paths: [", "paths: ['/a*', ")
        assert found(wide, deny.format("b", *two)) == covered
