import json
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from authz.airflow import verifier
from authz.core import assertion
from authz.core.jose import jwks
from authz.core.jose.primitives import ALGORITHMS
from authz.core.model import Claims, DagGrant, Identity, Level, Rights, Run
from authz.core.policy import dags
from tests.support.factories.tokens import NOW, dump, make_key, private_key, unb64

PEM = assertion.generate_pem()
KEY = assertion.load_signing_key(PEM)
CLAIMS = Claims(
    issuer_name="corp",
    issuer="https://idp.example.com",
    subject="alice",
    client_id="cli",
    username="alice.a",
    full_name="Ålice A.",
    groups=frozenset({"g"}),
    audiences=frozenset({"airflow"}),
    expires_at=NOW + 540,
    issued_at=NOW,
    not_before=None,
)
ALICE = Identity(claims=CLAIMS, roles=frozenset({"viewer", "op", "admin"}), airflow_role="op")


def mint(identity=ALICE, rights=None, **changes):
    settings = {
        "audience": "airflow-prod",
        "issuer": "https://gate.example.com",
        "now": NOW,
        "lifetime": 60,
        "jti": "j-1",
        "key": KEY,
    }
    said = Rights(None, identity.airflow_role, None) if rights is None else rights
    return assertion.mint(identity, said, **{**settings, **changes})


def decoded(token, part=1):
    return json.loads(unb64(token.split(".")[part]))


def pem_of(private, encryption=None):
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_an_assertion_says_who_asks():
    token = mint()
    assert decoded(token, 0) == {"alg": "ES256", "kid": KEY.kid, "typ": "authz-assertion+jwt"}
    assert decoded(token) == {
        "iss": "https://gate.example.com",
        "aud": "airflow-prod",
        "sub": "alice",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 60,
        "jti": "j-1",
        "name": "Ålice A.",
        "preferred_username": "alice.a",
        "idp": "https://idp.example.com",
        "client_id": "cli",
        "roles": ["admin", "op", "viewer"],
        "airflow_role": "op",
    }


def test_only_agents_are_marked_as_agents():
    assert decoded(mint(Identity(claims=CLAIMS, roles=frozenset(), agent=True)))["agent"] is True
    plain = decoded(mint(Identity(claims=CLAIMS, roles=frozenset())))
    assert "agent" not in plain
    assert "airflow_role" not in plain
    assert plain["roles"] == []


def test_what_it_says_of_dags_and_of_the_menu():
    everything = decoded(mint(rights=Rights(DagGrant(("*",)), "op", ("DAGS", "POOLS"))))
    assert (everything["dags"], everything["menu"], everything["airflow_role"]) == (["*"], ["DAGS", "POOLS"], "op")
    assert "dags_denied" not in everything
    some = decoded(mint(rights=Rights(DagGrant(("sales_*", "x"), ("*_secret",)), "", ())))
    assert (some["dags"], some["dags_denied"], some["menu"]) == (["sales_*", "x"], ["*_secret"], [])
    assert "airflow_role" not in some
    assert decoded(mint(rights=Rights(DagGrant(()), "", None)))["dags"] == []
    assert not {"dags", "dags_denied", "menu"} & decoded(mint()).keys()


def test_dags_that_are_too_many_are_named_by_reference_alone():
    grant = DagGrant(("sales_*",), ("*_secret",), reference="digest")
    found = decoded(mint(rights=Rights(grant, "op", ("DAGS",))))
    assert found["dags_ref"] == "digest"
    assert not {"dags", "dags_denied"} & found.keys()


def test_the_assertion_for_a_destination_names_the_run():
    run = Run("sales_daily", "run1", "extract", 2, 3, Level.VERIFIED_BEARER)
    assert decoded(mint(replace(ALICE, run=run)))["airflow"] == {
        "dag_id": "sales_daily",
        "run_id": "run1",
        "task_id": "extract",
        "map_index": 2,
        "try_number": 3,
        "identity": "verified-bearer",
    }
    assert "airflow" not in decoded(mint())


MANY_ROLES = frozenset(f"role-of-a-team-{number:05}" for number in range(2000))
LARGEST_GRANT = DagGrant(tuple(f"{number:03}{'x' * 76}" for number in range(99)), ("*_secret",))


@pytest.mark.parametrize(
    ("roles", "name", "grant", "kept"),
    [
        (MANY_ROLES, "Alice", LARGEST_GRANT, False),
        (MANY_ROLES, "Alice", DagGrant(("*",)), False),
        (frozenset({"viewer"}), "Å" * 9000, DagGrant(("*",)), False),
        (frozenset(sorted(MANY_ROLES)[:80]), "Alice", LARGEST_GRANT, True),
        (frozenset(sorted(MANY_ROLES)[:400]), "Alice", DagGrant(("*",)), True),
    ],
)
def test_airflow_reads_an_assertion_however_many_roles_a_caller_has(roles, name, grant, kept):
    """Roles and the full name grant nothing there: they are said whole, or not at all where there is no room."""
    who = Identity(claims=replace(CLAIMS, full_name=name), roles=roles, airflow_role="op")
    token = mint(who, Rights(grant, "op", ("DAGS",)))
    assert len(token) <= verifier.MAX_ASSERTION_BYTES
    expected = verifier.Expected(issuer="https://gate.example.com", audience="airflow-prod", clock_skew=5)
    keys = verifier.parse_keys(dump(assertion.public_jwks([KEY])))
    asserted = verifier.verify(token, keys, expected, NOW)
    assert (asserted.subject, asserted.airflow_role, asserted.dags.allowed) == ("alice", "op", grant.allowed)
    assert (asserted.roles, asserted.full_name) == ((roles, name) if kept else (frozenset(), ""))


