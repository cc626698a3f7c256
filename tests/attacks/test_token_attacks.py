"""d-10, d-14, d-15, d-16 and d-44 against the token core (d-09: test_jose_*.py, d-35: test_token_cache_*.py).

Every attack token is correctly signed unless the signature is the attack.
"""

import json
import time

import jwt
import pytest

from authz.core import assertion, tokens
from authz.core.errors import RequestError, TokenError
from authz.core.jose import jwks
from authz.core.jose.jwks import KeySet
from authz.core.model import Identity, Plane, Rights
from authz.core.reasons import Reason
from tests.attacks.network_guard import network_denied
from tests.support.factories.token_pipeline import accept, keyset_of, refusal
from tests.support.factories.tokens import (
    ASYMMETRIC,
    ISS,
    NOW,
    access_claims,
    claims,
    dump,
    id_claims,
    issuer,
    logout_claims,
    make_key,
    raw_token,
    sign,
    sign_hmac,
)

RS = make_key("RS256")
ES = make_key("ES256", kid="es")
ED = make_key("EdDSA", kid="ed")
ANY = issuer(algorithms=frozenset(ASYMMETRIC))
HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": "k1"}

# d-10: kid injection, the unit half (fetching is tested with the key store)

HOSTILE_KIDS = (
    "../../../../dev/null",
    "/proc/sys/kernel/randomize_va_space",
    "k1' OR '1'='1",
    "k1; DROP TABLE keys",
    "$(id)",
    "http://evil.example.com/jwks",
    "K1",
    "k1 ",
    " k1",
    "k1,k1",
    "__class__",
    "k\u0131",
)


class CountingKeys(dict):
    """Keys that count how often they were asked."""

    lookups = 0

    def get(self, key, default=None):
        self.lookups += 1
        return super().get(key, default)


@pytest.mark.parametrize("kid", HOSTILE_KIDS)
def test_d10_a_kid_is_only_a_key_of_a_dictionary(kid):
    with network_denied():
        assert refusal(sign(access_claims(), RS, {"kid": kid}), keyset_of(RS)) is Reason.UNKNOWN_KEY


@pytest.mark.parametrize(
    "kid", ["k1\x00", "k1\n", "\u202ek1", "x" * 257, "x" * 10_000, "", 1, True, [], ["k1"], {}, 0.5]
)
def test_d10_a_kid_of_the_wrong_form_is_refused_before_any_lookup(kid):
    keys = CountingKeys(keyset_of(RS).keys)
    keyset = KeySet(keys=keys, digest="")
    assert refusal(sign(access_claims(), RS, {"kid": kid}), keyset) is Reason.TOKEN_MALFORMED
    assert keys.lookups == 0
    assert refusal(sign(access_claims(), RS), keyset) is None
    assert keys.lookups == 1


def test_d10_ten_thousand_random_kids_leave_nothing_behind():
    keyset = keyset_of(RS, ES)
    before = (repr(keyset), keyset.digest)
    payload = access_claims()
    started = time.thread_time()
    for number in range(10_000):
        token = raw_token({**HEADER, "kid": f"{number:x}-random"}, payload, b"x")
        assert refusal(token, keyset) is Reason.UNKNOWN_KEY
    assert time.thread_time() - started < 5
    assert (repr(keyset), keyset.digest) == before
    assert refusal(sign(payload, RS), keyset) is None


def test_d10_a_missing_kid_is_no_wildcard():
    two = keyset_of(RS, make_key("RS256", kid="k2"))
    assert refusal(sign(access_claims(), RS, {"kid": None}), two) is Reason.UNKNOWN_KEY
    assert (
        refusal(sign(access_claims(), make_key("RS256", kid="evil"), {"kid": None}), keyset_of(RS))
        is Reason.BAD_SIGNATURE
    )


# d-14: claims judged on every use, claims of the wrong type


def test_d14_remembered_claims_are_judged_again_on_every_use():
    corp = issuer()
    remembered = accept(sign(access_claims(), RS), keyset_of(RS), by=corp)
    for now, plane, by, reason in (
        (NOW, Plane.INBOUND, corp, None),
        (NOW + 1000, Plane.INBOUND, corp, Reason.EXPIRED),
        (NOW, Plane.EGRESS, corp, Reason.AUDIENCE),
        (NOW, Plane.INBOUND, issuer(audiences={Plane.INBOUND: frozenset({"new"})}), Reason.AUDIENCE),
        (NOW, Plane.INBOUND, issuer(max_lifetime=60), Reason.LIFETIME_TOO_LONG),
        (NOW - 1000, Plane.INBOUND, corp, Reason.NOT_YET_VALID),
    ):
        if reason is None:
            tokens.check_claims(remembered, by, plane, now)
        else:
            with pytest.raises(TokenError) as caught:
                tokens.check_claims(remembered, by, plane, now)
            assert caught.value.reason is reason


