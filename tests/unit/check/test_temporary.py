"""No check is answered by a grant after its end, or by one that the policy does not permit, whatever is cached."""

import jwt
import pytest

from authz.check.shadow import Candidate, Shadow
from authz.core.grants import Granted, Ledger
from authz.core.revocation import Kind, Revocation, Revoked
from tests.support.factories.grants import HOUR, approved, ended, requested
from tests.support.factories.tokens import ISS, NOW
from tests.support.rigs.service import POLICY, Rig, load

ENTRIES = """
grantable:
  - {id: oncall, requesters: [viewer], approvers: [viewer], longest: 3d, roles: [reader], operations: ["pools:read"]}
  - {id: orders, requesters: [viewer], approvers: none, longest: 1h, plane: egress, hosts: [orders.internal],
     methods: [GET], paths: ["/v1/orders"]}
"""
READER = '  - {id: read, plane: inbound, roles: [reader], operations: ["dags:read"]}\n'
TEXT = POLICY.replace("rules:\n", f"  reader: {{}}\nrules:\n{READER}") + ENTRIES
END = NOW + 60 + HOUR
DAGS = ("GET", "/api/v2/dags")
ORDERS = ("GET", "/v1/orders")
GRANT = (requested(subject="alice"), approved())


class Gate:
    """A rig with a table of grants. Its ledger is not the serving thread's: `take` publishes, as the granter does."""

    def __init__(self, text=TEXT, **parts):
        self.granted = Granted()
        self.ledger = Ledger()
        self.rig = Rig(text, granted=self.granted, **parts)
        self.token = self.rig.token(groups=["others"], aud=["airflow", "airflow-egress"], exp=NOW + 3500)
        self.rig.clock.set_wall(NOW + 60)

    def take(self, *events):
        for event in events:
            self.ledger.apply(event)
        self.granted.put(self.ledger.active())

    def at(self, wall):
        self.rig.clock.set_wall(wall)

    def ask(self, *asked, token=None, **parts):
        return self.rig.check(*(asked or DAGS), token=token or self.token, **parts)

    def http(self, *asked, **parts):
        return self.ask(*asked, **parts).http

    def session(self, token=None):
        """The identity that a check finds."""
        self.ask(token=token)
        from hashlib import sha256

        return self.rig.authenticator._sessions.get(sha256(f"Bearer {token or self.token}".encode()).digest())


@pytest.mark.parametrize("times", [0, 1, 2, 5])
def test_with_a_grant_the_same_token_is_allowed_and_after_its_end_it_is_not(times):
    gate = Gate()
    for _ in range(times):
        assert gate.http() == 403
    gate.take(requested(subject="alice", seconds=600), approved())
    for _ in range(times or 1):
        assert gate.http() == 200
    gate.at(NOW + 660 - 0.001)
    assert gate.http() == 200
    gate.at(NOW + 660)
    for _ in range(3):
        assert gate.http() == 403
    assert gate.rig.lookups.count("miss") == 1, "the token is not verified again"


def test_a_clock_that_is_set_back_allows_nothing_again():
    gate = Gate()
    gate.take(requested(subject="alice", seconds=600), approved())
    assert gate.http() == 200
    gate.at(NOW + 660)
    assert gate.rig.check(*DAGS, token=gate.rig.token(sub="bo", groups=["x"], exp=NOW + 3500)).http == 403
    gate.at(NOW + 100)
    assert gate.http() == 403, "another caller's check has seen the end"


def test_an_end_counts_at_once_however_often_it_was_allowed():
    gate = Gate()
    gate.take(*GRANT)
    assert [gate.http() for _ in range(4)] == [200] * 4
    gate.take(ended())
    assert [gate.http() for _ in range(4)] == [403] * 4
    gate.take(requested("g0000002", subject="alice"), approved("g0000002"))
    assert gate.http() == 200


def test_a_grant_of_another_issuers_account_of_the_same_name_gives_nothing():
    gate = Gate()
    event = requested(subject="alice")
    other = type(event.holder)(issuer="https://other.test", subject="alice")
    gate.take(type(event)(id=event.id, at=NOW, holder=other, entry="oncall", seconds=60, reason="r"), approved())
    assert gate.granted.any
    assert gate.http() == 403


def test_when_the_policy_loses_or_narrows_the_entry_it_is_over_until_the_policy_has_it_again():
    gate = Gate()
    gate.take(*GRANT)
    assert gate.http() == 200
    for text in (TEXT.replace("id: oncall", "id: other"), TEXT.replace("longest: 3d", "longest: 59m")):
        gate.rig.policy = load(text)
        assert [gate.http(), gate.http()] == [403, 403]
        held = [{"entry": "oncall", "id": "g0000001", "seconds": HOUR}]
        assert (gate.rig.record.get("grants"), gate.rig.record["suspended"]) == (None, held)
        gate.rig.policy = load(TEXT)
        assert [gate.http(), gate.http()] == [200, 200]
        assert (gate.rig.record["grants"], gate.rig.record.get("suspended")) == (held, None)
    gate.rig.policy = load(TEXT.replace("id: oncall", "id: other"))
    gate.take(ended())
    gate.rig.policy = load(TEXT)
    assert gate.http() == 403


