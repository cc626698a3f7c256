"""What operators read when Airflow refuses an assertion: both values, both clocks, and the gate's decision."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authz.airflow import refusals
from authz.airflow.verifier import Refusal, verify
from tests.unit.airflow.test_middleware import EXPECTED, NOW, Gate, assertion, mint

DECISION = "926a3e91b7e7441cfa435aae"
SIGNED_AND_REFUSED = [
    ({"aud": "airflow-b"}, Refusal.AUDIENCE, ("'airflow-b'", "'airflow'", "[authz] audience")),
    ({"iss": "https://other.test"}, Refusal.ISSUER, ("'https://other.test'", "'https://gate.test'", "[authz] issuer")),
    (
        {"iat": NOW - 400, "nbf": NOW - 400, "exp": NOW - 340},
        Refusal.EXPIRED,
        ("made at 2027-01-15T07:53:20+00:00", "clock says 2027-01-15T08:00:00+00:00"),
    ),
    (
        {"iat": NOW + 90, "nbf": NOW + 90, "exp": NOW + 150},
        Refusal.NOT_YET_VALID,
        ("made at 2027-01-15T08:01:30+00:00",),
    ),
    ({"exp": NOW + 61}, Refusal.LIFETIME, ("longer than a minute",)),
    ({"sub": 7}, Refusal.CLAIM, ("claim",)),
]


@pytest.fixture
def gate():
    return Gate()


@pytest.mark.parametrize(("claims", "refusal", "said"), SIGNED_AND_REFUSED)
def test_the_log_and_the_answer_name_both_values_and_the_decision(gate, caplog, claims, refusal, said):
    sent = gate.send(assertion(mint(**claims)), (b"x-authz-decision", DECISION.encode()))
    assert gate.airflow.scopes == []
    for part in (*said, refusal.value, DECISION):
        assert part in caplog.text
    body = json.loads(sent[1]["body"])
    assert body["refusal"] == refusal.value
    assert body["decision_id"] == DECISION
    assert body["expected"] == {"issuer": EXPECTED.issuer, "audience": EXPECTED.audience}
    assert body["found"]["audience"] == claims.get("aud", "airflow")
    assert body["now"] == NOW


def test_a_401_shows_a_stranger_no_expected_issuer(gate, caplog, monkeypatch):
    own = ec.generate_private_key(ec.SECP256R1())
    monkeypatch.setattr("tests.unit.airflow.test_middleware.KEY", own)
    for token in (mint(), mint(kid="other"), b"garbage", b"\xff"):
        sent = gate.send(assertion(token))
        assert sent[0]["status"] == 401
        assert EXPECTED.issuer.encode() not in sent[1]["body"]
        assert json.loads(sent[1]["body"]).keys() == {"detail", "decision_id"}
    assert "'other' is not among the gate's keys here (k1)" in caplog.text


def test_what_is_quoted_stays_on_its_line_and_is_cut(gate, caplog):
    gate.send(assertion(mint(aud="x\ny" + "z" * 5000)))
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 1000


@pytest.mark.parametrize("sent", [[], [b"x" * 24], [b"a" * 24, b"a" * 24], [b"A" * 24], [b"a" * 24 + b"\n"]])
def test_only_a_decision_id_is_taken_for_one(sent):
    assert refusals.decision_id(sent) == ""


def test_every_refusal_has_its_sentence():
    for refusal in Refusal:
        assert refusals.sentence("garbage", refusal, {}, EXPECTED, NOW)
    assert refusals.facts("garbage", Refusal.AUDIENCE, EXPECTED, NOW)["found"]["audience"] is None
    assert verify("garbage", {}, EXPECTED, NOW) is Refusal.MALFORMED


def test_times_that_are_none_are_not_shown():
    for value in (10**400, float("nan"), "x", True, None):
        assert refusals.sentence(mint(exp=value).decode(), Refusal.EXPIRED, {}, EXPECTED, NOW).startswith(
            "it expired at ?"
        )
