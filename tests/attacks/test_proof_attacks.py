"""Attacks on proofs of possession: RFC 9449 §11 where it applies to us, and what is done to JWTs and URLs elsewhere.

Every attack is as good as its attacker could make it: signed with a key of theirs where they have one, and changed in
nothing but what is attacked. A gate here is what a worker does for one call, in its order: the token, the proof, the
call that it is for, and whether it was used before. After every refusal the same gate must still take the real call.
"""

import base64
import contextlib
import json
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from authz.core.errors import DeniedError
from authz.core.reasons import Reason
from authz.core.request.path import canonicalise
from authz.core.runs import proof as proofs
from authz.core.runs import run_token
from authz.core.runs.proof import MAX_PROOF_BYTES, check_proof, parse_proof
from authz.runs.replay_table import BUCKET, Replays
from tests.attacks.network_guard import network_denied
from tests.support.factories import proofs as proof_factory
from tests.support.factories.proofs import (
    EGRESS,
    GATE,
    GATE_KEY,
    proof_claims,
    prove,
    public_jwk,
    task_key,
    thumbprint,
)
from tests.support.factories.tokens import (
    NOW,
    b64,
    b64_int,
    dump,
    make_key,
    raw_token,
    sign,
    sign_hmac,
    sign_text,
    signature_of,
    unb64,
)

make_token = proof_factory.run_token
KEY = task_key()
THIEF = task_key("thief")
TOKEN = make_token(KEY)
AUTHORITY = "orders.internal:8090"
PATH = "/v1/orders"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256 (SEC 2, 2.4.2)
HEADER = {"alg": "ES256", "typ": "dpop+jwt", "jwk": public_jwk(KEY)}


class Gate:
    """Two workers of one gate."""

    def __init__(self, path, slots=256):
        self._tables = [Replays(path, slots) for _ in range(2)]

    def close(self):
        for table in self._tables:
            table.close()

    def __call__(self, line, *, token=TOKEN, method="GET", authority=AUTHORITY, target=PATH, now=NOW, worker=0):
        """Why the call is refused; None when it goes on."""
        try:
            said = run_token.verify(token, {"gate-key": GATE_KEY.public}, issuer=GATE, audience=EGRESS, now=now)
            proof = parse_proof(line)
            check_proof(
                proof,
                token=token,
                thumbprint=said.thumbprint,
                method=method,
                authority=authority,
                path=canonicalise(target).path,
                now=now,
            )
            used = not self._tables[worker].first(proof.digest, proof.ends, now)
        except DeniedError as error:
            return error.reason
        return Reason.PROOF_REPLAYED if used else None


@pytest.fixture
def gate(tmp_path):
    tmp_path.chmod(0o700)
    made = Gate(tmp_path / "replays")
    yield made
    assert made(prove(KEY, TOKEN)) is None, "the gate does not take the real call any more"
    made.close()


# RFC 9449 §11.1: replay


def test_rfc9449_replay_is_seen_by_every_worker(gate):
    line = prove(KEY, TOKEN)
    assert gate(line, worker=0) is None
    for worker in (0, 1):
        for later in (0, 1, 59.9, 60):
            assert gate(line, worker=worker, now=NOW + later) is Reason.PROOF_REPLAYED
    assert gate(line, now=NOW + 61) is Reason.PROOF_EXPIRED


def test_rfc9449_replay_with_another_signature_of_the_same_proof(gate):
    """(r, s) and (r, n-s) are both signatures of the same text, and anybody can turn one into the other."""
    line = prove(KEY, TOKEN)
    head, body, signature = line.decode().split(".")
    raw = unb64(signature)
    other = raw[:32] + (ORDER - int.from_bytes(raw[32:], "big")).to_bytes(32, "big")
    twin = f"{head}.{body}.{b64(other)}".encode()
    assert twin != line
    assert parse_proof(twin).thumbprint == thumbprint(KEY), "the twin is a right signature: it must be the replay store"
    assert gate(line) is None
    assert gate(twin, worker=1) is Reason.PROOF_REPLAYED


