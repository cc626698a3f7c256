"""security.md d-01 … d-08 against the canonicaliser and the catalogue: each known trick is refused, or means the same.

The property behind every row: what a trick turns a path into is either answered 400, or judged as what Airflow serves.
"""

import ast
from pathlib import Path

import pytest

import authz
from authz.airflow.dag_grant import DagGrant
from authz.core import catalogue
from authz.core.errors import RequestError
from authz.core.reasons import ANSWERS, Reason
from authz.core.request.path import canonical_host, canonical_method, canonicalise

AIRFLOW = catalogue.load("3.3")
PROTECTED = [
    "/api/v2/dags", "/api/v2/variables", "/api/v2/variables/db_password", "/api/v2/connections/warehouse",
    "/api/v2/pools/a", "/api/v2/dags/sales/dagRuns", "/api/v2/eventLogs", "/api/v2/config", "/ui/auth/token",
    "/execution/task-instances/1/run",
]  # fmt: skip
PUBLIC = "/api/v2/monitor/health"
BAD_REQUEST = 400


def judged(target, method="GET"):
    """The operation that a request is judged as: None without one, 400 when it is refused."""
    try:
        route = AIRFLOW.match(canonicalise(target).segments, method)
    except RequestError as error:
        return ANSWERS[error.reason].http
    return route.operation if route is not None else None


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize("slashes", ["//", "///", "////", "/%2F", "%2F/", "%2f%2f", "\\/", "/\\"])
def test_d01_double_slash_is_refused_wherever_it_stands(path, slashes):
    places = [index for index, character in enumerate(path) if character == "/"]
    for place in places:
        assert judged(path[:place] + slashes + path[place + 1 :]) == BAD_REQUEST
    assert judged(path + slashes) == BAD_REQUEST


def test_d01_a_leading_double_slash_is_no_host():
    for target in ("//admin/x", "//api/v2/dags", "//evil.example/api/v2/version", "///api/v2/version", "/\t/x"):
        assert judged(target) == BAD_REQUEST


