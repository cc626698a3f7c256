"""What callers may do: cells against the engine, route by route."""

import random

import pytest

from authz.core.decision.decide import shows
from authz.core.model import Plane, Request
from authz.core.policy import Bundle, load
from authz.core.policy.targets import targets
from authz.core.proof.access import all_callers, calls, cells, roles, titles
from authz.core.proof.callers import ANONYMOUS, RUN, Caller, Kind, Membership
from tests.support.factories.small_policies import DAGS, policy

OPERATIONS = {"dags:read", "dag_runs:create", "connections:delete", "tokens:create", "version:read"}


def asked(target, dag, *, narrowed):
    """A request for the route, about the DAG if it names one; None if no request of this kind is about it."""
    segments = [
        dag if at == target.dag_at else "x" if part is None else part for at, part in enumerate(target.shape[0])
    ]
    segments += ["y"] if target.shape.rest else []
    shown = dag if narrowed else ""
    if narrowed and target.dag_at >= 0:
        segments[target.dag_at] = "~"
    if narrowed and not target.narrowed:
        return None
    path = "/" + "/".join(segments)
    request = Request(
        plane=Plane.INBOUND,
        method=target.method,
        host="\ue000",
        port=None,
        path=path,
        segments=tuple(segments),
        narrowed=narrowed,
    )
    return request, shown


def allowed(known, caller, target, dag):
    """Whether the engine allows the route for the DAG, in one of the ways to ask for it."""
    questions = [asked(target, dag, narrowed=narrowed) for narrowed in (False, True)]
    return any(shows(request, caller.identity(known), known, shown) for request, shown in filter(None, questions))


@pytest.mark.parametrize("block", range(4))
def test_cells_say_what_the_engine_grants(block):
    for number in range(block * 15, block * 15 + 15):
        written, known = policy(random.Random(number), "inbound")  # noqa: S311 drawn again from its number
        made = [*written["rules"], *written["grantable"]]
        if any("hosts" in rule or "enqueue-test" in str(rule) for rule in made):
            continue  # a cell does not say for which hosts or connections it is
        found = cells(known, all_callers(known, Plane.INBOUND))
        about = [target for target in targets(known.catalogue) if target.operation in OPERATIONS]
        for caller, row in found.items():
            for name in OPERATIONS:
                for dag in DAGS:
                    engine = any(allowed(known, caller, target, dag) for target in about if target.operation == name)
                    told = name in row and row[name].about(dag)
                    assert told == engine, (number, caller, name, dag)
            for name in row.keys() & {"connections:delete", "tokens:create", "version:read"}:
                if not (
                    row[name].limits or row[name].excepted_places
                ):  # the whole operation, on a host that no rule names
                    routes = [target for target in about if target.operation == name]
                    assert all(allowed(known, caller, target, "") for target in routes), (number, caller, name)


def small(rules, audiences="{inbound: [airflow], egress: [outbound]}"):
    text = f"""
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {audiences}
    algorithms: [RS256]
roles:
  reader: {{groups: [readers]}}
  op: {{groups: [ops], includes: [reader]}}
rules:
{rules}
"""
    return load(Bundle(text.encode(), "p.yaml"))


RULES = """
  - {id: r, plane: inbound, roles: [reader], operations: ["dags:read", "pools:read"]}
  - {id: t, plane: inbound, roles: [op], operations: ["dag_runs:create"], dags: ["sales_*", "stock"]}
  - {id: d, plane: inbound, deny: true, operations: ["dags:read", "dag_runs:create"], dags: ["*_secret"]}
  - {id: v, public: true, methods: [GET], paths: [/api/v2/version]}
  - {id: c, plane: egress, roles: [op], destinations: [orders], methods: [GET], paths: ["/v1/**"]}
  - {id: p, plane: egress, destinations: [stock], methods: [GET], paths: ["/**"], dags: ["s_*"], identity: verified}
"""


def test_cells_have_patterns_and_exceptions():
    known = small(RULES)
    found = cells(known, roles(known, Plane.INBOUND))
    by_role = dict(zip(titles(found), found.values(), strict=True))
    assert [*by_role] == ["without a token", "authenticated", "reader", "op"]
    assert set(by_role["without a token"]) == set(by_role["authenticated"]) == {"version:read"}
    reading = by_role["reader"]["dags:read"]
    assert (reading.dags, reading.excepted, reading.rules) == (["*"], ["*_secret"], {"r"})
    assert (reading.about("a"), reading.about("a_secret")) == (True, False)
    assert (by_role["reader"]["pools:read"].dags, by_role["reader"]["pools:read"].excepted) == ([], [])
    assert by_role["op"]["dag_runs:create"].dags == ["sales_*", "stock"]
    assert set(by_role["op"]) == {"version:read", "dags:read", "pools:read", "dag_runs:create"}


def test_calls_are_those_of_callers_and_of_runs():
    known = small(RULES)
    ops = Caller("corp", (Membership(Kind.GROUP, "ops"),))
    assert next((right.rule, right.callers) for right in calls(known, [ops])) == ("c", (ops,))
    of_runs = [right for right in calls(known, [ops]) if right.rule == "p"]
    assert [right.destinations for right in of_runs] == [("stock",)]
    stranger = Caller("corp")
    assert [right.rule for right in calls(known, [stranger])] == ["p"]


def test_a_plane_without_an_audience_has_no_callers_with_a_token():
    inbound_only = small(RULES.partition("  - {id: c")[0], audiences="{inbound: [airflow]}")
    assert [*roles(inbound_only, Plane.EGRESS)] == [ANONYMOUS]


def test_a_plane_without_an_audience_has_calls_of_runs():
    of_runs = "".join(line for line in RULES.splitlines(keepends=True) if "id: c" not in line)
    (right,) = calls(small(of_runs, audiences="{inbound: [airflow]}"), [])
    assert (right.rule, right.callers, right.destinations) == ("p", (RUN,), ("stock",))


def test_a_path_about_some_dags_limits_the_cell():
    rules = '- {id: p, plane: inbound, roles: [op], paths: ["/api/v2/dags/a*", "/api/v2/dags/b"], methods: [GET]}'
    known = small(f"  {rules}")
    row = cells(known, [Caller("corp", role="op")])[Caller("corp", role="op")]
    assert row["dags:read"].dags == ["a*", "b"]


def test_only_those_who_were_asked_about_have_a_row():
    op = Caller("corp", role="op")
    assert set(cells(small(RULES), [op])) == {op}


def test_a_list_that_shows_nothing_is_no_right():
    known = small(
        """
  - {id: r, plane: inbound, roles: [reader], paths: ["/api/v2/dags", "/api/v2/pools"], dags: ["*"]}
  - {id: d, plane: inbound, deny: true, operations: ["dags:read"], dags: ["*"]}
"""
    )
    who = Caller("corp", (Membership(Kind.GROUP, "readers"),))
    assert "dags:read" not in cells(known, [who])[who]


def test_a_path_that_says_any_dag():
    known = small('  - {id: p, plane: inbound, roles: [op], paths: ["/api/v2/dags/~/dagRuns"], methods: [GET]}')
    row = cells(known, [Caller("corp", role="op")])[Caller("corp", role="op")]
    assert row["dag_runs:read"].dags == ["*"]
