"""What a test asks: which requests, of which callers, on which plane, and what is expected of each."""

import pytest

from authz.core import catalogue
from authz.core.cases import compile as compiling
from authz.core.cases import load
from authz.core.cases.questions import Questions, Setting
from authz.core.errors import PolicyError
from authz.core.model import Level, Plane
from tests.support.factories.suites import bundle, read


def only(tests, **parts):
    [case] = read(tests, **parts).cases
    return case


def asked(case):
    return [f"{request.method} {request.path}" for request in case.requests]


def mistakes(tests, **parts):
    with pytest.raises(PolicyError) as caught:
        read(tests, **parts)
    return [problem.message for problem in caught.value.problems]


def test_a_request_is_made_canonical_and_the_query_takes_no_part():
    case = only("{who: reader, request: GET /api/v2/dags/a%41?x=1, host: AIRFLOW.example.com, expect: allow}")
    [request] = case.requests
    assert (request.plane, request.host, request.path) == (Plane.INBOUND, "airflow.example.com", "/api/v2/dags/aA")


def test_what_envoy_adds_is_said_by_keys():
    case = only("{who: reader, request: GET /airflow/api/v2/dags, base: /airflow, narrowed: true, expect: allow}")
    [request] = case.requests
    assert (request.base, request.path, request.narrowed, request.outside) == ("/airflow", "/api/v2/dags", True, False)
    assert only("{who: reader, request: GET /x, base: /airflow, expect: deny}").requests[0].outside


def test_without_a_name_a_test_is_called_by_what_it_asks():
    tests = """{who: reader, request: GET /api/v2/dags, expect: allow}
{who: {groups: [a, b], client: c, subject: s}, operation: "dag_runs:create", dag: x, expect: deny}
{who: {issuer: corp}, operation: "dags:read", expect: deny}
{who: {run: {dag: d}}, request: GET /x, expect: deny}
{who: reader, table: {"dags:read": allow}}
{matrix: {"pools:read": none}, among: [reader]}"""
    assert [case.name for case in read(tests).cases] == [
        "reader: GET /api/v2/dags",
        "a and b, client c, s: dag_runs:create x",
        "a token of corp: dags:read",
        "DAG d: GET /x",
        "reader: table: dags:read",
        "matrix: pools:read, reader",
    ]


def test_an_operation_without_a_dag_is_its_routes_that_are_about_no_single_one():
    case = only('{who: reader, operation: "dags:read", expect: allow}')
    assert asked(case) == ["GET /api/v2/dagWarnings", "GET /api/v2/dags", "GET /api/v2/dagTags"]


def test_an_operation_with_a_dag_is_its_routes_that_are_about_one_with_that_dag():
    case = only('{who: reader, operation: "dag_runs:create", dag: sales_eu, expect: deny}')
    assert asked(case) == ["POST /api/v2/dags/sales_eu/dagRuns"]
    paths = asked(only('{who: reader, operation: "dags:read", dag: sales_eu, expect: allow}'))
    assert len(paths) > 3
    assert all("/sales_eu" in path for path in paths)


def test_a_route_that_names_a_dag_and_may_reach_others_is_asked_without_one():
    """The gate decides such a request as one for any DAG, whatever its path says: so does the test."""
    one, others = read(
        '{who: reader, operation: "dag_runs:clear", dag: sales_eu, expect: deny}\n'
        '{who: reader, operation: "dag_runs:clear", expect: deny}'
    ).cases
    assert asked(one) == [
        "POST /api/v2/dags/sales_eu/dagRuns/x/clear",
        "POST /api/v2/dags/sales_eu/clearPartitions",
    ]
    assert asked(others) == ["POST /api/v2/dags/x/clearDagRuns"]


@pytest.mark.parametrize("narrowed", ["false", "true"])
def test_a_matrix_about_one_dag_holds_with_and_without_lists_that_are_narrowed(narrowed):
    rows = '{"dag_runs:clear sales_eu": [etl], "dag_runs:clear hr": none, "dag_runs:read sales_eu": [etl]}'
    assert load(bundle(f"{{narrowed: {narrowed}, matrix: {rows}}}")).cases


def test_an_operation_is_asked_below_the_base_path():
    case = only('{who: reader, operation: "pools:create", base: /airflow, expect: deny}')
    assert [request.whole_path for request in case.requests] == ["/airflow/api/v2/pools"]
    assert asked(case) == ["POST /api/v2/pools"]


