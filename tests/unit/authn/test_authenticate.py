"""Sessions: verified once, judged on every use (security.md d-14, d-35, d-44). The test sets time, policy and keys."""

import gc
import sys
import tracemalloc
from dataclasses import replace

import pytest

from authz.authn.sessions import Authenticator, KeyWanted
from authz.core.errors import KeysUnavailableError, RequestError, TokenError
from authz.core.model import HttpRequest, Plane
from authz.core.reasons import Reason
from authz.core.revocation import Kind, Revocation, Revoked
from tests.support.factories.tokens import ISS, NOW, access_claims, make_key, sign
from tests.support.rigs.service import KEY, POLICY, load, state_of

NEXT = make_key("ES256", kid="k2")
UNNAMED = make_key("RS256", kid=None)
EXP = NOW + 540
SKEW = 30


class Door:
    """An authenticator with what it is asked with; a test changes one of these and asks again."""

    def __init__(self, *, capacity=100, max_token_bytes=9999, revoked=None):
        self.lookups = []
        self.authenticator = Authenticator(
            capacity=capacity, max_token_bytes=max_token_bytes, count=self.lookups.append, revoked=revoked
        )
        self.policy = load()
        self.keys = {"corp": state_of(KEY)}
        self.wall = float(NOW)
        self.monotonic = 0.0

    def ask(self, token=None, *, plane=Plane.INBOUND, values=None):
        lines = values if values is not None else (f"Bearer {token}".encode(),) if token else ()
        http = HttpRequest(
            plane=plane, audience="", method="GET", authority="gate.test", target="/", authorization=tuple(lines)
        )
        return self.authenticator.authenticate(
            http, plane, self.policy, self.keys, wall=self.wall, monotonic=self.monotonic
        )

    def refusal(self, token, **parts):
        with pytest.raises((TokenError, KeysUnavailableError)) as caught:
            self.ask(token, **parts)
        return caught.value.reason

    def pass_time(self, seconds):
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def door():
    return Door()


@pytest.fixture(scope="module")
def token():
    return sign(access_claims(), KEY)


def token_of(key=KEY, **changes):
    return sign(access_claims(**changes), key)


# --- from a header to a session


def test_a_caller_without_a_header_is_anonymous(door):
    assert door.ask() is None
    assert door.lookups == []


def test_a_good_token_gives_a_session_with_subject_and_roles(door, token):
    session = door.ask(token)
    assert session.claims.subject == "alice"
    assert session.identity.roles == {"viewer"}
    assert session.issuer.name == "corp"


@pytest.mark.parametrize(
    "values", [(b"Basic eDp5",), (b"Bearer a", b"Bearer b"), (b"Bearer a,Bearer b",), (b"Bearer  a",), (b"",)]
)
def test_what_is_not_exactly_one_bearer_token_is_a_bad_request(door, values):
    with pytest.raises(RequestError) as caught:
        door.ask(values=values)
    assert caught.value.reason is Reason.BAD_AUTHORIZATION


def test_a_session_shows_no_secret(door, token):
    assert token not in repr(door.ask(token))


def test_a_token_too_large_is_not_decoded():
    door = Door(max_token_bytes=100)
    assert door.refusal(token_of()) is Reason.TOKEN_TOO_LARGE


def test_a_large_token_is_known_again_by_its_roles_without_its_groups():
    many = [f"group-{number:06}" for number in range(2000)]
    door = Door(max_token_bytes=99_999)
    large = token_of(groups=[*many, "data-readers"])
    assert len(large) > 16 * 1024
    first = door.ask(large)
    assert (first.identity.roles, first.claims.groups) == ({"viewer"}, set())
    assert door.ask(large) is first
    assert door.lookups == ["miss", "hit"]
    door.policy = load(POLICY.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [group-000007]}"))
    assert door.ask(large).identity.roles == {"viewer"}
    door.policy = load(POLICY.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [others]}"))
    assert door.ask(large).identity.roles == set()
    assert door.lookups == ["miss", "hit", "miss", "miss"]


def test_the_session_of_a_large_token_with_a_proof_is_identified_by_another_policy_from_all_its_groups():
    """Without them a deny rule by group would be gone, and what is allowed by client would stay."""
    door = Door(max_token_bytes=99_999)
    large = token_of(aud="airflow-egress", groups=[f"group-{number:06}" for number in range(2000)])

    def roles():
        times = {"wall": door.wall, "monotonic": door.monotonic}
        return door.authenticator.bound(large, Plane.EGRESS, door.policy, door.keys, **times).identity.roles

    door.policy = load(POLICY.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [group-000007]}"))
    assert [roles(), roles()] == [{"viewer"}, {"viewer"}]
    door.policy = load(POLICY.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [group-000008]}"))
    assert roles() == {"viewer"}
    assert door.lookups == ["miss", "hit", "miss"]


