"""Names that only a deny rule has: reported where they are nearly a name that allows, or about nothing at all."""

import pytest

from authz.core import policy as policies
from authz.core.lint.review import lint
from tests.support.factories import included
from tests.support.factories.policies import load

ROLES = "\n  viewer: {groups: [g]}\n"
RULES = """{id: a, plane: inbound, roles: [viewer], operations: ["dags:read", "variables:*"], dags: ["sales_*", hr]}
{id: c, plane: inbound, roles: [viewer], paths: ["/my-plugin/**"]}
{id: e, plane: egress, dags: ["ml_*"], tasks: ["load_*"], destinations: [registry], paths: ["/api/**"]}
"""


def found(rule, rules=RULES):
    """The findings about one more rule, `z`, except what lint says of any rule like it."""
    policy = load(f"{rules}{{id: z, {rule}}}", roles=ROLES)
    of_slips = [one for one in lint(policy) if "`z` names " in one.problem.message]
    return [(one.severity.value, one.problem.message.partition(" names ")[2], one.problem.hint) for one in of_slips]


INBOUND = "deny: true, plane: inbound, roles: [viewer], "
EGRESS = "deny: true, plane: egress, "
NO_ROUTE = "the path `{}`, which is no route of Airflow 3.3"
NO_RULE = "which no rule that allows something names"


def test_no_dags_are_about_nothing_where_a_rule_names_all_dags():
    every = '{id: all, plane: egress, dags: ["*"], destinations: [registry], paths: ["/x"]}\n'
    assert found(EGRESS + 'dags: ["quite_other_*"], destinations: [registry]', RULES + every) == []


@pytest.mark.parametrize(("rule", "severity", "what", "hint"), [
    (EGRESS + "destinations: [registri]", "warning", f"the destination `registri`, {NO_RULE}", "did you mean `regist"),
    (EGRESS + "destinations: [vault]", "note", f"the destination `vault`, {NO_RULE}", "check how it is written"),
    (EGRESS + 'dags: ["lm_*"]', "warning", f"DAGs like `lm_*`, {NO_RULE}", "did you mean `ml_*`?"),
    (EGRESS + 'dags: ["quite_other_*"], destinations: [registry]', "note",
     f"DAGs like `quite_other_*`, {NO_RULE}", "check"),
    (EGRESS + 'tasks: ["laod_*"]', "warning", f"tasks like `laod_*`, {NO_RULE}", "did you mean `load_*`?"),
    (INBOUND + 'dags: ["slaes_*"]', "warning", f"DAGs like `slaes_*`, {NO_RULE}", "did you mean `sales_*`?"),
    (INBOUND + 'dags: ["finance_*"]', None, "", ""),
    (INBOUND + 'dags: ["*_secret"]', None, "", ""),
    (INBOUND + 'dags: ["sales_eu_*"]', None, "", ""),
    (INBOUND + 'dags: ["s*"]', None, "", ""),
    (INBOUND + 'paths: ["/api/v2/conections/**"]', "warning", NO_ROUTE.format("/api/v2/conections/**"),
     "did you mean `/api/v2/connections/**`?"),
    (INBOUND + 'paths: ["/ap/v2/connections/{id}"]', "warning", NO_ROUTE.format("/ap/v2/connections/{id}"),
     "did you mean `/api/v2/connections/{id}`?"),
    (INBOUND + 'paths: ["/api/v2/connections/{id}/x/y/z"]', "note",
     NO_ROUTE.format("/api/v2/connections/{id}/x/y/z"), "check how it is written"),
    (INBOUND + 'paths: ["/ap/v2/conections/**"]', None, "", ""),
    (INBOUND + 'paths: ["/api/v2/quite-other"]', "note", NO_ROUTE.format("/api/v2/quite-other"), "check how"),
    (INBOUND + 'paths: ["/other-plugin/**"]', None, "", ""),
    (INBOUND + 'paths: ["/my-plugin/x"]', None, "", ""),
    (INBOUND + 'paths: ["/api/v2/con*"]', None, "", ""),
    (INBOUND + 'paths: ["/**"]', None, "", ""),
    ('deny: true, paths: ["/api/v2/conections/**"]', None, "", ""),
    ('plane: inbound, roles: [viewer], paths: ["/api/v2/conections/**"]', "note",
     NO_ROUTE.format("/api/v2/conections/**"), "did you mean `/api/v2/connections/**`?"),
    ('plane: inbound, roles: [viewer], paths: ["/api/v2/quite-other"]', None, "", ""),
])  # fmt: skip
def test_names_that_only_one_rule_has(rule, severity, what, hint):
    told = found(rule)
    if severity is None:
        assert told == []
        return
    [(has_severity, has_what, has_hint)] = told
    assert (has_severity, has_what) == (severity, what)
    assert has_hint.startswith(hint)


def test_the_dags_of_a_team_are_known_on_both_planes():
    """The file says which DAGs the team has, also where it may do nothing."""
    top = 'version: 1\nteams:\n  - {names: [pricing, routing], dags: ["{team}_*"]}'
    roles = ROLES + '  "{team}-v": {groups: ["{team}-g"]}\n'
    rules = """{id: t, plane: inbound, roles: ["{team}-v"], operations: ["dags:read"], dags: team}
{id: e, plane: egress, dags: ["pricing_*"], destinations: [rates], paths: ["/**"]}
"""
    for dags, expected in (("routing_*", []), ("routing_x", []), ("routng_*", ["did you mean `routing_*`?"])):
        deny = f'{{id: z, deny: true, plane: egress, destinations: [rates], dags: ["{dags}"]}}'
        found = lint(load(rules + deny, roles=roles, top=top))
        assert [one.problem.hint for one in found if "names DAGs like" in one.problem.message] == expected


def test_a_destination_that_a_rule_about_hosts_may_reach_is_no_slip_unless_a_near_one_is_named():
    rules = RULES + "{id: h, plane: egress, roles: [viewer], hosts: [a.test], paths: [/x]}\n"
    assert found(EGRESS + "destinations: [vault]", rules) == []
    assert [one[0] for one in found(EGRESS + "destinations: [registri]", rules)] == ["warning"]


def test_a_path_of_a_policy_without_egress_is_one_of_airflow():
    rules = '{id: c, plane: inbound, roles: [viewer], operations: ["dags:read"]}\n'
    assert [one[0] for one in found('deny: true, paths: ["/api/v2/conections/**"]', rules)] == ["warning"]


def test_many_paths_are_not_compared_without_end():
    """Beyond a thousand opened paths any may be one of them, and beyond 200 slips no near one is looked for."""
    many = ", ".join(f'"/p{number}/x"' for number in range(1001))
    rules = f"{{id: c, plane: inbound, roles: [viewer], paths: [{many}]}}\n"
    assert found(INBOUND + 'paths: ["/api/v2/conections/**"]', rules) == []
    slips = ", ".join(f'"/api/v2/conection{number}"' for number in range(201))
    told = found(INBOUND + f"paths: [{slips}]")
    assert sorted(one[0] for one in told) == ["note"] * 2 + ["warning"] * 199  # of another rule one was looked at


def test_a_slip_of_a_team_is_in_its_file():
    rule = "{id: z, plane: egress, deny: true, destinations: [warehouse], methods: [DELETE]}"
    found = lint(policies.load(included.bundle(included.rules(rule))))
    place = f"{included.SALES}:2:5: the deny rule `z/{included.SALES}` names the destination `warehouse`, {NO_RULE}"
    assert [one.severity.value for one in found if str(one.problem).startswith(place)] == ["note"]
