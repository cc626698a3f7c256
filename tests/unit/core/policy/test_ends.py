"""A policy as of a time is an ordinary policy without what has ended by then."""

import pytest

from authz.core.decision.decide import evaluate
from authz.core.documents.moments import parse_end
from authz.core.model import Allow
from authz.core.policy import NEVER, as_of, ends
from authz.core.policy.rules import Effect
from tests.support.factories.policies import claims, load, request

RULES = """{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2026-12-01T12:00Z}
{id: pools, plane: inbound, roles: [op], operations: ["pools:*"]}
{id: freeze, deny: true, plane: inbound, operations: ["pools:delete"], until: 2026-12-03}
{id: health, public: true, plane: inbound, operations: ["health:read"], until: 2026-12-05}"""
ROLES = """
  viewer: {groups: [data-readers, {name: contractors, until: 2026-12-02}]}
  op: {clients: [ops], subjects: [{name: anna, until: 2026-12-02}], includes: [viewer]}
  partners: {clients: [{name: partner, until: 2026-12-04}], issuers: [corp]}
"""
NOON, DAY_1, DAY_2, DAY_3, DAY_4, DAY_5 = map(
    parse_end, ("2026-12-01T12:00Z", "2026-12-01", "2026-12-02", "2026-12-03", "2026-12-04", "2026-12-05")
)
WRITTEN = load(RULES, roles=ROLES)


def allowed(policy, method, path, **who):
    identity = policy.identify(claims(**who)) if who else None
    return isinstance(evaluate(request(method, path), identity, policy), Allow)


def test_a_policy_in_which_nothing_ends_is_valid_for_ever():
    policy = load('{id: a, plane: inbound, roles: [viewer], operations: ["dags:read"]}')
    assert (policy.valid_until, policy.since, policy.ended, ends(policy)) == (NEVER, -NEVER, (), [])
    assert as_of(policy, 1e18) is policy
    assert policy.edition == policy.revision


def test_it_is_valid_until_the_first_end_of_a_rule_or_a_member():
    assert ends(WRITTEN) == [NOON, DAY_2, DAY_3, DAY_4, DAY_5]
    assert (WRITTEN.valid_until, WRITTEN.since) == (NOON, -NEVER)
    assert as_of(WRITTEN, NOON - 0.001) is WRITTEN


def test_at_the_very_moment_it_has_ended():
    before, after = WRITTEN, as_of(WRITTEN, NOON)
    assert allowed(before, "GET", "/api/v2/dags", groups=["data-readers"])
    assert not allowed(after, "GET", "/api/v2/dags", groups=["data-readers"])
    assert (after.valid_until, after.since, [rule.id for rule in after.ended]) == (DAY_2, NOON, ["readers"])
    assert "readers" not in after.rules


def test_an_ended_deny_rule_denies_no_more_and_an_ended_public_rule_is_public_no_more():
    assert not allowed(WRITTEN, "DELETE", "/api/v2/pools/x", client="ops")
    assert allowed(as_of(WRITTEN, DAY_3), "DELETE", "/api/v2/pools/x", client="ops")
    assert allowed(as_of(WRITTEN, DAY_4), "GET", "/api/v2/monitor/health")
    assert not allowed(as_of(WRITTEN, DAY_5), "GET", "/api/v2/monitor/health")


@pytest.mark.parametrize(
    ("who", "role", "stays"),
    [
        ({"groups": ["data-readers"]}, "viewer", True),
        ({"groups": ["contractors"]}, "viewer", False),
        ({"client": "ops"}, "op", True),
        ({"subject": "anna"}, "op", False),
        ({"subject": "anna", "groups": ["data-readers"]}, "viewer", True),
    ],
)
def test_a_member_whose_time_is_over_has_not_the_role_nor_what_it_includes(who, role, stays):
    assert role in WRITTEN.identify(claims(**who)).roles
    assert (role in as_of(WRITTEN, DAY_2).identify(claims(**who)).roles) is stays


def test_a_role_that_lost_all_its_members_is_not_that_of_everyone_from_its_issuers():
    assert "partners" in WRITTEN.identify(claims(client="partner")).roles
    assert "partners" not in WRITTEN.identify(claims(client="other")).roles
    later = as_of(WRITTEN, DAY_4)
    assert "partners" not in later.identify(claims(client="partner")).roles
    assert "partners" not in later.identify(claims(client="other")).roles


