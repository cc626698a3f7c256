"""DPoP proofs: what a good one says, and every way in which one is none (RFC 9449 §4.3)."""

import pytest

from authz.core.errors import RequestError, TokenError
from authz.core.model import Level, Run
from authz.core.reasons import Reason
from authz.core.runs.proof import MAX_PROOF_BYTES, WINDOW_S, check_proof, parse_proof
from tests.support.factories.proofs import CLAIM, URL, proof_claims, prove, public_jwk, run_token, task_key, thumbprint
from tests.support.factories.tokens import NOW, b64, dump, make_key, raw_token, sign

KEY = task_key()
TOKEN = run_token(KEY)


def refused(line):
    with pytest.raises(TokenError) as caught:
        parse_proof(line)
    assert caught.value.reason is Reason.PROOF_INVALID
    return caught.value.detail


def check(proof=None, **changes):
    settings = {
        "token": TOKEN,
        "thumbprint": thumbprint(KEY),
        "method": "GET",
        "authority": "orders.internal:8090",
        "path": "/v1/orders",
        "now": NOW,
    }
    check_proof(parse_proof(prove(KEY, TOKEN)) if proof is None else proof, **{**settings, **changes})


def verdict(proof=None, **changes):
    try:
        check(proof, **changes)
    except TokenError as error:
        return error.reason
    return None


def of(**changes):
    return parse_proof(prove(KEY, TOKEN, **changes))


def test_a_proof_says_what_it_is_for():
    proof = of(htu="HTTP://Orders.Internal/v1/%6Frders", htm="POST")
    assert (proof.thumbprint, proof.method, proof.issued_at) == (thumbprint(KEY), "POST", NOW)
    assert (proof.host, proof.port, proof.path) == ("orders.internal", 80, "/v1/orders")
    assert proof.run is None
    assert proof.ends == NOW + WINDOW_S + 1


def test_it_shows_neither_its_token_nor_itself():
    proof = of(jti="only-once")
    assert proof.token_hash not in repr(proof)
    assert repr(proof.digest) not in repr(proof)


def test_what_the_caller_says_of_its_run_is_asserted():
    assert of(airflow=CLAIM).run == Run("sales_daily", "manual__1", "extract.a", -1, 1, Level.ASSERTED)
    for wrong in ({}, [], "x", {**CLAIM, "x": 1}):
        assert "airflow is not" in refused(prove(KEY, TOKEN, airflow=wrong))
    assert "dag_id" in refused(prove(KEY, TOKEN, airflow={**CLAIM, "dag_id": ""}))
    null = dump(proof_claims(TOKEN))[:-1] + b',"airflow":null}'
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": public_jwk(KEY)}
    assert "airflow is not" in refused(sign(null, KEY, dump(header)).encode())


def test_one_key_and_one_jti_are_one_proof():
    first, again, other = of(jti="a"), of(jti="a", htu="http://elsewhere.test/"), of(jti="b")
    assert first.digest == again.digest != other.digest
    assert len(first.digest) == 16
    stranger = parse_proof(prove(task_key("b"), TOKEN, jti="a"))
    assert stranger.digest != first.digest


def test_a_header_that_is_too_long_to_be_remembered_is_read_all_the_same():
    assert of(headers={"kid": "k" * 255, "note": "n" * 400}).thumbprint == thumbprint(KEY)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"..",
        b"a.b",
        b"a.b.c.d",
        b"." * 1000,
        b"a" * (MAX_PROOF_BYTES + 1),
        prove(KEY, TOKEN) + b",",
        prove(KEY, TOKEN) + b"=",
        b" " + prove(KEY, TOKEN),
        prove(KEY, TOKEN).replace(b".", b"\xff.", 1),
        prove(KEY, TOKEN)[:-1],
        b"DPoP " + prove(KEY, TOKEN),
    ],
    ids=lambda _: "line",
)
def test_anything_else_than_three_parts_of_base64url_is_refused(line):
    assert refused(line)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"typ": None}, "typ"),
        ({"typ": "JWT"}, "typ"),
        ({"typ": "DPoP+JWT"}, "typ"),
        ({"typ": "airflow-run+jwt"}, "typ"),
        ({"typ": 5}, "typ"),
        ({"alg": None}, "alg"),
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "ES384"}, "alg"),
        ({"alg": "RS256"}, "alg"),
        ({"alg": "es256"}, "alg"),
        ({"crit": ["jwk"]}, "crit"),
        ({"b64": False}, "b64"),
        ({"zip": "DEF"}, "zip"),
        ({"jwk": None}, "jwk"),
        ({"jwk": "text"}, "jwk"),
        ({"jwk": []}, "jwk"),
        ({"jwk": {}}, "jwk"),
        ({"jwk": public_jwk(KEY) | {"d": "AAAA"}}, "private"),
        ({"jwk": public_jwk(KEY) | {"k": "AAAA"}}, "private"),
        ({"jwk": public_jwk(KEY) | {"kty": "oct"}}, "jwk"),
        ({"jwk": public_jwk(KEY) | {"crv": "P-384"}}, "octets"),
        ({"jwk": public_jwk(KEY) | {"crv": "secp256k1"}}, "crv"),
        ({"jwk": public_jwk(KEY) | {"x": b64(bytes(32))}}, "curve"),
        ({"jwk": public_jwk(KEY) | {"x": public_jwk(KEY)["x"] + "A"}}, "octets"),
        ({"jwk": public_jwk(KEY) | {"use": "enc"}}, "use"),
        ({"jwk": public_jwk(KEY) | {"alg": "ES384"}}, "alg"),
        ({"jwk": public_jwk(KEY) | {"key_ops": ["sign"]}}, "key_ops"),
        ({"jwk": make_key("RS256", named_alg=False).jwk}, "jwk"),
        ({"jwk": make_key("EdDSA", named_alg=False).jwk}, "jwk"),
        ({"jwk": make_key("ES384", named_alg=False).jwk}, "P-256"),
        ({"jwk": public_jwk(task_key("other"))}, "signature"),
    ],
)
def test_the_header_of_a_proof(headers, why):
    assert why in refused(prove(KEY, TOKEN, headers=headers))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 1}, "jti"),
        ({"jti": "j" * 257}, "jti"),
        ({"htm": None}, "htm"),
        ({"htm": ["GET"]}, "htm"),
        ({"htm": "G" * 33}, "htm"),
        ({"ath": None}, "ath"),
        ({"ath": 1}, "ath"),
        ({"ath": "A" * 44}, "ath"),
        ({"iat": None}, "iat"),
        ({"iat": float(NOW)}, "iat"),
        ({"iat": str(NOW)}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": -1}, "iat"),
        ({"iat": 10**12}, "iat"),
        ({"exp": NOW + 30}, "exp"),
        ({"nbf": NOW}, "nbf"),
        ({"htu": None}, "htu"),
        ({"htu": URL + "?x"}, "htu"),
        ({"htu": URL + "#x"}, "htu"),
        ({"htu": "/v1/orders"}, "htu"),
        ({"htu": "ftp://orders.internal/"}, "htu"),
        ({"htu": "http://me@orders.internal/"}, "host"),
        ({"htu": "http://orders.internal./"}, "host"),
        ({"htu": "http:///v1/orders"}, "host"),
        ({"htu": "http://orders.internal/a%2Fb"}, "encoded slash"),
        ({"htu": "http://orders.internal/../a"}, "dot segment"),
    ],
)
def test_the_claims_of_a_proof(changes, why):
    assert why in refused(prove(KEY, TOKEN, **changes))