@pytest.mark.parametrize("version", catalogue.versions())
def test_the_requests_of_an_operation_are_requests_of_that_operation(version):
    table = catalogue.load(version)
    questions = Questions(table)
    for name, operation in table.operations.items():
        found = []
        for dag in ("", "sales_eu"):
            if any((route.dag == catalogue.ONE_DAG) is bool(dag) for route in operation.routes):
                found += questions.of_operation(name, dag, Setting(), never=True)
        assert len(found) == len(operation.routes)
        assert {table.match(request.segments, request.method).operation for request in found} == {name}


def test_a_wildcard_has_what_a_rule_must_name_only_where_it_is_denied():
    denied = only('{who: reader, operation: "*", expect: deny}')
    allowed = only('{who: reader, operation: "*", expect: allow}')
    assert set(asked(denied)) - set(asked(allowed)) > {"POST /ui/auth/token"}
    assert asked(only("{who: reader, operation: airflow.viewer, expect: allow}"))


def test_a_table_has_a_case_for_each_row():
    tests = '{name: t, who: reader, table: {GET /api/v2/dags: allow, "dags:read x": allow, "pools:*": deny}}'
    rows = [(case.row, case.expected.allow, len(case.requests) > 1) for case in read(tests).cases]
    assert rows == [("GET /api/v2/dags", True, False), ("dags:read x", True, True), ("pools:*", False, True)]


def test_a_matrix_allows_exactly_the_callers_that_a_row_names():
    tests = '{name: m, matrix: {GET /api/v2/dags: [reader], "health:read": everyone, "pools:read": none}}'
    found = {}
    for case in read(tests).cases:
        found.setdefault(case.row.rpartition(", ")[0], {})[case.row.rpartition(", ")[2]] = case.expected.allow
    assert found == {
        "GET /api/v2/dags": {"anonymous": False, "reader": True, "etl": False},
        "health:read": {"anonymous": True, "reader": True, "etl": True},
        "pools:read": {"anonymous": False, "reader": False, "etl": False},
    }


def test_a_matrix_on_egress_asks_for_runs_too():
    tests = "{name: m, plane: egress, matrix: {GET http://a.reports.internal/daily/1: [etl, etl-run]}}"
    assert [case.row.rpartition(", ")[2] for case in read(tests).cases] == [
        "anonymous", "reader", "etl", "sales-run", "asserted", "etl-run",
    ]  # fmt: skip


def test_a_matrix_may_say_whom_it_asks_for():
    tests = "{name: m, among: [authenticated, etl], matrix: {GET /api/v2/dags: none}}"
    assert [case.row for case in read(tests).cases] == ["GET /api/v2/dags, authenticated", "GET /api/v2/dags, etl"]


@pytest.mark.parametrize("allowed", ["none", "everyone", "[etl-run]"])
@pytest.mark.parametrize("row", ["GET http://a.reports.internal/daily/1", "GET /api/v2/dags", '"dags:read"'])
def test_a_run_in_among_is_never_passed_over(row, allowed):
    tests = f"{{among: [etl-run], matrix: {{{row}: {allowed}}}}}"
    with pytest.raises(PolicyError, match="`etl-run` is a run, which calls on egress"):
        read(tests)
    both = f"{{among: [reader, etl-run], matrix: {{{row}: {allowed}}}}}"
    with pytest.raises(PolicyError, match="`etl-run` is a run, which calls on egress"):
        read(both)


@pytest.mark.parametrize(
    "test", ["matrix: {GET http://a.reports.internal/daily/1: none}", "matrix: {GET /x: none}, host: a.b"]
)
def test_a_row_whose_host_may_be_of_either_plane_needs_one_where_runs_are_among_the_callers(test):
    with pytest.raises(PolicyError, match="either plane may be meant"):
        read(f"{{name: m, {test}}}")
    asked = {plane: read(f"{{plane: {plane}, {test}}}").cases for plane in ("inbound", "egress")}
    assert [case.requests[0].plane for cases in asked.values() for case in cases] == [
        *[Plane.INBOUND] * 3, *[Plane.EGRESS] * 6,
    ]  # fmt: skip
    assert len(read(f"{{among: [reader], {test}}}").cases) == 1


def test_the_place_of_a_row_is_that_of_its_key():
    tests = "{name: t, who: reader, table: {GET /api/v2/dags: allow}}\n{who: etl, request: GET /x, expect: deny}"
    row, single = read(tests).cases
    assert (row.column, single.column) == (len("  - {name: t, who: reader, table: {") + 1, 5)
    assert single.line == row.line + 1


