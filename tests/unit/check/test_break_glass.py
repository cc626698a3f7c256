"""A break-glass token is loud: on record with its reason, counted at each check, in the gate's log when it comes."""

import logging

import jwt
import pytest

from authz.check.break_glass import Alarm
from authz.core.replay import decide_again, rebuild
from authz.ops.metrics import Metrics
from tests.support.factories.tokens import ISS, NOW
from tests.support.rigs.service import Rig

POLICY = f"""
version: 1
issuers:
  - name: corp
    issuer: {ISS}
    audiences: {{inbound: [airflow]}}
    algorithms: [ES256]
    jwks_file: keys.json
    break_glass: true
roles: {{break-glass: {{issuers: [corp]}}}}
rules: [{{id: admins, plane: inbound, roles: [break-glass], operations: ["dags:read"]}}]
"""
WHY = "provider down, incident 4711"


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def rig(metrics):
    return Rig(POLICY, alarm=Alarm(metrics.break_glass))


def counted(metrics):
    [line] = [
        one for one in metrics.exposition()[0].decode().splitlines() if one.startswith("authz_break_glass_total ")
    ]
    return float(line.split()[1])


def test_each_check_is_counted_and_has_the_reason_on_record(rig, metrics):
    token = rig.token(reason=WHY, sub="ada")
    assert counted(metrics) == 0
    for path, status in [("/api/v2/dags", 200), ("/api/v2/dags", 200), ("/api/v2/variables", 403)]:
        assert rig.check("GET", path, token=token).http == status
    assert counted(metrics) == 3
    assert [(one["subject"], one["break_glass"]) for one in rig.sink.records] == [("ada", WHY)] * 3


def test_the_first_check_of_a_token_is_in_the_gates_log_without_name_or_token(rig, caplog):
    token = rig.token(reason=WHY, sub="ada")
    with caplog.at_level(logging.WARNING):
        rig.check(token=token)
        rig.check(token=token)
    [said] = [one.getMessage() for one in caplog.records]
    assert (
        said == f"break-glass: a token of issuer corp is in use for '{WHY}'; see decision {rig.sink.records[0]['id']}"
    )
    with caplog.at_level(logging.WARNING):
        rig.check(token=rig.token(reason="another", sub="bo"))
    assert len(caplog.records) == 2


@pytest.mark.parametrize("reason", [None, "", "  ", 7, ["x"], "two\nlines", "\u202e", "x" * 2000])
def test_a_token_without_a_reason_for_people_is_refused(rig, metrics, reason):
    changes = {} if reason is None else {"reason": reason}
    assert rig.check(token=rig.token(**changes)).http == 401
    assert (rig.record["reason"], counted(metrics), "break_glass" in rig.record) == ("claim_invalid", 0, False)


def test_it_ends_and_cannot_be_made_to_live_longer(rig):
    long = rig.token(reason=WHY, iat=NOW, exp=NOW + 3601)
    assert rig.check(token=long).http == 401
    assert rig.record["reason"] == "lifetime_too_long"
    token = rig.token(reason=WHY, iat=NOW, exp=NOW + 3600)
    assert rig.check(token=token).http == 200
    rig.clock.set_wall(NOW + 3600 + 30)
    assert rig.check(token=token).http == 401


def test_the_assertion_for_airflow_is_as_any(rig):
    answer = rig.check(token=rig.token(reason=WHY, sub="ada"))
    claims = jwt.decode(answer.set["x-authz-assertion"], options={"verify_signature": False})
    assert (claims["sub"], "reason" in claims) == ("ada", False)


def test_the_record_decides_again(rig):
    rig.check(token=rig.token(reason=WHY, sub="ada"))
    case = rebuild(rig.record, {one["id"]: one for one in rig.sink.entries}, {})
    assert decide_again(case, rig.policy).rule == "admins"


def test_a_claim_of_that_name_means_nothing_at_other_issuers(metrics):
    rig = Rig(POLICY.replace("    break_glass: true\n", ""), alarm=Alarm(metrics.break_glass))
    assert rig.check(token=rig.token(reason=WHY)).http == 200
    assert (counted(metrics), "break_glass" in rig.record) == (0, False)


def test_d19_without_the_alarm_nothing_is_allowed():
    def broken(*_):
        raise ZeroDivisionError

    rig = Rig(POLICY, alarm=broken)
    answer = rig.check(token=rig.token(reason=WHY))
    assert (answer.allowed, answer.http) == (False, 503)
    assert rig.record["reason"] == "internal_error"