CONFUSIONS = [
    {"iss": ISS[:-1]},
    {"iss": [ISS]},
    {"iss": {"": ISS}},
    {"iss": ISS + "#"},
    {"aud": {"airflow": 1}},
    {"aud": [["airflow"]]},
    {"aud": ["airflow", None]},
    {"aud": ["airflow", 1]},
    {"aud": True},
    {"aud": "other airflow"},
    {"sub": ["alice"]},
    {"sub": 0},
    {"sub": False},
    {"sub": ""},
    {"sub": {"alice": 1}},
    {"exp": str(NOW + 60)},
    {"exp": [NOW + 60]},
    {"exp": True},
    {"exp": 1e18},
    {"exp": -1},
    {"exp": 0},
    {"nbf": "0"},
    {"nbf": []},
    {"nbf": False},
    {"iat": "0"},
    {"iat": {}},
    {"iat": True},
    {"groups": {"admins": True}},
    {"groups": [["admins"]]},
    {"groups": ["admins", 5]},
    {"groups": 5},
    {"groups": True},
    {"realm_access": ["roles"]},
    {"realm_access": {"roles": {"admin": 1}}},
    {"client_id": ["cli"]},
    {"preferred_username": ["alice"]},
]


@pytest.mark.parametrize("changes", CONFUSIONS, ids=json.dumps)
def test_d14_claims_of_the_wrong_type_are_refused(changes):
    assert refusal(sign({**access_claims(), **changes}, RS), keyset_of(RS)) is not None


def test_d14_a_person_is_issuer_and_subject_and_never_an_address():
    same_address = {"email": "ceo@example.com", "email_verified": False}
    by = issuer(username="email")
    first, second = (accept(sign(access_claims(sub=sub, **same_address), RS), keyset_of(RS), by=by) for sub in "ab")
    assert (first.issuer, first.subject) != (second.issuer, second.subject)
    assert (first.username, second.username) == ("a", "b")


# d-15: token substitution

