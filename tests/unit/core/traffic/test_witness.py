"""The words of `authz check` for a record mean the record's request and caller."""

from dataclasses import replace

import pytest
from orjson import loads

from authz.core.model import Level, Plane, Run
from authz.core.record import entry_in
from authz.core.replay import Gap, rebuild
from authz.core.traffic.witness import words
from tests.support.factories.decision_logs import Writer, claims, request
from tests.support.factories.policies import ISSUER, load
from tests.unit.core.test_replay import ENTRIES, record

POLICY = load("{id: r, plane: inbound, roles: [viewer], operations: ['dags:read']}")
RUN = Run("sales", "r1", "load", -1, 1, Level.VERIFIED_BEARER)
ALICE = claims(ISSUER, "alice", groups=["b", "a b"])
ETL = claims(ISSUER, client="etl")
CALL = ("/v1/x", "--host", "o.test", "--plane", "egress")
TASK = ("--dag", "sales", "--task", "load")
LISTED = ("--group", "a b", "--group", "b", "--as", "alice", "--issuer", "corp")


def inbound(path="/api/v2/dags", method="GET", **more):
    return request(Plane.INBOUND, method, "h.test", path, **more)


def outbound(method="GET", path="/v1/x", **more):
    return request(Plane.EGRESS, method, "o.test", path, **more)


def told(asked, who, run=None):
    writer = Writer(POLICY)
    writer.ask(asked, who, run)
    lines = b"".join(writer.sink.lines).splitlines()
    return rebuild(loads(lines[-1]), dict(filter(None, map(entry_in, lines))))


@pytest.mark.parametrize(
    ("asked", "who", "run", "expected"),
    [
        (inbound(), None, None, ("GET", "/api/v2/dags", "--host", "h.test")),
        (inbound(narrowed=True), None, None, ("GET", "/api/v2/dags", "--host", "h.test", "--narrowed")),
        (inbound(), ALICE, None, ("GET", "/api/v2/dags", "--host", "h.test", *LISTED)),
        (inbound("/x", base="/air"), None, None, ("GET", "/x", "--host", "h.test")),
        (inbound("/x", base="/air", outside=True), None, None, ()),
        (
            outbound(), ETL, None,
            ("GET", *CALL, "--client", "etl", "--as", "etl", "--issuer", "corp"),
        ),
        (
            outbound(destination="orders"), None, RUN,
            (
                "GET", *CALL, "--destination", "orders", *TASK, "--identity", "verified-bearer",
            ),
        ),
        (
            outbound("CONNECT", ""), None, RUN._replace(level=Level.ASSERTED),
            ("CONNECT", "o.test:443", "--plane", "egress", *TASK, "--identity", "asserted"),
        ),
        (
            outbound(), ETL, RUN._replace(level=Level.ASSERTED),
            (
                "GET", *CALL, "--client", "etl", "--as", "etl", "--issuer", "corp", *TASK,
            ),
        ),
    ],
)  # fmt: skip
def test_the_words_are_those_of_the_request_and_the_caller(asked, who, run, expected):
    assert words(told(asked, who, run), POLICY) == expected


def test_of_many_groups_those_that_the_policy_names_are_listed():
    case = told(inbound(), claims(ISSUER, "alice", groups=["data-readers", *(f"g{n}" for n in range(9))]))
    assert [word for word in words(case, POLICY) if word.startswith(("g", "data"))] == ["data-readers"]


def test_a_field_that_is_not_known_is_left_out():
    case = rebuild(record(path="/api/v2/dags"), ENTRIES)
    for lost in ("subject", "client", "groups"):
        known = words(_lost(case, lost), POLICY)
        assert {"subject": "alice", "client": "cli", "groups": "data-readers"}[lost] not in known
    assert words(_lost(case, "subject"), POLICY)[-4:] == ("--as", "someone", "--issuer", "corp")


def _lost(case, name):
    return replace(case, lost={name: Gap.HASHED})
