"""A case passes if the engine decides each of its requests as expected; else it is said what was found, and why."""

import pytest

from authz.core.cases.judge import Judge
from authz.core.model import Allow
from authz.core.reasons import Reason
from tests.support.factories.policies import ISSUERS
from tests.support.factories.suites import read

PUBLIC = "{id: health, public: true, plane: inbound, operations: ['health:read']}"
NO_AUDIENCE = ISSUERS.replace("inbound: [airflow], egress: [airflow-egress]", "egress: [airflow-egress]")


def results(tests, **parts):
    suite = read(tests, **parts)
    judge = Judge(suite.policy)
    return [judge.run(case) for case in suite.cases], judge


def result(tests, **parts):
    [[found], _judge] = results(tests, **parts)
    return found


@pytest.mark.parametrize(
    "test",
    [
        "{who: reader, request: GET /api/v2/dags, expect: allow, rule: readers, reason: rule}",
        "{who: anonymous, request: GET /api/v2/monitor/health, expect: allow, reason: public}",
        "{who: etl, operation: 'dag_runs:create', dag: sales_eu, expect: allow, rule: sales}",
        "{who: etl, request: GET /api/v2/dags/sales_secret, expect: deny, reason: deny_rule, rule: no-secrets}",
        "{who: authenticated, request: GET /api/v2/dags, expect: deny, reason: no_role}",
        "{who: anonymous, request: GET /api/v2/dags, expect: deny, reason: no_token}",
        "{who: reader, request: GET /nothing, expect: deny, reason: unknown_route}",
        "{who: sales-run, request: GET /v1/orders, destination: orders, expect: allow, rule: orders}",
        "{who: asserted, request: GET /v1/orders, destination: orders, expect: deny, reason: identity_too_weak}",
        "{who: etl, request: 'GET http://eu.reports.internal/daily/1', plane: egress, expect: allow, rule: reports}",
        "{who: asserted, request: 'CONNECT warehouse.internal:443', expect: allow, rule: warehouse}",
        "{who: etl, request: GET /api/v2/dags, expect: allow, shows: [sales_eu], hides: [hr, sales_secret]}",
        "{who: etl, request: GET /api/v2/dags, expect: deny}",
        "{who: reader, request: GET /airflow/api/v2/dags, base: /airflow, expect: allow}",
    ],
)
def test_what_the_engine_decides_is_what_a_test_may_expect(test):
    assert result(test).wrong == ""


@pytest.mark.parametrize(
    ("test", "wrong"),
    [
        ("{who: etl, request: GET /api/v2/dags/hr, expect: allow}", "expected allow, found deny (no_rule)"),
        (
            "{who: reader, request: GET /api/v2/dags, expect: deny, reason: no_rule}",
            "expected deny (no_rule), found allow by rule `readers`",
        ),
        (
            "{who: anonymous, request: GET /api/v2/dags, expect: deny, reason: no_rule}",
            "expected deny (no_rule), found deny (no_token)",
        ),
        (
            "{who: etl, operation: 'dag_runs:create', dag: sales_x, expect: allow, rule: readers}",
            "expected allow by rule `readers`, found allow by rule `sales`",
        ),
        (
            "{who: reader, operation: 'dag_runs:*', dag: sales_x, expect: allow}",
            "expected allow, found deny (no_rule), for POST /api/v2/dags/sales_x/dagRuns/x/clear",
        ),
        (
            "{who: etl, request: GET /api/v2/dags, expect: allow, shows: [hr], hides: [sales_x]}",
            "expected a list that would show `hr` and hide `sales_x`, and Airflow shows only sales_*, not *_secret",
        ),
        (
            "{who: reader, request: GET /api/v2/dags, expect: allow, hides: [hr]}",
            "expected a list that would hide `hr`, and Airflow shows all DAGs",
        ),
    ],
)
def test_what_is_otherwise_is_said_in_words(test, wrong):
    assert result(test).wrong == wrong


def test_a_list_without_a_grant_shows_nothing():
    public = "{id: all, public: true, plane: inbound, methods: [GET], paths: [/api/v2/dags]}"
    test = "{who: anonymous, request: GET /api/v2/dags, expect: allow, shows: [a], hides: [b]}"
    assert result(test, rules=public).wrong == "expected a list that would show `a`, and Airflow shows no DAG"


