"""Keys, key sets and tokens of every kind, good and bad. Test support: no fixtures, only functions.

Nothing here uses the code under test: base64url, JSON and signatures are put together by hand or by `cryptography`, so
that what PyJWT would refuse to make can be made.

    key = make_key("RS256", kid="k1")          cached: the same arguments give the same key
    jwks_of([key, other])                      bytes of a JWKS document
    sign(access_claims(sub="bob"), key)        a good access token
    sign(id_claims(), key, headers={"typ": "JWT"})
    raw_token(b'{"alg":"none"}', claims, b"")  whatever you like, in three parts
"""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.core.model import Issuer, Plane

NOW = 1_800_000_000
ISS = "https://idp.example.com/realms/data"
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC = ("HS256", "HS384", "HS512")

_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {
    "ES256": ("P-256", ec.SECP256R1(), 32),
    "ES384": ("P-384", ec.SECP384R1(), 48),
    "ES512": ("P-521", ec.SECP521R1(), 66),
    "ES256K": ("secp256k1", ec.SECP256K1(), 32),
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True)
class FactoryKey:
    """A key pair. `alg` is what `sign` uses it for; `jwk` is the public JWK, to be changed with `jwk_with`."""

    kid: str | None
    alg: str
    private: Any = field(repr=False)
    jwk: Mapping[str, Any]

    @property
    def public(self) -> Any:
        return self.private.public_key()

    @property
    def public_pem(self) -> bytes:
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def public_der(self) -> bytes:
        return self.public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def jwk_with(self, **changes: Any) -> dict[str, Any]:
        """The JWK with members changed, or left out where the value is None."""
        return {name: value for name, value in {**self.jwk, **changes}.items() if value is not None}


def b64_int(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@functools.cache
def private_key(kind: str, serial: object = 0) -> Any:
    """A private key: kind is RSA-<bits>, an ES algorithm's name, Ed25519 or Ed448; another serial, another key."""
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA-")))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(_CURVES[kind][1])


@functools.cache
def make_key(alg: str, *, kid: str | None = "k1", bits: int = 2048, named_alg: bool = True) -> FactoryKey:
    """A key pair for `alg`, with `alg` and `use` in its JWK unless `named_alg` is False."""
    if alg[:2] in {"RS", "PS"}:
        private = private_key(f"RSA-{bits}", kid)
        numbers = private.public_key().public_numbers()
        jwk = {"kty": "RSA", "n": b64_int(numbers.n), "e": b64_int(numbers.e)}
    elif alg in _CURVES:
        private = private_key(alg, kid)
        crv, _, size = _CURVES[alg]
        numbers = private.public_key().public_numbers()
        jwk = {"kty": "EC", "crv": crv, "x": b64_int(numbers.x, size), "y": b64_int(numbers.y, size)}
    else:
        crv = "Ed448" if alg == "Ed448" else "Ed25519"
        private = private_key(crv, kid)
        jwk = {"kty": "OKP", "crv": crv, "x": b64(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))}
    if kid is not None:
        jwk["kid"] = kid
    if named_alg:
        jwk |= {"alg": "EdDSA" if alg == "Ed448" else alg, "use": "sig"}
    return FactoryKey(kid=kid, alg=alg, private=private, jwk=jwk)


def jwks_of(keys: Iterable[FactoryKey | Mapping[str, Any]], **members: Any) -> bytes:
    """The bytes of a JWKS document of keys, or of JWKs as they are."""
    return dump({"keys": [key.jwk if isinstance(key, FactoryKey) else key for key in keys], **members})


