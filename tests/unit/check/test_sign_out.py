"""Signing out: the session is revoked first, then the browser is led to where its cookies end."""

from dataclasses import replace

import pytest

from authz.check.sign_out import SIGN_OUT
from authz.core import catalogue
from authz.core.parked import Parked
from authz.core.reasons import Reason
from authz.core.revocation import Kind
from tests.support.factories.tokens import ISS, NOW, make_key
from tests.support.rigs.service import KEY, POLICY, Rig, load, read, state_of

OTHER = make_key("ES256", kid="k2")
LOGOUT = ("GET", "/api/v2/auth/logout")
SIGNOUT = {"signout": "/oauth2/signout"}
HTML = [("accept", b"text/html,*/*;q=0.8")]
PUBLIC = POLICY + '  - {id: logout, public: true, plane: inbound, operations: ["session:logout"]}\n'


class Revoker:
    """Keeps what it is asked for and makes it when the test says so."""

    def __init__(self, *, willing=True):
        self.willing = willing
        self.asked = []

    def revoke(self, attempt, done):
        self.asked.append((attempt, done))
        return self.willing


@pytest.fixture
def rig():
    return Rig()


def revoked_in(rig):
    return len(rig.authenticator.revoked)


def test_the_operation_is_one_of_the_catalogue():
    assert SIGN_OUT in catalogue.load(catalogue.versions()[-1]).operations


def test_the_session_is_revoked_and_the_browser_led_on(rig):
    token = rig.token(sid="s1")
    assert rig.check(token=token).allowed
    answer = rig.check(*LOGOUT, token=token, headers=HTML, **SIGNOUT)
    assert (answer.http, answer.reason, answer.set["location"]) == (302, "signed_out", "/oauth2/signout")
    assert answer.set["set-cookie"].startswith("__Host-authz-signout=1; Path=/; ")
    assert not answer.allowed
    record = rig.record
    assert (record["reason"], record["subject"], record["operation"]) == ("signed_out", "alice", SIGN_OUT)
    assert rig.check(token=token).reason == Reason.REVOKED
    assert rig.check(token=rig.token(sid="s1", jti="refreshed")).reason == Reason.REVOKED
    assert rig.check(token=rig.token(sid="s2")).allowed


def test_below_a_base_path_airflows_logout_is_there_and_nowhere_else(rig):
    token = rig.token(sid="s1")
    method, path = LOGOUT
    for elsewhere in (path, "/AIRFLOW" + path, "/airflowx" + path):
        assert rig.check(method, elsewhere, token=token, base="/airflow", **SIGNOUT).reason == "unknown_route"
    assert revoked_in(rig) == 0
    answer = rig.check(method, "/airflow" + path, token=token, base="/airflow", **SIGNOUT)
    assert (answer.http, answer.reason, answer.set["location"]) == (302, "signed_out", "/oauth2/signout")
    assert revoked_in(rig) == 1


def test_a_second_sign_out_is_a_sign_out(rig):
    """Envoy may ask twice (decision 18), and people press twice."""
    token = rig.token(sid="s1")
    for _ in range(2):
        answer = rig.check(*LOGOUT, token=token, **SIGNOUT)
        assert (answer.http, answer.reason) == (302, "signed_out")
    assert "revoked" in rig.record["detail"]


@pytest.mark.parametrize(
    "policy", [POLICY, PUBLIC, POLICY.replace("viewer: {", "other: {").replace("[viewer]", "[other]")]
)
@pytest.mark.parametrize("token", [None, "x.y.z", "expired", "good"])
def test_a_sign_out_is_302_whatever_the_policy_and_revokes_only_for_a_good_token(policy, token):
    rig = Rig(policy)
    credential = {"expired": rig.token(exp=NOW - 60, iat=NOW - 90), "good": rig.token()}.get(token, token)
    answer = rig.check(*LOGOUT, token=credential, **SIGNOUT)
    assert (answer.http, answer.reason, answer.set["location"]) == (302, "signed_out", "/oauth2/signout")
    assert revoked_in(rig) == (token == "good")


def test_the_revocation_names_the_session_at_its_issuer():
    revoker = Revoker()
    rig = Rig(revoker=revoker, keep=7200.0)
    rig.ask(*LOGOUT, token=rig.token(sid="s1"), **SIGNOUT).begin(None)
    [(attempt, _done)] = revoker.asked
    one = attempt.revocation
    assert (one.issuer, one.kind, one.value, one.until) == (ISS, Kind.SID, "s1", NOW + 7201)
    assert one.note.startswith("signed out, decision ")


