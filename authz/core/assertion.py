"""The assertion: a short-lived signed JWT that names the caller to Airflow (RFC 7519, RFC 8725 §3.11).

Law 1: ES256 only, `typ` authz-assertion+jwt, at most 60 seconds, always `iss`, one `aud`, `sub`, `jti`.
Law 2: it says who the caller is, which roles the policy gives them, and what one decision lets them see and do. It
holds no token and no secret. Airflow takes whatever it does not say for "nothing".
Law 3: bytes and times are arguments. A private key is never shown, not even by `repr`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from authz.core import edge
from authz.core.jose.es256 import ALG, sign
from authz.core.jose.primitives import b64url_encode, thumbprint
from authz.core.model import DagGrant, Identity, Rights, Run

HEADER: Final = edge.ASSERTION
TYP: Final = "authz-assertion+jwt"
MAX_LIFETIME: Final = 60  # seconds

_COORDINATE_BYTES: Final = 32
_MOST_BYTES: Final = 12_000  # of claims: signed and in base64url they take less than the 16 KiB that Airflow reads


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private P-256 key. `kid` is its RFC 7638 thumbprint, `x` and `y` are its public half as in a JWK."""

    kid: str
    x: str
    y: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    protected: bytes = field(repr=False, compare=False)


def generate_pem() -> bytes:
    """A new private key, PKCS #8 in PEM, unencrypted: `authz` writes it where only the server may read."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_signing_key(pem: bytes) -> SigningKey:
    """The key of a PEM file; ValueError, without any of the file's content, when it is no plain P-256 private key."""
    try:
        private_key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("not an unencrypted private key in PEM") from None
    if not isinstance(private_key, ec.EllipticCurvePrivateKey) or not isinstance(private_key.curve, ec.SECP256R1):
        raise ValueError("not an EC P-256 private key")  # noqa: TRY004 the file is wrong, not the caller
    numbers = private_key.public_key().public_numbers()
    x, y = (b64url_encode(value.to_bytes(_COORDINATE_BYTES, "big")) for value in (numbers.x, numbers.y))
    kid = thumbprint({"kty": "EC", "crv": "P-256", "x": x, "y": y})
    protected = b64url_encode(orjson.dumps({"alg": ALG, "kid": kid, "typ": TYP})).encode("ascii")
    return SigningKey(kid=kid, x=x, y=y, private_key=private_key, protected=protected)


def public_jwks(keys: Iterable[SigningKey]) -> dict[str, list[dict[str, str]]]:
    """The key set that Airflow verifies with (RFC 7517 §5): public members only."""
    return {
        "keys": [
            {"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y, "kid": key.kid, "use": "sig", "alg": ALG}
            for key in keys
        ]
    }


def _run(run: Run) -> dict[str, Any]:
    """The run that a call comes from, with its level."""
    return {
        "dag_id": run.dag_id,
        "run_id": run.run_id,
        "task_id": run.task_id,
        "map_index": run.map_index,
        "try_number": run.try_number,
        "identity": run.level.value,
    }


def _dags(grant: DagGrant | None) -> dict[str, Any]:
    if grant is None:
        return {}
    if grant.reference:
        return {"dags_ref": grant.reference}
    return {"dags": grant.allowed, "dags_denied": grant.denied} if grant.denied else {"dags": grant.allowed}


def mint(
    identity: Identity,
    rights: Rights,
    *,
    audience: str,
    issuer: str,
    now: int,
    lifetime: int,
    jti: str,
    key: SigningKey,
) -> str:
    """A signed assertion about `identity` for the one upstream `audience`, valid from `now` for `lifetime` seconds.

    From `rights` it takes `airflow_role`; `menu`, the names of Airflow's menu items; and the DAGs, as lists of globs in
    which only `*` is special: those that match one of `dags` and none of `dags_denied`. If these are too many, it has
    `dags_ref` instead, the digest of what the gate answers on `/grants/`. If the caller's roles and full name leave no
    room for the rest, it omits both. For an outbound call, `airflow` names the run that makes it.
    """
    if not 1 <= lifetime <= MAX_LIFETIME:
        raise ValueError(f"an assertion lives 1 to {MAX_LIFETIME} seconds")
    if not (audience and issuer and jti):
        raise ValueError("an assertion needs an audience, an issuer and a jti")
    claims = identity.claims
    payload: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": claims.subject,
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "jti": jti,
        "name": claims.full_name,
        "preferred_username": claims.username,
        "idp": claims.issuer,
        "client_id": claims.client_id,
        "roles": sorted(identity.roles),
    }
    if rights.airflow_role:
        payload["airflow_role"] = rights.airflow_role
    payload |= _dags(rights.dags)
    if rights.menu is not None:
        payload["menu"] = rights.menu
    if identity.run is not None:
        payload["airflow"] = _run(identity.run)
    if identity.agent:
        payload["agent"] = True
    claimed = orjson.dumps(payload)
    if len(claimed) > _MOST_BYTES:  # what grants nothing must not make Airflow refuse the rest
        claimed = orjson.dumps({**payload, "roles": [], "name": ""})
    signing_input = key.protected + b"." + b64url_encode(claimed).encode("ascii")
    return f"{signing_input.decode('ascii')}.{b64url_encode(sign(signing_input, key.private_key))}"