FOREIGN = {
    "ID token": (id_claims(), "JWT"),
    "ID token without typ": (id_claims(), None),
    "ID token with a scope": (id_claims(scope="openid"), "JWT"),
    "plain JWT": (claims(), "JWT"),
    "refresh token": (access_claims(typ="Refresh"), "JWT"),
    "offline token": (access_claims(typ="Offline"), None),
    "logout token": (logout_claims(), "logout+jwt"),
    "logout token without typ": (logout_claims(), "JWT"),
    "security event": (access_claims(events={"x": {}}), "secevent+jwt"),
    "DPoP proof": (access_claims(htm="GET", htu="https://x"), "dpop+jwt"),
    "DPoP-bound token": (access_claims(cnf={"jkt": "x"}), "at+jwt"),
    "mTLS-bound token": (access_claims(cnf={"x5t#S256": "x"}), "at+jwt"),
    "introspection response": (access_claims(), "token-introspection+jwt"),
    "request object": (access_claims(), "oauth-authz-req+jwt"),
    "ID token of Cognito": (access_claims(token_use="id"), "JWT"),
    "our own assertion": (access_claims(), assertion.TYP),
    "token for another application": (access_claims(aud="other-app"), "at+jwt"),
    "token for the account console": (access_claims(aud=["account"], azp="cli"), "at+jwt"),
    "token for the other plane": (access_claims(aud="airflow-egress"), "at+jwt"),
    "token of another realm": (access_claims(iss="https://idp.example.com/realms/dev"), "at+jwt"),
    "token of another environment": (access_claims(iss="https://idp.test.example.com/realms/data"), "at+jwt"),
    "token that lives for a year": (access_claims(exp=NOW + 31_536_000), "at+jwt"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_d15_a_valid_token_of_another_kind_is_refused(what):
    payload, typ = FOREIGN[what]
    assert refusal(sign(payload, RS, {"typ": typ}), keyset_of(RS)) in {
        Reason.TOKEN_TYPE,
        Reason.AUDIENCE,
        Reason.UNKNOWN_ISSUER,
        Reason.LIFETIME_TOO_LONG,
    }
    assert refusal(sign(access_claims(), RS), keyset_of(RS)) is None


def test_d15_an_access_token_is_no_id_token():
    only_id = issuer(tokens=frozenset({"id"}))
    assert refusal(sign(access_claims(), RS), keyset_of(RS), by=only_id) is Reason.TOKEN_TYPE
    assert refusal(sign(id_claims(), RS, {"typ": "JWT"}), keyset_of(RS), by=only_id) is None
    foreign = sign(id_claims(azp="mobile-app"), RS, {"typ": "JWT"})
    assert refusal(foreign, keyset_of(RS), by=only_id) is Reason.AUDIENCE


def test_d15_airflows_own_token_is_refused():
    own = sign_hmac({"sub": "1", "iss": "airflow", "aud": "apache-airflow", "exp": NOW + 60}, b"secret", "HS512", None)
    assert refusal(own, keyset_of(RS)) is Reason.UNKNOWN_ISSUER
    dressed_up = sign_hmac(access_claims(), b"secret", "HS512", None)
    assert refusal(dressed_up, keyset_of(RS)) is Reason.ALGORITHM


def _assertion(key, **changes):
    who = accept(sign(access_claims(), RS), keyset_of(RS))
    identity = Identity(claims=who, roles=frozenset({"viewer"}))
    asked = {"audience": "airflow-a", "issuer": ISS, "now": NOW, "lifetime": 60, "jti": "j"}
    return assertion.mint(identity, Rights(None, "", None), key=key, **{**asked, **changes})


def test_d15_our_assertion_is_no_bearer_token_even_if_its_key_were_trusted():
    key = assertion.load_signing_key(assertion.generate_pem())
    keyset = jwks.parse(dump(assertion.public_jwks([key])))
    token = _assertion(key, audience="airflow")
    everything = issuer(tokens=frozenset(tokens.KINDS))
    assert refusal(token, keyset, by=everything) is Reason.TOKEN_TYPE


def test_d15_an_assertion_is_for_one_upstream_and_for_a_minute():
    key = assertion.load_signing_key(assertion.generate_pem())
    public = jwks.parse(dump(assertion.public_jwks([key]))).keys[key.kid].public_key
    now = int(time.time())

    def upstream(name, made_at):
        token = _assertion(key, now=made_at)
        return jwt.decode(token, public, algorithms=["ES256"], audience=name, issuer=ISS)["sub"]

    assert upstream("airflow-a", now) == "alice"
    with pytest.raises(jwt.InvalidAudienceError):
        upstream("airflow-b", now)
    with pytest.raises(jwt.ExpiredSignatureError):
        upstream("airflow-a", now - 61)
    with pytest.raises(ValueError, match="1 to 60"):
        _assertion(key, lifetime=61)


# d-16: the Authorization header


@pytest.mark.parametrize(
    "lines",
    [
        *(
            (b"Bearer" + gap + b"abc",)
            for gap in (b"", b"  ", b"\t", b" \t", b"\t ", b"\xa0", b"\x0b", b":", b"=", b",")
        ),
        (b"Bearer a,Bearer b",),  # what Envoy makes of two headers (FACTS §2)
        (b"Bearer a, Bearer b",),
        (b"Bearer a, Basic b",),
        (b"Bearer a", b"Bearer a"),
        (b"Bearer a", b"Basic b"),
        (b"Bearer a", b""),
        (b"Basic YTpi",),
        (b"Basic YTpi, Bearer a",),
        (b"DPoP abc",),
        (b"Bearer",),
        (b"Bearer ",),
        (b"",),
        (b" ",),
        (b" Bearer abc",),
        (b"Bearer abc ",),
        (b"Bearer abc\r\nX-Evil: 1",),
        (b"Bearer abc\x00",),
        (b'Bearer token="abc"',),
        (b"Bearer abc def",),
        (b"Bearer \xd0\xb0bc",),
        (b"Be\xc3\xa4rer abc",),
        (b"Bearer Bearer abc",),
        (b"Bearer%20abc",),
    ],
)
def test_d16_the_bearer_grammar_is_strict(lines):
    with pytest.raises(RequestError) as caught:
        tokens.parse_bearer(lines)
    assert caught.value.reason is Reason.BAD_AUTHORIZATION


def test_d16_one_header_one_scheme_one_space_one_token():
    assert tokens.parse_bearer((b"Bearer a.b-c_d~e+f/g==",)) == "a.b-c_d~e+f/g=="
    assert tokens.parse_bearer((b"bEARER abc",)) == "abc"
    assert tokens.parse_bearer(()) is None


# d-44: clocks


@pytest.mark.parametrize("skew", [0, 30, 300])
def test_d44_the_skew_widens_both_ends_by_just_itself(skew):
    by = issuer(clock_skew=skew)
    token = sign(access_claims(iat=NOW, nbf=NOW, exp=NOW + 600), RS)
    for now, reason in (
        (NOW - skew - 1, Reason.NOT_YET_VALID),
        (NOW - skew, None),
        (NOW + 600 + skew - 0.001, None),
        (NOW + 600 + skew, Reason.EXPIRED),
    ):
        assert refusal(token, keyset_of(RS), by=by, now=now) is reason


def test_d44_nbf_and_iat_in_the_future_are_refused():
    for claim in ("nbf", "iat"):
        token = sign(access_claims(**{claim: NOW + 31}), RS)
        assert refusal(token, keyset_of(RS)) is Reason.NOT_YET_VALID
        assert refusal(token, keyset_of(RS), now=NOW + 1) is None


def test_d44_a_leap_second_is_within_the_skew():
    token = sign(access_claims(iat=NOW + 1, nbf=NOW + 1), RS)
    assert refusal(token, keyset_of(RS)) is None


def test_d44_a_clock_far_off_lets_nothing_through():
    for now in (0, -NOW, 253_402_300_799, float("nan"), float("inf"), float("-inf")):
        assert refusal(sign(access_claims(), RS), keyset_of(RS), now=now) is not None
        assert refusal(sign(access_claims(iat=None), RS), keyset_of(RS), now=now) is not None