def test_nothing_is_said_before_the_revocation_is_made():
    revoker = Revoker()
    rig = Rig(revoker=revoker)
    parked = rig.ask(*LOGOUT, token=rig.token(), **SIGNOUT)
    assert isinstance(parked, Parked)
    assert (rig.sink.lines, revoker.asked) == ([], [])
    assert parked.begin(lambda: None)
    assert rig.sink.lines == []
    revoker.asked[0][0].made = True
    answer = read(parked.resume())
    assert (answer.http, answer.reason) == (302, "signed_out")
    assert rig.record["id"] in revoker.asked[0][0].revocation.note


@pytest.mark.parametrize("parts", [SIGNOUT, {}])
@pytest.mark.parametrize("willing", [True, False])
def test_a_revocation_that_was_not_made_is_a_503_and_the_session_stays(parts, willing):
    rig = Rig(PUBLIC, revoker=Revoker(willing=willing))
    token = rig.token()
    parked = rig.ask(*LOGOUT, token=token, headers=HTML, **parts)
    assert parked.begin(lambda: None) is willing
    answer = read(parked.resume())
    assert (answer.http, answer.reason) == (503, "revocation_unavailable")
    assert "location" not in answer.set
    assert "set-cookie" not in answer.set
    assert "NOT signed out" in answer.body
    assert rig.check(token=token).allowed


def test_where_envoy_ends_no_sessions_a_permitted_logout_revokes_and_goes_on_to_airflow():
    rig = Rig(PUBLIC)
    token = rig.token(sid="s1")
    answer = rig.check(*LOGOUT, token=token)
    assert (answer.allowed, answer.reason, answer.set["x-authz-subject"]) == (True, "public", "alice")
    assert rig.check(token=token).reason == Reason.REVOKED
    assert rig.check(*LOGOUT, token=token).allowed  # as nobody: the route is public
    assert "x-authz-subject" not in rig.check(*LOGOUT, token=token).set


def test_where_envoy_ends_no_sessions_a_logout_that_is_denied_revokes_nothing(rig):
    token = rig.token()
    assert rig.check(*LOGOUT, token=token).http == 403
    assert rig.check(*LOGOUT).http == 401
    assert rig.check(token=token).allowed


@pytest.mark.parametrize("request_parts", [("POST", LOGOUT[1]), ("GET", "/api/v2/auth/login"), ("GET", "/api/v2/dags")])
def test_no_other_request_signs_anybody_out(rig, request_parts):
    rig.check(*request_parts, token=rig.token(), **SIGNOUT)
    assert revoked_in(rig) == 0


def test_tasks_do_not_sign_out(rig):
    token = rig.token(aud="airflow-egress")
    answer = rig.check(*LOGOUT, token=token, plane="egress", **SIGNOUT)
    assert answer.http == 403
    assert revoked_in(rig) == 0


def test_a_session_whose_keys_are_out_of_reach_is_not_said_to_have_ended():
    for policy in (POLICY, PUBLIC):
        rig = Rig(policy)
        rig.keys = {"corp": state_of(KEY, last_error="connection refused")}
        parked = rig.ask(*LOGOUT, token=rig.token(OTHER), **SIGNOUT)
        assert parked.counted  # it waits for the key, even where the route is public
        answer = read(parked.resume())
        assert (answer.http, answer.reason) == (503, "keys_unavailable")


def test_a_session_whose_key_had_to_be_fetched_is_signed_out_like_any_other(rig):
    """The check waits for the key, and then for the revocation."""
    token = rig.token(OTHER, sid="s1")
    for_key = rig.ask(*LOGOUT, token=token, **SIGNOUT)
    assert for_key.counted
    rig.keys = {"corp": state_of(KEY, OTHER)}
    assert rig.sink.lines == []
    answer = rig.settle(for_key.resume())
    assert (answer.http, answer.reason, answer.set["location"]) == (302, "signed_out", "/oauth2/signout")
    assert [record["reason"] for record in rig.sink.records] == ["signed_out"]
    assert rig.check(token=token).reason == Reason.REVOKED


