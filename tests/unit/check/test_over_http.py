"""The HTTP check's codec: what is asked, and that nothing but an allow of ours is an allow."""

import pytest

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.check.wire import allowed, over_http, parse
from authz.check.wire.over_http import Route, Routes
from authz.core import edge
from authz.core.errors import PolicyError
from tests.support.rigs.service import POLICY, Rig

INBOUND = {edge.EXT_PLANE: "inbound", edge.EXT_AUDIENCE: "airflow", edge.EXT_BASE: "", edge.EXT_DAGS: edge.NARROWED}
EGRESS = {edge.EXT_PLANE: "egress", edge.EXT_DESTINATION: "orders"}
HOST = (b"host", b"a.test")


def test_a_question_is_the_request_that_envoy_would_have_sent():
    route = Route(INBOUND, client_address=b"x-real-ip")
    headers = [
        HOST,
        (b"authorization", b"Bearer a"),
        (b"authorization", b"Bearer \xff"),
        (b"accept", b"text/html"),
        (b"cookie", b"a=b"),
        (b"traceparent", b"00-1"),
        (b"x-real-ip", b"10.1.2.3"),
        (b"x-run-identity", b"no"),
        (b"x-forwarded-host", b"other.test"),
    ]
    found = parse(route.message("POST", b"/a\xff/../b?c=d", headers))
    assert (found.plane, found.audience, found.method, found.authority) == ("inbound", "airflow", "POST", "a.test")
    assert (found.target, found.source, found.narrowed) == ("/a\xff/../b?c=d", "10.1.2.3", True)
    assert (found.authorization, found.cookies) == ((b"Bearer a", b"Bearer \xff"), (b"a=b",))
    assert (found.browser, found.traceparent, found.run_identity) == (True, "00-1", ())


def test_a_question_about_a_call():
    lines = [HOST, (b"x-run-identity", b"t"), (b"x-run-proof", b"p"), (b"proxy-authorization", b"Bearer x")]
    found = parse(Route(EGRESS).message("GET", b"/v1", lines))
    assert (found.plane, found.destination, found.run_identity) == ("egress", "orders", (b"t",))
    assert (found.run_proof, found.proxy_authorization, found.source) == ((b"p",), (b"Bearer x",), "")


@pytest.mark.parametrize("hosts", [0, 2])
def test_without_exactly_one_host_there_is_no_question(hosts):
    assert Route(INBOUND).message("GET", b"/", [HOST] * hosts) is None


@pytest.mark.parametrize(
    "value", [b"", b"10.1.2.3, 10.0.0.1", b"unix:", b"10.1.2.3:80", b"\xff", b"010.1.2.3", b"::1%eth0\n"]
)
def test_what_is_no_address_is_none(value):
    route = Route(INBOUND, client_address=b"x-real-ip")
    assert parse(route.message("GET", b"/", [HOST, (b"x-real-ip", value)])).source == ""


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/check/airflow/api", b"/api"),
        (b"/check/airflow//api", b"//api"),
        (b"/check/airflow/", b"/"),
        (b"/check/airflow/a?/check/b/", b"/a?/check/b/"),
        (b"/check/airflow", None),
        (b"/check/airflow?/x", None),
        (b"/check/airflow2/api", None),
        (b"/check/airflo/api", None),
        (b"/check//api", None),
        (b"/Check/airflow/api", None),
        (b"check/airflow/api", None),
        (b"//check/airflow/api", None),
        (b"http://x/check/airflow/api", None),
        (b"/check/air%66low/api", None),
        (b"", None),
        (b"/check/@POST/airflow/api", b"/api"),
        (b"/check/@POST/airflow//check/@GET/airflow/", b"//check/@GET/airflow/"),
        (b"/check/@/airflow/api", None),
        (b"/check/@POST", None),
        (b"/check/@POST/airflow", None),
        (b"/check/@POST//airflow/api", None),
        (b"/check/@POST/@GET/airflow/api", None),
        (b"/check/airflow@GET/api", None),
    ],
)
def test_the_target_is_all_behind_the_name(target, found):
    routes = Routes({"airflow": Route(INBOUND)})
    made = routes.find(target)
    assert (made and made[1]) == found


