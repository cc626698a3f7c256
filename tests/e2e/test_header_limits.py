"""Whatever a caller's headers are in number and size: served and allowed, or refused with 431 and never judged."""

import json

import pytest

from authz.core import edge, stripped
from tests.e2e.scripted_authz import allow

pytestmark = pytest.mark.e2e

MOST = dict.fromkeys(edge.IDENTITY_HEADERS, "a") | {edge.DECISION: "d", "cookie": "a=b"}
LARGEST = {**MOST, edge.IDENTITY_HEADERS[0]: "a" * 20_000}
# What a caller may write there, and no answer may repeat.
FOREIGN_ID = "X-Request-Id: <b>mine</b>"
PLANES = {"inbound": {}, "egress": {"egress": True, "host": "orders.internal"}}


def outcome(gate, lines, made, way):
    gate.reset()
    gate.authz.answer = lambda _: allow(headers=made, response_headers={edge.DECISION: "d"})
    answer = gate.get("/x", FOREIGN_ID, *lines, **way)
    if answer.status == 200:
        assert (len(gate.authz.checks), len(gate.upstream.requests)) == (1, 1)
    else:
        assert (answer.status, gate.authz.checks, gate.upstream.requests) == (431, [], []), len(lines)
        body = json.loads(answer.body)
        assert (body["error"], answer.header("content-type")) == ("headers_too_large", "application/json")
        assert body["time"]
        assert "mine" not in str(body["request_id"])
    return answer.status


@pytest.mark.parametrize("way", PLANES.values(), ids=PLANES)
def test_every_number_of_headers_is_served_or_refused_before_the_check(gate, way):
    statuses = [outcome(gate, [f"X-N-{i}: a" for i in range(n)], MOST, way) for n in range(140)]
    served = statuses.index(431)
    assert served >= 85
    assert statuses == [200] * served + [431] * (140 - served)


@pytest.mark.parametrize("way", PLANES.values(), ids=PLANES)
def test_every_size_of_headers_is_served_or_refused_before_the_check(gate, way):
    statuses = [
        outcome(gate, ["X-Long: " + "a" * (kib * 1024 + more)], LARGEST, way)
        for kib in (1, 64, *range(100, 200, 4))
        for more in (-300, 0)
    ]
    served = statuses.index(431)
    assert statuses == [200] * served + [431] * (len(statuses) - served)
    assert served == 19  # all that is under the 128 KiB of the plan


def test_dropped_headers_do_not_count(gate):
    dropped = [f"{name}: a" for name in stripped.CLIENT_HEADERS[:30]]
    assert outcome(gate, [*dropped, *(f"X-N-{i}: a" for i in range(80))], MOST, {}) == 200


def test_our_headers_fit_into_every_answer_that_envoy_takes_from_an_upstream(gate):
    statuses = []
    for n in range(80, 110):
        gate.reset()
        gate.authz.answer = lambda _: allow(response_headers={edge.DECISION: "d"})
        gate.upstream.extra_headers = tuple(f"X-N-{i}: a" for i in range(n))
        answer = gate.get("/x")
        statuses.append(answer.status)
        assert answer.status == 502 or answer.header(edge.DECISION) == "d"
    assert (statuses[0], statuses[-1], set(statuses)) == (200, 502, {200, 502})