# --- d-14: on every use, against the policy, the audience, the time and the keys of now


def test_d14_a_known_token_gets_the_roles_of_the_policy_in_force(door, token):
    door.ask(token)
    door.policy = load(POLICY.replace("viewer: {groups: [data-readers]}", "viewer: {groups: [others]}"))
    again = door.ask(token)
    assert again.identity.roles == set()
    assert door.lookups == ["miss", "hit"]
    door.policy = load()
    assert door.ask(token).identity.roles == {"viewer"}


def test_d14_a_known_token_of_one_plane_is_refused_on_the_other(door, token):
    door.ask(token)
    assert door.refusal(token, plane=Plane.EGRESS) is Reason.AUDIENCE
    assert door.ask(token).claims.subject == "alice"
    assert door.lookups == ["miss", "hit", "hit"]


def test_d14_a_known_token_expires_on_the_second(door, token):
    door.ask(token)
    door.pass_time(EXP + SKEW - NOW - 1)
    assert door.ask(token).claims.subject == "alice"
    door.pass_time(1)
    assert door.refusal(token) is Reason.EXPIRED


@pytest.mark.parametrize(
    "change", ["audiences: {inbound: [other]", "max_lifetime: 5m", "issuer: https://other.example"]
)
def test_d14_a_known_token_is_judged_by_the_issuer_as_it_is_configured_now(door, token, change):
    door.ask(token)
    before = next(line.strip() for line in POLICY.splitlines() if line.strip().startswith(change.partition(":")[0]))
    assert before
    new = {
        "audiences": (f"issuer: {ISS}\n    audiences: {{inbound: [airflow]", f"issuer: {ISS}\n    {change}"),
        "max_lifetime": ("max_lifetime: 1h", change),
        "issuer": (f"issuer: {ISS}", change),
    }[change.partition(":")[0]]
    text = POLICY.replace(*new)
    assert text != POLICY
    door.policy = load(text)
    reasons = {"audiences": Reason.AUDIENCE, "max_lifetime": Reason.LIFETIME_TOO_LONG, "issuer": Reason.UNKNOWN_ISSUER}
    assert door.refusal(token) is reasons[change.partition(":")[0]]
    door.policy = load()
    assert door.ask(token).claims.subject == "alice"


# --- keys


def test_a_known_token_dies_with_its_key(door, token):
    door.ask(token)
    door.keys = {"corp": state_of(NEXT)}
    wanted = door.ask(token)
    assert wanted == KeyWanted(issuer="corp", key_id="k1", reason=Reason.UNKNOWN_KEY)


def test_a_known_token_lives_on_when_other_keys_come_and_go(door, token):
    door.ask(token)
    before = door.keys["corp"].keyset
    door.keys = {"corp": state_of(NEXT, KEY, previous=before)}
    assert door.ask(token).claims.subject == "alice"
    assert door.lookups == ["miss", "hit"]


def test_a_key_replaced_under_its_name_verifies_nothing_old(door, token):
    door.ask(token)
    thief = make_key("ES256", kid="thief")
    door.keys = {"corp": state_of(thief.jwk_with(kid="k1"))}
    assert door.refusal(token) is Reason.BAD_SIGNATURE


def test_a_known_token_of_an_unnamed_key_dies_with_it(door):
    door.keys = {"corp": state_of(UNNAMED)}
    token = token_of(UNNAMED)
    door.ask(token)
    door.ask(token)
    assert door.lookups == ["miss", "hit"]
    door.keys = {"corp": state_of(NEXT)}
    assert isinstance(door.ask(token), KeyWanted)


def test_stale_keys_accept_neither_a_known_token_nor_a_new_one(door, token):
    door.ask(token)
    door.keys = {"corp": replace(door.keys["corp"], stale_at=100.0)}
    door.pass_time(99)
    assert door.ask(token).claims.subject == "alice"
    door.pass_time(1)
    assert door.refusal(token) is Reason.KEYS_UNAVAILABLE
    fresh = door.ask(token_of(jti="t-2"))
    assert fresh == KeyWanted(issuer="corp", key_id="k1", reason=Reason.KEYS_UNAVAILABLE)