def test_what_has_ended_is_remembered_with_its_place_to_be_explained():
    viewer = as_of(WRITTEN, DAY_5).roles["viewer"]
    [over] = viewer.ended
    assert (over.kind, over.name, over.until, viewer.ends) == ("groups", "contractors", DAY_2, ())
    assert (over.line, over.column) == (9, 35)


def test_time_goes_on_in_steps_of_any_size():
    for first in (NOON, DAY_2, DAY_3, DAY_4, DAY_5):
        for second in (NOON, DAY_2, DAY_3, DAY_4, DAY_5):
            if first <= second:
                stepped, at_once = as_of(as_of(WRITTEN, first), second), as_of(WRITTEN, second)
                assert (stepped.edition, stepped.rules, stepped.roles.keys()) == (
                    at_once.edition,
                    at_once.rules,
                    at_once.roles.keys(),
                )
                assert {name: role.groups for name, role in stepped.roles.items()} == {
                    name: role.groups for name, role in at_once.roles.items()
                }
    assert as_of(as_of(WRITTEN, DAY_5), NOON).rules.keys() == {"pools"}, "what has ended does not come back"


def test_editions_have_the_revision_of_their_file_and_are_told_apart():
    editions = [as_of(WRITTEN, moment) for moment in (0, NOON, NOON + 1, DAY_2, DAY_3)]
    assert {policy.revision for policy in editions} == {WRITTEN.revision}
    assert len({policy.edition for policy in editions}) == 4
    assert [policy.ended_in_part for policy in editions] == [False, True, True, True, True]


def test_built_in_roles_and_their_rules_stay_when_a_member_ends():
    policy = load("", roles="\n  airflow.op: {groups: [ops, {name: on-call, until: 2026-12-01}]}\n")
    later = as_of(policy, DAY_1)
    assert allowed(policy, "GET", "/api/v2/pools", groups=["on-call"])
    assert not allowed(later, "GET", "/api/v2/pools", groups=["on-call"])
    assert allowed(later, "GET", "/api/v2/pools", groups=["ops"])
    assert later.rules.keys() == policy.rules.keys()


def test_the_rule_that_has_ended_says_what_it_was():
    [rule] = as_of(WRITTEN, NOON).ended
    assert (rule.effect, rule.until) == (Effect.ALLOW, NOON)


TEAMS = """version: 1
teams:
  - {names: [sales, hr], dags: ["{team}_*"]}"""


def team_roles(members):
    roles = f'\n  "{{team}}-viewer": {{groups: [{members}]}}\n'
    rule = (
        '{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: team, until: 2026-12-05}'
    )
    return load(rule, roles=roles, top=TEAMS)


def test_members_and_rules_of_all_teams_end_for_each_team():
    policy = team_roles('"{team}-staff", {name: "{team}-guests", until: 2026-12-01}')
    for team in ("sales", "hr"):
        guest, staff = claims(groups=[f"{team}-guests"]), claims(groups=[f"{team}-staff"])
        assert policy.identify(guest).roles == policy.identify(staff).roles == {f"{team}-viewer"}
        later = as_of(policy, DAY_1)
        assert (later.identify(guest).roles, later.identify(staff).roles) == (frozenset(), {f"{team}-viewer"})
        [over] = later.roles[f"{team}-viewer"].ended
        assert (over.name, over.line) == (f"{team}-guests", 11)
    assert sorted(rule.id for rule in as_of(policy, DAY_5).ended) == ["view/hr", "view/sales"]


@pytest.mark.parametrize(
    ("members", "stays_until"),
    [
        ('{name: "{team}x", until: 2026-12-01}, "x{team}", {name: "{team}o", until: 2026-12-02}', NEVER),
        ('"x{team}", {name: "{team}x", until: 2026-12-01}, {name: "{team}o", until: 2026-12-02}', NEVER),
        ('{name: "x{team}", until: 2026-12-03}, {name: "{team}x", until: 2026-12-01}', DAY_3),
        ('{name: "x{team}", until: 2026-12-01}, {name: "{team}x", until: 2026-12-03}', DAY_3),
    ],
)
def test_a_group_that_one_team_has_twice_lasts_as_long_as_either(members, stays_until):
    roles = f'\n  "{{team}}-viewer": {{groups: [{members}]}}\n'
    rule = '{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: team}'
    policy = load(rule, roles=roles, top=TEAMS.replace("[sales, hr]", "[x]"))
    who = claims(groups=["xx"])
    for moment in (DAY_1, DAY_2, DAY_3):
        assert bool(as_of(policy, moment).identify(who).roles) is (moment < stays_until)
    assert not as_of(policy, DAY_2).identify(claims(groups=["xo"])).roles
