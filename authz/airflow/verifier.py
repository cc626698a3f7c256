"""Verify one assertion: bytes of a key set, a token and the time in; the caller, or a reason to refuse, out.

Law: pure. No I/O, no clock, no Airflow. Only what the gate mints is accepted, and nothing wider: ES256, type
`authz-assertion+jwt`, one audience, a lifetime of at most 60 seconds (RFC 8725 §3.1, §3.9, §3.11). Born refused: only
the last line of the happy path returns an identity. What an assertion does not say is not granted: without `dags` no
DAG, without `menu` no menu item. One with `dags_ref` names its DAGs by a digest: it grants none until `GrantSource` has
the DAGs.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeGuard

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from authz.airflow.dag_grant import NO_DAGS, DagGrant, grant_of

ASSERTION_HEADER = "x-authz-assertion"
ASSERTION_TYPE = "authz-assertion+jwt"
MAX_LIFETIME_S = 60
MAX_ASSERTION_BYTES = 16 * 1024
MAX_KEYS = 32
MAX_ID_CHARS = 128  # the narrowest column that Airflow stores a user's id in (`dag_run_note.user_id`)
MAX_NAME_CHARS = 500  # the narrowest column that Airflow stores a user's name in (`log.owner`)
MAX_PATTERNS = 2048  # more than fits into an assertion's bytes with patterns of any use
MAX_PATTERN_CHARS = 512  # a DAG id has at most 250 characters
AIRFLOW_ROLES = ("viewer", "user", "op", "admin")  # weakest first
REFERENCE = re.compile(r"[A-Za-z0-9_-]{43}")  # SHA-256 in base64url
HEADER_MEMBERS = frozenset({"alg", "kid", "typ"})

Keys = Mapping[str, ec.EllipticCurvePublicKey]


class Refusal(StrEnum):
    """Why an assertion is not accepted. For Airflow's log; the caller gets the same sentence for each."""

    MALFORMED = "malformed"
    TYPE = "wrong_type"
    ALGORITHM = "wrong_algorithm"
    UNKNOWN_KEY = "unknown_key"
    NO_KEYS = "no_keys"
    SIGNATURE = "bad_signature"
    CLAIM = "invalid_claim"
    ISSUER = "wrong_issuer"
    AUDIENCE = "wrong_audience"
    LIFETIME = "lifetime_too_long"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    NO_GRANT = "no_grant"


class KeySetError(Exception):
    """The document is not a key set, or has no key that can verify an assertion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What an assertion for this Airflow must say. `clock_skew` is in seconds."""

    issuer: str
    audience: str
    clock_skew: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asserted:
    """The caller that the gate asserts. A person or service is the pair (idp, subject), never a name."""

    subject: str
    idp: str
    username: str
    full_name: str = ""
    client_id: str = ""
    roles: frozenset[str] = frozenset()
    airflow_role: str = ""
    agent: bool = False
    dags: DagGrant = NO_DAGS
    dags_ref: str = ""
    menu: frozenset[str] = frozenset()

    @property
    def shown_name(self) -> str:
        """The name that Airflow shows and writes to its event log; the id if the name does not fit there."""
        return self.username if len(self.username) <= MAX_NAME_CHARS else self.user_id

    @property
    def user_id(self) -> str:
        """One string for (idp, subject) that fits where Airflow stores user ids."""
        plain = f"{self.idp}#{self.subject}"
        if len(plain) <= MAX_ID_CHARS:
            return plain
        return "sha256:" + hashlib.sha256(plain.encode()).hexdigest()


