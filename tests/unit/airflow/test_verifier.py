"""The verifier inside Airflow: what the gate mints is accepted, and nothing else."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from authz.airflow import verifier
from authz.airflow.verifier import Asserted, Expected, KeySetError, Refusal
from authz.core import assertion
from authz.core.decision.decide import evaluate
from authz.core.model import Claims, Identity, Rights
from tests.support.factories.policies import load, request

NOW = 1_800_000_000
EXPECTED = Expected(issuer="https://gate.test", audience="airflow", clock_skew=5)
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def jwk(key=KEY, **changes):
    entry = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**entry, "kid": "k1", "alg": "ES256", "use": "sig", **changes}


def key_set(*entries):
    return json.dumps({"keys": list(entries)}).encode()


KEYS = verifier.parse_keys(key_set(jwk()))


def claims(**changes):
    body = {
        "iss": "https://gate.test",
        "aud": "airflow",
        "sub": "u-1",
        "idp": "https://idp.test",
        "jti": "j-1",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 60,
        "name": "Ann Example",
        "preferred_username": "ann",
        "client_id": "web",
        "roles": ["readers", "viewer"],
        "airflow_role": "viewer",
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not ...}


def mint(body=None, *, key=KEY, **header):
    fields = {"kid": "k1", "typ": verifier.ASSERTION_TYPE, **header}
    return jwt.PyJWS().encode(json.dumps(body or claims()).encode(), key, algorithm="ES256", headers=fields)


def check(token, now=NOW):
    return verifier.verify(token, KEYS, EXPECTED, now)


def segment(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed_bytes(payload, header=None):
    return jwt.PyJWS().encode(
        payload, KEY, algorithm="ES256", headers=header or {"kid": "k1", "typ": verifier.ASSERTION_TYPE}
    )


def test_what_the_gate_mints_is_accepted():
    assert check(mint()) == Asserted(
        subject="u-1",
        idp="https://idp.test",
        username="ann",
        full_name="Ann Example",
        client_id="web",
        roles=frozenset({"readers", "viewer"}),
        airflow_role="viewer",
        agent=False,
    )


def test_a_bare_assertion_has_the_subject_as_name_and_no_role():
    bare = claims(name=..., preferred_username=..., client_id=..., airflow_role=..., agent=True)
    who = check(mint(bare))
    assert (who.username, who.full_name, who.client_id, who.airflow_role, who.agent) == ("u-1", "", "", "", True)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"iss": "https://gate.test/"}, Refusal.ISSUER),
        ({"iss": ...}, Refusal.ISSUER),
        ({"iss": ["https://gate.test"]}, Refusal.ISSUER),
        ({"aud": "other-airflow"}, Refusal.AUDIENCE),
        ({"aud": ["airflow", "other-airflow"]}, Refusal.AUDIENCE),
        ({"aud": ...}, Refusal.AUDIENCE),
        ({"exp": NOW + 61}, Refusal.LIFETIME),
        ({"exp": ...}, Refusal.CLAIM),
        ({"exp": str(NOW + 60)}, Refusal.CLAIM),
        ({"exp": NOW + 60.5}, Refusal.CLAIM),
        ({"iat": ...}, Refusal.CLAIM),
        ({"iat": True}, Refusal.CLAIM),
        ({"nbf": ...}, Refusal.CLAIM),
        ({"nbf": NOW + 6}, Refusal.NOT_YET_VALID),
        ({"iat": NOW + 6}, Refusal.NOT_YET_VALID),
        ({"sub": ""}, Refusal.CLAIM),
        ({"sub": 7}, Refusal.CLAIM),
        ({"sub": ...}, Refusal.CLAIM),
        ({"idp": ...}, Refusal.CLAIM),
        ({"jti": ...}, Refusal.CLAIM),
        ({"roles": ...}, Refusal.CLAIM),
        ({"roles": "admin"}, Refusal.CLAIM),
        ({"roles": [1]}, Refusal.CLAIM),
        ({"name": None}, Refusal.CLAIM),
        ({"preferred_username": ["ann"]}, Refusal.CLAIM),
        ({"client_id": 1}, Refusal.CLAIM),
        ({"airflow_role": "Admin"}, Refusal.CLAIM),
        ({"airflow_role": ["admin"]}, Refusal.CLAIM),
        ({"airflow_role": None}, Refusal.CLAIM),
        ({"agent": False}, Refusal.CLAIM),
        ({"agent": 1}, Refusal.CLAIM),
        ({"dags": "*"}, Refusal.CLAIM),
        ({"dags": None}, Refusal.CLAIM),
        ({"dags": {"*": True}}, Refusal.CLAIM),
        ({"dags": ["*", 1]}, Refusal.CLAIM),
        ({"dags": [""]}, Refusal.CLAIM),
        ({"dags": ["x" * 513]}, Refusal.CLAIM),
        ({"dags": ["x"] * 2049}, Refusal.CLAIM),
        ({"dags": ["*"], "dags_denied": "finance"}, Refusal.CLAIM),
        ({"dags": ["*"], "dags_denied": None}, Refusal.CLAIM),
        ({"dags": ["*"], "dags_denied": [None]}, Refusal.CLAIM),
        ({"dags": ["*"], "dags_denied": [""]}, Refusal.CLAIM),
        ({"dags_ref": ""}, Refusal.CLAIM),
        ({"dags_ref": "A" * 42}, Refusal.CLAIM),
        ({"dags_ref": "A" * 44}, Refusal.CLAIM),
        ({"dags_ref": "A" * 42 + "/"}, Refusal.CLAIM),
        ({"dags_ref": "A" * 43 + "\n"}, Refusal.CLAIM),
        ({"dags_ref": ["A" * 43]}, Refusal.CLAIM),
        ({"dags_ref": None}, Refusal.CLAIM),
        ({"dags_ref": "A" * 43, "dags": ["*"]}, Refusal.CLAIM),
        ({"dags_ref": "A" * 43, "dags_denied": ["x"]}, Refusal.CLAIM),
        ({"menu": "DAGS"}, Refusal.CLAIM),
        ({"menu": [1]}, Refusal.CLAIM),
        ({"menu": None}, Refusal.CLAIM),
    ],
)
def test_claims_that_the_gate_never_mints_are_refused(changes, refusal):
    assert check(mint(claims(**changes))) is refusal


def test_what_an_assertion_does_not_say_is_not_granted():
    who = check(mint())
    assert (who.dags.allowed, who.dags.denied, who.menu) == ((), (), frozenset())
    assert not who.dags.permits("any")
    denied_only = check(mint(claims(dags_denied=["finance"])))
    assert denied_only.dags.narrow(["sales", "finance"]) == set()


def test_a_digest_alone_grants_no_dag():
    who = check(mint(claims(dags_ref="A" * 43)))
    assert who.dags_ref == "A" * 43
    assert not who.dags.permits("any")
    assert check(mint()).dags_ref == ""


def test_dags_and_menu_are_what_the_gate_says():
    who = check(mint(claims(dags=["sales_*", "x"], dags_denied=["sales_secret"], menu=["DAGS", "NEW"])))
    assert who.dags.narrow(["sales_a", "sales_secret", "x", "xy", "finance"]) == {"sales_a", "x"}
    assert who.menu == {"DAGS", "NEW"}


def test_a_name_that_airflow_cannot_store_is_replaced_by_the_id():
    assert check(mint(claims(preferred_username="a" * 500))).shown_name == "a" * 500
    assert check(mint(claims(preferred_username="a" * 501))).shown_name == "https://idp.test#u-1"


def test_the_clock_may_differ_by_the_skew_and_no_more():
    token = mint()
    assert isinstance(check(token, NOW + 64.9), Asserted)
    assert check(token, NOW + 65) is Refusal.EXPIRED
    assert isinstance(check(token, NOW - 5), Asserted)
    assert check(token, NOW - 5.1) is Refusal.NOT_YET_VALID


def test_a_forged_signature_is_refused():
    assert check(mint(key=OTHER)) is Refusal.SIGNATURE
    head, body, signature = mint().split(".")
    forged = segment({**claims(), "airflow_role": "admin"})
    assert check(f"{head}.{forged}.{signature}") is Refusal.SIGNATURE
    assert check(f"{head}.{body}.") in {Refusal.SIGNATURE, Refusal.MALFORMED}


def test_algorithms_other_than_es256_are_refused():
    public = KEY.public_key().public_bytes_raw() if hasattr(KEY.public_key(), "public_bytes_raw") else b"k" * 32
    typ = verifier.ASSERTION_TYPE
    for alg in ("none", "None", "NONE", "HS256", "ES384", "RS256", "EdDSA", ""):
        signing = segment({"alg": alg, "kid": "k1", "typ": typ}) + "." + segment(claims())
        tag = hmac.digest(public, signing.encode(), hashlib.sha256)
        assert check(f"{signing}.{segment(tag)}") is Refusal.ALGORITHM
        assert check(f"{signing}.") is Refusal.ALGORITHM


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "application/authz-assertion+jwt", "AUTHZ-ASSERTION+JWT", None])
def test_other_types_of_token_are_refused(typ):
    assert check(mint(typ=typ)) is Refusal.TYPE


@pytest.mark.parametrize(
    "extra", [{"crit": ["exp"]}, {"jku": "https://evil.test"}, {"jwk": jwk(OTHER)}, {"b64": False}]
)
def test_header_members_that_the_gate_never_sends_are_refused(extra):
    header = {"alg": "ES256", "kid": "k1", "typ": verifier.ASSERTION_TYPE, **extra}
    token = segment(header) + "." + mint().partition(".")[2]
    assert check(token) is Refusal.MALFORMED


def test_an_unknown_or_missing_kid_is_refused():
    assert check(mint(kid="k2")) is Refusal.UNKNOWN_KEY
    assert check(mint(kid="")) is Refusal.UNKNOWN_KEY
    token = signed_bytes(json.dumps(claims()).encode(), {"typ": verifier.ASSERTION_TYPE})
    assert check(token) is Refusal.UNKNOWN_KEY


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d.e",
        "x" * (verifier.MAX_ASSERTION_BYTES + 1),
        segment(b"[" * 9000) + ".e30.c2ln",
        segment(b'{"alg":' + b"1" * 6000 + b"}") + ".e30.c2ln",
        segment([]) + ".e30.c2ln",
        segment({"alg": "ES256", "typ": verifier.ASSERTION_TYPE, "kid": 1}) + ".e30.c2ln",
        "ÿ.ÿ.ÿ",
    ],
)
def test_what_is_no_token_is_malformed(token):
    assert check(token) is Refusal.MALFORMED


@pytest.mark.parametrize("payload", [b"[]", b"not json", b"\xff", b"[" * 9000, b'"text"'])
def test_a_signed_payload_that_is_no_object_is_malformed(payload):
    assert check(signed_bytes(payload)) is Refusal.MALFORMED


def test_a_signature_that_is_not_base64url_is_malformed():
    head, body, _ = mint().split(".")
    assert check(f"{head}.{body}.a") is Refusal.MALFORMED


def test_the_user_id_names_issuer_and_subject_and_fits_airflows_columns():
    who = Asserted(subject="u-1", idp="https://idp.test", username="ann")
    assert who.user_id == "https://idp.test#u-1"
    longer = Asserted(subject="u" * 200, idp="https://idp.test", username="ann")
    assert longer.user_id.startswith("sha256:")
    assert len(longer.user_id) <= verifier.MAX_ID_CHARS
    assert longer.user_id != Asserted(subject="u" * 201, idp="https://idp.test", username="ann").user_id


def rsa_jwk():
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": "rsa"}


def p384_jwk():
    return {**jwk(ec.generate_private_key(ec.SECP384R1())), "kid": "p384"}


def private_jwk():
    return {**ECAlgorithm.to_jwk(OTHER, as_dict=True), "kid": "private"}


@pytest.mark.parametrize(
    "entry",
    [
        "text",
        jwk(OTHER, kid=""),
        jwk(OTHER, kid=1),
        jwk(OTHER, kid="enc", use="enc"),
        jwk(OTHER, kid="alg", alg="ES384"),
        jwk(OTHER, kid="point", x=jwk()["y"]),
        jwk(OTHER, kid="short", x="AA"),
        jwk(OTHER, kid="type", x=1),
        {"kty": "oct", "k": "AAAA", "kid": "oct"},
        rsa_jwk(),
        p384_jwk(),
        private_jwk(),
    ],
)
def test_unusable_keys_are_left_out(entry):
    assert set(verifier.parse_keys(key_set(jwk(), entry))) == {"k1"}
    with pytest.raises(KeySetError, match="no P-256"):
        verifier.parse_keys(key_set(entry))


def test_a_doubled_kid_names_no_key():
    good = jwk(OTHER, kid="k2")
    assert set(verifier.parse_keys(key_set(jwk(), jwk(OTHER), jwk(), good))) == {"k2"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no list"),
        (b'{"keys": {}}', "no list"),
        (b'{"keys": []}', "no P-256"),
        (key_set(*([jwk()] * 33)), "more than 32"),
    ],
)
def test_what_is_no_key_set_is_an_error(data, message):
    with pytest.raises(KeySetError, match=message):
        verifier.parse_keys(data)


def identity(**changes):
    token = Claims(
        issuer_name="corp",
        issuer="https://idp.test",
        subject="u-1",
        client_id="web",
        username="ann",
        full_name="Ann Example",
        groups=frozenset({"g"}),
        audiences=frozenset({"airflow"}),
        expires_at=NOW + 600,
        issued_at=NOW,
        not_before=None,
    )
    return Identity(**{"claims": token, "roles": frozenset({"viewer"}), "airflow_role": "viewer", **changes})


@pytest.mark.parametrize(
    "who", [identity(), identity(airflow_role="", roles=frozenset()), identity(agent=True, airflow_role="admin")]
)
def test_what_the_server_mints_is_what_airflow_reads(who):
    key = assertion.load_signing_key(assertion.generate_pem())
    keys = verifier.parse_keys(json.dumps(assertion.public_jwks([key])).encode())
    rights = Rights(None, who.airflow_role, None)
    token = assertion.mint(
        who, rights, audience="airflow", issuer="https://gate.test", now=NOW, lifetime=60, jti="j", key=key
    )
    assert verifier.verify(token, keys, EXPECTED, NOW) == Asserted(
        subject="u-1",
        idp="https://idp.test",
        username="ann",
        full_name="Ann Example",
        client_id="web",
        roles=who.roles,
        airflow_role=who.airflow_role,
        agent=who.agent,
    )
    assert (assertion.HEADER, assertion.TYP) == (verifier.ASSERTION_HEADER, verifier.ASSERTION_TYPE)


LONGEST = [f"{'a' * 240}{number:03}*" for number in range(33)]
SHORTEST = [chr(0x61 + number % 26) + chr(0x61 + number // 26 % 26) + "*" for number in range(600)]
MOST_STARS = ["*".join("a" * 120) + "*" + chr(0x61 + number) for number in range(20)]


@pytest.mark.parametrize("texts", [["sales_*", "hr"], LONGEST, SHORTEST, MOST_STARS, ["*"]])
def test_airflow_reads_and_applies_the_largest_dag_grants_that_the_gate_makes(texts):
    """The bounds of the two sides: nothing that the edge may grant is too much for Airflow to read."""
    names = ", ".join(f'"{text}"' for text in sorted(set(texts)))
    rules = f"{{id: x, plane: inbound, roles: [viewer], operations: [dags:read], dags: [{names}]}}"
    decision = evaluate(request("GET", f"/api/v2/dags/{texts[0].replace('*', '') or 'x'}"), identity(), load(rules))
    grant = decision.dags
    assert grant.allowed == tuple(sorted(set(texts)))
    key = assertion.load_signing_key(assertion.generate_pem())
    keys = verifier.parse_keys(json.dumps(assertion.public_jwks([key])).encode())
    rights = Rights(grant, "viewer", tuple(sorted(load().catalogue.menu)))
    token = assertion.mint(
        identity(), rights, audience="airflow", issuer="https://gate.test", now=NOW, lifetime=60, jti="j", key=key
    )
    read = verifier.verify(token, keys, EXPECTED, NOW)
    assert isinstance(read, Asserted)
    assert (read.dags.allowed, read.dags.denied, read.menu) == (grant.allowed, (), frozenset(rights.menu))
    assert read.dags.permits(decision.dag_id)
