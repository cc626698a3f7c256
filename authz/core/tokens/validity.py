"""Checks the claims that depend on where and when the token is used: audience and time (RFC 7519 §4.1.3 to §4.1.6).

Law 1: checked on every use, cached or not. `now` is an argument: seconds since the epoch.
Law 2: every comparison must hold to go on; a `now` that is not a number lets nothing through.
Law 3: short lifetimes are enforced: a token that lives longer than the issuer's `max_lifetime` is refused.
"""

from authz.core.errors import TokenError
from authz.core.jose.primitives import shown
from authz.core.model import Claims, Issuer, Plane
from authz.core.reasons import Reason


def check_claims(claims: Claims, issuer: Issuer, plane: Plane, now: float) -> None:
    """The token is for this plane and valid at `now`; TokenError otherwise."""
    check_audience(claims.audiences, issuer, plane)
    check_expiry(claims.expires_at, issuer, now)
    check_start(claims.not_before, claims.issued_at, issuer, now)
    check_lifetime(claims.expires_at, claims.issued_at, issuer, now)


def window(claims: Claims, issuer: Issuer) -> tuple[float, float]:
    """The times between which `check_claims` accepts the token's times: from the first until just before the second.

    An empty window (the second is not after the first) belongs to a token that is never valid.
    """
    ends, issued_at, not_before = claims.expires_at, claims.issued_at, claims.not_before
    if issued_at is None:
        starts = ends - issuer.max_lifetime
    elif 0 < ends - issued_at <= issuer.max_lifetime:
        starts = issued_at
    else:
        return 0.0, 0.0
    if not_before is not None and not_before > starts:
        starts = not_before
    return float(starts - issuer.clock_skew), float(ends + issuer.clock_skew)


def check_audience(audiences: frozenset[str], issuer: Issuer, plane: Plane) -> None:
    """One of the token's audiences is ours on this plane (RFC 7519 §4.1.3, RFC 8725 §3.9)."""
    expected = issuer.audiences.get(plane)
    if not expected:
        raise TokenError(Reason.AUDIENCE, f"issuer {issuer.name} has no audience on the plane {plane}")
    if expected.isdisjoint(audiences):
        wanted, found = (", ".join(shown(name) for name in sorted(names)) for names in (expected, audiences))
        raise TokenError(Reason.AUDIENCE, f"aud is {found}; the plane {plane} expects {wanted}")


def check_expiry(expires_at: int, issuer: Issuer, now: float) -> None:
    """`now` is before `exp`, give or take the clock skew (RFC 7519 §4.1.4)."""
    if not now < expires_at + issuer.clock_skew:
        raise TokenError(
            Reason.EXPIRED, f"exp was {_seconds(now - expires_at)} ago; the clock skew is {issuer.clock_skew} s"
        )


def check_start(not_before: int | None, issued_at: int | None, issuer: Issuer, now: float) -> None:
    """`nbf` and `iat` are not in the future, give or take the clock skew (RFC 7519 §4.1.5, §4.1.6)."""
    for claim, start in (("nbf", not_before), ("iat", issued_at)):
        if start is not None and not start <= now + issuer.clock_skew:
            raise TokenError(
                Reason.NOT_YET_VALID,
                f"{claim} is {_seconds(start - now)} in the future; the clock skew is {issuer.clock_skew} s",
            )


def check_lifetime(expires_at: int, issued_at: int | None, issuer: Issuer, now: float) -> None:
    """The token was made to live no longer than `max_lifetime`; without `iat`, no longer than that from now on."""
    if issued_at is None:
        if not expires_at - now <= issuer.max_lifetime + issuer.clock_skew:
            raise TokenError(
                Reason.LIFETIME_TOO_LONG,
                f"it lives {_seconds(expires_at - now)} from now on (no iat); max_lifetime is {issuer.max_lifetime} s",
            )
        return
    lifetime = expires_at - issued_at
    if lifetime <= 0:
        raise TokenError(Reason.CLAIM_INVALID, "exp is not after iat")
    if lifetime > issuer.max_lifetime:
        raise TokenError(
            Reason.LIFETIME_TOO_LONG, f"exp - iat is {lifetime} s; max_lifetime is {issuer.max_lifetime} s"
        )


def _seconds(value: float) -> str:
    return f"{value:.0f} s"