def test_a_method_in_the_path_is_that_of_the_request_and_is_asked_with_get_alone():
    """Some fronts send the caller's body with any other method."""
    routes = Routes({"airflow": Route(INBOUND)})
    route, target = routes.find(b"/check/@POST/airflow/api")
    asked = pb.CheckRequest.FromString(route.message("GET", target, [(b"host", b"a.test")]))
    assert (asked.attributes.request.http.method, asked.attributes.request.http.path) == ("POST", "/api")
    assert [route.message(method, target, [(b"host", b"a.test")]) for method in ("POST", "DELETE", "get")] == [None] * 3
    assert route.answer(b"").status == 503


def test_an_allow_has_every_identity_header():
    said = Route(INBOUND).answer(allowed(decision_id="d", headers={edge.SUBJECT: "ada"}, cookies=None, metadata={}))
    assert (said.status, said.body) == (200, b"")
    assert {name for name in edge.IDENTITY_HEADERS if said.headers[name] == ""} == {*edge.IDENTITY_HEADERS} - {
        edge.SUBJECT
    }
    assert (said.headers[edge.SUBJECT], said.headers[edge.DECISION]) == ("ada", "d")


def denied(status, code=7):
    made = pb.CheckResponse()
    made.status.code = code
    made.denied_response.status.code = status
    made.denied_response.body = "why"
    return made.SerializeToString()


def half():
    made = pb.CheckResponse()
    made.status.code = 7
    made.ok_response.headers.add().header.key = "x"
    return made.SerializeToString()


@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize(
    "response", [b"", half(), denied(200), denied(204), denied(302), denied(0), denied(403, code=0)]
)
def test_nothing_else_is_an_allow(simple, response):
    """Neither the answer that gives a task its token: a front would take its 200 for an allow."""
    assert Route(INBOUND, simple=simple).answer(response).status in {403, 503}
    assert Route(INBOUND, simple=simple).answer(response).status >= 400


@pytest.mark.parametrize(("status", "simple"), [(400, 403), (401, 401), (403, 403), (503, 403)])
def test_refusals(status, simple):
    said = Route(INBOUND).answer(denied(status))
    assert (said.status, said.body, over_http.STATUS in said.headers) == (status, b"why", False)
    said = Route(INBOUND, simple=True).answer(denied(status))
    assert (said.status, said.headers.get(over_http.STATUS, str(status))) == (simple, str(status))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("cookies", [None, "", "a=b"])
def test_an_allow_names_what_the_front_must_not_pass_on(keep, cookies):
    """All that Envoy is told to remove over gRPC; identity headers are in the answer itself, set or empty."""
    response = allowed(decision_id="d", headers={edge.SUBJECT: "alice"}, cookies=cookies, metadata={}, keep=keep)
    removed = set(pb.CheckResponse.FromString(response).ok_response.headers_to_remove)
    said = Route(INBOUND).answer(response).headers
    assert set(said[over_http.REMOVE].split(", ")) == removed - set(edge.IDENTITY_HEADERS)
    assert ("authorization" in removed, "cookie" in removed) == (not keep, cookies == "")
    assert said.get("cookie") == (cookies or None)


@pytest.mark.parametrize("rule", ["operations: ['*']", "paths: ['/**']"])
def test_the_api_for_tasks_is_allowed_to_no_one(rule):
    """Envoy and the fronts keep it to workers; what asks over HTTP may be a front of anyone's."""
    rig = Rig(f"{POLICY}  - {{id: everything, plane: inbound, roles: [viewer], {rule}}}\n")
    route = Route(INBOUND)
    for target in (b"/execution/health", b"/execution/task-instances/1/run", b"/%65xecution/health", b"/execution/"):
        for method in ("GET", "POST", "PATCH"):
            lines = [HOST, (b"authorization", f"Bearer {rig.token()}".encode())]
            assert route.answer(rig.service.check(route.message(method, target, lines))).status == 403, (method, target)


@pytest.mark.parametrize(
    "rule",
    [
        "roles: [viewer], operations: ['execution:call']",
        "roles: [viewer], paths: ['/execution/health']",
        "public: true, methods: [GET], paths: ['/execution/health']",
    ],
)
def test_no_rule_can_name_the_api_for_tasks(rule):
    with pytest.raises(PolicyError):
        Rig(f"{POLICY}  - {{id: tasks, plane: inbound, {rule}}}\n")
