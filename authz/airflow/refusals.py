"""Compare a refused assertion with what this Airflow expects, for operators.

Law: pure. Claims are quoted only if the gate's key has signed them. Then the answer may name both values too: the gate
let the holder of such an assertion through. Of any other assertion only the key id is quoted, and only in the log.
Everything quoted is escaped and truncated.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import jwt

from authz.airflow.verifier import Expected, Keys, Refusal

DECISION_HEADER: Final = b"x-authz-decision"
SIGNED: Final = frozenset(
    {Refusal.CLAIM, Refusal.ISSUER, Refusal.AUDIENCE, Refusal.LIFETIME, Refusal.EXPIRED, Refusal.NOT_YET_VALID}
)
"""Refusals of an assertion whose signature is the gate's."""

_MOST_CHARS: Final = 200
_decision = re.compile(rb"[0-9a-f]{24}").fullmatch


def decision_id(values: list[bytes]) -> str:
    """The id of the gate's decision from the values of its header; "" where there is none, or more than one."""
    return values[0].decode("ascii") if len(values) == 1 and _decision(values[0]) else ""


def facts(token: str, refusal: Refusal, expected: Expected, now: float) -> dict[str, Any]:
    """Both sides of a refusal, for its JSON answer; {} if the gate's key did not sign the assertion.

    `{"refusal", "found": {"issuer", "audience", "issued_at", "expires_at"}, "expected": {"issuer", "audience"},
    "now"}`, times in seconds since the epoch.
    """
    if refusal not in SIGNED:
        return {}
    claims = _claims(token)
    found = {"issuer": "iss", "audience": "aud", "issued_at": "iat", "expires_at": "exp"}
    return {
        "refusal": refusal.value,
        "found": {name: claims.get(claim) for name, claim in found.items()},
        "expected": {"issuer": expected.issuer, "audience": expected.audience},
        "now": int(now),
    }


def sentence(token: str, refusal: Refusal, keys: Keys, expected: Expected, now: float) -> str:
    """The problem and what to compare, for Airflow's log."""
    if refusal in SIGNED:
        return _of_claims(_claims(token), refusal, expected, now)
    if refusal is Refusal.NO_KEYS:
        return "this Airflow has no keys of its gate: see the warnings about [authz] jwks_url or jwks_file"
    if refusal is Refusal.NO_GRANT:
        return "the gate did not say which DAGs it is for: see the warning before this line"
    if refusal is Refusal.UNKNOWN_KEY:
        known = ", ".join(sorted(keys)) or "none"
        return (
            f"its key {_quoted(_key_id(token))} is not among the gate's keys here ({known}): is [authz] jwks_url or"
            " jwks_file that of the gate in front of this Airflow?"
        )
    return "not an assertion by a gate: the caller bypassed the gate, or the gate has another version"


def _of_claims(claims: Mapping[str, Any], refusal: Refusal, expected: Expected, now: float) -> str:
    match refusal:
        case Refusal.AUDIENCE:
            return (
                f"it is for the audience {_quoted(claims.get('aud'))}, and [authz] audience is"
                f" {_quoted(expected.audience)}: it must be the `audience` of this Airflow's upstream in the gate's"
                " settings"
            )
        case Refusal.ISSUER:
            return (
                f"its issuer is {_quoted(claims.get('iss'))}, and [authz] issuer is {_quoted(expected.issuer)}: it"
                " must be `assertion.issuer` of the gate's settings"
            )
        case Refusal.EXPIRED:
            return f"it expired at {_time(claims.get('exp'))}, and {_clocks(claims, now)}"
        case Refusal.NOT_YET_VALID:
            return f"it is not valid yet, and {_clocks(claims, now)}"
        case Refusal.LIFETIME:
            return "it lives longer than a minute: no gate makes such assertions"
    return "a claim is missing or has the wrong type: a gate of another version"


def _clocks(claims: Mapping[str, Any], now: float) -> str:
    return (
        f"was made at {_time(claims.get('iat'))} by the gate's clock; this machine's clock says {_time(now)}: set the"
        " clocks right, or look for what delays requests"
    )


def _claims(token: str) -> Mapping[str, Any]:
    """The claims, read only to report them."""
    try:
        claims = json.loads(jwt.api_jws.PyJWS().decode_complete(token, options={"verify_signature": False})["payload"])
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _key_id(token: str) -> object:
    try:
        return jwt.get_unverified_header(token).get("kid")
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return None


def _quoted(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _MOST_CHARS else text[:_MOST_CHARS] + "…"


def _time(value: object) -> str:
    if type(value) not in {int, float}:
        return "?"
    try:
        return datetime.fromtimestamp(float(value), UTC).isoformat(timespec="seconds")  # type: ignore[arg-type]
    except (OverflowError, ValueError, OSError):
        return "?"
