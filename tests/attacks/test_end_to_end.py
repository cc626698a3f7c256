"""security.md d-01 … d-08 end to end: paths, queries, methods and hosts; the oracle is in `firing_range`."""

import contextlib

import pytest

from tests.attacks.firing_range import HEALTH, PROTECTED
from tests.attacks.route_oracle import served
from tests.e2e.echo_upstream import Received
from tests.e2e.raw_h2 import exchange_h2
from tests.e2e.stack import id_of

pytestmark = pytest.mark.e2e

# --- the oracle itself


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/api/v2/config"), ("GET", "/api/v2%2Fconfig"), ("POST", "/api/v2/dags"), ("GET", "/api/v2/dags%0a/x")],
)
def test_the_oracle_notices_when_another_route_is_served(lane, method, target):
    answer = lane.get("/api/v2/dags", token=lane.viewer())
    other = f"{method} {target} HTTP/1.1\r\nx-authz-decision: {id_of(answer)}\r\n\r\n".encode()
    with pytest.raises(AssertionError):
        lane.judge(Received(head=other, body=b""), egress=False)


def test_the_oracle_notices_when_something_denied_is_served(lane):
    answer = lane.get("/api/v2/config", token=lane.viewer())
    denied = f"GET /api/v2/config HTTP/1.1\r\nx-authz-decision: {id_of(answer)}\r\n\r\n".encode()
    with pytest.raises(AssertionError, match="although denied"):
        lane.judge(Received(head=denied, body=b""), egress=False)


# --- paths


@pytest.mark.parametrize("path", [*PROTECTED, "/api/v2/dags", HEALTH])
def test_d01_extra_slashes_lead_nowhere_else(lane, path):
    token = lane.viewer()
    places = [index for index, character in enumerate(path) if character == "/"]
    for place in places:
        for slashes in ("//", "///", "/%2F", "%2f", "/.//", "/\\"):
            lane.get(path[:place] + slashes + path[place + 1 :], token=token)
    for authority in ("//evil.test", "//gate.test", "///", "//evil.test@gate.test"):
        lane.get(authority + path, token=token)


@pytest.mark.parametrize("path", PROTECTED)
def test_d02_a_query_changes_nothing(lane, path):
    for query in (f"x={HEALTH}", HEALTH, f"/../..{HEALTH}", "?", "a?b", f"%3F{HEALTH}", "//", ";x=y", "/api/v2/dags"):
        assert lane.refused(f"{path}?{query}") == 401
        assert lane.refused(f"{path}?{query}", token=lane.viewer()) == 403
    for trick in (f"{HEALTH}%3F/../../../config", f"{HEALTH}%3f{path}", f"{path}%3F{HEALTH}"):
        assert lane.refused(trick) in {400, 401}


@pytest.mark.parametrize("path", PROTECTED)
def test_d03_a_fragment_is_refused(lane, path):
    for suffix in (f"#{HEALTH}", "#", f"#/../..{HEALTH}", "?#", f"%23{HEALTH}"):
        assert lane.refused(path + suffix, token=lane.viewer()) in {400, 403}
        assert lane.refused(HEALTH + suffix.replace(HEALTH, path)) in {400, 401}


DOTS = [
    *("/..", "/../", "/.", "/./", "/%2e%2e", "/%2E%2e/", "/.%2e/", "/%252e%252e/", "/..;/", "/..%3b/", "/..%00/"),
    *("/..%2f", "/%2e%2e%2f", "%2f..%2f", "/..\\", "/..%5c", "\\..\\", "%5c..%5c", "/%c0%ae%c0%ae/", "/%e0%80%ae./"),
    *("/%00/", "/%0a", "/%0d%0a", "/\x00", "/%ff", "/%u002e/", "/%%32%65/", "/..%c0%af", "/...", "/.../", "/%c2%80"),
]


@pytest.mark.parametrize("trick", DOTS)
def test_d04_dot_segments_end_where_the_decision_says(lane, trick):
    token = lane.viewer()
    for base in (HEALTH, "/api/v2/dags", "/api/v2/dags/x"):
        for goal in ("config", "../config", "eventLogs", "../../../config", "dags", "../../dags"):
            lane.get(f"{base}{trick}{goal}", token=token)
            lane.get(f"{base}{trick}{goal}")
    lane.get(f"{trick}/api/v2/dags", token=token)