@pytest.mark.parametrize("keys", [{}, {"corp": state_of()}])
def test_without_keys_the_check_waits_and_a_known_token_too(door, token, keys):
    door.ask(token)
    door.keys = keys
    assert door.ask(token) == KeyWanted(issuer="corp", key_id="k1", reason=Reason.KEYS_UNAVAILABLE)


@pytest.mark.parametrize(("error", "reason"), [("", Reason.UNKNOWN_KEY), ("refused", Reason.KEYS_UNAVAILABLE)])
def test_an_unknown_key_is_the_callers_fault_only_if_the_issuer_answers(door, error, reason):
    door.keys = {"corp": state_of(KEY, last_error=error)}
    assert door.ask(token_of(NEXT)) == KeyWanted(issuer="corp", key_id="k2", reason=reason)


def test_what_a_key_cannot_mend_is_refused_at_once(door):
    assert door.refusal(token_of(make_key("ES384", kid="nowhere"))) is Reason.ALGORITHM
    assert door.refusal(token_of(KEY, iss="https://evil.example")) is Reason.UNKNOWN_ISSUER


# --- d-35: the cache


def test_d35_only_verified_tokens_are_kept_and_the_number_is_bounded():
    door = Door(capacity=3)
    good = [token_of(jti=str(number)) for number in range(5)]
    for token in good:
        door.ask(token)
    sessions = door.authenticator._sessions
    assert len(sessions) == 3
    for number in range(20):
        door.refusal(good[-1][:-8] + f"{number:08d}")
    assert len(sessions) == 3
    door.lookups.clear()
    door.ask(good[-1])
    assert door.lookups == ["hit"]


def test_d35_a_token_that_is_not_for_this_plane_is_not_kept(door):
    foreign = token_of(aud="other")
    door.refusal(foreign)
    door.refusal(foreign)
    assert door.lookups == ["miss", "miss"]
    assert len(door.authenticator._sessions) == 0


def test_d35_the_token_itself_is_not_in_the_cache(door, token):
    door.ask(token)
    (key,) = door.authenticator._sessions
    assert len(key) == 32
    assert token.encode() not in key


# --- what a hundred thousand of them weigh


def weigh(tokens):
    """Bytes for each session, and the door that they went through."""
    door = Door(capacity=len(tokens))
    for token in tokens[:2]:  # whatever is made once
        door.ask(token)
    gc.collect()
    tracemalloc.start()
    try:
        for token in tokens:
            door.ask(token)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / len(tokens), door
    finally:
        tracemalloc.stop()


def test_a_known_token_is_kept_small():
    count = 1_000
    groups = ["data-readers", "everyone", "oncall"]
    tokens = [token_of(sub=f"user-{n:09}", jti=f"t-{n:09}", exp=EXP - n % 60, groups=groups) for n in range(count)]
    weight, door = weigh(tokens)
    assert len(door.authenticator._sessions) == count
    assert weight < 600, f"{weight:.0f} bytes for each token"


def test_sessions_share_what_they_have_in_common(door):
    one, other = (door.ask(token_of(sub=sub, jti=sub)) for sub in ("alice", "bob"))
    assert one.identity is not other.identity
    assert one.standing is other.standing
    assert one.identity.roles is other.identity.roles
    assert one.claims.groups is other.claims.groups
    assert (one.starts, one.ends, one.dies_at) == (other.starts, other.ends, other.dies_at)
    assert one.dies_at is other.dies_at


def test_an_identity_is_one_object_for_as_long_as_the_policy_stays(door, token):
    before = door.ask(token).identity
    door.policy = load()  # read again, the same file
    door.keys = {"corp": state_of(NEXT, KEY, previous=door.keys["corp"].keyset)}
    assert door.ask(token).identity is before
    door.policy = load(POLICY + "# another revision\n")
    after = door.ask(token).identity
    assert after is not before
    assert door.ask(token).identity is after


def test_an_idle_session_keeps_no_policy_and_no_keys_of_old_alive(door, token):
    door.ask(token)
    before = [sys.getrefcount(door.policy), sys.getrefcount(door.keys["corp"].keyset)]
    door.ask(token_of(sub="bob", jti="t-2"))
    assert [sys.getrefcount(door.policy), sys.getrefcount(door.keys["corp"].keyset)] == before


