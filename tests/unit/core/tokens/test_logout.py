"""Logout tokens: every rule of OpenID Connect Back-Channel Logout 1.0 §2.6 that is ours to check."""

import pytest

from authz.core import tokens
from authz.core.errors import TokenError
from authz.core.reasons import Reason
from authz.core.tokens.logout import EVENT, FRESH_S, read_logout
from tests.support.factories.tokens import NOW, issuer, logout_claims, make_key, sign

KEY = make_key("ES256")
SKEW = issuer().clock_skew


def read(now=NOW, clients=("gate",), typ="logout+jwt", **changes):
    claims = logout_claims(**{"iat": NOW, "exp": NOW + 60, "jti": "l-1", "aud": "gate", **changes})
    parsed = tokens.parse(sign(claims, KEY, {"typ": typ}), max_bytes=9999)
    return read_logout(parsed, issuer(), frozenset(clients), now)


def test_a_logout_token_names_a_session_or_a_subject():
    ended = read()
    assert (ended.session_id, ended.subject, ended.token_id, ended.issued_at) == ("s-1", "alice", "l-1", NOW)
    assert "s-1" not in repr(ended)
    assert read(sid=None).session_id == ""
    assert read(sub=None).subject == ""
    assert read(exp=None).issued_at == NOW


@pytest.mark.parametrize("audience", ["gate", ["x", "gate"], "airflow"])
def test_it_is_for_our_clients_or_audiences(audience):
    assert read(aud=audience).session_id == "s-1"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"typ": "JWT"}, Reason.TOKEN_TYPE),
        ({"typ": "at+jwt"}, Reason.TOKEN_TYPE),
        ({"typ": None}, Reason.TOKEN_TYPE),
        ({"events": None}, Reason.TOKEN_TYPE),
        ({"events": EVENT}, Reason.TOKEN_TYPE),
        ({"events": [EVENT]}, Reason.TOKEN_TYPE),
        ({"events": {}}, Reason.TOKEN_TYPE),
        ({"events": {EVENT: True}}, Reason.TOKEN_TYPE),
        ({"events": {"other": {}}}, Reason.TOKEN_TYPE),
        ({"nonce": "n"}, Reason.TOKEN_TYPE),
        ({"nonce": ""}, Reason.TOKEN_TYPE),
        ({"aud": "somebody-else"}, Reason.AUDIENCE),
        ({"aud": None}, Reason.CLAIM_INVALID),
        ({"iat": None}, Reason.CLAIM_INVALID),
        ({"iat": str(NOW)}, Reason.CLAIM_INVALID),
        ({"iat": NOW + SKEW + 1}, Reason.NOT_YET_VALID),
        ({"now": NOW + FRESH_S + SKEW}, Reason.EXPIRED),
        ({"exp": NOW - SKEW}, Reason.EXPIRED),
        ({"exp": "soon"}, Reason.CLAIM_INVALID),
        ({"now": float("nan")}, Reason.NOT_YET_VALID),
        ({"jti": None}, Reason.CLAIM_INVALID),
        ({"jti": ""}, Reason.CLAIM_INVALID),
        ({"jti": 7}, Reason.CLAIM_INVALID),
        ({"sid": None, "sub": None}, Reason.CLAIM_INVALID),
        ({"sid": "", "sub": None}, Reason.CLAIM_INVALID),
        ({"sid": 7}, Reason.CLAIM_INVALID),
        ({"sub": ""}, Reason.CLAIM_INVALID),
        ({"iss": "https://other.test"}, Reason.UNKNOWN_ISSUER),
    ],
)
def test_anything_else_is_refused(changes, reason):
    with pytest.raises(TokenError) as caught:
        read(**changes)
    assert caught.value.reason is reason


@pytest.mark.parametrize("typ", ["logout+jwt", "LOGOUT+JWT", "application/logout+jwt"])
def test_the_type_is_a_media_type(typ):
    assert read(typ=typ).token_id == "l-1"


def test_a_fresh_one_is_fresh_to_the_last_second():
    assert read(now=NOW + FRESH_S + SKEW - 1, exp=None)
    assert read(iat=NOW + SKEW)


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"typ": "JWT"}, "typ of the header is not logout+jwt"),
        ({"events": {}}, "events does not name a back-channel logout"),
        ({"nonce": "n"}, "a logout token has no nonce"),
        ({"aud": "other"}, "the logout token is for none of our clients"),
        ({"iat": None}, "iat is missing"),
        ({"iat": NOW + SKEW + 1}, "iat is in the future"),
        ({"now": NOW + FRESH_S + SKEW, "exp": None}, f"the logout token is older than {FRESH_S} s"),
        ({"exp": NOW - SKEW}, "exp has passed"),
        ({"jti": None}, "jti is missing"),
        ({"sid": None, "sub": None}, "neither sid nor sub"),
    ],
)
def test_a_refusal_says_what_is_wrong(changes, detail):
    with pytest.raises(TokenError) as caught:
        read(**changes)
    assert caught.value.detail == detail


def test_the_clock_skew_is_granted_after_exp():
    assert read(exp=NOW - SKEW + 1).session_id == "s-1"
