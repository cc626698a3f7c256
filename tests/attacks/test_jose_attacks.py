"""security.md d-09 against the token core: algorithm confusion, `none`, embedded keys, false signatures.

Every attack token is signed as well as its attacker could: a refusal is worth something only where the signature is
right and the token is wrong, or where a bad token could have been taken for a good one.
"""

import ast
import itertools
import json
import os
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

import authz
from authz.core.errors import KeysUnavailableError
from authz.core.jose import jwks
from authz.core.reasons import Reason
from tests.attacks.network_guard import network_denied
from tests.support.factories.token_pipeline import keyset_of, refusal
from tests.support.factories.tokens import (
    ASYMMETRIC,
    SYMMETRIC,
    access_claims,
    b64,
    b64_int,
    dump,
    issuer,
    jwks_of,
    make_key,
    raw_token,
    sign,
    sign_hmac,
    signature_of,
)

RS = make_key("RS256")
ES = make_key("ES256", kid="es")
ED = make_key("EdDSA", kid="ed")
ANY = issuer(algorithms=frozenset(ASYMMETRIC))
HEADER = {"alg": "RS256", "typ": "at+jwt", "kid": "k1"}

NONE_LIKE = ("none", "None", "NONE", "nOnE", "", " none", "none ", "null", "NULL", "undefined")
UNKNOWN = ("ES256K", "RS1", "RSA1_5", "dir", "A256KW", "Ed25519", "Ed448", "rs256", "RS256 ", "RS256\x00", "HS256K")
ALGS = (*NONE_LIKE, *SYMMETRIC, *UNKNOWN, *ASYMMETRIC)
CONFIGS = (
    *((alg,) for alg in ASYMMETRIC),
    ("RS256", "ES256"),
    ("PS256", "EdDSA"),
    ASYMMETRIC,
    # What the policy loader refuses must do no harm even if it came through:
    ("none",),
    ("HS256", "HS384", "HS512"),
    (*NONE_LIKE, *SYMMETRIC, *UNKNOWN, *ASYMMETRIC),
)
KINDS = tuple(make_key(alg, named_alg=named) for alg in ASYMMETRIC for named in (True, False))


def fits(alg, jwk):
    """RFC 7518 §3.1 and RFC 8037 §3.1, written down a second time."""
    kty, crv = jwk["kty"], jwk.get("crv")
    of_type = {
        ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        ("EC", "P-256"): ("ES256",),
        ("EC", "P-384"): ("ES384",),
        ("EC", "P-521"): ("ES512",),
        ("OKP", "Ed25519"): ("EdDSA",),
    }
    return alg in of_type[kty, crv] and jwk.get("alg", alg) == alg


def best_effort(alg, key):
    """The token that an attacker who may even use the key's private half would send under `alg`."""
    if alg in SYMMETRIC:
        return sign_hmac(access_claims(), key.public_pem, alg)
    family = {"RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}[key.jwk["kty"]]
    if alg in ASYMMETRIC and alg.startswith(family):
        return sign(access_claims(), key, {"kid": "k1"}, alg)
    return raw_token({**HEADER, "alg": alg}, access_claims(), b"" if alg in NONE_LIKE else os.urandom(64))


@pytest.mark.parametrize("key", KINDS, ids=lambda key: f"{key.jwk['kty']}-{key.jwk.get('alg')}-{key.alg}")
def test_d09_only_a_configured_algorithm_on_a_fitting_key_passes(key):
    keyset = keyset_of(key)
    made = {alg: best_effort(alg, key) for alg in ALGS}
    passed = {
        (alg, config)
        for alg, config in itertools.product(ALGS, CONFIGS)
        if refusal(made[alg], keyset, by=issuer(algorithms=frozenset(config))) is None
    }
    assert passed == {
        (alg, config) for alg, config in itertools.product(ASYMMETRIC, CONFIGS) if alg in config and fits(alg, key.jwk)
    }
    assert passed


@pytest.mark.parametrize("alg", SYMMETRIC)
@pytest.mark.parametrize("key", [RS, ES, ED], ids=lambda key: key.alg)
@pytest.mark.parametrize("kid", ["own", None])
def test_d09_a_public_key_is_no_secret(alg, key, kid):
    kid = key.kid if kid else None
    jwk = dump(key.jwk)
    secrets = [key.public_pem, key.public_pem.strip(), key.public_der, jwk, jwks_of([key]), b"", b"\x00"]
    for secret in secrets:
        token = sign_hmac(access_claims(), secret, alg, kid)
        assert refusal(token, keyset_of(key), by=ANY) is Reason.ALGORITHM
        lax = issuer(algorithms=frozenset({alg, *ASYMMETRIC}))
        assert refusal(token, keyset_of(key), by=lax) is Reason.ALGORITHM


def test_d09_symmetric_keys_do_not_exist():
    with pytest.raises(KeysUnavailableError, match="symmetric"):
        jwks.parse(jwks_of([{"kty": "oct", "kid": "k1", "k": b64(b"secret"), "alg": "HS256"}]))


def test_d09_the_network_guard_of_these_tests_works():
    with network_denied(), pytest.raises(AssertionError, match="network or process used"):
        socket.create_connection(("127.0.0.1", 9), timeout=0.1)


EVIL = make_key("RS256", kid="evil")
EMBEDDED = (
    {"jwk": EVIL.jwk},
    {"jwk": EVIL.jwk_with(kid="k1")},
    {"jku": "http://169.254.169.254/latest/meta-data"},
    {"jku": "https://evil.example.com/jwks.json"},
    {"x5u": "http://127.0.0.1:9/cert.pem"},
    {"x5c": [b64(EVIL.public_der)]},
    {"x5t": "AAAA", "x5t#S256": "AAAA"},
    {"jku": ["file:///etc/passwd"], "x5u": 5, "jwk": "text", "x5c": {}},
)


@pytest.mark.parametrize("embedded", EMBEDDED, ids="-".join)
def test_d09_embedded_keys_are_never_used_and_nothing_is_fetched(embedded):
    keyset = keyset_of(RS)
    with network_denied():
        for kid in ("k1", "evil", None):
            forged = sign(access_claims(), EVIL, {**embedded, "kid": kid})
            assert refusal(forged, keyset, by=ANY) in {Reason.BAD_SIGNATURE, Reason.UNKNOWN_KEY}
        assert refusal(sign(access_claims(), RS, embedded), keyset, by=ANY) is None


@pytest.mark.parametrize("extra", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"crit": []}])
def test_d09_extensions_are_refused_even_with_a_right_signature(extra):
    assert refusal(sign(access_claims(), RS, extra), keyset_of(RS)) is Reason.TOKEN_MALFORMED