@pytest.mark.parametrize("willing", [True, False])
def test_a_sign_out_that_waited_for_its_key_and_then_in_vain_says_that_it_is_none(willing):
    rig = Rig(revoker=Revoker(willing=willing))
    token = rig.token(OTHER, sid="s1")
    for_key = rig.ask(*LOGOUT, token=token, headers=HTML, **SIGNOUT)
    rig.keys = {"corp": state_of(KEY, OTHER)}
    for_revocation = for_key.resume()
    assert for_revocation.begin(lambda: None) is willing
    answer = read(for_revocation.resume())
    assert (answer.http, answer.reason) == (503, "revocation_unavailable")
    assert "NOT signed out" in answer.body
    assert rig.check(token=token).allowed


def test_a_forged_key_id_cannot_keep_anybody_from_signing_out(rig):
    parked = rig.ask(*LOGOUT, token=rig.token(OTHER), **SIGNOUT)
    rig.keys = {"corp": replace(state_of(KEY), fetched_at=rig.clock.monotonic())}
    answer = read(parked.resume())
    assert (answer.http, answer.reason) == (302, "signed_out")


def test_a_sign_out_whose_key_was_never_looked_for_is_503_and_works_later(rig):
    """The issuer is slow, and the key new: the token is good in a moment, and its session not revoked."""
    parked = rig.ask(*LOGOUT, token=rig.token(OTHER), **SIGNOUT)
    rig.clock.advance(2)
    answer = read(parked.resume())
    assert (answer.http, answer.reason) == (503, "keys_unavailable")
    rig.keys = {"corp": state_of(KEY, OTHER)}
    assert rig.check(*LOGOUT, token=rig.token(OTHER), **SIGNOUT).reason == "signed_out"
    assert revoked_in(rig) == 1


def test_a_sign_out_with_a_token_that_is_not_valid_yet_is_503(rig):
    token = rig.token(nbf=int(rig.clock.wall()) + 120)
    answer = rig.check(*LOGOUT, token=token, **SIGNOUT)
    assert (answer.http, answer.reason) == (503, "revocation_unavailable")


def test_without_a_policy_nothing_is_said_to_have_ended(rig):
    rig.policy = None
    assert rig.check(*LOGOUT, token="x.y.z", **SIGNOUT).http == 503


def test_a_sign_out_that_cannot_be_recorded_is_a_503(rig):
    rig.sink.failing = True
    assert rig.check(*LOGOUT, token=rig.token(), **SIGNOUT).http == 503


def test_a_revoker_that_raises_is_a_503_and_the_log_hides_its_text(caplog):
    class Broken:
        def revoke(self, _attempt, _done):
            raise RuntimeError("canary")

    rig = Rig(revoker=Broken())
    answer = rig.check(*LOGOUT, token=rig.token(), **SIGNOUT)
    assert (answer.http, answer.reason) == (503, "revocation_unavailable")
    assert "RuntimeError at " in caplog.text
    assert "canary" not in caplog.text


def test_a_bug_after_the_wait_is_a_503():
    rig = Rig(revoker=Revoker())
    parked = rig.ask(*LOGOUT, token=rig.token(), **SIGNOUT)
    parked.begin(lambda: None)
    rig.service._recorder = None
    answer = read(parked.resume())
    assert (answer.http, answer.code) == (503, 13)


# --- afterwards


def test_a_revoked_session_is_redirected_to_sign_out_on_a_page_and_401_elsewhere(rig):
    token = rig.token()
    rig.check(*LOGOUT, token=token, **SIGNOUT)
    page = rig.check(token=token, headers=HTML, **SIGNOUT)
    assert (page.http, page.reason, page.set["location"]) == (302, "revoked", "/oauth2/signout")
    script = rig.check(token=token, **SIGNOUT)
    assert (script.http, script.reason) == (401, "revoked")
    outside = rig.check(token=rig.token(aud="other"), **SIGNOUT)
    assert script.body.replace(script.metadata["decision_id"], "") == outside.body.replace(
        outside.metadata["decision_id"], ""
    )


def test_a_public_route_stays_public_for_a_revoked_session(rig):
    token = rig.token()
    rig.check(*LOGOUT, token=token, **SIGNOUT)
    answer = rig.check("GET", "/api/v2/monitor/health", token=token)
    assert answer.allowed
    assert "x-authz-subject" in answer.removed


def test_a_reload_of_the_policy_brings_no_session_back(rig):
    token = rig.token()
    rig.check(*LOGOUT, token=token, **SIGNOUT)
    rig.policy = load(POLICY.replace("name: corp", "name: renamed"))
    rig.keys = {"renamed": state_of(KEY)}
    assert rig.check(token=token).reason == Reason.REVOKED
