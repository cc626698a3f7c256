import pytest

from authz.core.errors import TokenError
from authz.core.jose import jwks
from authz.core.reasons import Reason
from authz.core.tokens import ParsedToken, find_issuer, find_key, parse, verify
from tests.support.factories.token_pipeline import keyset_of
from tests.support.factories.tokens import (
    ASYMMETRIC,
    ISS,
    access_claims,
    issuer,
    jwks_of,
    make_key,
    raw_token,
    sign,
    sign_hmac,
    unb64,
)

RS = make_key("RS256")
ES = make_key("ES256", kid="k2")


def parsed(token):
    return parse(token, max_bytes=10_000)


def why(call, *args):
    with pytest.raises(TokenError) as caught:
        call(*args)
    return caught.value.reason, caught.value.detail


def test_the_issuer_is_found_by_its_exact_name():
    corp = issuer()
    assert find_issuer(parsed(sign(access_claims(), RS)), {ISS: corp}) is corp


@pytest.mark.parametrize(
    "iss", [None, 5, [ISS], {}, True, "", ISS + "/", ISS.upper(), ISS[:-1], ISS + "\x00", "https://evil.example.com"]
)
def test_any_other_issuer_is_unknown(iss):
    token = parsed(raw_token({"alg": "RS256"}, {**access_claims(), "iss": iss}))
    assert why(find_issuer, token, {ISS: issuer()})[0] is Reason.UNKNOWN_ISSUER


def test_a_missing_issuer_is_unknown():
    assert why(find_issuer, parsed(raw_token({"alg": "RS256"}, {})), {ISS: issuer()}) == (
        Reason.UNKNOWN_ISSUER,
        "iss is None",
    )


def test_an_issuer_filed_under_another_name_is_not_found():
    token = parsed(raw_token({"alg": "RS256"}, {"iss": "https://other.example.com"}))
    assert why(find_issuer, token, {"https://other.example.com": issuer()})[0] is Reason.UNKNOWN_ISSUER


def test_the_key_is_found_by_kid():
    keyset = keyset_of(RS, ES)
    assert find_key(parsed(sign(access_claims(), RS)), issuer(), keyset) is keyset.keys["k1"]
    assert find_key(parsed(sign(access_claims(), ES)), issuer(), keyset) is keyset.keys["k2"]


def test_the_algorithm_is_the_choice_of_the_issuer():
    token = parsed(sign(access_claims(), RS))
    reason, detail = why(find_key, token, issuer(algorithms=frozenset({"ES256", "PS256"})), keyset_of(RS))
    assert reason is Reason.ALGORITHM
    assert detail == "alg is 'RS256'; issuer corp accepts ES256, PS256"


@pytest.mark.parametrize("alg", ["none", "HS256", "rs256", "RS256 ", ""])
def test_an_algorithm_that_does_not_exist_is_refused_even_if_configured(alg):
    token = parsed(raw_token({"alg": alg, "kid": "k1"}, access_claims()))
    assert why(find_key, token, issuer(algorithms=frozenset({alg})), keyset_of(RS))[0] is Reason.ALGORITHM


def test_an_unknown_kid_is_an_unknown_key():
    token = parsed(sign(access_claims(), RS, {"kid": "gone"}))
    assert why(find_key, token, issuer(), keyset_of(RS, ES)) == (
        Reason.UNKNOWN_KEY,
        "kid 'gone' is not in the key set",
    )


def test_a_named_key_does_not_stand_for_a_key_without_kid():
    unnamed = make_key("RS256", kid=None)
    assert why(find_key, parsed(sign(access_claims(), RS)), issuer(), keyset_of(unnamed))[0] is Reason.UNKNOWN_KEY


def test_a_key_that_does_not_fit_is_unsuitable():
    for key, header in ((RS, {"alg": "ES256"}), (ES, {"alg": "RS256"})):
        token = parsed(raw_token({"kid": key.kid, **header}, access_claims()))
        reason, detail = why(find_key, token, issuer(), keyset_of(RS, ES))
        assert reason is Reason.KEY_UNSUITABLE
        assert f"kid '{key.kid}'" in detail


def test_the_alg_of_a_key_counts():
    key = make_key("PS256", kid="k1")
    token = parsed(sign(access_claims(), key, alg="RS256"))
    assert why(find_key, token, issuer(), keyset_of(key)) == (
        Reason.KEY_UNSUITABLE,
        "kid 'k1' RSA alg PS256 cannot verify RS256",
    )


@pytest.mark.parametrize("keys", [[RS], [RS, ES], [make_key("RS256", kid=None)], [make_key("RS256", kid=None), ES]])
def test_without_kid_the_only_fitting_key_is_taken(keys):
    found = find_key(parsed(sign(access_claims(), keys[0], {"kid": None})), issuer(), keyset_of(*keys))
    assert found.public_key == keys[0].public


@pytest.mark.parametrize(
    ("keys", "fitting"), [([ES], 0), ([RS, make_key("RS256", kid="k9")], 2), ([RS, make_key("RS256", kid=None)], 2)]
)
def test_without_kid_nothing_is_guessed(keys, fitting):
    token = parsed(sign(access_claims(), RS, {"kid": None}))
    assert why(find_key, token, issuer(), keyset_of(*keys)) == (
        Reason.UNKNOWN_KEY,
        f"no kid, and {fitting} keys fit RS256",
    )


@pytest.mark.parametrize("alg", ASYMMETRIC)
def test_signatures_verify_and_those_of_others_do_not(alg):
    key = make_key(alg)
    ours = jwks.parse(jwks_of([key])).keys["k1"]
    verify(parsed(sign(access_claims(), key)), ours)
    forged = sign(access_claims(), make_key(alg, kid="k9"), {"kid": "k1"})
    reason, detail = why(verify, parsed(forged), ours)
    assert reason is Reason.BAD_SIGNATURE
    assert detail.startswith("kid 'k1'")


def test_verify_does_not_trust_its_caller_to_have_chosen_well():
    rs = keyset_of(RS).keys["k1"]
    for token in (sign(access_claims(), ES), sign_hmac(access_claims(), RS.public_pem), raw_token({"alg": "none"}, {})):
        assert why(verify, parsed(token), rs)[0] is Reason.KEY_UNSUITABLE
    said = why(verify, parsed(sign(access_claims(), ES)), rs)[1]
    assert said == "kid 'k1' RSA alg RS256 cannot verify 'ES256'"


RFC_7515_A_3 = (
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    },
    (
        "eyJhbGciOiJFUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
    ),
)
RFC_8037_A_4 = (
    {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    ),
)


def test_the_example_of_rfc_7515_verifies():
    jwk, token = RFC_7515_A_3
    key = find_key(parsed(token), issuer(), jwks.parse(jwks_of([jwk])))
    verify(parsed(token), key)
    assert parsed(token).payload == {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}


def test_the_example_of_rfc_8037_verifies():
    jwk, text = RFC_8037_A_4
    (key,) = jwks.parse(jwks_of([jwk]))
    assert key.thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"  # RFC 8037 appendix A.3
    signing_input, _, signature = text.rpartition(".")
    example = ParsedToken(
        alg="EdDSA", kid=None, typ=None, payload={}, signing_input=signing_input.encode(), signature=unb64(signature)
    )
    verify(example, key)