@pytest.mark.parametrize(
    ("who", "level", "token"),
    [
        ("{run: {dag: d}}", Level.VERIFIED, False),
        ("{run: {dag: d, identity: verified-bearer}}", Level.VERIFIED_BEARER, False),
        ("{client: c, run: {dag: d, task: t}}", Level.ASSERTED, True),
        ("{client: c, run: {dag: d, identity: asserted}}", Level.ASSERTED, True),
    ],
)
def test_a_service_account_only_asserts_its_run(who, level, token):
    case = only(f"{{who: {who}, request: GET /x, expect: deny}}")
    assert (case.caller.run.level, case.caller.token) == (level, token)
    assert case.requests[0].plane is Plane.EGRESS


def test_the_built_in_callers_have_no_token_and_a_bare_one():
    tests = "{who: anonymous, request: GET /x, expect: deny}\n{who: authenticated, request: GET /x, expect: deny}"
    assert [case.caller.token for case in read(tests).cases] == [False, True]


def test_a_tunnel_and_a_destination_are_on_egress():
    tests = """{who: etl, request: 'CONNECT a.internal:443', expect: deny}
{who: etl, request: GET /x, destination: orders, expect: deny}"""
    tunnel, call = (case.requests[0] for case in read(tests).cases)
    assert (tunnel.plane, tunnel.host, tunnel.port) == (Plane.EGRESS, "a.internal", 443)
    assert (call.plane, call.destination, call.host) == (Plane.EGRESS, "orders", "localhost")


def test_the_requests_of_all_tests_are_bounded(monkeypatch):
    monkeypatch.setattr(compiling, "MOST_REQUESTS", 8)
    one = '{who: reader, operation: "dags:read", expect: allow}'
    assert len(read(f"{one}\n{one}").cases) == 2
    more = "{who: unknown, request: GET /, expect: deny}"
    assert mistakes(f"{one}\n{one}\n{one}\n{more}") == ["with this test the tests have more than 8 requests in all"]


def test_rules_that_could_not_be_read_are_not_unknown():
    broken = "{id: readers, plane: inbound, roles: [viewer], operations: ['dags:read'], methods: [FETCH]}"
    test = "{who: reader, request: GET /api/v2/dags, expect: allow, rule: readers}"
    assert len(mistakes(test, rules=broken)) == 1
    assert mistakes(test.replace("readers", "airflow.viewer")) == ["unknown rule `airflow.viewer`"]
    roles = "\n  airflow.viewer: {groups: [data-readers]}\n"
    assert only(test.replace("readers", "airflow.viewer"), rules="", roles=roles).expected.rule == "airflow.viewer"


GRANTABLE = '{id: oncall, requesters: [viewer], approvers: [op], longest: 1d, operations: ["pools:read"]}'


def test_a_caller_may_hold_grants_beside_what_a_token_shows():
    tests = """{who: {grants: [oncall]}, operation: "pools:read", expect: allow, rule: grant/oncall}
{who: {groups: [data-readers], grants: [oncall]}, operation: "dags:read", expect: allow}"""
    first, second = read(tests, grantable=GRANTABLE).cases
    assert (first.caller.token, first.caller.grants, second.caller.grants) == (True, ("oncall",), ("oncall",))
    assert [case.name for case in (first, second)] == [
        "grant oncall: pools:read",
        "data-readers, grant oncall: dags:read",
    ]


def test_a_grant_of_no_entry_is_a_mistake():
    tests = '{who: {grants: [onkall]}, operation: "pools:read", expect: allow}'
    assert mistakes(tests, grantable=GRANTABLE) == ["unknown grant `onkall`"]
    assert mistakes(tests) == ["unknown grant `onkall`"]


@pytest.mark.parametrize(
    "grantable", [GRANTABLE.replace("[viewer]", "viewer"), "", GRANTABLE.replace("op]", "no-one]")]
)
def test_a_test_of_a_grant_is_no_mistake_because_its_entry_has_one(grantable):
    tests = '{who: {grants: [oncall]}, operation: "pools:read", expect: allow}'
    top = "version: 1" if grantable else "version: 1\ngrantable: oncall"
    assert not any("unknown grant" in one for one in mistakes(tests, top=top, grantable=grantable))


@pytest.mark.parametrize(
    ("expect", "rule", "works"), [("allow", "grant/oncall", True), ("deny", "", False), ("allow", "readers", False)]
)
def test_tests_decide_with_the_grants_of_their_caller(expect, rule, works):
    asserted = f", rule: {rule}" if rule else ""
    tests = f'{{who: {{grants: [oncall]}}, operation: "pools:read", expect: {expect}{asserted}}}'
    if works:
        assert load(bundle(tests, grantable=GRANTABLE))
    else:
        with pytest.raises(PolicyError, match="grant oncall"):
            load(bundle(tests, grantable=GRANTABLE))
