import json

import pytest

from authz.core.errors import KeysUnavailableError
from authz.core.jose import jwks
from authz.core.jose.primitives import ALGORITHMS
from tests.support.factories.tokens import ASYMMETRIC, b64, b64_int, dump, jwks_of, make_key, private_key

GOOD = make_key("ES256", kid="good")


def ignored(*jwk):
    """Why JWKs beside a good one are left out."""
    keyset = jwks.parse(jwks_of([GOOD, *jwk]))
    assert list(keyset.keys) == ["good"]
    assert keyset.unnamed == ()
    return keyset.ignored


@pytest.mark.parametrize("alg", ASYMMETRIC)
@pytest.mark.parametrize("named_alg", [True, False])
def test_every_supported_kind_of_key_is_taken(alg, named_alg):
    made = make_key(alg, named_alg=named_alg)
    keyset = jwks.parse(jwks_of([made]))
    key = keyset.keys["k1"]
    assert keyset.ignored == ()
    assert (key.kty, key.crv, key.alg) == (made.jwk["kty"], made.jwk.get("crv"), alg if named_alg else None)
    assert key.public_key == made.public
    assert key.suits(alg)


def test_a_key_suits_the_algorithms_of_its_type_curve_and_alg():
    for made in [make_key(alg, named_alg=False) for alg in ("RS256", "ES256", "ES384", "ES512", "EdDSA")]:
        key = jwks.parse(jwks_of([made])).keys["k1"]
        fits = {
            "RSA": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"},
            "OKP": {"EdDSA"},
            "EC": {made.alg},
        }[key.kty]
        assert {alg for alg in ALGORITHMS if key.suits(alg)} == fits
    named = jwks.parse(jwks_of([make_key("PS256")])).keys["k1"]
    assert {alg for alg in ALGORITHMS if named.suits(alg)} == {"PS256"}
    assert not named.suits("none")
    assert not named.suits("HS256")


def test_key_ops_and_use_may_name_verification():
    for changes in ({"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"], "use": "sig"}, {"use": None}):
        assert len(jwks.parse(jwks_of([GOOD.jwk_with(**changes)]))) == 1


def test_unknown_members_of_a_key_and_of_the_set_are_ignored():
    jwk = GOOD.jwk_with(x5c=["!!!"], x5u="http://169.254.169.254/", x5t="x", ext=True)
    assert len(jwks.parse(jwks_of([jwk], other=[1]))) == 1


