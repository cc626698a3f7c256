"""Attacks on sessions that have ended, and on who a session belongs to (docs/sessions.md)."""

import json
import os

import pytest

from authz.core.revocation import Kind, Revocation, Revoked, encode
from authz.sessions.revoker import Revoker
from tests.support.factories.tokens import ISS, NOW, access_claims, make_key, sign
from tests.support.rigs.service import KEY, POLICY, Rig, load, read, state_of
from tests.support.simulators.idp import SimClock

LOGOUT = ("GET", "/api/v2/auth/logout")
SIGNOUT = {"signout": "/oauth2/signout"}
DAY = 86_400


def cookie(text):
    return [("cookie", text.encode())]


class Process:
    """A service with a revoker on a real file; `again` is the process that comes after a kill."""

    def __init__(self, path, wall=float(NOW)):
        self.path = path
        self.revoked = Revoked(os.urandom(32))
        self.clock = SimClock(wall)
        self.revoker = Revoker(self.revoked, path, self.clock)
        self.revoker.start()
        self.rig = Rig(revoker=self.revoker, revoked=self.revoked)
        self.rig.clock.set_wall(wall)

    def sign_out(self, **claims):
        answer = self.rig.check(*LOGOUT, token=self.rig.token(**claims), **SIGNOUT)
        assert (answer.http, answer.reason) == (302, "signed_out")

    def outcome(self, **claims):
        answer = self.rig.check(token=self.rig.token(**claims))
        return answer.http, answer.reason

    def again(self, wall=float(NOW)):
        self.revoker.stop()
        return Process(self.path, wall)


REVOKED, GOOD = (401, "revoked"), (200, "rule")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "revocations.jsonl"


@pytest.fixture
def process(path):
    made = Process(path)
    yield made
    made.revoker.stop()


def test_d14_a_token_that_is_known_and_prepared_for_is_refused_the_moment_it_is_revoked(process):
    for _ in range(5):
        assert process.outcome(sid="s1") == GOOD
    process.sign_out(sid="s1")
    assert process.outcome(sid="s1") == REVOKED
    assert process.outcome(sid="s1", jti="refreshed", iat=NOW, exp=NOW + 600) == REVOKED


def test_d14_the_session_of_another_issuer_is_not_ended(process):
    one = Revocation(issuer="https://evil.test", kind=Kind.SID, value="s1", until=NOW + DAY)
    subject = Revocation(
        issuer="https://evil.test", kind=Kind.SUBJECT, value="alice", until=NOW + DAY, before=NOW + DAY
    )
    process.revoked.add([one, subject])
    assert process.outcome(sid="s1") == GOOD


@pytest.mark.parametrize(
    "sid", ["s1\n", 's1", "until": 0, "x": "', "../s1", "s1\0", "\u202es1", "s" * 9000, "sha256:x"]
)
def test_d30_a_session_whose_name_is_an_attack_is_one_session(path, sid):
    process = Process(path)
    process.rig = Rig(revoker=process.revoker, revoked=process.revoked, max_token_bytes=1 << 15)
    process.sign_out(sid=sid)
    [line] = path.read_bytes().splitlines()
    assert json.loads(line)["until"] > NOW
    assert (process.outcome(sid=sid), process.outcome(sid="s1")) == (REVOKED, GOOD)
    assert process.again().outcome(sid="s1") == GOOD


def test_d19_forged_lines_only_take_rights_away(path):
    path.write_bytes(
        b'{"allow": "*"}\n{"issuer": "%b", "sid": "s9", "until": 0}\n' % ISS.encode()
        + b'{"issuer": "*", "subject": "*", "before": 253402300799, "until": 253402300799}\n'
        + encode(Revocation(issuer=ISS, kind=Kind.SID, value="s1", until=NOW + DAY))
        + b'{"issuer": "%b", "sid": "s1", "until": 1}\n' % ISS.encode()  # does not shorten the one before
    )
    process = Process(path)
    assert process.outcome(sid="s1") == REVOKED
    assert process.outcome(sid="s2") == GOOD
    assert process.rig.check(token="x.y.z").http == 401