def test_d01_nothing_in_the_package_splits_urls_with_urllib():
    files = list(Path(authz.__file__).parent.glob("**/*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            called = [node.attr] if isinstance(node, ast.Attribute) else []
            assert not {"urlsplit", "urlparse"} & {*names, *called}, f"{file}:{node.lineno}"


@pytest.mark.parametrize("path", PROTECTED)
def test_d02_the_query_never_changes_what_a_request_is(path):
    for query in (f"x={PUBLIC}", PUBLIC, "/../../monitor/health", "a?b", "%00", "?", "#", "//", ";/api/v2/version", ""):
        assert judged(f"{path}?{query}") == judged(path)
        assert canonicalise(f"{path}?{query}") == canonicalise(path)


def test_d02_an_encoded_question_mark_is_data():
    assert judged(f"{PUBLIC}%3F/../../dags") == BAD_REQUEST
    assert judged(f"{PUBLIC}%3Fx") is None
    assert judged(f"/api/v2/variables%3F{PUBLIC}") is None
    assert judged(f"/?{PUBLIC}") == judged("/")


@pytest.mark.parametrize("path", PROTECTED)
def test_d03_a_fragment_is_refused_and_its_escape_is_data(path):
    for suffix in ("#", "#/api/v2/monitor/health", "/#", "#?x"):
        assert judged(path + suffix) == BAD_REQUEST
    assert canonicalise(f"{path}%23x").segments[-1].endswith("#x")
    assert judged(f"{PUBLIC}%23") is None


@pytest.mark.parametrize(
    "trick",
    [
        "/..", "/../x", "/./", "/.", "/%2e%2e", "/%2E%2e/", "/.%2e", "/%2e", "/%252e%252e", "/%25252e", "/..;",
        "/..;/x", "/.;a/", "/..%3b", "\\..\\", "/..\\", "%5c", "%5C..", "%2f..", "%2F%2e%2e%2F", "%252f", "%255c",
        "/%c0%ae%c0%ae", "/%e0%80%ae", "/%f0%80%80%ae", "%c0%af", "%00", "%00.css", "%0a", "%0d%0a", "%09", "%1f",
        "%7f", "%c2%80", "%c2%9f", "%e2%80%a8", "%e2%80%a9", "%", "%2", "%zz", "%u002e", "%%32%65", "%ed%a0%80",
        "\x00", "\n", "\t", " ", "\x7f", "\u00e9", "\uff0e",
    ],
)  # fmt: skip
def test_d04_dot_segments_and_encodings_are_refused(trick):
    for path in (*PROTECTED, PUBLIC):
        assert judged(path + trick) == BAD_REQUEST
        assert judged(path + trick + "/api/v2/version") == BAD_REQUEST
        assert judged("/static" + trick + path) == BAD_REQUEST


def test_d04_refusals_name_their_reason():
    with pytest.raises(RequestError) as caught:
        canonicalise("/api/v2/monitor/../variables")
    assert caught.value.reason is Reason.BAD_PATH


def test_d05_an_encoded_slash_is_a_slash_and_only_parameters_that_may_hold_one_take_it():
    assert judged("/api/v2/pools/a%2Fb") == "pools:read"
    assert judged("/api/v2/variables/team%2Fkey", "DELETE") == "variables:delete"
    xcom = "/api/v2/dags/d/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00/taskInstances/t/xcomEntries/a%2Fb"
    assert judged(xcom) == "xcoms:read"
    assert AIRFLOW.match(canonicalise(xcom).segments, "GET").dag_id == "d"
    assert judged("/api/v2/pools/..%2fconnections") == BAD_REQUEST
    # uvicorn decodes before it routes: so do we
    assert judged("/api/v2%2Fdags") == judged("/api%2fv2%2fdags") == "dags:read"
    assert judged("/ui%2Fauth%2Ftoken", "POST") == judged("/auth%2Ftoken", "POST") == "tokens:create"
    assert judged("/api/v2/dags/sales%2FdagRuns", "POST") == "dag_runs:create"
    assert judged("/api/v2/connections/a%2Fb") is None


def test_d05_a_dag_cannot_be_smuggled_into_another_place():
    route = AIRFLOW.match(canonicalise("/api/v2/dags/sales%2FdagRuns%2Ffinance/dagRuns").segments, "POST")
    assert route is None
    route = AIRFLOW.match(canonicalise("/api/v2/dags/%66inance/dagRuns").segments, "POST")
    assert route.dag_id == "finance"


@pytest.mark.parametrize("path", ["/api/v2/dags", "/api/v2/variables", "/api/v2/connections", "/api/v2/config", PUBLIC])
def test_d06_parameters_case_and_trailing_characters_are_other_paths(path):
    for other in (
        f"{path};x", f"{path};/", f"{path};.css", f"{path}%3bx", f"{path}.", f"{path}%2e", f"{path}~",
        f"{path}X", path.upper(), path.title(), path.replace("api", "Api"), path[:-1], f"{path},", f"{path}%E2%80%8B",
    ):  # fmt: skip
        assert judged(other) is None
    assert judged(f"{path}%c2%a0") is None


@pytest.mark.parametrize(
    "path", ["/api/v2/dags/finance{}/dagRuns", "/api/v2/dags/finance{}", "/api/v2/variables/db{}", "/api/v2/dags{}"]
)
def test_d06_a_name_with_a_space_at_its_end_is_no_other_name(path):
    """MySQL compares ids padded with spaces: `finance ` finds `finance`, past a deny rule for the latter."""
    for end in ("%20", "%20%20", "%20%20%20"):
        with pytest.raises(RequestError):
            canonicalise(path.format(end))
    assert not DagGrant(("*",), ("finance",)).permits("finance ")
    assert not DagGrant(("*",)).permits("finance  ")


def test_d06_a_trailing_slash_is_kept_and_means_what_it_means_to_airflow():
    assert judged("/api/v2/dags/") is None
    assert judged("/api/v2/dags/sales/dagRuns/", "POST") is None
    # Airflow's `{pool_name:path}` takes the empty rest
    assert judged("/api/v2/pools/") == "pools:read"
    assert canonicalise("/a/") != canonicalise("/a")


@pytest.mark.parametrize(
    "method",
    [
        "get", "Get", "gET", "GET ", " GET", "GET\t", "GET\n", "GET\x00", "G\u0395T", "", "FOO", "TRACE", "TRACK",
        "CONNECT", "PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "PURGE", "LINK",
        "DEBUG", "QUERY", "PRI", "GET,POST", "POST GET", "post", "delete", "options", "head", "HEAD/1.1",
    ],
)  # fmt: skip
def test_d07_only_exact_methods_are_judged(method):
    with pytest.raises(RequestError) as caught:
        canonical_method(method)
    assert ANSWERS[caught.value.reason].http == BAD_REQUEST
    assert AIRFLOW.match(("api", "v2", "dags"), method) is None


def test_d07_head_is_get_and_options_is_nothing():
    assert judged("/api/v2/dags", "HEAD") == judged("/api/v2/dags", "GET") == "dags:read"
    for path in PROTECTED[:8]:
        assert judged(path, "OPTIONS") is None
    # another method on the same path is another operation, or none
    assert judged("/api/v2/dags", "POST") is None
    assert judged("/api/v2/dags/sales", "DELETE") == "dags:delete"


@pytest.mark.parametrize(
    "authority",
    [
        "a.test,b.test", "a.test, b.test", "a.test b.test", "user@airflow", "user:secret@airflow", "airflow@evil",
        "airflow:", "airflow:80:90", "airflow:0", "airflow:99999", "airflow:-1", "airflow:80x", "", ".", "..",
        "airflow..", ".airflow", "air..flow", "airflow/", "airflow/x", "airflow?x", "airflow#x", "airflow\\evil",
        "airflow\x00", "airflow\r\nX: y", "airflow\t", " airflow", "airflow%2eevil", "\u0430irflow",
        "airflow\u3002example", "airflow\uff0eexample", "b\u00fccher.example", "\u212a.example", "[::1", "[::1]evil",
        "[evil]", "[::1%25eth0]", "*", "*.example",
    ],
)  # fmt: skip
def test_d08_an_ambiguous_host_is_refused(authority):
    with pytest.raises(RequestError) as caught:
        canonical_host(authority)
    assert caught.value.reason is Reason.BAD_HOST


def test_d08_one_host_has_one_name():
    names = ["airflow.example", "AIRFLOW.example", "Airflow.Example", "airflow.example:443", "airflow.EXAMPLE:80"]
    assert {canonical_host(name)[0] for name in names} == {"airflow.example"}
    assert {canonical_host(name)[0] for name in ("[::1]", "[::1]:80")} == {"[::1]"}


@pytest.mark.parametrize(
    "host",
    ["dev.example.", "dev.example..", "dev.example.:80", "dev.example..:80", "[0::1]", "[0:0:0:0:0:0:0:1]", "[::0001]"],
)
def test_d08_a_name_that_envoy_would_route_as_another_is_refused(host):
    """An alias that only we know would be judged as one name and routed as another."""
    with pytest.raises(RequestError) as caught:
        canonical_host(host)
    assert caught.value.reason is Reason.BAD_HOST


@pytest.mark.parametrize(
    "target",
    ["http://evil/api/v2/dags", "HTTP://airflow/api", "airflow:443", "evil/x", "*", "", "?", "@evil/x", ":80/x", "api"],
)
def test_d08_a_target_that_is_no_path_is_refused(target):
    for method in ("GET", "OPTIONS"):
        assert judged(target, method) == BAD_REQUEST
