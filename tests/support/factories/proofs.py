"""Run identity tokens and proofs, good and bad. Test support: no fixtures, no code under test, only functions.

key = task_key("a")                        cached: the same name gives the same key
run_token(key)                             a token bound to it; `run_token(None)` is one for a proxy
prove(key, token)                          a proof for GET URL with that token
prove(key, token, htm="POST", jwk={...})   whatever you like, signed all the same
"""

import hashlib
import itertools

from authz.core.model import Level, Run
from tests.support.factories.tokens import NOW, b64, dump, make_key, sign

GATE = "https://gate.test"
EGRESS = f"{GATE}/egress"
INSTANCE = "0199aa1b-6c1f-7d2e-8f00-0123456789ab"
URL = "http://orders.internal:8090/v1/orders"
CLAIM = {"dag_id": "sales_daily", "run_id": "manual__1", "task_id": "extract.a", "map_index": -1, "try_number": 1}
RUN = Run("sales_daily", "manual__1", "extract.a", -1, 1, Level.VERIFIED)
GATE_KEY = make_key("ES256", kid="gate-key")

_serials = itertools.count()


def task_key(name="task"):
    return make_key("ES256", kid=f"task-{name}", named_alg=False)


def public_jwk(key):
    return {name: key.jwk[name] for name in ("kty", "crv", "x", "y")}


def thumbprint(key):
    """RFC 7638 §3, written down a second time."""
    members = ",".join(f'"{name}":"{key.jwk[name]}"' for name in ("crv", "kty", "x", "y"))
    return b64(hashlib.sha256(f"{{{members}}}".encode()).digest())


def run_claims(key=None, **changes):
    """The claims of a token that is bound to `key`, or of one for a proxy; a value of None leaves the claim out."""
    form = {"exp": NOW + 300, "use": "proxy"} if key is None else {"exp": NOW + 120, "cnf": {"jkt": thumbprint(key)}}
    base = {
        "iss": GATE,
        "aud": EGRESS,
        "sub": f"airflow:ti:{INSTANCE}",
        "iat": NOW,
        "nbf": NOW,
        "jti": "r-1",
        **form,
        "airflow": CLAIM,
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def run_token(key=None, *, by=GATE_KEY, headers=None, **changes):
    return sign(run_claims(key, **changes), by, {"typ": "airflow-run+jwt", "kid": by.kid, **(headers or {})})


def proof_claims(token, **changes):
    base = {
        "jti": f"p-{next(_serials)}",
        "htm": "GET",
        "htu": URL,
        "iat": NOW,
        "ath": b64(hashlib.sha256(token.encode()).digest()),
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


def prove(key, token, *, headers=None, by=None, **changes):
    """A proof. `headers` are changed members of its header, `by` is who signs in the place of `key`."""
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": public_jwk(key), **(headers or {})}
    header = {name: value for name, value in header.items() if value is not None}
    return sign(proof_claims(token, **changes), by or key, dump(header)).encode()