def test_d04_a_path_with_dot_segments_is_checked_as_what_it_resolves_to(lane):
    """The corpus above must be able to pass: else the oracle would never be asked."""
    assert lane.get("/api/v2/config/%2e%2e/dags", token=lane.viewer()).status == 200
    assert lane.received.target == "/api/v2/dags"
    assert lane.refused("/api/v2/dags/%2e%2e/config", token=lane.viewer()) == 403
    assert lane.refused("/api/v2/monitor/health/../../config") == 401


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/api/v2/pools/a%2Fb",
            "/api/v2/pools/a%2fb%3A%2B",
            "/api/v2/variables/team%2Fkey",
            "/api/v2/connections/a%2Fb",
        ),
        *("/api/v2/pools/..%2fconfig", "/api/v2/pools/%2e%2e%2fconfig", "/api/v2/pools/..%2f..%2fv2%2fconfig"),
        *(
            "/api/v2%2Fpools",
            "/api%2Fv2%2Fconfig",
            "/%2Fapi/v2/config",
            "/api/v2/pools%2Fx",
            "/api/v2/pools/x%252f..%252f",
        ),
        *("/api/v2/dags/x%2FdagRuns", "/api/v2/dags/x%2F..%2F..%2Fconfig", "/ui%2Fauth%2Ftoken", "/execution%2Fhealth"),
        *(
            "/api/v2/dags/~%2FdagRuns",
            "/api/v2/variables/..%2f..%2f..%2fexecution%2fx",
            "/api/v2/pools/%2Fx",
            "/api/v2/pools/",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_d05_an_encoded_slash_is_one_slash_for_everybody(lane, path, method):
    lane.get(path, token=lane.operator(), method=method)
    lane.get(path, token=lane.viewer(), method=method)
    lane.get(path, method=method)


def test_d05_legitimate_encoded_slashes_work(lane):
    token = lane.operator()
    for path in ("/api/v2/pools/a%2Fb", "/api/v2/variables/team%2Fkey"):
        assert lane.get(path, token=token).status == 200
        assert lane.received.target == path
    run = "/api/v2/dags/d/dagRuns/manual__2026-01-01T00%3A00%3A00%2B00%3A00"
    assert lane.get(run, token=token).status == 200
    assert lane.received.target == run


@pytest.mark.parametrize(
    "dag", ["finance", "sales", "sales_x%2Ffinance", "sales_%2F..%2Ffinance", "%73ales_x", "SALES_x", "~"]
)
def test_d05_a_dag_cannot_be_smuggled_past_a_pattern(lane, dag):
    answer = lane.get(f"/api/v2/dags/{dag}/dagRuns", token=lane.etl(aud="airflow"), method="POST", body=b"{}")
    if lane.stack.upstream.requests:
        assert served(lane.received).dag.startswith("sales_")
        assert dag == "%73ales_x"
    else:
        assert answer.status in {400, 403}


@pytest.mark.parametrize("path", ["/api/v2/config", HEALTH, "/api/v2/dags"])
def test_d06_neighbours_of_a_path_are_other_paths(lane, path):
    others = (
        *(f"{path};x", f"{path};/", f"{path}/", f"{path}.", f"{path}%20", f"{path}%3bx", f"{path}~", f"{path},"),
        *(path.upper(), path.title(), path.replace("api", "Api"), path[:-1], f"{path}X", f"{path}%C2%A0", f"/;{path}"),
        *(path.replace("/v2", ";a=b/v2"), path.replace("/v2", "/v2;"), f"{path}.json", f"{path}%E2%80%8B"),
    )
    for other in others:
        assert lane.refused(other) in {400, 401}, other
        assert lane.refused(other, token=lane.viewer()) in {400, 403}, other


# --- methods


METHODS = (
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "get",
    "Get",
    "FOO",
    "G\tT",
    "M-SEARCH",
)


@pytest.mark.parametrize("method", METHODS)
def test_d07_only_the_judged_method_is_served(lane, method):
    for token in (None, lane.viewer()):
        for path in ("/api/v2/dags", "/api/v2/dags/x", HEALTH, "/api/v2/config"):
            with contextlib.suppress(ValueError):
                lane.get(path, "Content-Length: 0", token=token, method=method)


OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "x-http-method-OVERRIDE")


