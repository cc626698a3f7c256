"""No check is answered by a rule or a membership after its end, however well its parts are cached."""

import jwt
import pytest

from authz.check.parts import Snapshot
from authz.core.documents.moments import moment_text
from authz.core.policy import as_of
from authz.ops.in_force import PolicyInForce
from tests.support.factories.tokens import NOW
from tests.support.rigs.service import POLICY, Rig, load
from tests.unit.check.test_recorder import SCHEMA

END = NOW + 100
UNTIL = moment_text(END)
BY_RULE = POLICY.replace("id: readers,", f"id: readers, until: {UNTIL},")
BY_GROUP = POLICY.replace("groups: [data-readers]", f"groups: [{{name: data-readers, until: {UNTIL}}}]")
BY_PUBLIC = POLICY.replace("id: health,", f"id: health, until: {UNTIL},")
ASK = ("GET", "/api/v2/dags")


class Ending:
    """A rig whose policy is in force as time passes. `ahead`: the policy after an end is made before it."""

    def __init__(self, text, *, ahead=True, **parts):
        self.rig = Rig(text, snapshot=self._snapshot, successor=self._successor, **parts)
        self.held = PolicyInForce(self.rig.clock.wall)
        self.held.put(load(text))
        self.ahead = ahead
        self.token = self.rig.token()

    def _snapshot(self):
        return Snapshot(policy=self.held.current, keys=self.rig.keys)

    def _successor(self, time):
        return self.held.at(time)

    def to(self, wall):
        self.rig.clock.set_wall(END - 1)
        if self.ahead:
            self.held.look()
        self.rig.clock.set_wall(wall)

    def reason(self, *asked, **parts):
        answer = self.rig.check(*(asked or ASK), token=self.token, **parts)
        return answer.http, answer.reason


@pytest.mark.parametrize("text", [BY_RULE, BY_GROUP], ids=["rule", "membership"])
@pytest.mark.parametrize("times", [0, 1, 2, 5])
def test_from_the_moment_on_it_is_denied_however_often_it_was_asked_before(text, times):
    gate = Ending(text)
    for _ in range(times):
        assert gate.reason() == (200, "rule")
    gate.to(END - 0.001)
    assert gate.reason() == (200, "rule")
    gate.rig.clock.set_wall(END)
    assert gate.reason()[0] == 403
    assert gate.reason()[0] == 403
    assert gate.rig.lookups.count("miss") == 1, "the token is not verified again"


def test_a_public_route_is_public_no_more():
    gate = Ending(BY_PUBLIC)
    health = ("GET", "/api/v2/monitor/health")
    assert gate.rig.check(*health).reason == "public"
    gate.to(END)
    assert gate.rig.check(*health).reason == "no_token"


def test_until_the_policy_after_the_end_is_there_checks_are_denied_and_never_allowed():
    gate = Ending(BY_RULE, ahead=False)
    assert gate.reason() == (200, "rule")
    gate.to(END)
    assert gate.reason() == (503, "not_ready")
    assert gate.rig.check("GET", "/api/v2/monitor/health").reason == "not_ready", "not by another rule either"
    gate.held.look()
    assert gate.reason()[0] == 403
    assert gate.rig.check("GET", "/api/v2/monitor/health").reason == "public"


def test_a_service_that_is_not_told_what_follows_denies():
    rig = Rig(BY_RULE)
    credential = rig.token()
    assert rig.check(*ASK, token=credential).reason == "rule"
    rig.clock.set_wall(END)
    assert (rig.check(*ASK, token=credential).http, rig.record["reason"]) == (503, "not_ready")


@pytest.mark.parametrize("back", [0.001, 30, 90])
def test_a_clock_that_is_set_back_allows_nothing_again(back):
    gate = Ending(BY_RULE)
    gate.reason()
    gate.to(END)
    assert gate.reason()[0] == 403
    gate.rig.clock.set_wall(END - back)
    assert gate.reason()[0] == 403


def test_the_assertion_of_an_allow_has_expired_at_the_end():
    gate = Ending(BY_RULE)
    for left, lifetime in ((90, 60), (20, 20), (1.5, 2), (0.5, 1)):
        gate.to(END - left)
        for _ in range(3):
            answer = gate.rig.check(*ASK, token=gate.token)
            [token] = [value for name, value in answer.set.items() if name.lower() == "x-authz-assertion"]
            claims = jwt.decode(token, options={"verify_signature": False})
            assert claims["exp"] <= END
            assert claims["exp"] - claims["iat"] <= lifetime


def test_the_record_says_that_something_had_ended():
    gate = Ending(BY_RULE)
    gate.reason()
    assert "since" not in gate.rig.record
    revision = gate.rig.record["revision"]
    gate.to(END)
    gate.reason()
    assert (gate.rig.record["since"], gate.rig.record["revision"]) == (UNTIL, revision)
    SCHEMA.validate(gate.rig.record)


def test_a_large_token_loses_a_membership_too():
    gate = Ending(BY_GROUP, max_token_bytes=99_999)
    groups = ["data-readers", *(f"group-{number:05}" for number in range(1500))]
    gate.token = gate.rig.token(groups=groups)
    assert gate.reason() == (200, "rule")
    gate.to(END)
    assert gate.reason()[0] == 403


def test_editions_answer_as_a_policy_that_is_loaded_then():
    gate, fresh = Ending(BY_RULE), Rig()
    fresh.policy = as_of(load(BY_RULE), END)
    gate.reason()
    gate.to(END)
    fresh.clock.set_wall(END)
    expected = fresh.check(*ASK, token=fresh.token())
    assert gate.reason() == (expected.http, expected.reason)


def test_a_sign_out_that_waited_over_the_end_does_not_go_on_to_airflow():
    allows = f'  - {{id: logout, public: true, plane: inbound, operations: ["session:logout"], until: {UNTIL}}}\n'
    for wall, allowed in ((END - 1, True), (END, False)):
        gate = Ending(POLICY + allows)
        parked = gate.rig.ask("GET", "/api/v2/auth/logout", token=gate.token)
        gate.rig.clock.set_wall(wall)
        assert gate.rig.settle(parked).allowed is allowed
    assert (gate.rig.record["reason"], "something in the policy has ended" in gate.rig.record["detail"]) == (
        "not_ready",
        True,
    )
