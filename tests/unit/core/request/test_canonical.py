"""What a request becomes before rules look at it, and what has no such form."""

import pytest

from authz.core.errors import DeniedError, RequestError
from authz.core.model import HttpRequest, Plane, Request
from authz.core.reasons import Reason
from authz.core.request.canonical import canonical


def asked(target="/api/v2/dags", **changes):
    parts = {"plane": "inbound", "audience": "", "method": "GET", "authority": "gate.test", "target": target}
    return HttpRequest(**{**parts, **changes})


def call(target="/v1", **changes):
    return asked(target, **{"plane": "egress", "destination": "orders", **changes})


def test_below_a_base_path_the_rest_is_judged():
    request = canonical(asked("/airflow/api/v2/dags?x=1", base="/airflow"))
    assert (request.plane, request.path, request.whole_path) == (Plane.INBOUND, "/api/v2/dags", "/airflow/api/v2/dags")
    assert not request.outside
    assert canonical(asked("/other", base="/airflow")).outside


@pytest.mark.parametrize(
    ("http", "reason"),
    [
        (asked(plane=""), Reason.MISCONFIGURED),
        (asked(plane="execution"), Reason.MISCONFIGURED),
        (asked(base="airflow/"), Reason.MISCONFIGURED),
        (asked("/x?access_token=y"), Reason.BAD_AUTHORIZATION),
        (asked("/x?a=1&id%5ftoken=y"), Reason.BAD_AUTHORIZATION),
        (call("/a%2Fb"), Reason.BAD_PATH),
    ],
)
def test_what_has_no_canonical_form(http, reason):
    with pytest.raises(DeniedError) as failure:
        canonical(http)
    assert failure.value.reason is reason


@pytest.mark.parametrize(
    ("http", "detail"),
    [
        (asked(plane=""), 'context_extensions has no "plane" of inbound or egress'),
        (asked(base="airflow/"), 'context_extensions has a "base" that is not a path like /airflow'),
        (asked("/x?access_token=y"), "a token in the query; send it in the Authorization header"),
        (call("/a%2Fb"), "an encoded slash, which destinations read in different ways"),
        (call(host="a:80"), 'context_extensions has a "host" that is not a host without port'),
        (call(host="a,b"), 'context_extensions has a "host" that is not a host without port'),
        (
            call("", method="CONNECT", authority="a:1", base="/x"),
            'context_extensions has a "host" or "base" for a tunnel',
        ),
        (
            call("", method="CONNECT", authority="a:1", host="x"),
            'context_extensions has a "host" or "base" for a tunnel',
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_and_who_can_change_it(http, detail):
    with pytest.raises(DeniedError) as failure:
        canonical(http)
    assert failure.value.detail == detail


def test_a_request_keeps_what_envoy_and_the_caller_said():
    assert canonical(asked("/airflow/x%2Fy/?q", base="/airflow", method="POST", authority="Gate.test:80")) == Request(
        plane=Plane.INBOUND, method="POST", host="gate.test", port=80, path="/x/y/", segments=("x", "y", ""),
        base="/airflow",
    )  # fmt: skip
    assert canonical(asked(narrowed=True)).narrowed is True
    assert canonical(asked()).narrowed is False
    assert canonical(asked("/other", base="/airflow")).path == "/other"
    assert canonical(call("", method="CONNECT", authority="db:5432")) == Request(
        plane=Plane.EGRESS, method="CONNECT", host="db", port=5432, path="", segments=(), destination="orders"
    )


@pytest.mark.parametrize("target", ["", "orders.internal:443", "ORDERS.internal:443"])
def test_a_tunnel_has_no_path(target):
    request = canonical(call(target, method="CONNECT", authority="orders.internal:443"))
    assert (request.method, request.host, request.port) == ("CONNECT", "orders.internal", 443)
    assert (request.path, request.whole_path, request.segments) == ("", "", ())


def test_the_host_that_envoy_names_for_the_destination_is_the_canonical_host():
    request = canonical(call(authority="127.0.0.1:9101", host="Orders.Internal"))
    assert (request.host, request.port, request.destination) == ("orders.internal", None, "orders")
    plain = canonical(call(authority="orders.internal:8443", destination=""))
    assert (plain.host, plain.port, plain.destination) == ("orders.internal", 8443, "")


def test_an_inbound_request_ignores_destination_and_host_of_envoy():
    request = canonical(asked(destination="orders", host="orders.internal"))
    assert (request.host, request.destination) == ("gate.test", "")


@pytest.mark.parametrize("host", ["orders.internal:80", "a,b", "a/b", "2130706433", "a.test.", "[::1]:80"])
def test_a_host_that_envoy_cannot_mean_is_no_host(host):
    with pytest.raises(DeniedError) as failure:
        canonical(call(host=host))
    assert failure.value.reason is Reason.MISCONFIGURED


@pytest.mark.parametrize("authority", ["", "a,b", "a.test.", "2130706433", "127.1:80"])
def test_a_bad_authority_is_refused_whatever_envoy_says(authority):
    with pytest.raises(RequestError) as failure:
        canonical(call(authority=authority, host="orders.internal"))
    assert failure.value.reason is Reason.BAD_HOST


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"plane": "inbound"}, Reason.BAD_PATH),
        ({"plane": "inbound", "target": "/x"}, Reason.BAD_METHOD),
        ({"authority": "orders.internal"}, Reason.BAD_HOST),
        ({"target": "other.internal:443"}, Reason.BAD_PATH),
        ({"target": "/v1"}, Reason.BAD_HOST),
        ({"method": "connect", "target": "/v1"}, Reason.BAD_METHOD),
        ({"host": "orders.internal"}, Reason.MISCONFIGURED),
        ({"base": "/orders"}, Reason.MISCONFIGURED),
    ],
)
def test_what_is_no_tunnel(changes, reason):
    parts = {"method": "CONNECT", "authority": "orders.internal:443", "target": "", **changes}
    with pytest.raises(DeniedError) as failure:
        canonical(call(**parts))
    assert failure.value.reason is reason
