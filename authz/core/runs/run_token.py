"""Run identity tokens: short-lived signed JWTs that say which run of which task a call comes from.

Law 1: only what `mint` makes is accepted, and nothing wider: ES256, type `airflow-run+jwt`, a key of ours, one issuer,
one audience, exactly these claims, each of its type (RFC 8725 §3.1, §3.8, §3.9, §3.11). So an assertion, an issuer's
token or Airflow's token is never accepted as one of these, nor one of these as one of them.
Law 2: a token is bound to the task's key (`cnf.jkt`, RFC 9449 §6.1), or it says that it is for a proxy and lives
longer. A token that is both or neither is refused.
Law 3: bytes and times are arguments. A token is never shown.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from authz.core.assertion import SigningKey
from authz.core.errors import TokenError
from authz.core.jose.es256 import ALG, is_signed, sign
from authz.core.jose.primitives import b64url_decode, b64url_encode, shown
from authz.core.model import Level, Run
from authz.core.reasons import Reason
from authz.core.runs.run_claim import CLAIM, claim_of, read_run
from authz.core.tokens.compact import ParsedToken, parse

TYP: Final = "airflow-run+jwt"
SUBJECT: Final = "airflow:ti:"
PROXY: Final = "proxy"
LIFETIME_S: Final = 120
PROXY_LIFETIME_S: Final = 300
MAX_TOKEN_BYTES: Final = 8 * 1024
START_SKEW_S: Final = 30  # how far the clock of the gate that made a token may be ahead of ours

_SHA256_BYTES: Final = 32
_MAX_TEXT: Final = 128
_MAX_TIME: Final = 253_402_300_799  # the last second of the year 9999
_COMMON: Final = frozenset({"iss", "aud", "sub", "iat", "nbf", "exp", "jti", CLAIM})
_BOUND: Final = _COMMON | {"cnf"}
_UNBOUND: Final = _COMMON | {"use"}

Keys = Mapping[str, ec.EllipticCurvePublicKey]
"""The keys that our tokens may be signed with, by `kid`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunToken:
    """What a verified token says. `instance` is the id of the task instance, which names one try of it.

    `run` has the highest level that the form of the token allows: `verified` if it is bound to the key with this
    `thumbprint`, `verified-bearer` if `thumbprint` is None.
    """

    instance: str
    run: Run
    thumbprint: str | None
    token_id: str
    issued_at: int
    expires_at: int


def audience(issuer: str) -> str:
    """The `aud` of our issuer's tokens: the outbound side of its gate."""
    return f"{issuer}/egress"


def public_keys(keys: Iterable[SigningKey]) -> Keys:
    """The keys for `verify`, by `kid`."""
    return {key.kid: key.private_key.public_key() for key in keys}


def mint(
    run: Run,
    *,
    instance: str,
    thumbprint: str | None,
    issuer: str,
    audience: str,
    now: int,
    jti: str,
    key: SigningKey,
    lifetime: int | None = None,
) -> str:
    """A signed token for the run, from `now` on: bound to the key of the thumbprint, or for a proxy if that is None.

    It lives for `lifetime` seconds; if that is None, as long as its form may.

    Raises:
        ValueError: `verify` would not accept it.
    """
    if lifetime is None:
        lifetime = PROXY_LIFETIME_S if thumbprint is None else LIFETIME_S
    payload: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "sub": SUBJECT + instance,
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "jti": jti,
        **({"use": PROXY} if thumbprint is None else {"cnf": {"jkt": thumbprint}}),
        CLAIM: claim_of(run),
    }
    header = b64url_encode(orjson.dumps({"alg": ALG, "kid": key.kid, "typ": TYP}))
    signing_input = f"{header}.{b64url_encode(orjson.dumps(payload))}"
    signature = sign(signing_input.encode("ascii"), key.private_key)
    try:
        _read(payload)
    except TokenError as error:
        raise ValueError(f"no run identity token can say this: {error.detail}") from None
    return f"{signing_input}.{b64url_encode(signature)}"


