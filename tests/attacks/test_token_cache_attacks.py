"""security.md d-35 (how remembered tokens are keyed) and d-44 (clocks) against authentication."""

import os
from types import SimpleNamespace

import pytest

from authz.core.errors import TokenError
from authz.core.jose import jwks
from authz.core.model import Claims, HeldGrant, HttpRequest, Identity, Plane
from authz.core.reasons import Reason
from tests.support.factories.token_pipeline import keyset_of
from tests.support.factories.tokens import (
    ASYMMETRIC,
    ISS,
    NOW,
    access_claims,
    issuer,
    jwks_of,
    make_key,
    raw_token,
    sign,
)

RS = make_key("RS256")
ES = make_key("ES256", kid="es")
ED = make_key("EdDSA", kid="ed")
ANY = issuer(algorithms=frozenset(ASYMMETRIC))
HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": "k1"}


class SmallPolicy(SimpleNamespace):
    """What authentication asks of a policy; each has a revision of its own, as each file has."""

    @property
    def revision(self):
        return self.__dict__.setdefault("_revision", os.urandom(8).hex())

    @property
    def edition(self):
        return self.revision

    def identify(self, who: Claims, _grants: tuple[HeldGrant, ...] = ()) -> Identity:
        return Identity(claims=who, roles=frozenset())


def _gate():
    from authz.authn.sessions import Authenticator

    counted = []
    gate = Authenticator(capacity=8, max_token_bytes=9999, count=counted.append)
    return gate, counted


def _state(*keys):
    return {"corp": SimpleNamespace(issuer=ISS, keyset=keyset_of(*keys), stale_at=1e9, last_error="")}


def _ask(gate, token, policy, keys, *, wall=NOW, monotonic=0.0):
    request = HttpRequest(
        plane="inbound",
        audience="",
        method="GET",
        authority="airflow.example.com",
        target="/",
        authorization=(f"Bearer {token}".encode(),),
    )
    return gate.authenticate(request, Plane.INBOUND, policy, keys, wall=wall, monotonic=monotonic)


def test_d35_tokens_that_differ_in_one_byte_share_nothing():
    gate, counted = _gate()
    policy, keys = SmallPolicy(issuers={ISS: issuer()}), _state(ES)
    good = sign(access_claims(), ES)
    assert _ask(gate, good, policy, keys).claims.subject == "alice"
    assert _ask(gate, good, policy, keys).claims.subject == "alice"
    assert counted == ["miss", "hit"]
    forged = good[:-8] + ("AAAAAAAA" if good[-8:] != "AAAAAAAA" else "BBBBBBBB")
    with pytest.raises(TokenError):
        _ask(gate, forged, policy, keys)
    signing_input, _, _ = good.rpartition(".")
    with pytest.raises(TokenError):
        _ask(gate, signing_input + ".", policy, keys)
    counted.clear()
    assert _ask(gate, sign(access_claims(jti="t-2"), ES), policy, keys).claims.subject == "alice"
    assert counted == ["miss"], "another token of the same person"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"audiences": {Plane.INBOUND: frozenset({"other"})}}, Reason.AUDIENCE),
        ({"algorithms": frozenset({"RS256"})}, Reason.ALGORITHM),
        ({"tokens": frozenset({"id"})}, Reason.TOKEN_TYPE),
        ({"max_lifetime": 60}, Reason.LIFETIME_TOO_LONG),
        ({"groups": (("name",), ("sid",))}, None),
    ],
)
def test_d35_another_issuer_configuration_finds_no_old_entry(changes, reason):
    gate, counted = _gate()
    keys, token = _state(ES), sign(access_claims(), ES)
    old, new = SmallPolicy(issuers={ISS: issuer()}), SmallPolicy(issuers={ISS: issuer(**changes)})
    _ask(gate, token, old, keys)
    if reason is None:
        assert _ask(gate, token, new, keys).claims.groups == {"Alice A.", "s-1"}
    else:
        with pytest.raises(TokenError) as caught:
            _ask(gate, token, new, keys)
        assert caught.value.reason is reason
    assert counted == ["miss", "miss"]


def test_d35_a_key_of_the_same_name_is_another_key():
    gate, _ = _gate()
    policy, token = SmallPolicy(issuers={ISS: issuer()}), sign(access_claims(), ES)
    _ask(gate, token, policy, _state(ES))
    replaced = {"corp": SimpleNamespace(issuer=ISS, keyset=None, stale_at=1e9, last_error="")}
    replaced["corp"].keyset = jwks.parse(jwks_of([make_key("ES256", kid="x").jwk_with(kid="es")]))
    with pytest.raises(TokenError) as caught:
        _ask(gate, token, policy, replaced)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_d35_a_flood_of_bad_tokens_evicts_nothing():
    gate, counted = _gate()
    policy, keys, token = SmallPolicy(issuers={ISS: issuer()}), _state(ES), sign(access_claims(), ES)
    _ask(gate, token, policy, keys)
    for number in range(100):
        with pytest.raises(TokenError):
            _ask(gate, raw_token({"alg": "ES256", "kid": "es"}, access_claims(jti=str(number)), b"x"), policy, keys)
    counted.clear()
    _ask(gate, token, policy, keys)
    assert counted == ["hit"]


def test_d44_a_remembered_token_dies_on_time_even_if_the_wall_clock_jumps_back():
    gate, counted = _gate()
    policy, keys, token = SmallPolicy(issuers={ISS: issuer()}), _state(ES), sign(access_claims(), ES)
    _ask(gate, token, policy, keys)
    with pytest.raises(TokenError) as caught:
        _ask(gate, token, policy, keys, wall=NOW + 570, monotonic=569.0)
    assert caught.value.reason is Reason.EXPIRED
    counted.clear()
    _ask(gate, token, policy, keys, wall=NOW, monotonic=571.0)
    assert counted == ["miss"], "nothing remembered outlives its monotonic time"
    with pytest.raises(TokenError) as caught:
        _ask(gate, token, policy, keys, wall=NOW - 100_000, monotonic=572.0)
    assert caught.value.reason is Reason.NOT_YET_VALID