def test_a_list_of_everything_shows_everything():
    test = "{who: reader, request: GET /api/v2/dags, expect: allow, hides: [a]}"
    rule = "{id: readers, plane: inbound, roles: [viewer], operations: ['dags:read']}"
    assert result(test, rules=rule).wrong == "expected a list that would hide `a`, and Airflow shows all DAGs"


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("{who: reader, request: GET /api/v2/dags, expect: deny}", "see the rule `readers` at policy.yaml:17:5"),
        (
            "{who: etl, request: GET /api/v2/dags/sales_secret, expect: allow, rule: sales}",
            "see the rule `no-secrets` at policy.yaml:19:5",
        ),
        (
            "{who: etl, request: GET /api/v2/dags/hr, expect: allow}",
            "the nearest rule `sales` at policy.yaml:18:5 does not apply: dags: needs one of `sales_*` …",
        ),
        (
            "{who: etl, request: GET /api/v2/dags/sales_x, expect: allow, rule: readers}",
            "the rule `readers` at policy.yaml:17:5 does not apply: roles: role `viewer`",
        ),
        (
            "{who: etl, request: POST /api/v2/dags/sales_x/clearDagRuns, expect: allow}",
            "the request may reach any DAG: where Airflow narrows it, it is allowed (`narrowed: true` in the test)",
        ),
    ],
)
def test_a_failure_is_explained_by_the_rule_that_matters(test, why):
    [[found], judge] = results(test)
    assert found.wrong
    assert judge.why(found).partition(" — ")[0] == why.removesuffix(" …")


def test_where_no_rule_could_allow_it_that_is_said():
    [[found], judge] = results("{who: reader, request: GET /api/v2/dags, expect: allow}", rules="")
    assert judge.why(found) == "no rule could allow it"


def test_a_token_that_no_issuer_gives_on_the_plane_is_refused_as_by_the_gate():
    tests = """{who: reader, request: GET /api/v2/dags, expect: deny, reason: audience}
{who: reader, request: GET /api/v2/monitor/health, expect: allow, reason: public}
{who: reader, request: GET /api/v2/dags, expect: allow}"""
    found, judge = results(tests, rules=PUBLIC, issuers=NO_AUDIENCE)
    assert [one.wrong for one in found] == ["", "", "expected allow, found deny (audience)"]
    assert judge.why(found[2]).startswith("no token is accepted on the plane inbound")


def test_the_issuer_of_a_caller_is_the_one_that_it_names():
    issuers = ISSUERS + ISSUERS.replace("corp", "partner").replace("realms/data", "realms/partner")
    roles = "\n  viewer: {groups: [data-readers], issuers: [corp]}\n"
    tests = "\n".join(
        f"{{who: {{groups: [data-readers], issuer: {name}}}, request: GET /api/v2/dags, expect: {expected}}}"
        for name, expected in (("corp", "allow"), ("partner", "deny"))
    )
    rule = "{id: readers, plane: inbound, roles: [viewer], operations: ['dags:read']}"
    found, _judge = results(tests, rules=rule, roles=roles, issuers=issuers, callers=" {}\n")
    assert [one.wrong for one in found] == ["", ""]


def test_a_result_has_the_decision_on_the_first_request_that_differs_else_on_the_first():
    found = result("{who: reader, operation: 'dags:*', dag: x, expect: allow}")
    assert (found.request.method, found.decision.reason) == ("DELETE", Reason.NO_RULE)
    passed = result("{who: reader, operation: 'dags:read', dag: x, expect: allow}")
    assert passed.request == passed.case.requests[0]
    assert isinstance(passed.decision, Allow)


def test_a_tunnel_is_asked_for_as_a_gate_can_know_its_caller():
    """CONNECT has no proof: a run is `verified-bearer` at most, and no account names one."""
    rules = """{id: a, plane: egress, hosts: [a.test], methods: [CONNECT], dags: [x], identity: verified}
{id: b, plane: egress, hosts: [b.test], methods: [CONNECT], dags: [x], identity: verified-bearer}
{id: c, plane: egress, roles: [sales-etl], hosts: [c.test], methods: [CONNECT], dags: [x], identity: asserted}"""
    tests = """{who: {run: {dag: x}}, request: 'CONNECT a.test:443', expect: deny, reason: identity_too_weak}
{who: {run: {dag: x}}, request: 'CONNECT b.test:443', expect: allow, rule: b}
{who: {client: sales-etl, run: {dag: x}}, request: 'CONNECT c.test:443', expect: deny}"""
    found, _judge = results(tests, rules=rules)
    assert [one.wrong for one in found] == ["", "", ""]
