"""What an assertion says of rights beside the DAGs: the role for Airflow, and the menu."""

from dataclasses import replace

import pytest

from authz.core.decision.decide import evaluate
from authz.core.decision.rights import airflow_role, dags_json, dags_text, menu
from authz.core.model import Allow, DagGrant, Deny
from authz.core.reasons import Reason
from tests.support.factories.policies import ROLES, identity, load, narrowing, request

POLICY = load(
    """{id: lists, plane: inbound, roles: [sales], operations: ["dags:read", "xcoms:read"], dags: ["sales_*"]}
{id: conns, plane: inbound, roles: [weak, viewer, odd, airflow.viewer], paths: ["/api/v2/connections"]}
{id: pools, plane: inbound, roles: [viewer], operations: ["pools:read"], hosts: [a.test]}
{id: health, public: true, operations: [health:read, docs:read]}
{id: unknown, plane: inbound, roles: [viewer], paths: [/nothing/here]}
{id: no-variables, deny: true, roles: [admin], plane: inbound, operations: ["variables:*"]}
{id: all, plane: inbound, roles: [admin], operations: ["*"]}""",
    roles=ROLES
    + """  sales: {groups: [s]}
  weak: {groups: [w], airflow: viewer}
  odd: {groups: [o]}
  airflow.viewer: {groups: [v]}
""",
)


def somebody(*roles, role=""):
    return replace(identity(*roles), airflow_role=role)


def allowed(who, target="/api/v2/connections"):
    decision = evaluate(request("GET", target), who, POLICY)
    assert isinstance(decision, Allow)
    return decision


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (somebody("odd"), "op"),
        (somebody("viewer", role="viewer"), "op"),
        (somebody("admin", role="admin"), "admin"),
        # `airflow: viewer` is a floor, no cap: a rule allows it, so Airflow shall not refuse it
        (somebody("weak", role="viewer"), "op"),
        (somebody("weak", "odd", role="user"), "op"),
        # a built-in role is what its name says, and a rule may add to it
        (somebody("airflow.viewer", role="viewer"), "op"),
        # roles of another policy
        (somebody("odd", "gone", role="viewer"), "op"),
    ],
)
def test_the_airflow_role_is_the_stronger_one_of_role_and_rule(who, expected):
    assert airflow_role(who, allowed(who)) == expected


def test_where_there_is_no_operation_nothing_is_added():
    who = somebody("viewer", role="viewer")
    assert allowed(who, "/nothing/here").level == ""
    assert airflow_role(who, allowed(who, "/nothing/here")) == "viewer"
    assert airflow_role(somebody(role="?"), Allow(reason=Reason.RULE, rule="x", level="op")) == "op"


def shown(who, *, narrowed=False, host="a.test", policy=POLICY):
    asked = request("POST", "/ui/auth/menus", host=host, narrowed=narrowed)
    return menu(asked, who, narrowing(policy))


def test_the_menu_has_the_items_whose_pages_would_be_let_in():
    assert shown(identity()) == ("DOCS",)
    assert shown(identity("viewer")) == ("CONNECTIONS", "DOCS", "POOLS")
    assert shown(identity("viewer"), host="b.test") == ("CONNECTIONS", "DOCS")
    everything = shown(identity("admin"))
    assert everything == tuple(sorted(set(POLICY.catalogue.menu) - {"VARIABLES"}))


def test_a_page_for_some_dags_is_shown_where_airflow_narrows_its_list():
    assert shown(identity("sales")) == ("DOCS",)
    assert shown(identity("sales"), narrowed=True) == ("DAGS", "DOCS")  # nothing narrows the list of XComs here


def test_below_a_base_path_and_beside_it_the_menu_is_the_same():
    asked = replace(request("GET", "/ui/auth/menus", host="a.test"), base="/airflow", outside=True)
    assert menu(asked, identity("viewer"), POLICY) == shown(identity("viewer"))


@pytest.mark.parametrize(
    ("grant", "text"),
    [
        (None, ""),
        (DagGrant(("*",)), ""),
        (DagGrant(("*",), ("secret_*", "x")), "Airflow shows all DAGs, not secret_*, x"),
        (DagGrant(("a", "sales_*")), "Airflow shows only a, sales_*"),
        (DagGrant(("sales_*",), ("*_x",)), "Airflow shows only sales_*, not *_x"),
        (DagGrant(()), "Airflow shows no DAG"),
    ],
)
def test_dags_as_text_and_as_data(grant, text):
    decision = Allow(reason=Reason.RULE, rule="x", dag_id="~", dags=grant)
    assert dags_text(decision) == text
    assert dags_text(replace(decision, dag_id="sales_a")) == ""
    told = dags_json(decision)
    assert told == (None if grant is None else {"allowed": list(grant.allowed), "denied": list(grant.denied)})


def test_a_denial_says_nothing_of_dags():
    denied = Deny(reason=Reason.NO_RULE, dag_id="~")
    assert (dags_text(denied), dags_json(denied)) == ("", None)