def verify(token: str, keys: Keys, *, issuer: str, audience: str, now: float) -> RunToken:
    """What the token says at `now`; TokenError if it is not one of ours, or not valid now."""
    parsed = parse(token, max_bytes=MAX_TOKEN_BYTES)
    if parsed.typ != TYP:
        raise TokenError(Reason.TOKEN_TYPE, f"typ of the header is not {TYP}")
    if parsed.alg != ALG:
        raise TokenError(Reason.ALGORITHM, f"alg is {shown(parsed.alg)}; only {ALG} is accepted")
    _check_signature(parsed, keys)
    claims = parsed.payload
    if claims.get("iss") != issuer:
        raise TokenError(Reason.UNKNOWN_ISSUER, f"iss is {shown(claims.get('iss'))}")
    if claims.get("aud") != audience:
        raise TokenError(Reason.AUDIENCE, f"aud is {shown(claims.get('aud'))}")
    read = _read(claims)
    if not now < read.expires_at:
        raise TokenError(Reason.EXPIRED, f"exp was {now - read.expires_at:.0f} s ago")
    if not read.issued_at <= now + START_SKEW_S:
        raise TokenError(Reason.NOT_YET_VALID, f"iat is more than {START_SKEW_S} s in the future")
    return read


def _check_signature(parsed: ParsedToken, keys: Keys) -> None:
    key = keys.get(parsed.kid or "")
    if key is None:
        raise TokenError(Reason.UNKNOWN_KEY, f"kid {shown(parsed.kid)} is not one of our keys")
    if not is_signed(parsed.signing_input, parsed.signature, key):
        raise TokenError(Reason.BAD_SIGNATURE, f"kid {shown(parsed.kid)}")


def _read(claims: Mapping[str, Any]) -> RunToken:
    """The typed claims of a token, not yet compared with what is expected."""
    thumbprint = _bound_to(claims)
    issued_at, not_before, expires_at = (_time(claims, name) for name in ("iat", "nbf", "exp"))
    if not issued_at == not_before < expires_at:
        raise _invalid("nbf is not iat, or exp not after it")
    lifetime = expires_at - issued_at
    if lifetime > (PROXY_LIFETIME_S if thumbprint is None else LIFETIME_S):
        raise TokenError(Reason.LIFETIME_TOO_LONG, f"it lives {lifetime} s")
    _text(claims, "iss", MAX_TOKEN_BYTES)
    _text(claims, "aud", MAX_TOKEN_BYTES)
    try:
        run = read_run(claims[CLAIM], Level.VERIFIED_BEARER if thumbprint is None else Level.VERIFIED)
    except ValueError as error:
        raise _invalid(str(error)) from None
    return RunToken(
        instance=_instance(_text(claims, "sub", _MAX_TEXT)),
        run=run,
        thumbprint=thumbprint,
        token_id=_text(claims, "jti", _MAX_TEXT),
        issued_at=issued_at,
        expires_at=expires_at,
    )


def _bound_to(claims: Mapping[str, Any]) -> str | None:
    """The thumbprint of the key that the token is bound to; None for the form that is for a proxy."""
    if claims.keys() == _UNBOUND and claims["use"] == PROXY:
        return None
    cnf = claims.get("cnf")
    if claims.keys() != _BOUND or not isinstance(cnf, dict) or cnf.keys() != {"jkt"}:
        raise _invalid("not the claims of a token that is bound to a key, nor of one for a proxy")
    jkt = cnf["jkt"]
    try:
        if isinstance(jkt, str) and len(b64url_decode(jkt.encode("utf-8"))) == _SHA256_BYTES:
            return jkt
    except ValueError:
        pass
    raise _invalid("cnf.jkt is not a SHA-256 thumbprint (RFC 7638)")


def _instance(subject: str) -> str:
    """The id in `sub`: a UUID in the one spelling that Airflow writes."""
    instance = subject.removeprefix(SUBJECT)
    try:
        if subject.startswith(SUBJECT) and str(UUID(instance)) == instance:
            return instance
    except ValueError:
        pass
    raise _invalid(f"sub is not {SUBJECT}<id of a task instance>")


def _time(claims: Mapping[str, Any], claim: str) -> int:
    value = claims[claim]
    if type(value) is not int or not 0 <= value <= _MAX_TIME:  # a boolean is an int to isinstance
        raise _invalid(f"{claim} is not a whole number of seconds")
    return value


def _text(claims: Mapping[str, Any], claim: str, most: int) -> str:
    value = claims[claim]
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise _invalid(f"{claim} is not a string of 1 to {most} characters")
    return value


def _invalid(detail: str) -> TokenError:
    return TokenError(Reason.CLAIM_INVALID, detail)
