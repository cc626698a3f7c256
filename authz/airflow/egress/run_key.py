"""The key of one task process, and the proofs that it makes (RFC 9449 §4.2, RFC 7638).

Law: the private key never leaves this object, and this object never leaves the process: it is in no repr and cannot be
pickled. Each proof is for one request.
"""

import base64
import hashlib
import json
import secrets
from typing import Any, NoReturn

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from authz.airflow.egress.addresses import proof_url

_COORDINATE_BYTES = 32


class RunKey:
    """An ES256 key that only this process has."""

    __slots__ = ("_jwk", "_private", "thumbprint")

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        numbers = self._private.public_key().public_numbers()
        self._jwk = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)}
        canonical = json.dumps(self._jwk, separators=(",", ":"), sort_keys=True)
        self.thumbprint = base64url(hashlib.sha256(canonical.encode()).digest())
        """The thumbprint (RFC 7638 §3) that the token is bound to."""

    def prove(self, *, method: str, url: str, token: str, now: float, run: dict[str, Any] | None = None) -> str:
        """A proof that this key's holder sends this request with this token.

        `run` describes the caller's run, where the token does not.
        """
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": proof_url(url),
            "iat": int(now),
            "ath": base64url(hashlib.sha256(token.encode()).digest()),
        }
        if run is not None:
            claims["airflow"] = run
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": self._jwk})

    def prove_request(self, *, method: str, url: str, now: float) -> str:
        """A proof for a request that asks for a token (RFC 9449 §5): there is no token to name yet."""
        claims = {"jti": secrets.token_urlsafe(16), "htm": method, "htu": proof_url(url), "iat": int(now)}
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": self._jwk})

    def __reduce__(self) -> NoReturn:
        raise TypeError("the key of a run cannot be pickled or copied: it belongs to one process")


def base64url(data: bytes) -> str:
    """RFC 7515 §2: without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _coordinate(number: int) -> str:
    return base64url(number.to_bytes(_COORDINATE_BYTES, "big"))