def test_d09_an_unencoded_payload_is_refused():
    header = b64(dump({**HEADER, "b64": False, "crit": ["b64"]}))
    signing_input = header.encode() + b"." + dump(access_claims())
    token = f"{header}.{b64(dump(access_claims()))}.{b64(signature_of(signing_input, RS))}"
    assert refusal(token, keyset_of(RS)) is Reason.TOKEN_MALFORMED
    detached = f"{header}..{b64(signature_of(signing_input, RS))}"
    assert refusal(detached, keyset_of(RS)) is Reason.TOKEN_MALFORMED


def test_d09_nested_and_encrypted_tokens_are_refused():
    inner = sign(access_claims(), RS)
    nested = [
        sign(inner.encode(), RS, {"cty": "JWT"}),
        sign(inner.encode(), RS),
        sign(access_claims(), RS, {"cty": "jwt"}),
        sign(dump(inner), RS),
    ]
    encrypted = [
        raw_token({"alg": "RSA-OAEP", "enc": "A256GCM"}, b"key", b"iv") + ".Y2lwaGVy.dGFn",
        raw_token({"alg": "dir", "enc": "A128CBC-HS256"}, "", b"iv") + ".Y2lwaGVy.dGFn",
        sign(access_claims(), RS, {"enc": "A256GCM"}),
        sign(access_claims(), RS, {"zip": "DEF"}),
    ]
    for token in nested + encrypted:
        assert refusal(token, keyset_of(RS)) is Reason.TOKEN_MALFORMED


def test_d09_the_json_serialisation_is_no_token():
    header, payload, signature = sign(access_claims(), RS).split(".")
    flattened = json.dumps({"protected": header, "payload": payload, "signature": signature})
    general = json.dumps({"payload": payload, "signatures": [{"protected": header, "signature": signature}]})
    for token in (flattened, general, b64(flattened.encode()), f"[{flattened}]"):
        assert refusal(token, keyset_of(RS)) is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "ES256K"])
@pytest.mark.parametrize("curve_of", ["ES256", "ES384", "ES512"])
def test_d09_the_curve_must_fit(alg, curve_of):
    key = make_key(curve_of, named_alg=False)
    for kid in ("k1", None):
        token = sign(access_claims(), key, {"kid": kid}, alg)
        assert (refusal(token, keyset_of(key), by=ANY) is None) is (alg == curve_of)


def test_d09_a_curve_that_we_do_not_know_is_no_key():
    with pytest.raises(KeysUnavailableError, match="unknown crv 'secp256k1'"):
        keyset_of(make_key("ES256K", named_alg=False))