def signature_of(signing_input: bytes, key: FactoryKey, alg: str | None = None) -> bytes:
    """The JWS signature over exactly these bytes (RFC 7518 §3)."""
    alg = alg or key.alg
    if alg.startswith("Ed"):
        return key.private.sign(signing_input)
    digest = _HASHES[alg.removesuffix("K")[2:]]
    if alg.startswith("RS"):
        return key.private.sign(signing_input, padding.PKCS1v15(), digest)
    if alg.startswith("PS"):
        return key.private.sign(signing_input, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
    r, s = decode_dss_signature(key.private.sign(signing_input, ec.ECDSA(digest)))
    size = (key.private.curve.key_size + 7) // 8
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def header_of(key: FactoryKey, headers: Mapping[str, Any] | None = None, alg: str | None = None) -> dict[str, Any]:
    """The usual JOSE header, with `headers` over it; a value of None removes the member."""
    header = {"alg": alg or key.alg, "typ": "at+jwt", "kid": key.kid, **(headers or {})}
    return {name: value for name, value in header.items() if value is not None}


def sign(
    claims: Mapping[str, Any] | bytes,
    key: FactoryKey,
    headers: Mapping[str, Any] | bytes | None = None,
    alg: str | None = None,
) -> str:
    """A token in compact form, correctly signed whatever header and claims say. Bytes are taken as they are."""
    header = headers if isinstance(headers, bytes) else dump(header_of(key, headers, alg))
    signing_input = f"{b64(header)}.{b64(claims if isinstance(claims, bytes) else dump(claims))}"
    return f"{signing_input}.{b64(signature_of(signing_input.encode(), key, alg))}"


def sign_text(header_part: str, payload_part: str, key: FactoryKey) -> str:
    """A token of two parts of text as they are, correctly signed: for texts that are no canonical base64url."""
    signing_input = f"{header_part}.{payload_part}"
    return f"{signing_input}.{b64(signature_of(signing_input.encode(), key))}"


def sign_hmac(claims: Mapping[str, Any], secret: bytes, alg: str = "HS256", kid: str | None = "k1") -> str:
    """A token under a symmetric algorithm: what an attacker makes of our public key."""
    header = {"alg": alg, "typ": "at+jwt"} | ({} if kid is None else {"kid": kid})
    signing_input = f"{b64(dump(header))}.{b64(dump(claims))}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
    return f"{signing_input}.{b64(hmac.new(secret, signing_input.encode(), digest).digest())}"


def raw_token(header: object, payload: object, signature: bytes | str = b"") -> str:
    """Three parts with dots between. A str is taken as it is, bytes are base64url-encoded, anything else is JSON."""
    parts = []
    for part in (header, payload, signature):
        if isinstance(part, str):
            parts.append(part)
        else:
            parts.append(b64(part if isinstance(part, bytes) else dump(part)))
    return ".".join(parts)


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that say nothing about their kind; a value of None leaves the claim out."""
    base = {"iss": ISS, "sub": "alice", "aud": "airflow", "iat": NOW - 60, "exp": NOW + 540, "jti": "t-1"}
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def access_claims(**changes: Any) -> dict[str, Any]:
    """The claims of an RFC 9068 access token with the groups of a Keycloak."""
    base = {
        "client_id": "cli",
        "scope": "openid",
        "preferred_username": "alice.a",
        "name": "Alice A.",
        "groups": ["data-readers"],
        "realm_access": {"roles": ["data-ops"]},
        "sid": "s-1",
    }
    return claims(**{**base, **changes})


def id_claims(**changes: Any) -> dict[str, Any]:
    """The claims of an OpenID Connect ID token for the client `airflow`."""
    return claims(**{"azp": "airflow", "nonce": "n-1", "at_hash": "aGFzaA", **changes})


def logout_claims(**changes: Any) -> dict[str, Any]:
    """The claims of an OpenID Connect back-channel logout token."""
    event = "http://schemas.openid.net/event/backchannel-logout"
    return claims(**{"events": {event: {}}, "sid": "s-1", **changes})


def issuer(**changes: Any) -> Issuer:
    """The issuer that the tokens above are from."""
    settings = {
        "name": "corp",
        "issuer": ISS,
        "audiences": {Plane.INBOUND: frozenset({"airflow"}), Plane.EGRESS: frozenset({"airflow-egress"})},
        "algorithms": frozenset({"RS256", "ES256"}),
        "username": "preferred_username",
        "groups": (("groups",), ("realm_access", "roles")),
    }
    return Issuer(**{**settings, **changes})
