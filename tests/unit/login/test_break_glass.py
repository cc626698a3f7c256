"""The key of a break-glass issuer, and what it signs."""

import json
import traceback

import pytest

from authz.core import tokens
from authz.core.errors import TokenError
from authz.core.jose import jwks
from authz.core.model import Issuer, Plane
from authz.login import break_glass
from authz.login.provider import LoginError

PASSPHRASE = "correct horse battery staple"
NOW = 1_800_000_000
ISSUER = Issuer(
    name="break-glass",
    issuer=break_glass.ISSUER,
    audiences={Plane.INBOUND: frozenset({"airflow"})},
    algorithms=frozenset({"EdDSA"}),
    discovery=False,
    jwks_file="break-glass.jwks.json",
    break_glass=True,
)


@pytest.fixture(scope="module")
def pair():
    return break_glass.make_key(PASSPHRASE)


def sign(pem, **changes):
    said = {"name": "ada", "reason": "provider down", "seconds": 1800, "audience": "airflow", "now": NOW}
    return break_glass.sign(pem, PASSPHRASE, **{"issuer": break_glass.ISSUER} | said | changes)


def accepted(token, keyset, now=NOW):
    """As the gate accepts a token."""
    parsed = tokens.parse(token, max_bytes=tokens.MAX_TOKEN_BYTES)
    issuer = tokens.find_issuer(parsed, {ISSUER.issuer: ISSUER})
    tokens.verify(parsed, tokens.find_key(parsed, issuer, jwks.parse(keyset)))
    claims = tokens.read_claims(parsed, issuer)
    tokens.check_claims(claims, issuer, Plane.INBOUND, now)
    return claims


def test_the_gate_accepts_the_token_for_its_time_with_name_and_reason(pair):
    pem, keyset = pair
    token = sign(pem)
    claims = accepted(token, keyset)
    assert (claims.subject, claims.client_id, claims.break_glass) == ("ada", "break-glass", "provider down")
    with pytest.raises(TokenError, match="exp was"):
        accepted(token, keyset, NOW + 1800 + 31)
    assert sign(pem) != token  # each has an id of its own


def test_the_private_key_is_encrypted_and_the_public_one_has_no_private_part(pair):
    pem, keyset = pair
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    [key] = json.loads(keyset)["keys"]
    assert set(key) == {"crv", "kty", "x", "kid", "use", "alg"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seconds": 3601}, "at most 60 minutes"),
        ({"seconds": 0}, "at most 60 minutes"),
        ({"name": " "}, "the name is empty"),
        ({"reason": ""}, "the reason is empty"),
        ({"reason": "two\nlines"}, "the reason is empty or holds invisible"),
    ],
)
def test_a_token_that_the_gate_would_refuse_is_not_made(pair, changes, why):
    with pytest.raises(LoginError, match=why):
        sign(pair[0], **changes)


def test_a_wrong_passphrase_is_said_and_neither_key_nor_passphrase_shown(pair):
    with pytest.raises(LoginError, match="wrong passphrase") as caught:
        break_glass.sign(
            pair[0], "guess-of-somebody", name="a", reason="b", seconds=60, audience="airflow", issuer="i", now=NOW
        )
    text = "".join(traceback.format_exception(caught.value))
    assert ("guess-of-somebody" in text, "PRIVATE" in text) == (False, False)
    for other in (b"", b"no key"):
        with pytest.raises(LoginError, match="not an encrypted private key"):
            sign(other)


def test_a_short_passphrase_is_refused():
    with pytest.raises(LoginError, match="fewer than 16"):
        break_glass.make_key("hunter2")
