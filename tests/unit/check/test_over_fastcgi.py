"""The FastCGI authorizer's codec: which variables are a request, and that nothing but an allow of ours is an allow."""

import pytest

from authz.check.wire import allowed, parse
from authz.check.wire.over_fastcgi import ADDRESS, ParamsRoute
from authz.check.wire.over_http import Route
from authz.core import edge
from authz.core.errors import RequestError
from tests.unit.check.test_over_http import INBOUND, denied

ASKED = [(b"REQUEST_METHOD", b"GET"), (b"REQUEST_URI", b"/a%2f..?b=c"), (b"HTTP_HOST", b"a.test")]
OTHERS = [
    (b"QUERY_STRING", b"x"),
    (b"SCRIPT_FILENAME", b"/x"),
    (b"HTTP_X_FORWARDED_HOST", b"other.test"),
    (b"HTTP_X_AUTHZ_SUBJECT", b"root"),
    (b"HTTP_X_RUN_IDENTITY", b"t"),
    (b"HTTP_X_RUN_IDENTITY", b"t"),
    (b"HTTP_COOKIE", b"IdToken=x"),
    (b"http_authorization", b"Bearer b"),
    (b"REMOTE_USER", b"root"),
    (b"FCGI_ROLE", b"AUTHORIZER"),
]


def asked(params, **options):
    message = ParamsRoute(Route(INBOUND, client_address=ADDRESS, **options)).message(params)
    return message and parse(message)


def test_a_question_is_the_request_that_envoy_would_have_sent():
    read = [
        (b"HTTP_AUTHORIZATION", b"Bearer \xff"),
        (b"HTTP_ACCEPT", b"text/html"),
        (b"HTTP_TRACEPARENT", b"00-1"),
        (b"REMOTE_ADDR", b"10.1.2.3"),
    ]
    found = asked([*OTHERS, *ASKED, *read])
    assert (found.plane, found.audience, found.narrowed) == ("inbound", "airflow", True)
    assert (found.method, found.target, found.authority) == ("GET", "/a%2f..?b=c", "a.test")
    assert (found.authorization, found.cookies, found.run_identity) == ((b"Bearer \xff",), (), ())
    assert (found.browser, found.traceparent, found.source) == (True, "00-1", "10.1.2.3")


def test_over_tcp_nobody_says_where_a_caller_is():
    route = ParamsRoute(Route(INBOUND))
    assert parse(route.message([*ASKED, (b"REMOTE_ADDR", b"10.1.2.3")])).source == ""


@pytest.mark.parametrize(
    "name", ["REQUEST_METHOD", "REQUEST_URI", "HTTP_HOST", "HTTP_AUTHORIZATION", "HTTP_ACCEPT", "HTTP_TRACEPARENT"]
)
def test_a_variable_that_is_there_twice_is_no_question(name):
    """Two headers that differ by `-` and `_` have one name here."""
    one = (name.encode(), b"/a")
    assert asked([*(pair for pair in ASKED if pair[0] != one[0]), one, one]) is None


@pytest.mark.parametrize("missing", [name for name, _ in ASKED])
def test_without_method_target_and_host_nothing_is_allowed(missing):
    message = ParamsRoute(Route(INBOUND)).message([pair for pair in ASKED if pair[0] != missing])
    if message is not None:
        with pytest.raises(RequestError):
            parse(message)


@pytest.mark.parametrize("target", [b"/a b", b"/a\tb", b"/a?b c", b"/a\x00", b"/a\r\n", b"/a?b\x7f", b"/a?#", b"/a#b"])
def test_what_servers_forward_in_another_form_is_no_question(target):
    """lighttpd leaves a fragment away, and forwards a space as it is."""
    assert asked([(b"REQUEST_URI", target) if pair[0] == b"REQUEST_URI" else pair for pair in ASKED]) is None


def test_an_allow_has_every_variable_and_no_other_header():
    route = ParamsRoute(Route(INBOUND))
    said = route.answer(allowed(decision_id="d", headers={edge.SUBJECT: "ada"}, cookies="a=b", metadata={}))
    expected = {f"Variable-{name.upper()}": "" for name in edge.IDENTITY_HEADERS}
    expected |= {"Variable-X-AUTHZ-SUBJECT": "ada", "Variable-X-AUTHZ-DECISION": "d"}
    assert (said.status, dict(said.headers), said.body) == (200, expected, b"")


@pytest.mark.parametrize("response", [b"", denied(200), denied(302), denied(403)])
def test_nothing_else_is_an_allow(response):
    said = ParamsRoute(Route(INBOUND)).answer(response)
    assert said.status in {403, 503}
    assert [name for name in said.headers if name.startswith("Variable-")] == []