@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512"])
def test_d09_an_ecdsa_signature_has_one_form(alg):
    key = make_key(alg)
    good = sign(access_claims(), key)
    signing_input, _, signature = good.rpartition(".")
    size = (key.private.curve.key_size + 7) // 8
    raw = signature_of(signing_input.encode(), key)
    r, s = raw[:size], raw[size:]
    order = {"ES256": 32, "ES384": 48, "ES512": 66}[alg]
    zero, full = bytes(size), b"\xff" * size
    digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}[alg]
    wrong = [
        key.private.sign(signing_input.encode(), ec.ECDSA(digest)),  # DER
        zero + zero,  # psychic signature, CVE-2022-21449
        zero + s,
        r + zero,
        full + full,
        s + r,
        r,
        r + s + b"\x00",
        b"\x00" + r + b"\x00" + s,
        r + s + r + s,
        b"\x01".rjust(size, b"\x00") * 2,
        b"",
    ]
    assert size == order
    assert refusal(good, keyset_of(key), by=ANY) is None
    for forged in wrong:
        assert refusal(f"{signing_input}.{b64(forged)}", keyset_of(key), by=ANY) is Reason.BAD_SIGNATURE
    assert signature


def test_d09_signature_values_beyond_the_group_order_are_refused():
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    signing_input, _, _ = sign(access_claims(), ES).rpartition(".")
    raw = signature_of(signing_input.encode(), ES)
    r, s = (int.from_bytes(half, "big") for half in (raw[:32], raw[32:]))
    for pair in ((order, s), (r, order), (order, order), ((r + order) % 2**256, s), (order - 1, order - 1)):
        forged = b64(b"".join(value.to_bytes(32, "big") for value in pair))
        assert refusal(f"{signing_input}.{forged}", keyset_of(ES), by=ANY) is Reason.BAD_SIGNATURE


def test_d09_an_ed25519_key_of_small_order_is_no_key():
    identity, zero = b"\x01" + bytes(31), bytes(32)
    for point in (zero, identity):
        with pytest.raises(KeysUnavailableError, match="small order"):
            jwks.parse(jwks_of([{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": b64(point)}]))
    signing_input, _, _ = sign(access_claims(), ED).rpartition(".")
    for forged in (bytes(64), identity + bytes(32), b"\xff" * 64, os.urandom(64), bytes(63), b""):
        assert refusal(f"{signing_input}.{b64(forged)}", keyset_of(ED), by=ANY) is Reason.BAD_SIGNATURE


def test_d09_an_ed25519_signature_with_a_large_s_is_refused():
    order = 2**252 + 27742317777372353535851937790883648493
    signing_input, _, _ = sign(access_claims(), ED).rpartition(".")
    raw = signature_of(signing_input.encode(), ED)
    large = (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")
    assert refusal(f"{signing_input}.{b64(raw[:32] + large)}", keyset_of(ED), by=ANY) is Reason.BAD_SIGNATURE


def test_d09_rsa_signatures_are_checked_to_the_last_byte():
    signing_input, _, _ = sign(access_claims(), RS).rpartition(".")
    raw = signature_of(signing_input.encode(), RS)
    modulus = RS.public.public_numbers().n
    value = int.from_bytes(raw, "big")
    wrong = [raw[:-1], raw[1:], raw + b"\x00", b"\x00" + raw, raw[::-1], bytes(256), b"\x01".rjust(256, b"\x00"), b""]
    wrong += [(modulus - value).to_bytes(256, "big"), (modulus - 1).to_bytes(256, "big"), os.urandom(256)]
    if value + modulus < 2**2048:
        wrong.append((value + modulus).to_bytes(256, "big"))
    wrong += [signature_of(signing_input.encode(), RS, alg) for alg in ("RS384", "RS512", "PS256")]
    for forged in wrong:
        assert refusal(f"{signing_input}.{b64(forged)}", keyset_of(RS), by=ANY) is Reason.BAD_SIGNATURE


def test_d09_weak_rsa_keys_are_no_keys():
    with pytest.raises(KeysUnavailableError, match="exponent"):
        jwks.parse(jwks_of([RS.jwk_with(e=b64_int(1))]))
    with pytest.raises(KeysUnavailableError, match="1024 bits"):
        jwks.parse(jwks_of([make_key("RS256", bits=1024)]))


PACKAGE = Path(authz.__file__).parent


def test_d09_no_code_of_ours_lets_a_token_choose_its_algorithm():
    """The server knows PyJWT's algorithm objects only; where PyJWT decodes, `algorithms` is a literal, and ES256."""
    decoders, literals = set(), []
    for file in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
        imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        imported |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        if {name for name in imported if name and name.split(".")[0] == "jwt"} - {"jwt.algorithms"}:
            decoders.add(file.relative_to(PACKAGE).parts[0])
            calls = [node for node in nodes if isinstance(node, ast.Call)]
            literals += [word.value for call in calls for word in call.keywords if word.arg == "algorithms"]
    assert decoders == {"airflow", "login"}  # a break-glass token is signed there
    assert "jwt.decode" not in (PACKAGE / "login" / "break_glass.py").read_text("utf-8")
    assert all(ast.literal_eval(literal) == ["ES256"] for literal in literals)