def test_a_signature_of_another_key_or_over_other_parts_is_refused():
    assert "signature" in refused(prove(KEY, TOKEN, by=task_key("other")))
    good = prove(KEY, TOKEN)
    head, body, signature = good.split(b".")
    assert "signature" in refused(b".".join([head, prove(KEY, TOKEN, htm="PUT").split(b".")[1], signature]))
    assert "signature" in refused(raw_token(head.decode(), body.decode(), bytes(64)).encode())
    assert "signature" in refused(raw_token(head.decode(), body.decode(), b"").encode())


def test_a_proof_is_for_one_call():
    assert verdict() is None
    assert verdict(method="POST") is Reason.PROOF_MISMATCH
    assert verdict(authority="orders.internal") is Reason.PROOF_MISMATCH
    assert verdict(authority="other.internal:8090") is Reason.PROOF_MISMATCH
    assert verdict(path="/v1/orders/") is Reason.PROOF_MISMATCH
    assert verdict(token=run_token(KEY, jti="r-2")) is Reason.PROOF_MISMATCH
    assert verdict(thumbprint=thumbprint(task_key("other"))) is Reason.PROOF_MISMATCH


def test_a_token_that_is_bound_to_no_key_takes_any():
    assert verdict(thumbprint=None) is None


def test_no_proof_is_for_a_tunnel():
    assert verdict(of(htm="CONNECT"), method="CONNECT") is Reason.PROOF_MISMATCH


@pytest.mark.parametrize(
    ("htu", "authority", "same"),
    [
        ("http://a.test/x", "a.test", True),
        ("http://a.test/x", "A.Test:80", True),
        ("http://a.test:80/x", "a.test", True),
        ("https://a.test/x", "a.test:443", True),
        ("https://a.test:443/x", "a.test", True),
        ("https://a.test/x", "a.test:80", False),
        ("http://a.test/x", "a.test:443", False),
        ("http://a.test:8080/x", "a.test:80", False),
        ("http://[::1]:8090/x", "[::1]:8090", True),
        ("http://[::1]:8090/x", "127.0.0.1:8090", False),
    ],
)
def test_default_ports_are_equal(htu, authority, same):
    assert (verdict(of(htu=htu), authority=authority, path="/x") is None) is same


def test_a_url_without_a_path_is_that_of_the_root():
    assert verdict(of(htu="http://a.test"), authority="a.test", path="/") is None


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (0, None),
        (WINDOW_S, None),
        (-WINDOW_S, None),
        (WINDOW_S + 0.01, Reason.PROOF_EXPIRED),
        (-WINDOW_S - 0.01, Reason.PROOF_EXPIRED),
        (float("nan"), Reason.PROOF_EXPIRED),
        (float("inf"), Reason.PROOF_EXPIRED),
    ],
)
def test_a_proof_is_for_its_minute(age, reason):
    assert verdict(now=NOW + age) is reason


def test_a_proof_ends_after_it_is_last_accepted():
    proof = of()
    assert verdict(proof, now=NOW + WINDOW_S) is None
    assert proof.ends > NOW + WINDOW_S


def test_an_authority_without_canonical_form_is_a_bad_request():
    with pytest.raises(RequestError):
        check(authority="a.test, b.test")


def test_errors_repeat_nothing_of_a_proof():
    for line in (prove(KEY, TOKEN, jti="secret-jti", exp=1), prove(KEY, TOKEN, htu="http://secret@x/")):
        assert "secret" not in refused(line)