def test_rfc9449_replay_signed_again_with_the_same_jti(gate):
    """A client that uses one `jti` for all of its calls has one call."""
    assert gate(prove(KEY, TOKEN, jti="always")) is None
    assert gate(prove(KEY, TOKEN, jti="always", iat=NOW + 1), worker=1) is Reason.PROOF_REPLAYED
    other = prove(KEY, TOKEN, jti="always", htm="POST")
    assert gate(other, method="POST") is Reason.PROOF_REPLAYED


def test_rfc9449_a_stranger_cannot_use_up_the_jti_of_a_task(gate):
    theirs = make_token(THIEF)
    assert gate(prove(THIEF, theirs, jti="known"), token=theirs) is None
    assert gate(prove(KEY, TOKEN, jti="known")) is None


def test_rfc9449_a_refused_call_uses_nothing_up(gate):
    """Who sees a proof and sends it elsewhere does not spoil it for the task that made it."""
    line = prove(KEY, TOKEN)
    assert gate(line, target="/v1/other") is Reason.PROOF_MISMATCH
    assert gate(line, method="DELETE") is Reason.PROOF_MISMATCH
    assert gate(line) is None


# §11.2: proofs made in advance, §11.4: code that runs in the client for a while


@pytest.mark.parametrize("ahead", [61, 3600, 10**6])
def test_rfc9449_proofs_made_in_advance_are_of_no_use_now_or_after_the_token(gate, ahead):
    line = prove(KEY, TOKEN, iat=NOW + ahead)
    assert gate(line) is Reason.PROOF_EXPIRED
    assert gate(line, now=NOW + ahead) in {None, Reason.EXPIRED}
    assert gate(line, now=NOW + 120) in {Reason.EXPIRED, Reason.PROOF_REPLAYED}


def test_rfc9449_a_proof_for_the_last_token_is_none_for_the_next(gate):
    """`ath` ends what was made in advance: it names the token."""
    renewed = make_token(KEY, jti="r-2")
    assert gate(prove(KEY, TOKEN), token=renewed) is Reason.PROOF_MISMATCH
    assert gate(prove(KEY, renewed), token=renewed) is None


# §11.5: one signed JWT for another


def test_d15_no_other_signed_jwt_is_a_proof(gate):
    """The task's key may sign other things: only `typ: dpop+jwt` is a proof."""
    for typ in (
        None,
        "JWT",
        "jwt",
        "at+jwt",
        "airflow-run+jwt",
        "authz-assertion+jwt",
        "dpop",
        "DPoP+JWT",
        "application/dpop+jwt",
    ):
        assert gate(prove(KEY, TOKEN, headers={"typ": typ})) is Reason.PROOF_INVALID
    assert gate(TOKEN.encode()) is Reason.PROOF_INVALID
    assert gate(make_token(KEY, by=KEY).encode()) is Reason.PROOF_INVALID


def test_d15_a_proof_is_no_token(gate):
    line = prove(KEY, TOKEN).decode()
    assert gate(prove(KEY, line), token=line) is Reason.TOKEN_TYPE
    signed_by_us = prove(KEY, TOKEN, by=GATE_KEY, headers={"kid": "gate-key"}).decode()
    assert gate(prove(KEY, signed_by_us), token=signed_by_us) is Reason.TOKEN_TYPE


# §11.6 and security.md d-09: algorithms and keys


@pytest.mark.parametrize(
    "alg",
    [
        "none",
        "None",
        "NONE",
        "",
        "HS256",
        "HS384",
        "HS512",
        "RS256",
        "PS256",
        "ES384",
        "ES512",
        "ES256K",
        "EdDSA",
        "es256",
        "ES256 ",
        "ES256\x00",
    ],
)
def test_d09_the_algorithm_is_es256(gate, alg):
    assert gate(prove(KEY, TOKEN, headers={"alg": alg})) is Reason.PROOF_INVALID
    head = b64(dump({**HEADER, "alg": alg}))
    assert gate(raw_token(head, proof_claims(TOKEN), b"").encode()) is Reason.PROOF_INVALID


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_d09_a_public_key_is_no_secret(gate, alg):
    for secret in (KEY.public_pem, KEY.public_der, dump(public_jwk(KEY)), b""):
        forged = sign_hmac(proof_claims(TOKEN), secret, alg).split(".")
        body = forged[1]
        for jwk in (public_jwk(KEY), {"kty": "oct", "k": b64(secret)}):
            head = b64(dump({"alg": alg, "typ": "dpop+jwt", "jwk": jwk}))
            assert gate(f"{head}.{body}.{forged[2]}".encode()) is Reason.PROOF_INVALID


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES384", "ES512", "EdDSA"])
def test_d09_right_signatures_of_other_kinds_of_keys_are_refused(gate, alg):
    other = make_key(alg, kid="other", named_alg=False)
    jwk = {name: value for name, value in other.jwk.items() if name != "kid"}
    for named in (alg, "ES256"):
        head = dump({"alg": named, "typ": "dpop+jwt", "jwk": jwk})
        assert gate(sign(proof_claims(TOKEN), other, head, alg).encode()) is Reason.PROOF_INVALID


