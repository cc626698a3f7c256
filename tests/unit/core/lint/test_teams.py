"""Findings about a rule or role for all teams are reported once, and rules that give each team all DAGs."""

import pytest

from authz.core.lint.destinations import against
from authz.core.lint.egress_map import WayOut, WaysOut
from authz.core.lint.review import lint
from authz.core.model import Level
from authz.core.policy import load as load_bundle
from tests.support.factories import included
from tests.support.factories.policies import ISSUERS, load

TOP = 'version: 1\nteams: [{names: [a, sales, sales-eu], dags: ["{team}.*"]}]'
ROLES = """
  "{team}-viewer": {groups: ["{team}-viewers"]}
  "{team}-op": {groups: ["{team}-ops"], includes: ["{team}-viewer"]}
"""
VIEW = '{id: view, plane: inbound, roles: ["{team}-viewer"], operations: ["dags:read"], dags: team}\n'
OPERATE = '{id: run, plane: inbound, roles: ["{team}-op"], operations: ["dags:*"], dags: team}\n'
INBOUND_ONLY = ISSUERS.replace(", egress: [airflow-egress]", "")


def loaded(rules, roles=ROLES):
    return load(rules, roles=roles, top=TOP, issuers=INBOUND_ONLY)


def messages(rules, roles=ROLES):
    return [found.problem.message for found in lint(loaded(rules, roles))]


def test_a_good_rule_for_all_teams_has_no_findings():
    assert messages(VIEW + OPERATE) == []


def test_a_finding_about_a_rule_for_all_teams_is_reported_once():
    kept = '{id: kept, deny: true, plane: inbound, roles: ["{team}-op"], operations: ["dag_runs:delete"], dags: team}\n'
    assert messages(VIEW + OPERATE.replace("dags:*", "dag_runs:*") + kept) == [
        "the rule `kept/a` forbids deleting, but not through `dag_runs:bulk`"
    ]


def test_a_finding_about_a_role_for_all_teams_is_reported_once():
    assert messages(VIEW, roles=ROLES.replace(', includes: ["{team}-viewer"]', "")) == ["no rule names the role `a-op`"]


def test_two_findings_about_one_rule_are_both_reported():
    weak = ROLES.replace('includes: ["{team}-viewer"]', 'includes: ["{team}-viewer"], airflow: viewer')
    found = messages(
        VIEW + OPERATE + '{id: more, plane: inbound, roles: ["{team}-op"], operations: ["dags:*"], dags: team}', weak
    )
    assert found == [
        "the role `a-op` says `airflow: viewer`, and its rule `more/a` allows what needs `user`, which raises it",
        "the rule `more/a` says the same as `run/a`",
    ]


@pytest.mark.parametrize(
    ("operations", "some"),
    [
        ('["dags:read"]', "`dags:read`"),
        ('["dag_runs:create", "dags:read"]', "`dag_runs:create`, `dags:read`"),
        ('["airflow.user"]', "`asset_events:read`, `dag_runs:bulk`, `dag_runs:clear` and 22 more"),
        ('["pools:read", "ui:shell", "ui:pages", "ui:static"]', None),
    ],
)
def test_a_rule_for_each_team_that_gives_all_dags(operations, some):
    rule = f'{{id: all, plane: inbound, roles: ["{{team}}-viewer"], operations: {operations}}}\n'
    wide = [message for message in messages(OPERATE + rule) if "every DAG, those" in message]
    assert wide == ([f"the rule `all/a` gives {some} with every DAG, those of other teams too"] if some else [])


def test_rules_by_path_are_not_about_dags():
    assert messages(VIEW + OPERATE + '{id: path, plane: inbound, roles: ["{team}-op"], paths: [/x]}\n') == []


def test_a_destination_that_the_settings_lack_is_reported_once():
    rule = "{id: calls, plane: egress, dags: team, destinations: [order], paths: [/x]}\n"
    orders = WayOut(name="orders", hosts=("orders.internal",), ports=(443,), tunnel=True)
    ways = WaysOut(file="s", listen="127.0.0.1:8090", destinations=(orders,), others=(), surest=Level.VERIFIED)
    found = [one.problem.message for one in against(loaded(VIEW + OPERATE + rule), ways)]
    assert found == [
        "the rule `calls/a` names an unknown destination `order`",
        "no rule allows anything at the destination `orders`",
    ]


@pytest.mark.parametrize(("rule", "crossed"), [
    ('roles: [ops], dags: ["sales*"]', "sales-eu"),  # and sales: the first is named
    ('roles: [ops], dags: ["*_report"]', "a"),
    ('roles: [ops], dags: ["a*"]', "a"),
    ('roles: [sales-op], dags: ["a*"]', "a"),
    ('roles: [ops, a-op], dags: ["a*"]', "a"),
    ('roles: [a-op, a-viewer], dags: ["a*"]', None),
    ('roles: [ops], dags: ["a.*"]', None),
    ('roles: [ops], dags: ["a.x*", "sales.daily"]', None),
    ('roles: [ops], dags: ["*"]', None),
    ('roles: [ops], dags: ["b*"]', None),
    ('deny: true, roles: [ops], dags: ["a*"]', None),
    ("roles: [ops]", None),
])  # fmt: skip
def test_a_pattern_that_reaches_into_a_teams_dags_and_beyond_them(rule, crossed):
    roles = ROLES + "  ops: {groups: [ops]}\n"
    found = messages(f'{VIEW}{OPERATE}{{id: x, plane: inbound, operations: ["dags:read"], {rule}}}\n', roles)
    across = [message for message in found if message.startswith("the rule `x` names DAGs like ")]
    assert [f"of the team `{crossed}` (`{crossed}.*`) and others" in message for message in across] == [True] * bool(
        crossed
    )


def test_a_pattern_of_a_team_may_be_one_dag_and_one_for_all_teams_is_no_teams():
    top = 'version: 1\nteams: [{names: [a, b], dags: ["{team}.*"]}, {names: [c], dags: [billing]}]'
    each = VIEW.replace("view", "each").replace("dags: team", 'dags: ["common.*"]').replace("each-", "view-")
    each = each.replace('"{team}-eacher"', '"{team}-viewer"')
    roles = ROLES + "  ops: {groups: [ops]}\n"
    rule = '{id: x, plane: inbound, operations: ["dags:read"], roles: [ops], dags: ["bill*", "common*"]}\n'
    found = [one.problem.message for one in lint(load(VIEW + each + rule, roles=roles, top=top, issuers=INBOUND_ONLY))]
    told = [message for message in found if message.startswith("the rule `x` names DAGs")]
    assert told == ["the rule `x` names DAGs like `bill*`, which are some of the team `c` (`billing`) and others"]


def test_a_pattern_in_the_file_of_a_team_is_reported_there():
    include = f"""
  - {{file: {included.HR}, team: hr, roles: [everyone], dags: ["sal*"]}}
  - {{file: {included.SALES}, team: sales}}
"""
    rule = '{id: x, plane: inbound, roles: [everyone], operations: ["dags:read"], dags: ["sal*"]}'
    found = lint(load_bundle(included.bundle(hr=included.rules(rule), text=included.main(include=include))))
    start = f"{included.HR}:2:5: the rule `x/{included.HR}` names DAGs like `sal*`, which are some of the team `sales`"
    assert [str(one.problem).startswith(start) for one in found if "names DAGs" in one.problem.message] == [True]