@pytest.mark.parametrize("damage", ["emptied", "removed", "replaced by junk", "huge"])
def test_d19_what_was_in_force_stays_whatever_becomes_of_the_file(process, path, damage):
    process.sign_out(sid="s1")
    if damage == "removed":
        path.unlink()
    elif damage == "huge":
        with path.open("rb+") as file:
            file.truncate(1 << 30)
    else:
        path.write_bytes(b"" if damage == "emptied" else b"\xff" * 4096)
    process.revoker.refresh()
    process.revoker.tidy()
    assert process.outcome(sid="s1") == REVOKED


@pytest.mark.parametrize("back", [60, 3000, 10 * 365 * DAY])
def test_d44_a_clock_that_goes_back_brings_no_session_back(path, back):
    process = Process(path)
    process.sign_out(sid="s1", iat=NOW - 10, exp=NOW + 60)
    process.sign_out(sid=None, jti="j1", iat=NOW - 10, exp=NOW + 60)
    process.clock.set_wall(NOW - back)
    process.revoker.tidy()
    process.rig.clock.set_wall(NOW - 5)
    assert process.outcome(sid="s1") == REVOKED
    assert process.outcome(sid=None, jti="j1", iat=NOW - 10, exp=NOW + 60) == REVOKED
    # The token is over, its revocation nearly; then the clock is set back, and the process is another one.
    later = process.again(float(NOW + 60 + 30 + 3500))
    later.revoker.tidy()
    early = later.again()
    assert early.outcome(sid=None, jti="j1", iat=NOW - 10, exp=NOW + 60) == REVOKED


@pytest.mark.parametrize("in_file", [True, False], ids=["in the file", "in memory"])
def test_d39_an_account_that_signs_out_many_tokens_leaves_room_for_everybody_else(path, in_file, monkeypatch):
    monkeypatch.setattr("authz.core.revocation.SHARE", 20)
    monkeypatch.setattr("authz.sessions.revoker.MOST", 40)
    process = Process(path if in_file else None)
    greedy = {"sub": "sales-etl", "sid": None}
    reasons = []
    for number in range(60):
        answer = process.rig.check(*LOGOUT, token=process.rig.token(jti=f"j{number}", **greedy), **SIGNOUT)
        reasons.append((answer.http, answer.reason))
    assert reasons == [(302, "signed_out")] * 20 + [(503, "revocation_unavailable")] * 40
    assert "share of the table is full" in process.rig.record["detail"]
    assert process.outcome(jti="j59", **greedy) == GOOD, "a sign-out that is a 503 has ended nothing"
    process.sign_out(sub="victim", sid="s1")
    assert process.outcome(sub="victim", sid="s1") == REVOKED
    assert process.revoker.problems() == [], "one account's share is no trouble of the gate's"
    process.clock.advance(10 * 3600)
    process.rig.clock.advance(10 * 3600)
    late = {"iat": NOW + 36_000, "exp": NOW + 36_600}
    process.sign_out(**greedy, jti="next day", **late)
    process.revoker.stop()


def test_d45_a_policy_that_renames_an_issuer_brings_no_revoked_session_back(process):
    process.sign_out(sid="s1")
    process.rig.policy = load(POLICY.replace("name: corp", "name: renamed"))
    process.rig.keys = {"renamed": state_of(KEY)}
    assert process.outcome(sid="s1") == REVOKED
    process.rig.policy, process.rig.keys = load(), {"corp": state_of(KEY)}
    assert process.outcome(sid="s1") == REVOKED


def test_d36_a_revoked_token_looks_like_every_other_bad_one(process):
    process.sign_out(sid="s1")
    rig = process.rig
    shown = set()
    for token in (rig.token(sid="s1"), rig.token(exp=NOW - 60, iat=NOW - 99), rig.token(aud="other"), "x.y.z"):
        answer = rig.check(token=token, **SIGNOUT)
        headers = {name: value for name, value in answer.set.items() if name != "x-authz-decision"}
        body = {**json.loads(answer.body), "decision_id": ""}
        shown.add(json.dumps([answer.http, answer.code, headers, body], sort_keys=True))
    assert len(shown) == 1


def test_d23_a_caller_cannot_change_where_a_sign_out_leads(process):
    rig = process.rig
    for target in (LOGOUT[1] + "?next=https://evil.test", LOGOUT[1] + "?signout=//evil.test"):
        headers = [("x-forwarded-host", b"evil.test"), ("referer", b"https://evil.test"), ("accept", b"text/html")]
        answer = rig.check("GET", target, token=rig.token(), headers=headers, **SIGNOUT)
        assert (answer.http, answer.set["location"]) == (302, "/oauth2/signout")
        assert "evil" not in answer.body
    assert rig.check(*LOGOUT, token=rig.token(sid="s7"), signout="//evil.test").http == 403  # that is no path