def test_d09_secp256k1_is_not_p256(gate):
    """Coordinates of the same length on another curve, also under our curve's name."""
    other = make_key("ES256K", kid="bitcoin", named_alg=False)
    for crv in ("secp256k1", "P-256", "P-256K"):
        jwk = {**public_jwk(other), "crv": crv}
        assert gate(sign(proof_claims(TOKEN), other, dump({**HEADER, "jwk": jwk})).encode()) is Reason.PROOF_INVALID


def test_d09_a_point_that_is_not_on_the_curve_is_no_key(gate):
    """Invalid-curve points, the point at infinity, coordinates beyond the field."""
    numbers = KEY.public.public_numbers()
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    for x, y in (
        (0, 0),
        (numbers.x, numbers.y + 1),
        (numbers.y, numbers.x),
        (prime, numbers.y),
        (0, 1),
        (2**256 - 1, 1),
    ):
        jwk = {**public_jwk(KEY), "x": b64_int(x, 32), "y": b64_int(y, 32)}
        assert gate(prove(KEY, TOKEN, headers={"jwk": jwk})) is Reason.PROOF_INVALID


def test_d09_coordinates_have_one_spelling(gate):
    """No second thumbprint for the same key: padding, shorter and longer numbers, spare bits, standard base64."""
    x = public_jwk(KEY)["x"]
    spare = x[:-1] + chr(ord(x[-1]) + 1)
    number = int.from_bytes(unb64(x), "big")
    spellings = [
        x + "=",
        f" {x}",
        f"{x}\n",
        spare,
        b64_int(number, 33),
        base64.b64encode(unb64(x)).decode(),
        [x],
        number,
    ]
    for spelling in spellings:
        assert gate(prove(KEY, TOKEN, headers={"jwk": {**public_jwk(KEY), "x": spelling}})) is Reason.PROOF_INVALID


def test_d09_a_private_key_in_a_proof_is_refused(gate):
    """RFC 9449 §4.2: the key must not be private. A client that shows its own has none any more."""
    d = b64_int(KEY.private.private_numbers().private_value, 32)
    for member, value in (
        ("d", d),
        ("d", ""),
        ("d", None),
        ("p", "AA"),
        ("q", "AA"),
        ("dp", "AA"),
        ("k", "AA"),
        ("oth", []),
    ):
        jwk = {**public_jwk(KEY), member: value}
        assert gate(prove(KEY, TOKEN, headers={"jwk": jwk})) is Reason.PROOF_INVALID


def test_d09_no_other_member_of_the_header_names_a_key_and_nothing_is_fetched(gate):
    own = public_jwk(THIEF)
    members = {
        "kid": "gate-key",
        "jku": "http://169.254.169.254/latest/meta-data",
        "x5u": "https://evil.example.com/key.pem",
        "x5c": [b64(THIEF.public_der)],
        "x5t": "AAAA",
        "x5t#S256": "AAAA",
    }
    with network_denied():
        for name, value in members.items():
            assert gate(prove(KEY, TOKEN, headers={name: value})) is None
            assert gate(prove(KEY, TOKEN, headers={name: value, "jwk": None})) is Reason.PROOF_INVALID
            assert gate(prove(KEY, TOKEN, headers={name: value}, by=THIEF)) is Reason.PROOF_INVALID
            assert gate(prove(THIEF, TOKEN, headers={name: value, "jwk": own})) is Reason.PROOF_MISMATCH