@pytest.mark.parametrize("header", OVERRIDES)
def test_d07_a_method_cannot_be_overridden(lane, header):
    assert lane.get("/api/v2/dags/x", f"{header}: DELETE", token=lane.viewer()).status == 200
    assert "DELETE" not in lane.received.head.decode("latin-1")
    assert (
        lane.refused("/api/v2/dags/x", f"{header}: GET", "Content-Length: 0", token=lane.viewer(), method="DELETE")
        == 403
    )


def test_d07_a_preflight_is_no_way_in(lane):
    preflight = ("Origin: https://evil.test", "Access-Control-Request-Method: DELETE")
    for path in (HEALTH, "/api/v2/dags", "/nothing"):
        assert lane.refused(path, *preflight, method="OPTIONS") == 401
        assert lane.refused(path, *preflight, method="OPTIONS", token=lane.viewer()) == 403


# --- hosts


def test_d08_the_host_that_is_judged_is_the_host_that_is_served(lane):
    token = lane.etl()
    for host in (
        "orders.internal",
        "ORDERS.internal",
        "orders.internal:80",
        "orders.internal.",
        "orders.internal.:8090",
    ):
        answer = lane.get("/v1/orders", token=token, egress=True, host=host)
        assert answer.status == 200, host
    hosts = (
        *("evil.test", "orders.internal.evil.test", "orders.internal@evil.test", "evil.test@orders.internal", "orders"),
        *("orders.internal,evil.test", "evil.test,orders.internal", "orders.internal evil.test", "orders.internal\tx"),
        *(
            "orders.internal..",
            ".orders.internal",
            "orders.internal/",
            "orders.internal#x",
            "orders.internal?x",
            "[::1]",
        ),
        *("orders.internal:80:90", "orders.internal:x", "orders%2einternal", "127.0.0.1", "xn--orders.internal", ""),
    )
    for host in hosts:
        assert lane.refused("/v1/orders", token=token, egress=True, host=host) in {400, 403, 404, None}, host


def test_d08_absolute_form_and_several_hosts(lane):
    token = lane.etl()
    assert lane.refused("http://evil.test/v1/orders", token=token, egress=True) in {403, 404}
    assert lane.get("http://orders.internal/v1/orders", token=token, egress=True, host="evil.test").status == 200
    assert lane.received.all("host") == ["orders.internal"]
    assert lane.refused("/v1/orders", "Host: evil.test", token=token, egress=True) == 400
    assert lane.refused("/v1/orders", token=token, egress=True, host=None) == 400
    assert lane.refused("http://orders.internal@evil.test/v1/orders", token=token, egress=True) in {400, 403, 404}
    for target in ("*", "v1/orders", "orders.internal:443", "", "?x", "//orders.internal/v1/orders/../../x"):
        for method in ("GET", "OPTIONS"):
            assert lane.refused(target, token=token, egress=True, method=method) in {400, 403, 404, None}, target


def test_d08_http_2_pseudo_headers(lane):
    bearer = ("authorization", f"Bearer {lane.etl()}")
    seen = lane.stack.upstream.requests

    def ask(path, authority, *more):
        seen.clear()
        fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", authority), bearer, *more]
        return exchange_h2(lane.stack.envoy.egress, fields)

    assert ask("/v1/orders", "orders.internal") == 200
    assert ask("/v1/orders", "orders.internal", ("host", "evil.test")) == 200
    assert lane.received.all("host") == ["orders.internal"]
    for path, authority, *more in (
        ("/v1/orders", "evil.test", ("host", "orders.internal")),
        ("v1/orders", "orders.internal"),
        ("http://evil.test/v1/orders", "orders.internal"),
        ("/v1/orders/../payments", "orders.internal"),
        ("/v1/orders#x", "orders.internal"),
    ):
        assert ask(path, authority, *more) != 200, path
        assert seen == []