# --- who a session belongs to (d-16, d-22)


def test_d16_a_session_beside_a_foreign_bearer_token_is_refused_in_either_order():
    rig = Rig()
    alice, bob = rig.token(), rig.token(sub="bob", groups=[], realm_access=None)
    for bearer, other in ((alice, bob), (bob, alice)):
        answer = rig.check(token=bearer, headers=cookie(f"BearerToken={other}"))
        assert (answer.http, answer.reason) == (400, "ambiguous_credentials")
        assert rig.record["subject"] == ""
    # the same on the fast path, where answers are prepared
    for _ in range(4):
        assert rig.check(token=alice, headers=cookie(f"BearerToken={alice}")).allowed
    assert rig.check(token=alice, headers=cookie(f"BearerToken={bob}")).http == 400
    assert rig.check(token=alice, headers=cookie(f"BearerToken={alice}")).allowed


def test_d16_a_forged_cookie_of_the_same_subject_gives_nothing():
    rig = Rig()
    thief = make_key("ES256", kid="thief")
    forged = sign(access_claims(groups=["data-readers", "admins"]), thief)
    weak = rig.token(groups=[], realm_access=None)
    answer = rig.check(token=weak, headers=cookie(f"BearerToken={forged}"))
    assert (answer.http, answer.reason) == (403, "no_role")


@pytest.mark.parametrize("target", ["/api/v2/dags", "/api/v2/monitor/health"])
@pytest.mark.parametrize("with_token", [True, False])
def test_d22_a_session_cookie_that_was_planted_beside_the_real_one_is_refused(target, with_token):
    rig = Rig()
    token = rig.token()
    for text in (
        f"BearerToken={token}; BearerToken={token}",
        f"OauthHMAC=a; __Secure-OauthHMAC=b; BearerToken={token}",
    ):
        answer = rig.check("GET", target, token=token if with_token else None, headers=cookie(text))
        assert (answer.http, answer.reason) == (400, "ambiguous_credentials")
        assert token not in rig.sink.lines[-1].decode()


def test_d22_who_has_planted_cookies_can_still_sign_out():
    rig = Rig()
    token = rig.token(sid="s1")
    planted = cookie("BearerToken=planted; BearerToken=planted")
    assert rig.check(*LOGOUT, token=token, headers=planted, **SIGNOUT).http == 302
    assert rig.check(token=token).reason == "revoked"
    assert rig.check(*LOGOUT, headers=planted, **SIGNOUT).http == 302


def test_d22_no_path_to_an_allow_leaves_a_cookie_of_ours_in():
    """As somebody or as nobody, new or known, with a good token or a bad one: the upstream sees none of them."""
    rig = Rig()
    health = ("GET", "/api/v2/monitor/health")
    good = rig.token()
    for _ in range(3):
        for request in (("GET", "/api/v2/dags"), health):
            for token in (good, "x.y.z", rig.token(exp=NOW - 99, iat=NOW - 100), None):
                for text in (
                    "RefreshToken=r; theme=dark",
                    "RefreshToken=r",
                    f"_token=a; lang={'x' * 600}",
                    "theme=dark",
                ):
                    answer = read(rig.ask(*request, token=token, headers=cookie(text)))
                    if not answer.allowed:
                        continue
                    left = "; ".join(part for part in text.split("; ") if part.startswith(("theme", "lang")))
                    if left == text:
                        assert "cookie" not in {*answer.set, *answer.removed}
                    elif left:
                        assert answer.set["cookie"] == left
                    else:
                        assert "cookie" in answer.removed
                        assert "cookie" not in answer.set


def test_tasks_have_no_session_at_envoy():
    rig = Rig()
    parts = {"token": rig.token(aud="airflow-egress", azp=None, client_id="sales-etl", sub="etl"), "plane": "egress"}
    headers = cookie("BearerToken=a; BearerToken=b; basket=1")
    answer = rig.check("GET", "/v1/orders", host="orders.internal", headers=headers, **parts)
    assert (answer.allowed, answer.set.get("cookie")) == (True, "basket=1")