def test_d09_a_jwk_says_nothing_else_of_itself(gate):
    for wrong in (
        {"use": "enc"},
        {"alg": "ES384"},
        {"alg": "none"},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"kid": ""},
        {"kid": 7},
    ):
        assert gate(prove(KEY, TOKEN, headers={"jwk": {**public_jwk(KEY), **wrong}})) is Reason.PROOF_INVALID


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": None},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
        {"cty": "JWT"},
    ],
)
def test_d09_extensions_are_refused_with_a_right_signature(gate, extra):
    header = dump({**HEADER, **extra})
    assert gate(sign(proof_claims(TOKEN), KEY, header).encode()) is Reason.PROOF_INVALID


def test_d09_a_signature_has_one_form(gate):
    head, body, signature = prove(KEY, TOKEN).decode().split(".")
    raw = unb64(signature)
    r, s = raw[:32], raw[32:]
    zero, order = bytes(32), ORDER.to_bytes(32, "big")
    der = KEY.private.sign(f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    forms = [
        b"",
        r,
        raw + b"\0",
        b"\0" + raw,
        zero + zero,
        r + zero,
        zero + s,
        order + s,
        r + order,
        s + r,
        b"\xff" * 64,
        der,
    ]
    for form in forms:
        assert gate(f"{head}.{body}.{b64(form)}".encode()) is Reason.PROOF_INVALID
    for text in (
        signature + "=",
        signature + "A",
        signature[:-1],
        signature + "\n",
        signature.replace(signature[0], "+", 1),
    ):
        assert gate(f"{head}.{body}.{text}".encode()) is Reason.PROOF_INVALID


def test_d09_a_remembered_header_does_not_lend_its_key_to_a_forged_proof(gate):
    """The gate remembers which key a header names: it must be that header to the last byte."""
    assert gate(prove(KEY, TOKEN)) is None
    head = prove(KEY, TOKEN).split(b".")[0]
    for _ in range(3):
        body = b64(dump(proof_claims(TOKEN))).encode()
        forged = b64(signature_of(head + b"." + body, THIEF)).encode()
        assert gate(b".".join([head, body, forged])) is Reason.PROOF_INVALID
    flood = (task_key(f"flood-{number}") for number in range(3))
    for stranger in flood:
        assert gate(prove(stranger, TOKEN)) is Reason.PROOF_MISMATCH
    assert proofs._remembered_signer.cache_info().maxsize == 1024


# §11.7: a proof is for a request; §4.3: URL and method


@pytest.mark.parametrize(
    ("htu", "reason"),
    [
        # who it is sent to
        ("http://orders.internal:8090@evil.test/v1/orders", Reason.PROOF_INVALID),
        ("http://evil.test@orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://user:password@orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://@orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090\\@evil.test/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal.:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal..:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://.orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders%2Einternal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal%00:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://ordérs.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090,evil.test/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090 /v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:08090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:+8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:0/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:73626/v1/orders", Reason.PROOF_INVALID),  # 8090 + 65536
        ("http://orders.internal:\uff18090/v1/orders", Reason.PROOF_INVALID),
        ("http:/orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http:orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http:///orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("//orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("ws://orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("file://orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        (" http://orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http ://orders.internal:8090/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8091/v1/orders", Reason.PROOF_MISMATCH),
        ("http://orders.internal/v1/orders", Reason.PROOF_MISMATCH),
        ("https://orders.internal/v1/orders", Reason.PROOF_MISMATCH),
        ("http://orders.internal.evil.test:8090/v1/orders", Reason.PROOF_MISMATCH),
        ("http://internal:8090/v1/orders", Reason.PROOF_MISMATCH),
        ("http://127.0.0.1:8090/v1/orders", Reason.PROOF_MISMATCH),
        # what is asked for
        ("http://orders.internal:8090/v1/orders?", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders?id=1", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders#", Reason.PROOF_INVALID),
        ("http://orders.internal:8090#/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090?/v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090//v1/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/./orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/x/../orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/x/%2e%2e/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/%252e%252e/orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1%2Forders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1\\orders", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders%00", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders%0a", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders%20", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders%zz", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders ", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders\r\nx: y", Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/" + "o" * 9000, Reason.PROOF_INVALID),
        ("http://orders.internal:8090/v1/orders/", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090/v1/orders;x", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090/v1/orders.", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090/V1/orders", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090/v1/order", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090/v1", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090", Reason.PROOF_MISMATCH),
        ("http://orders.internal:8090/v1/%EF%BD%8Frders", Reason.PROOF_MISMATCH),
    ],
    ids=ascii,
)
def test_rfc9449_the_url_is_the_one_that_was_called(gate, htu, reason):
    assert gate(prove(KEY, TOKEN, htu=htu)) is reason


@pytest.mark.parametrize(
    "htu",
    [
        "HTTP://orders.internal:8090/v1/orders",
        "http://ORDERS.Internal:8090/v1/orders",
        "http://orders.internal:8090/v1/%6frders",
        "http://orders.internal:8090/%76%31/orders",
    ],
)
def test_rfc9449_spellings_that_mean_the_same_are_the_same(gate, htu):
    """RFC 3986 §6.2.2, §6.2.3, as RFC 9449 §4.3 wants it."""
    assert gate(prove(KEY, TOKEN, htu=htu)) is None


@pytest.mark.parametrize(
    "literal",
    [
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
        "[::1%25lo]",
        "[::1%lo]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "::1",
        "[::1",
        "[]",
        "[v1.x]",
        "[127.0.0.1]",
        "localhost",
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
    ],
)
def test_rfc9449_addresses_have_one_spelling(gate, literal):
    assert gate(prove(KEY, TOKEN, htu="http://[::1]:8090/v1/orders"), authority="[::1]:8090") is None
    line = prove(KEY, TOKEN, htu=f"http://{literal}:8090/v1/orders")
    assert gate(line, authority="[::1]:8090") in {Reason.PROOF_INVALID, Reason.PROOF_MISMATCH}


@pytest.mark.parametrize(
    "htm", ["get", "Get", "GET ", " GET", "GET\n", "POST", "HEAD", "*", "GET,POST", "\uff27ET", "G\u0000ET"]
)
def test_d07_the_method_is_the_one_that_was_called(gate, htm):
    assert gate(prove(KEY, TOKEN, htm=htm)) is Reason.PROOF_MISMATCH
    assert gate(prove(KEY, TOKEN), method="POST") is Reason.PROOF_MISMATCH


def test_rfc9449_there_is_no_proof_for_a_tunnel(gate):
    assert gate(prove(KEY, TOKEN, htm="CONNECT"), method="CONNECT") is Reason.PROOF_MISMATCH


# §11.8: token and key


def test_rfc9449_a_stolen_token_is_of_no_use_without_its_key(gate):
    assert gate(prove(THIEF, TOKEN)) is Reason.PROOF_MISMATCH
    assert gate(prove(THIEF, TOKEN, headers={"jwk": public_jwk(KEY)})) is Reason.PROOF_INVALID
    both = {**HEADER, "jwk": public_jwk(THIEF)}
    doubled = dump(both)[:-1] + b',"jwk":' + dump(public_jwk(KEY)) + b"}"
    assert gate(sign(proof_claims(TOKEN), THIEF, doubled).encode()) is Reason.PROOF_INVALID


def test_rfc9449_a_token_of_one_task_does_not_take_the_proof_of_another(gate):
    theirs = make_token(THIEF)
    assert gate(prove(THIEF, theirs), token=TOKEN) is Reason.PROOF_MISMATCH
    assert gate(prove(KEY, TOKEN), token=theirs) is Reason.PROOF_MISMATCH
    assert gate(prove(THIEF, TOKEN), token=theirs) is Reason.PROOF_MISMATCH


@pytest.mark.parametrize("ath", ["", "x", b64(bytes(32)), b64(b"short"), "A" * 43, "a" * 100, 0, True, [], None])
def test_rfc9449_the_hash_of_the_token_is_exact(gate, ath):
    assert gate(prove(KEY, TOKEN, ath=ath)) in {Reason.PROOF_INVALID, Reason.PROOF_MISMATCH}


def test_rfc9449_other_hashes_and_other_spellings_of_the_hash_are_none(gate):
    """§11.10: SHA-256 and nothing else."""
    right = proof_claims(TOKEN)["ath"]
    hashes_of = (right + "=", right.lower(), right[:-1], f"sha-256:{right}", unb64(right).hex(), [right])
    for ath in hashes_of:
        assert gate(prove(KEY, TOKEN, ath=ath)) in {Reason.PROOF_INVALID, Reason.PROOF_MISMATCH}


# the text itself


def test_d14_members_come_once(gate):
    claims = proof_claims(TOKEN)
    for name, value in claims.items():
        doubled = dump(claims)[:-1] + b"," + dump({name: value})[1:]
        assert gate(sign(doubled, KEY, dump(HEADER)).encode()) is Reason.PROOF_INVALID
    for name, value in HEADER.items():
        doubled = dump(HEADER)[:-1] + b"," + dump({name: value})[1:]
        assert gate(sign(claims, KEY, doubled).encode()) is Reason.PROOF_INVALID
    escaped = dump(claims)[:-1] + b',"\\u0068tm":"POST"}'
    assert gate(sign(escaped, KEY, dump(HEADER)).encode()) is Reason.PROOF_INVALID
    inner = dump(HEADER).replace(b'"crv":"P-256"', b'"crv":"P-256","crv":"P-256"')
    assert gate(sign(claims, KEY, inner).encode()) is Reason.PROOF_INVALID


def test_d14_claims_have_their_type(gate):
    for name in ("jti", "htm", "htu", "ath", "iat"):
        for value in (True, 1.5, [], {}, [proof_claims(TOKEN)[name]], "", -1, 10**30):
            assert gate(prove(KEY, TOKEN, **{name: value})) in {Reason.PROOF_INVALID, Reason.PROOF_MISMATCH}
        null = json.dumps({**proof_claims(TOKEN), name: None}).encode()
        assert gate(sign(null, KEY, dump(HEADER)).encode()) is Reason.PROOF_INVALID
    for text in (b"NaN", b"Infinity", b"1e999", b"1e400", str(NOW).encode() + b".0", b"0" + str(NOW).encode()):
        claims = dump(proof_claims(TOKEN)).replace(f'"iat":{NOW}'.encode(), b'"iat":' + text)
        assert gate(sign(claims, KEY, dump(HEADER)).encode()) is Reason.PROOF_INVALID


def test_d14_what_is_cut_short_or_goes_on_is_nothing(gate):
    line = prove(KEY, TOKEN)
    for length in [*range(0, len(line), 7), len(line) - 1]:
        assert gate(line[:length]) is Reason.PROOF_INVALID
    for more in (b"A", b".", b"=", b" ", b"\x00", b",", b";", b"\n", b"." + line, b"," + line, b"~" + line):
        assert gate(line + more) is Reason.PROOF_INVALID
        assert gate(more + line) is Reason.PROOF_INVALID


def test_d14_no_single_changed_letter_goes_through(gate):
    """Every letter of a proof counts: another one in its place is no proof."""
    line = prove(KEY, TOKEN)
    for place in range(len(line)):
        letter = b"B" if line[place : place + 1] == b"A" else b"A"
        assert gate(line[:place] + letter + line[place + 1 :]) is Reason.PROOF_INVALID
    assert gate(line) is None


def test_d04_base64_and_json_have_one_spelling(gate):
    head, body = b64(dump(HEADER)), b64(dump(proof_claims(TOKEN)))
    for wrong in (
        head + "=",
        head + "==",
        f" {head}",
        f"{head}\n",
        head + "A",
        base64.b64encode(dump({**HEADER, "x": "ÿÿÿ"})).decode(),
    ):
        assert gate(sign_text(wrong, body, KEY).encode()) is Reason.PROOF_INVALID
        assert gate(sign_text(head, wrong, KEY).encode()) is Reason.PROOF_INVALID
    for text in (b"\xef\xbb\xbf", b"\xff\xfe", b"//x\n", b"/**/"):
        assert gate(sign(text + dump(proof_claims(TOKEN)), KEY, dump(HEADER)).encode()) is Reason.PROOF_INVALID
        assert gate(sign(proof_claims(TOKEN), KEY, text + dump(HEADER)).encode()) is Reason.PROOF_INVALID
    for value in (b"[]", b"null", b'"x"', b"5", b"", b"{}{}", dump([proof_claims(TOKEN)])):
        assert gate(sign(value, KEY, dump(HEADER)).encode()) is Reason.PROOF_INVALID
        assert gate(sign(proof_claims(TOKEN), KEY, value).encode()) is Reason.PROOF_INVALID


# d-39: what costs much


def hostile_texts():
    deep = b"[" * 5000 + b"]" * 5000
    wide = b"[" + b",".join([b"{}"] * 4000) + b"]"
    for inner in (deep, wide, b'{"a":' * 1500 + b"1" + b"}" * 1500, b"9" * 11_000):
        yield dump(HEADER)[:-1] + b',"x":' + inner + b"}", dump(proof_claims(TOKEN))
        yield dump(HEADER), dump(proof_claims(TOKEN))[:-1] + b',"x":' + inner + b"}"
    yield dump({**HEADER, "jwk": {**public_jwk(KEY), "x": "A" * 12_000}}), dump(proof_claims(TOKEN))
    yield dump({**HEADER, "jwk": {"kty": "RSA", "n": "_" * 11_000, "e": "AQAB"}}), dump(proof_claims(TOKEN))
    yield dump({**HEADER, "kid": "k" * 12_000}), dump(proof_claims(TOKEN))
    yield dump(HEADER), dump(proof_claims(TOKEN, jti="j" * 12_000))
    yield dump(HEADER), dump(proof_claims(TOKEN, htm="GET" * 3000))
    yield dump(HEADER), dump(proof_claims(TOKEN, htu="http://" + "a." * 5000 + "test/"))
    yield dump(HEADER), dump(proof_claims(TOKEN, htu="http://a.test/" + "%2e" * 3000))


@pytest.mark.parametrize("texts", list(hostile_texts()), ids=lambda _: "texts")
def test_d14_hostile_texts_are_refused_at_once(gate, texts):
    header, claims = texts
    line = sign(claims, KEY, header).encode()
    started = time.process_time()
    assert gate(line) is Reason.PROOF_INVALID
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("size", [MAX_PROOF_BYTES + 1, 10**6, 10**7])
def test_d14_what_is_too_large_is_not_even_looked_at(gate, size):
    for filler in (b"A", b".", b"\xff"):
        started = time.process_time()
        assert gate(filler * size) is Reason.PROOF_INVALID
        assert time.process_time() - started < 0.05


def test_d30_refusals_show_nothing_of_a_proof():
    canary = "canary-9f2c"
    lines = [
        prove(KEY, TOKEN, jti=canary, exp=1),
        prove(KEY, TOKEN, htu=f"http://{canary}@x.test/"),
        prove(KEY, TOKEN, htu=f"http://x.test/{canary}?q={canary}"),
        prove(KEY, TOKEN, headers={"jwk": {**public_jwk(KEY), "d": canary}}),
        prove(KEY, TOKEN, airflow={"dag_id": canary}),
        canary.encode() + b"." + canary.encode() + b"." + canary.encode(),
    ]
    for line in lines:
        with pytest.raises(DeniedError) as caught:
            parse_proof(line)
        assert canary not in str(caught.value)
        assert canary not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_d44_a_clock_that_steps_back_lets_no_proof_through_twice(tmp_path):
    tmp_path.chmod(0o700)
    with contextlib.closing(Gate(tmp_path / "replays", slots=BUCKET)) as gate:
        lines = [prove(KEY, TOKEN) for _ in range(50)]
        assert [gate(line) for line in lines] == [None] * 50
        later = make_token(KEY, iat=NOW + 100, nbf=NOW + 100, exp=NOW + 220)
        for _ in range(BUCKET - 4):  # these take the place of all but four of the first
            assert gate(prove(KEY, later, iat=NOW + 100), token=later, now=NOW + 100) is None
        for worker in (0, 1):
            assert {gate(line, worker=worker, now=NOW + 5) for line in lines} == {Reason.PROOF_REPLAYED}