def test_standings_do_not_heap_up_when_keys_come_and_go(door):
    for number in range(1_100):
        key = replace(door.keys["corp"].keyset.keys["k1"], kid=str(number))
        assert door.authenticator._standing("r", door.policy.issuers[ISS], key, frozenset()).key is key
    assert len(door.authenticator._standings) <= 1_024


# --- d-44: clocks


def test_d44_a_clock_that_went_back_does_not_revive_what_expired_in_the_cache(door, token):
    door.ask(token)
    door.pass_time(EXP + SKEW - NOW + 1)
    assert door.refusal(token) is Reason.EXPIRED
    door.lookups.clear()
    door.wall = float(NOW)
    door.keys = {"corp": state_of(make_key("ES256", kid="thief").jwk_with(kid="k1"))}
    assert door.refusal(token) is Reason.BAD_SIGNATURE, "it is judged anew, signature and all"
    door.wall = float(NOW - 1000)
    door.keys = {"corp": state_of(KEY)}
    assert door.refusal(token) is Reason.NOT_YET_VALID
    assert door.lookups == ["miss", "miss"]


def test_d44_an_entry_lives_no_longer_than_its_token_whatever_the_wall_clock_says(door, token):
    """Two clocks, and the sooner one ends it: monotonic time for the entry, wall time for the claims."""
    door.ask(token)
    door.monotonic += EXP + SKEW - NOW  # the wall clock stands still
    door.lookups.clear()
    door.ask(token)
    assert door.lookups == ["miss"]


def test_d44_a_use_does_not_lengthen_the_life_of_an_entry(door, token):
    door.ask(token)
    for _ in range(5):
        door.monotonic += 100
        door.ask(token)
    door.lookups.clear()
    door.monotonic += 70
    door.ask(token)
    assert door.lookups == ["miss"]


def test_d44_a_clock_that_jumped_ahead_refuses_and_mends_itself(door, token):
    door.ask(token)
    door.wall += 10_000
    assert door.refusal(token) is Reason.EXPIRED
    door.wall -= 10_000
    assert door.ask(token).claims.subject == "alice"


@pytest.mark.parametrize("wall", [float("nan"), float("inf"), float("-inf")])
def test_d44_a_clock_without_a_finite_time_lets_nothing_through(door, token, wall):
    door.ask(token)
    door.wall = wall
    with pytest.raises(TokenError):
        door.ask(token)


def test_keys_of_another_issuer_under_the_same_name_verify_nothing(door, token):
    """A name may be given to another issuer; a check that read policy and keys a moment apart must not mix them."""
    door.ask(token)
    door.keys = {"corp": replace(door.keys["corp"], issuer="https://other.example.com")}
    for asked in (token, token_of(sub="bob")):
        wanted = door.ask(asked)
        assert isinstance(wanted, KeyWanted)
        assert wanted.reason is Reason.KEYS_UNAVAILABLE


# --- revoked, known or not


def of(kind, value, **fields):
    return Revocation(issuer=ISS, kind=kind, value=value, until=EXP + SKEW, **fields)


@pytest.mark.parametrize(
    "revocation",
    [of(Kind.SID, "s1"), of(Kind.JTI, "j1"), of(Kind.SUBJECT, "alice", before=NOW)],
    ids=["session", "token", "subject"],
)
@pytest.mark.parametrize("known", [True, False])
def test_d14_a_revoked_token_is_refused_whether_it_is_known_or_not(door, revocation, known):
    token, other = token_of(sid="s1", jti="j1"), token_of(sid="s2", jti="j2", sub="bob")
    if known:
        door.ask(token)
    door.authenticator.revoked.add([revocation])
    assert door.refusal(token) is Reason.REVOKED
    assert door.refusal(token) is Reason.REVOKED
    assert door.ask(other).claims.subject == "bob"
    assert door.lookups.count("miss") == 2  # a revoked token is verified once, like any other


def test_d16_what_is_wrong_with_a_revoked_token_is_still_said_first(door):
    token = token_of(sid="s1")
    door.authenticator.revoked.add([of(Kind.SID, "s1")])
    assert door.refusal(token, plane=Plane.EGRESS) is Reason.AUDIENCE
    door.pass_time(EXP + SKEW - NOW)
    assert door.refusal(token) is Reason.EXPIRED


def test_an_empty_table_that_is_handed_in_is_the_one_that_is_asked():
    revoked = Revoked(b"k" * 32)
    door = Door(revoked=revoked)
    door.ask(token_of(sid="s1"))
    revoked.add([of(Kind.SID, "s1")])
    assert door.refusal(token_of(sid="s1")) is Reason.REVOKED