@pytest.mark.parametrize(
    ("jwk", "reason"),
    [
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "h"}, "symmetric"),
        ({"kty": "oct", "kid": "h"}, "symmetric"),
        ({"kid": "x"}, "unknown kty None"),
        ({"kty": "rsa"}, "unknown kty 'rsa'"),
        ({"kty": ["RSA"]}, "unknown kty"),
        ("text", "not a JSON object"),
        (None, "not a JSON object"),
        (make_key("RS256").jwk_with(d="AQAB"), "private key material"),
        (make_key("RS256").jwk_with(p="AQAB"), "private key material"),
        (make_key("ES256").jwk_with(d="AQAB"), "private key material"),
        (make_key("EdDSA").jwk_with(d="AQAB"), "private key material"),
        (make_key("EdDSA").jwk_with(k="AQAB"), "private key material"),
        (make_key("RS256").jwk_with(use="enc"), "use 'enc' is not sig"),
        (make_key("RS256").jwk_with(use=["sig"]), "is not sig"),
        (make_key("RS256").jwk_with(key_ops=["encrypt"]), "key_ops"),
        (make_key("RS256").jwk_with(key_ops=[]), "key_ops"),
        (make_key("RS256").jwk_with(key_ops="verify"), "key_ops"),
        (make_key("RS256").jwk_with(alg="RSA-OAEP"), "alg 'RSA-OAEP' is not"),
        (make_key("RS256").jwk_with(alg="ES256"), "alg 'ES256' is not"),
        (make_key("RS256").jwk_with(alg="HS256"), "alg 'HS256' is not"),
        (make_key("RS256").jwk_with(alg="none"), "alg 'none' is not"),
        (make_key("RS256").jwk_with(alg=["RS256"]), "is not a signature algorithm"),
        (make_key("ES256").jwk_with(alg="ES384"), "alg 'ES384' is not"),
        (make_key("RS256").jwk_with(kid=7), "kid is not"),
        (make_key("RS256").jwk_with(kid=""), "kid is not"),
        (make_key("RS256").jwk_with(kid="a\nb"), "kid is not"),
        (make_key("RS256").jwk_with(kid="x" * 257), "kid is not"),
        (make_key("RS256", bits=1024).jwk, "RSA with 1024 bits"),
        (make_key("RS256").jwk_with(n=b64_int(2**2047)), "even RSA modulus"),
        (make_key("RS256").jwk_with(n=b64_int(2**8192 + 1)), "RSA with 8193 bits"),
        (make_key("RS256").jwk_with(e="AQ"), "exponent"),
        (make_key("RS256").jwk_with(e="AA"), "exponent"),
        (make_key("RS256").jwk_with(e="Ag"), "exponent"),
        (make_key("RS256").jwk_with(e=b64_int(2**32 + 1)), "exponent"),
        (make_key("RS256").jwk_with(e=None), "e is missing"),
        (make_key("RS256").jwk_with(n=5), "n is missing or not"),
        (make_key("RS256").jwk_with(n="é"), "n is missing or not"),
        (make_key("RS256").jwk_with(n=make_key("RS256").jwk["n"] + "=="), "n: not base64url"),
        (make_key("ES256").jwk_with(crv="P-521"), "66 octets"),
        (make_key("ES256").jwk_with(crv="P-255"), "unknown crv 'P-255'"),
        (make_key("ES256").jwk_with(crv=["P-256"]), "unknown crv"),
        (make_key("ES256").jwk_with(crv=None), "unknown crv None"),
        (make_key("ES256K").jwk_with(alg=None), "unknown crv 'secp256k1'"),
        (make_key("ES256").jwk_with(x="AA"), "32 octets"),
        (make_key("ES256").jwk_with(y=None), "y is missing"),
        (make_key("ES256").jwk_with(y=b64(b"\x01" * 32)), "not on the curve"),
        (make_key("ES256").jwk_with(x=b64(bytes(32)), y=b64(bytes(32))), "not on the curve"),
        (make_key("Ed448").jwk, "unknown crv 'Ed448'"),
        (make_key("EdDSA").jwk_with(crv="X25519"), "unknown crv 'X25519'"),
        (make_key("EdDSA").jwk_with(x=b64(b"\x01" * 31)), "32 octets"),
    ],
)
def test_what_is_no_public_signature_key_is_left_out_and_said(jwk, reason):
    assert len(ignored(jwk)) == 1
    assert reason in ignored(jwk)[0]
    assert ignored(jwk)[0].startswith("key 2")


def test_no_key_material_is_shown():
    secret = b64(b"secret-canary-material")
    texts = ignored(
        make_key("RS256").jwk_with(d=secret),
        {"kty": "oct", "k": secret, "kid": "h"},
        make_key("RS256").jwk_with(n=secret),
        make_key("ES256").jwk_with(x=secret),
    )
    assert len(texts) == 4
    assert secret not in repr(texts)
    keyset = jwks.parse(jwks_of([make_key("RS256")]))
    assert make_key("RS256").jwk["n"][:20] not in repr(keyset)


@pytest.mark.parametrize("y", [0, 1, 2**255 - 20, 2**255 - 19])
def test_ed25519_keys_that_anyone_can_sign_for_are_left_out(y):
    x = b64(y.to_bytes(32, "little"))
    assert "small order" in ignored(make_key("EdDSA").jwk_with(x=x))[0]


def test_keys_that_share_a_kid_are_all_left_out():
    keyset = jwks.parse(
        jwks_of([GOOD, make_key("RS256", kid="k1"), make_key("ES256", kid="k1"), make_key("EdDSA", kid="k1")])
    )
    assert list(keyset.keys) == ["good"]
    assert keyset.ignored == ("kid 'k1': 3 keys have it",)


