"""Break-glass: a key pair made beforehand, and the short token that it signs when the provider is down.

Law 1: the private key is written encrypted only (PKCS #8, PBES2 of RFC 8018), and decrypted in this process's memory.
Law 2: a token lives for an hour at most, and states who uses it and why; the gate refuses one that does not.
"""

import json
import secrets
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from authz.core.policy.schema import MAX_BREAK_GLASS
from authz.core.runs.task_keys import jwk_of
from authz.login.provider import LoginError

ISSUER: Final = "urn:airflow-envoy-authz:break-glass"
MOST_MINUTES: Final = MAX_BREAK_GLASS // 60
LEAST_CHARS: Final = 16
"""Of a passphrase: anyone who gets the file may try as many as they like."""
_CLIENT: Final = "break-glass"


def make_key(passphrase: str) -> tuple[bytes, bytes]:
    """A new private key in PEM, encrypted, and the key set with its public half.

    Raises:
        LoginError: the passphrase is too short.
    """
    if len(passphrase) < LEAST_CHARS:
        raise LoginError(f"the passphrase has fewer than {LEAST_CHARS} characters: five or six random words are good")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase.encode()))
    return pem, json.dumps({"keys": [jwk_of(key.public_key())]}, indent=2).encode() + b"\n"


def sign(
    pem: bytes, passphrase: str, *, name: str, reason: str, seconds: int, audience: str, issuer: str, now: int
) -> str:
    """A token for `name`, valid from `now` for so many seconds (RFC 9068).

    Raises:
        LoginError: the key cannot be used, or a text or the time is not one for a token.
    """
    if not 0 < seconds <= MAX_BREAK_GLASS:
        raise LoginError(f"a break-glass token lives for at most {MOST_MINUTES} minutes")
    for what, text in (("name", name), ("reason", reason)):
        if not text.strip() or not text.isprintable():
            raise LoginError(f"the {what} is empty or holds invisible characters")
    try:
        key = load_pem_private_key(pem, passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise LoginError("wrong passphrase, or not an encrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LoginError("not an Ed25519 key")
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": name,
        "client_id": _CLIENT,
        "reason": reason,
        "iat": now,
        "exp": now + seconds,
        "jti": secrets.token_urlsafe(16),
    }
    header = {"typ": "at+jwt", "kid": jwk_of(key.public_key())["kid"]}
    return jwt.encode(claims, key, algorithm="EdDSA", headers=header)
