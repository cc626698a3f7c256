"""Every kind of token that there is around the gate, all of them good at the same time. Test support: functions only.

`make(name, world)` gives the token, or the proof, of that name. In the world as it is everybody has keys and names of
their own. In `ONE_WORLD` every token is signed with one key and says one issuer: then nothing tells one kind from
another but what kind it says to be.
"""

from dataclasses import dataclass

from authz.core import assertion
from authz.core.model import Claims, DagGrant, Identity, Rights
from tests.support.factories import proofs as proof_factory
from tests.support.factories.proofs import GATE, INSTANCE
from tests.support.factories.tokens import ISS, NOW, FactoryKey, access_claims, id_claims, logout_claims, make_key, sign
from tests.support.rigs.service import SIGNING_KEY

GATE_KEY = FactoryKey(
    kid=SIGNING_KEY.kid,
    alg="ES256",
    private=SIGNING_KEY.private_key,
    jwk={"kty": "EC", "crv": "P-256", "x": SIGNING_KEY.x, "y": SIGNING_KEY.y, "kid": SIGNING_KEY.kid},
)
AIRFLOW = "https://airflow.test"
TASKS = "urn:airflow.apache.org:task"
TASK_KEY = proof_factory.task_key()


@dataclass(frozen=True, kw_only=True)
class World:
    """Whose keys and names the tokens have."""

    issuer: str
    issuer_key: FactoryKey
    airflow: str
    airflow_key: FactoryKey


IN_LIFE = World(issuer=ISS, issuer_key=make_key("ES256"), airflow=AIRFLOW, airflow_key=make_key("EdDSA", kid="airflow"))
ONE_WORLD = World(issuer=GATE, issuer_key=GATE_KEY, airflow=GATE, airflow_key=GATE_KEY)


def _oidc(world, audience, now):
    claims = access_claims(iss=world.issuer, aud=audience, client_id="sales-etl", iat=now - 60, exp=now + 540)
    return sign(claims, world.issuer_key)


def _id_token(world, now):
    claims = id_claims(iss=world.issuer, iat=now - 60, exp=now + 540)
    return sign(claims, world.issuer_key, {"typ": "JWT"})


def _logout_token(world, now):
    claims = logout_claims(iss=world.issuer, iat=now, exp=now + 60)
    return sign(claims, world.issuer_key, {"typ": "logout+jwt"})


def _airflow_token(world, scope, now):
    """As `airflow.api_fastapi.auth.tokens.JWTGenerator` makes it."""
    claims = {
        "jti": "a-1",
        "iss": world.airflow,
        "sub": INSTANCE,
        "aud": TASKS,
        "nbf": now,
        "exp": now + 600,
        "iat": now,
    }
    return sign({**claims, "scope": scope}, world.airflow_key, {"typ": "JWT"})


def _run_token(key, now):
    life = 300 if key is None else 120
    return proof_factory.run_token(key, by=GATE_KEY, iat=now, nbf=now, exp=now + life)


def _assertion(now):
    claims = Claims(
        "corp", ISS, "alice", "cli", "alice.a", "Alice A.", frozenset(), frozenset({"airflow"}), now + 540, now, None
    )
    rights = Rights(DagGrant(("*",)), "op", None)
    identity = Identity(claims=claims, roles=frozenset({"viewer"}))
    return assertion.mint(
        identity, rights, audience="airflow", issuer=GATE, now=now, lifetime=60, jti="j-1", key=SIGNING_KEY
    )


def proof_of(token, now=NOW, **changes):
    """A proof of the task's key for a call with `token`."""
    return proof_factory.prove(TASK_KEY, token, iat=now, **changes).decode()


KINDS = (
    "oidc inbound",
    "oidc egress",
    "id token",
    "logout token",
    "run token, bound",
    "run token, proxy",
    "airflow execution token",
    "airflow workload token",
    "assertion",
    "proof",
    "key set",
)


def make(kind, world=IN_LIFE, now=NOW):
    """The token of that kind, made now."""
    return {
        "oidc inbound": lambda: _oidc(world, "airflow", now),
        "oidc egress": lambda: _oidc(world, "airflow-egress", now),
        "id token": lambda: _id_token(world, now),
        "logout token": lambda: _logout_token(world, now),
        "run token, bound": lambda: _run_token(TASK_KEY, now),
        "run token, proxy": lambda: _run_token(None, now),
        "airflow execution token": lambda: _airflow_token(world, "execution", now),
        "airflow workload token": lambda: _airflow_token(world, "workload", now),
        "assertion": lambda: _assertion(now),
        "proof": lambda: proof_of(_run_token(TASK_KEY, now), now),
        "key set": lambda: _signed_keys(now),
    }[kind]()


def _signed_keys(now):
    """A signed key set (OpenID Federation 1.0 §5.2.1): of the right key, and no token."""
    return sign({"iss": GATE, "sub": GATE, "iat": now, "keys": []}, GATE_KEY, {"typ": "jwk-set+jwt"})
