"""Break-glass: a key pair made beforehand, and the short token that it signs when the provider is down.

Law 1: the private key is written encrypted only (PKCS #8, PBES2 of RFC 8018), and decrypted in this process's memory.
`cryptography` encrypts with 2,048 rounds of PBKDF2, and has no way to ask for more: a graphics card tries millions of
passphrases a second against them. So the few bytes of PBES2 are written here; that library and OpenSSL read them.
Law 2: a token lives for an hour at most, and states who uses it and why; the gate refuses one that does not.
"""

import base64
import json
import secrets
from typing import Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from authz.core.policy.schema import MAX_BREAK_GLASS
from authz.core.runs.task_keys import jwk_of
from authz.login.provider import LoginError

ISSUER: Final = "urn:airflow-envoy-authz:break-glass"
MOST_MINUTES: Final = MAX_BREAK_GLASS // 60
LEAST_CHARS: Final = 16
"""Of a passphrase: anyone who gets the file may try as many as they like."""
_CLIENT: Final = "break-glass"
ROUNDS: Final = 600_000
"""Of PBKDF2 with HMAC-SHA256, as OWASP's Password Storage Cheat Sheet has it; some tenths of a second here."""
_PBES2, _PBKDF2, _HMAC_SHA256, _AES_256_CBC = map(
    bytes.fromhex,
    ("06092a864886f70d01050d", "06092a864886f70d01050c", "06082a864886f70d02090500", "060960864801650304012a"),
)


def make_key(passphrase: str) -> tuple[bytes, bytes]:
    """A new private key in PEM, encrypted, and the key set with its public half.

    Raises:
        LoginError: the passphrase is too short.
    """
    if len(passphrase) < LEAST_CHARS:
        raise LoginError(f"the passphrase has fewer than {LEAST_CHARS} characters: five or six random words are good")
    key = Ed25519PrivateKey.generate()
    return _encrypted(key, passphrase), json.dumps({"keys": [jwk_of(key.public_key())]}, indent=2).encode() + b"\n"


def _encrypted(key: Ed25519PrivateKey, passphrase: str) -> bytes:
    """The key as EncryptedPrivateKeyInfo in PEM (RFC 5958 §3, RFC 8018 appendix A.4, RFC 7468 §11)."""
    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    secret = PBKDF2HMAC(SHA256(), AES.block_size // 4, salt, ROUNDS).derive(passphrase.encode())
    padder, cipher = PKCS7(AES.block_size).padder(), Cipher(AES(secret), CBC(vector)).encryptor()
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    data = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
    rounds = _der(2, ROUNDS.to_bytes(4).lstrip(b"\0"))  # its first bit is 0, so that it is not negative
    kdf = _der(0x30, _PBKDF2, _der(0x30, _der(4, salt), rounds, _der(0x30, _HMAC_SHA256)))
    scheme = _der(0x30, _PBES2, _der(0x30, kdf, _der(0x30, _AES_256_CBC, _der(4, vector))))
    text = base64.b64encode(_der(0x30, scheme, _der(4, data)))
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, b"-----END ENCRYPTED PRIVATE KEY-----", b""])


def _der(tag: int, *parts: bytes) -> bytes:
    """A value of fewer than 256 bytes in DER (X.690 §8.1)."""
    body = b"".join(parts)
    return bytes([tag, *([0x81] if len(body) > 0x7F else []), len(body)]) + body  # noqa: PLR2004 the short form's most


def sign(pem: bytes, passphrase: str, *, name: str, reason: str, seconds: int, audience: str, now: int) -> str:
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
        "iss": ISSUER,
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