def parse_keys(data: bytes) -> Keys:
    """Read the gate's public keys from a JWKS (RFC 7517 §5); keys that cannot sign assertions are left out."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise KeySetError("the key set is not JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError("the document has no list `keys`")
    if len(entries) > MAX_KEYS:
        raise KeySetError(f"the key set has more than {MAX_KEYS} keys")
    usable = [(entry["kid"], key) for entry in entries if (key := _usable_key(entry)) is not None]
    seen = Counter(kid for kid, _ in usable)
    keys = {kid: key for kid, key in usable if seen[kid] == 1}  # a duplicate `kid` names no key
    if not keys:
        raise KeySetError("the key set has no P-256 public key with a `kid`")
    return MappingProxyType(keys)


def _usable_key(entry: Any) -> ec.EllipticCurvePublicKey | None:
    if not isinstance(entry, dict) or "d" in entry:
        return None
    kid = entry.get("kid")
    fits = (
        isinstance(kid, str)
        and kid != ""
        and entry.get("kty") == "EC"
        and entry.get("crv") == "P-256"
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", "ES256") == "ES256"
    )
    if not fits:
        return None
    try:
        key = ECAlgorithm.from_jwk(entry)
    except (jwt.InvalidKeyError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePublicKey) else None


def verify(token: str, keys: Keys, expected: Expected, now: float) -> Asserted | Refusal:
    """Return the caller, or the first reason to refuse."""
    key = _find_key(token, keys)
    if isinstance(key, Refusal):
        return key
    claims = _signed_claims(token, key)
    if isinstance(claims, Refusal):
        return claims
    for refusal in (_check_parties(claims, expected), _check_times(claims, expected, now)):
        if refusal is not None:
            return refusal
    return _read(claims)


def _find_key(token: str, keys: Keys) -> ec.EllipticCurvePublicKey | Refusal:
    if len(token) > MAX_ASSERTION_BYTES:
        return Refusal.MALFORMED
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return Refusal.MALFORMED
    if not header.keys() <= HEADER_MEMBERS:  # the gate never sends `crit`, `jku`, `b64` …
        return Refusal.MALFORMED
    if header.get("alg") != "ES256":
        return Refusal.ALGORITHM
    if header.get("typ") != ASSERTION_TYPE:
        return Refusal.TYPE
    return keys.get(header.get("kid", ""), Refusal.UNKNOWN_KEY if keys else Refusal.NO_KEYS)


def _signed_claims(token: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any] | Refusal:
    try:
        signed = jwt.PyJWS(algorithms=["ES256"]).decode(token, key, algorithms=["ES256"])
    except jwt.InvalidTokenError:
        return Refusal.SIGNATURE
    try:
        claims = json.loads(signed)
    except (ValueError, RecursionError):
        return Refusal.MALFORMED
    return claims if isinstance(claims, dict) else Refusal.MALFORMED


def _check_parties(claims: Mapping[str, Any], expected: Expected) -> Refusal | None:
    if claims.get("iss") != expected.issuer:
        return Refusal.ISSUER
    if claims.get("aud") != expected.audience:
        return Refusal.AUDIENCE
    return None


def _check_times(claims: Mapping[str, Any], expected: Expected, now: float) -> Refusal | None:
    issued_at, not_before, expires_at = (claims.get(name) for name in ("iat", "nbf", "exp"))
    if not (_whole(issued_at) and _whole(not_before) and _whole(expires_at)):
        return Refusal.CLAIM
    if expires_at - issued_at > MAX_LIFETIME_S:
        return Refusal.LIFETIME
    if now >= expires_at + expected.clock_skew:
        return Refusal.EXPIRED
    if max(issued_at, not_before) > now + expected.clock_skew:
        return Refusal.NOT_YET_VALID
    return None


def _whole(value: Any) -> TypeGuard[int]:
    return type(value) is int  # neither a bool nor a float


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _patterns(value: Any) -> bool:
    return _texts(value) and len(value) <= MAX_PATTERNS and all(0 < len(item) <= MAX_PATTERN_CHARS for item in value)


def _reference(value: Any) -> bool:
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


_SHAPES: Mapping[str, Callable[[Any], bool]] = MappingProxyType(
    {
        "sub": _text,
        "jti": _text,
        "idp": _text,
        "roles": _texts,
        "name": lambda value: isinstance(value, str),
        "preferred_username": lambda value: isinstance(value, str),
        "client_id": lambda value: isinstance(value, str),
        "airflow_role": lambda value: value in AIRFLOW_ROLES,
        "agent": lambda value: value is True,
        "dags": _patterns,
        "dags_denied": _patterns,
        "dags_ref": _reference,
        "menu": _texts,
    }
)
_REQUIRED = frozenset({"sub", "jti", "idp", "roles"})


def _read(claims: Mapping[str, Any]) -> Asserted | Refusal:
    if not claims.keys() >= _REQUIRED:
        return Refusal.CLAIM
    if not all(fits(claims[name]) for name, fits in _SHAPES.items() if name in claims):
        return Refusal.CLAIM
    if "dags_ref" in claims and not claims.keys().isdisjoint({"dags", "dags_denied"}):
        return Refusal.CLAIM
    return Asserted(
        subject=claims["sub"],
        idp=claims["idp"],
        username=claims.get("preferred_username") or claims["sub"],
        full_name=claims.get("name", ""),
        client_id=claims.get("client_id", ""),
        roles=frozenset(claims["roles"]),
        airflow_role=claims.get("airflow_role", ""),
        agent="agent" in claims,
        dags=grant_of(tuple(claims.get("dags", ())), tuple(claims.get("dags_denied", ()))),
        dags_ref=claims.get("dags_ref", ""),
        menu=frozenset(claims.get("menu", ())),
    )
