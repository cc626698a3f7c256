"""The keys that Airflow signs its task tokens with: Ed25519, and their public halves as the gate needs them.

Law: a private key is never written, shown or put into an error here. The `kid` of a key is its thumbprint (RFC 7638),
which Airflow also uses unless its `jwt_kid` says otherwise.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from authz.core.jose.primitives import b64url_encode, thumbprint

HINT = "make one: openssl genpkey -algorithm ed25519 -out airflow-tasks.pem"


def generate_pem() -> bytes:
    """A new private key as Airflow's `jwt_private_key_path` expects it."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_jwk(pem: bytes) -> dict[str, str]:
    """The public half of a private key.

    Raises:
        ValueError: it is not an Ed25519 key in PEM, or has a password.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise ValueError("not an unencrypted private key in PEM") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 it is the text that is wrong
    return jwk_of(key.public_key())


def jwk_of(key: Ed25519PublicKey) -> dict[str, str]:
    """A public key as a JWK (RFC 8037 §2)."""
    x = b64url_encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    required = {"crv": "Ed25519", "kty": "OKP", "x": x}
    return {**required, "kid": thumbprint(required), "use": "sig", "alg": "EdDSA"}