def test_a_dag_id_is_text_whatever_it_holds():
    odd = 'a","*'
    assert decoded(mint(rights=Rights(DagGrant((odd,)), "", None)))["dags"] == [odd]


def test_it_verifies_with_the_published_key_set():
    document = assertion.public_jwks([KEY, assertion.load_signing_key(assertion.generate_pem())])
    keyset = jwks.parse(dump(document))
    assert keyset.ignored == ()
    assert len(keyset) == 2
    assert keyset.keys[KEY.kid].thumbprint == KEY.kid
    verified = jwt.decode(
        mint(),
        keyset.keys[KEY.kid].public_key,
        algorithms=["ES256"],
        audience="airflow-prod",
        issuer="https://gate.example.com",
        options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
    )
    assert verified["sub"] == "alice"


def test_both_halves_of_a_signature_have_their_full_length():
    """RFC 7518 §3.4. One half in 256 begins with a zero octet; among so many, some do."""
    verifier, public = ALGORITHMS["ES256"].verifier, KEY.private_key.public_key()
    short = 0
    for number in range(3000):
        signing_input, _, signature = mint(jti=f"j-{number}").rpartition(".")
        raw = unb64(signature)
        assert len(raw) == 64
        if 0 in {raw[0], raw[32]}:
            assert verifier.verify(signing_input.encode(), public, raw) is True
            short += 1
    assert short > 0


def test_the_key_set_has_public_members_only():
    (jwk,) = assertion.public_jwks([KEY])["keys"]
    assert set(jwk) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (jwk["kty"], jwk["crv"], jwk["use"], jwk["alg"]) == ("EC", "P-256", "sig", "ES256")


def test_a_key_set_of_no_keys_is_empty():
    assert assertion.public_jwks([]) == {"keys": []}


def test_loading_is_stable_and_shows_no_secret():
    again = assertion.load_signing_key(PEM)
    assert again == KEY
    assert "private" not in repr(KEY)
    secret = again.private_key.private_numbers().private_value
    assert str(secret) not in repr(KEY)
    assert f"{secret:x}" not in repr(KEY)


def test_coordinates_have_their_full_length():
    """RFC 7518 §6.2.1.2. One coordinate in 256 begins with a zero octet: these are such keys."""
    short = 0
    for secret in range(1, 400):
        private = ec.derive_private_key(secret, ec.SECP256R1())
        numbers = private.public_key().public_numbers()
        if min(numbers.x, numbers.y) < 2**248:
            key = assertion.load_signing_key(pem_of(private))
            assert unb64(key.x) == numbers.x.to_bytes(32, "big")
            assert unb64(key.y) == numbers.y.to_bytes(32, "big")
            short += 1
    assert short > 0


@pytest.mark.parametrize("lifetime", [0, -1, 61, 3600])
def test_it_never_lives_longer_than_a_minute(lifetime):
    with pytest.raises(ValueError, match="1 to 60 seconds"):
        mint(lifetime=lifetime)


@pytest.mark.parametrize("missing", ["audience", "issuer", "jti"])
def test_what_limits_an_assertion_is_never_missing(missing):
    with pytest.raises(ValueError, match="needs an audience, an issuer and a jti"):
        mint(**{missing: ""})


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "not an unencrypted private key"),
        (b"secret-canary", "not an unencrypted private key"),
        (pem_of(private_key("ES256"), BestAvailableEncryption(b"x")), "not an unencrypted private key"),
        (make_key("ES256").public_pem, "not an unencrypted private key"),
        (pem_of(private_key("RSA-2048")), "not an EC P-256"),
        (pem_of(private_key("ES384")), "not an EC P-256"),
        (pem_of(private_key("ES256K")), "not an EC P-256"),
        (pem_of(private_key("Ed25519")), "not an EC P-256"),
    ],
)
def test_other_keys_are_refused(pem, message):
    with pytest.raises(ValueError, match=message) as caught:
        assertion.load_signing_key(pem)
    assert "canary" not in str(caught.value)


def test_the_longest_names_and_the_largest_grant_make_an_assertion_that_airflow_reads():
    """A longer name is refused when it is read (tokens/test_claims.py), not by Airflow after an allow."""
    name = "x" * 1022
    claims = replace(CLAIMS, subject=name, username=name, client_id=name, full_name="x" * 6000)
    globs = tuple(f"{number:03}{'x' * 76}*" for number in range(98))
    assert 8000 < len(json.dumps(globs, separators=(",", ":"))) <= dags.MAX_BYTES
    menu = tuple(f"{number:02}{'X' * 18}" for number in range(20))
    identity = replace(ALICE, claims=claims, roles=frozenset(f"role{number}" for number in range(1000)))
    token = mint(identity, Rights(DagGrant(globs), "viewer", menu), jti="j" * 24)
    assert len(token) <= verifier.MAX_ASSERTION_BYTES
    assert decoded(token)["dags"] == list(globs)