def test_an_encryption_key_may_share_the_kid_of_a_signature_key():
    keyset = jwks.parse(jwks_of([make_key("RS256"), make_key("RS256", kid="other").jwk_with(kid="k1", use="enc")]))
    assert list(keyset.keys) == ["k1"]


def test_keys_without_kid_are_kept_apart():
    keyset = jwks.parse(jwks_of([GOOD, make_key("RS256", kid=None), make_key("EdDSA", kid=None)]))
    assert [key.kty for key in keyset.unnamed] == ["RSA", "OKP"]
    assert len(keyset) == 3
    assert [key.kid for key in keyset] == ["good", None, None]


def test_only_so_many_keys_are_looked_at():
    keyset = jwks.parse(jwks_of([GOOD, *[{"kty": "x"}] * (jwks.MAX_KEYS - 1), make_key("ES256", kid="late"), {}]))
    assert list(keyset.keys) == ["good"]
    assert keyset.ignored[-1] == "2 keys after the first 100: too many"


def test_a_leading_zero_of_the_modulus_changes_nothing():
    made = make_key("RS256")
    padded = made.jwk_with(n=b64(b"\x00" + made.public.public_numbers().n.to_bytes(256, "big")))
    assert jwks.parse(jwks_of([padded])).keys == jwks.parse(jwks_of([made])).keys


def test_unchanged_keys_are_the_same_objects():
    old = jwks.parse(jwks_of([GOOD, make_key("RS256", kid="gone"), make_key("EdDSA", kid=None)]))
    reordered = [make_key("EdDSA", kid=None), make_key("ES384", kid="new"), GOOD.jwk_with(x5t="new")]
    new = jwks.parse(jwks_of(reordered), old)
    assert new.keys["good"] is old.keys["good"]
    assert new.unnamed[0] is old.unnamed[0]
    assert set(new.keys) == {"good", "new"}


@pytest.mark.parametrize(
    "changed",
    [
        make_key("ES256", kid="other").jwk_with(kid="good"),
        GOOD.jwk_with(alg=None),
        GOOD.jwk_with(kid="renamed"),
    ],
)
def test_a_changed_key_is_another_object_and_another_digest(changed):
    old = jwks.parse(jwks_of([GOOD]))
    new = jwks.parse(jwks_of([changed]), old)
    assert next(iter(new)) is not old.keys["good"]
    assert new.digest != old.digest


def test_the_digest_is_of_the_usable_keys_alone():
    keys = [GOOD, make_key("RS256")]
    assert jwks.parse(jwks_of(keys)).digest == jwks.parse(jwks_of([{"kty": "oct"}, *keys[::-1]], x=1)).digest


def test_a_key_set_cannot_be_changed():
    keyset = jwks.parse(jwks_of([GOOD]))
    with pytest.raises(TypeError):
        keyset.keys["evil"] = keyset.keys["good"]


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "not a key set: not JSON"),
        (b"<html>200 OK</html>", "not a key set: not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"keys":{}}', "no array `keys`"),
        (b'{"key":[]}', "no array `keys`"),
        (b'{"keys":[],"keys":[]}', "occurs twice"),
        (b'{"keys":[]}', "no usable key: it is empty"),
        (b'{"keys":[{"kty":"oct","k":"AA"}]}', "symmetric"),
        (b'{"issuer":"https://idp.example.com","jwks_uri":"https://idp.example.com/jwks"}', "no array `keys`"),
        (b'{"keys":' + b"[" * 5000 + b"]" * 5000 + b"}", "not a key set"),
        (dump(make_key("ES256").jwk), "no array `keys`"),
    ],
)
def test_a_document_without_a_usable_key_is_an_error(data, detail):
    with pytest.raises(KeysUnavailableError, match=detail):
        jwks.parse(data)


def test_two_keys_with_one_kid_and_no_other_key_are_an_error():
    with pytest.raises(KeysUnavailableError, match="2 keys have it"):
        jwks.parse(jwks_of([make_key("ES256"), make_key("RS256")]))


def test_the_factory_makes_what_it_says():
    assert private_key("RSA-2048", 1) is private_key("RSA-2048", 1)
    assert json.loads(jwks_of([GOOD]))["keys"][0]["kid"] == "good"