def test_both_planes():
    gate = Gate()
    egress = {"plane": "egress", "host": "orders.internal", "audience": "", "destination": "orders"}
    assert gate.http(*ORDERS, **egress) == 403
    gate.take(requested(subject="alice", entry="orders", seconds=600, open=True))
    assert [gate.http(*ORDERS, **egress) for _ in range(3)] == [200] * 3
    assert gate.http() == 403
    gate.at(NOW + 600)
    assert [gate.http(*ORDERS, **egress) for _ in range(3)] == [403] * 3


def test_assertions_and_what_is_prepared_end_with_the_grant():
    gate = Gate()
    gate.take(*GRANT)
    gate.token = gate.rig.token(groups=["others"], iat=END - 100, exp=END + 1000)
    for left, lifetime in ((90, 60), (20, 20), (1.5, 2), (0.5, 1)):
        gate.at(END - left)
        for _ in range(4):
            answer = gate.ask()
            assert answer.http == 200
            [token] = [value for name, value in answer.set.items() if name.lower() == "x-authz-assertion"]
            claims = jwt.decode(token, options={"verify_signature": False})
            assert claims["exp"] <= END
            assert claims["exp"] - claims["iat"] <= lifetime
    gate.at(END)
    assert gate.http() == 403


def test_of_two_grants_the_earlier_end_bounds_the_assertion():
    gate = Gate()
    gate.take(*GRANT, requested("g0000002", subject="alice", entry="orders", seconds=75, open=True))
    [token] = [value for name, value in gate.ask().set.items() if name.lower() == "x-authz-assertion"]
    assert jwt.decode(token, options={"verify_signature": False})["exp"] == NOW + 75
    gate.at(NOW + 75)
    assert gate.http() == 200
    [grant] = gate.session().identity.grants
    assert grant.id == "g0000001"


@pytest.mark.parametrize(("wall", "status"), [(END - 1, 200), (END, 503)])
def test_a_sign_out_that_waited_over_the_end_does_not_go_on_to_airflow(wall, status):
    gate = Gate(TEXT.replace('["pools:read"]', '["session:logout"]'))
    gate.take(*GRANT)
    gate.token = gate.rig.token(groups=["others"], iat=END - 100, exp=END + 1000)
    gate.at(END - 2)
    parked = gate.rig.ask("GET", "/api/v2/auth/logout", token=gate.token)
    gate.at(wall)
    assert gate.rig.settle(parked).http == status


def test_another_callers_session_and_verdicts_are_not_touched():
    gate = Gate()
    other = gate.rig.token(sub="bo", groups=["data-readers"])
    for _ in range(3):
        assert gate.rig.check(*DAGS, token=other).http == 200
    before = gate.session(other).identity
    verdicts = dict(gate.rig.service._verdicts._verdicts)
    assert any(verdict.identity is before for verdict in verdicts.values())
    mine = gate.session().identity
    gate.take(*GRANT)
    assert gate.http() == 200
    assert gate.session().identity is not mine
    assert gate.session(other).identity is before
    kept = gate.rig.service._verdicts._verdicts
    assert all(kept[key] is verdict for key, verdict in verdicts.items())
    gate.take(ended())
    gate.http()
    assert gate.session(other).identity is before
    assert gate.rig.lookups.count("miss") == 2


def test_while_nothing_changes_the_holders_identity_is_one_object():
    gate = Gate()
    gate.take(*GRANT)
    first = gate.session().identity
    gate.take(requested("g0000002", subject="bo"), approved("g0000002", by="cy"))
    assert gate.session().identity is first
    assert first.grants is gate.session().identity.grants


def test_a_large_token_gains_and_loses_a_grant_too():
    gate = Gate(max_token_bytes=99_999)
    gate.token = gate.rig.token(groups=[f"group-{number:05}" for number in range(2000)])
    assert gate.http() == 403
    gate.take(*GRANT)
    assert [gate.http(), gate.http()] == [200, 200]
    assert gate.rig.lookups.count("miss") == 2, "it is verified again once"
    gate.take(ended())
    assert [gate.http(), gate.http()] == [403, 403]


def test_a_revoked_or_expired_token_is_refused_whatever_it_holds():
    revoked = Revoked(b"k" * 32)
    gate = Gate(revoked=revoked)
    gate.take(requested(subject="alice", seconds=2 * HOUR), approved())
    assert gate.http() == 200
    gate.at(NOW + 3600)
    assert gate.http() == 401
    gate.at(NOW + 60)
    assert gate.http() == 200
    revoked.add([Revocation(issuer=ISS, kind=Kind.SUBJECT, value="alice", until=NOW + 9999, before=NOW + 100)])
    assert gate.http() == 401


def test_a_deny_rule_wins():
    text = TEXT.replace("rules:\n", 'rules:\n  - {id: never, deny: true, plane: inbound, operations: ["dags:read"]}\n')
    gate = Gate(text)
    gate.take(*GRANT)
    answer = gate.ask()
    assert (answer.http, answer.reason) == (403, "deny_rule")


def test_the_candidate_is_asked_about_the_caller_with_the_grants_of_now():
    class Counts:
        def __init__(self):
            self.outcomes = []

        def compared(self, _rule, outcome):
            self.outcomes.append(outcome)

        def not_compared(self, why):
            self.outcomes.append(why)

    counts = Counts()
    shadow = Shadow(lambda: candidate, counts)
    candidate = Candidate(policy=load(TEXT))
    gate = Gate(shadow=shadow)
    for events in ((), GRANT, (ended(),)):
        gate.take(*events)
        for _ in range(3):
            gate.ask()
    assert len(set(counts.outcomes)) == 1, counts.outcomes
