"""Logout tokens: an issuer reports an ended session (OpenID Connect Back-Channel Logout 1.0 §2.4, §2.6).

Law 1: a logout token is never taken for another kind, nor another kind for it: `typ` (RFC 8725 §3.11) and `events`
say that it is one, and a `nonce` rules it out.
Law 2: it is fresh: `iat` is less than `FRESH_S` ago, so that an old recorded token has no effect.
Law 3: it is for us: `aud` is one of our audiences, or one of the clients that people log in with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core.errors import TokenError
from authz.core.model import Issuer
from authz.core.reasons import Reason
from authz.core.tokens.claims import READERS, session_ids
from authz.core.tokens.compact import ParsedToken

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
FRESH_S: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Logout:
    """What has ended: the session `sid`, or, if that is "", all that `subject` was issued up to `issued_at`."""

    token_id: str
    session_id: str = field(repr=False)
    subject: str = field(repr=False)
    issued_at: int


def read_logout(parsed: ParsedToken, issuer: Issuer, clients: frozenset[str], now: float) -> Logout:
    """What a logout token of `issuer` says at `now`; TokenError if it is not one, not for us, or not fresh.

    It is true only if `verify` accepts the token. `clients` are accepted audiences in addition to those in the issuer's
    entry.
    """
    payload = parsed.payload
    _check_kind(parsed)
    audiences: frozenset[str] = READERS["audiences"](payload, issuer)
    if audiences.isdisjoint(clients.union(*issuer.audiences.values())):
        raise TokenError(Reason.AUDIENCE, "the logout token is for none of our clients")
    issued_at: int | None = READERS["issued_at"](payload, issuer)
    if issued_at is None:
        raise TokenError(Reason.CLAIM_INVALID, "iat is missing")
    if not issued_at <= now + issuer.clock_skew:
        raise TokenError(Reason.NOT_YET_VALID, "iat is in the future")
    if not now < issued_at + FRESH_S + issuer.clock_skew:
        raise TokenError(Reason.EXPIRED, f"the logout token is older than {FRESH_S} s")
    if "exp" in payload and not now < READERS["expires_at"](payload, issuer) + issuer.clock_skew:
        raise TokenError(Reason.EXPIRED, "exp has passed")
    session_id, token_id = session_ids(payload, issuer)
    if not token_id:
        raise TokenError(Reason.CLAIM_INVALID, "jti is missing")
    subject = READERS["subject"](payload, issuer) if "sub" in payload else ""
    if not (session_id or subject):
        raise TokenError(Reason.CLAIM_INVALID, "neither sid nor sub")
    return Logout(token_id=token_id, session_id=session_id, subject=subject, issued_at=issued_at)


def _check_kind(parsed: ParsedToken) -> None:
    typ = (parsed.typ or "").lower().removeprefix("application/")
    events: Mapping[str, Any] | object = parsed.payload.get("events")
    if typ != "logout+jwt":
        raise TokenError(Reason.TOKEN_TYPE, "typ of the header is not logout+jwt")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise TokenError(Reason.TOKEN_TYPE, "events does not name a back-channel logout")
    if "nonce" in parsed.payload:
        raise TokenError(Reason.TOKEN_TYPE, "a logout token has no nonce")
