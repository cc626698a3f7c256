"""What a destination may receive and answer: bounded bodies, no redirect to another host, none of our own words."""

import json

import pytest

from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.way_out import DECISION, WayOut, failure

BOUND = 64 * 1024


@pytest.fixture(scope="module")
def running_out(envoy_binary, tmp_path_factory):
    out = WayOut(tmp_path_factory.mktemp("answers"), envoy_binary)
    out.add("orders", hosts=["orders.test", "*.orders.test"], limits={"request_bytes": f"{BOUND}B"})
    out.add("open", limits={"request_bytes": "0B"})
    with out:
        yield out


@pytest.fixture
def out(running_out):
    running_out.reset()
    return running_out


def redirected(out, *locations, status=302):
    site = out.sites["orders"]
    site.status, site.extra_headers = status, tuple(f"Location: {location}" for location in locations)
    return out.get("orders")


@pytest.mark.parametrize(
    "locations",
    [
        *(("https://evil.test/",), ("//evil.test/x",), ("/\\evil.test",), ("https://orders.test@evil.test/",)),
        *(("https://orders.test.evil.test/",), ("https://orders.test:8443/",), ("javascript:x",)),
        *(("/\t/evil.test/",), ("/.\t//evil.test/",), ("\xa0//evil.test/",)),
        *(("https://evil.test/\xff",), ("\xff", "https://evil.test/")),
        *(("/a", "https://evil.test/"), ("https://orders.test/", "//evil.test")),
    ],
)
def test_a_redirect_to_another_host_is_not_passed_on(out, locations):
    answer = redirected(out, *locations)
    assert failure(answer) == (502, "redirect_refused", "orders")
    assert (answer.header("location"), answer.header("retry-after")) == (None, None)
    assert b"evil" not in answer.body


@pytest.mark.parametrize("status", [300, 301, 303, 307, 308, 399])
def test_every_status_of_a_redirect_to_another_host_is_refused(out, status):
    assert failure(redirected(out, "https://evil.test/", status=status))[1] == "redirect_refused"


@pytest.mark.parametrize(
    ("location", "status"),
    [
        *(("/a?b", 302), ("a/b", 307), ("https://orders.test/x", 301), ("HTTP://EU.orders.test:443/", 308)),
        *(("https://evil.test/", 201), ("https://evil.test/", 304)),
    ],
)
def test_what_leads_to_the_same_host_or_is_no_redirect_is_passed_on(out, location, status):
    answer = redirected(out, location, status=status)
    assert (answer.status, answer.header("location")) == (status, location)
    assert answer.header("x-authz-decision") == DECISION


def test_a_body_within_the_bound_arrives_whole(out):
    assert out.get("orders", "/", method="POST", body=b"x" * BOUND).status == 200
    assert len(out.sites["orders"].only.body) == BOUND


def chunked(out, name, size):
    with Connection(out.envoy.egress) as connection:
        connection.send(request("/", "Transfer-Encoding: chunked", method="POST", host=f"{name}.test"))
        connection.send(b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n")
        return connection.response()


def test_a_longer_body_is_413_and_none_of_it_is_sent(out):
    answer = out.get("orders", "/", method="POST", body=b"x" * (BOUND + 1))
    assert failure(answer) == (413, "request_too_large", "orders")
    assert failure(chunked(out, "orders", BOUND + 1)) == (413, "request_too_large", "orders")
    assert out.sites["orders"].requests == []


def test_without_a_bound_bodies_stream(out):
    size = 8 * 1024 * 1024
    assert chunked(out, "open", size).status == 200
    assert len(out.sites["open"].only.body) == size


@pytest.mark.parametrize("headers", [tuple(f"X-{number}: a" for number in range(250)), ("X-Long: " + "a" * 80 * 1024,)])
def test_an_answer_with_too_many_or_too_long_headers_is_none(out, headers):
    out.sites["orders"].extra_headers = headers
    assert failure(out.get("orders")) == (502, "invalid_response", "orders")


def test_a_101_that_was_not_asked_for_is_an_invalid_response(out):
    out.sites["orders"].status = 101
    assert failure(out.get("orders")) == (502, "invalid_response", "orders")


def test_a_destination_does_not_speak_for_the_gate(out):
    out.sites["orders"].status = 503
    out.sites["orders"].extra_headers = ("X-Authz-Destination-Error: circuit_open", "X-Authz-Decision: forged")
    answer = out.get("orders")
    assert (answer.status, answer.header("x-authz-destination-error")) == (503, None)
    assert answer.header("x-authz-decision") == DECISION
    assert json.loads(answer.body)["method"] == "GET", "the destination's own 503"


def test_an_unknown_host_is_404_without_a_destination_error(out):
    answer = exchange(out.envoy.egress, request("/", host="nobody.test"))
    assert (answer.status, answer.header("x-authz-destination-error")) == (404, None)
