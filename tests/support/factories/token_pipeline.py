"""The documented order of steps by which a token is accepted, as the service takes them. Test support."""

from authz.core import tokens
from authz.core.errors import TokenError
from authz.core.jose import jwks
from authz.core.jose.jwks import KeySet
from authz.core.model import Claims, Issuer, Plane
from authz.core.reasons import Reason
from tests.support.factories.tokens import NOW, FactoryKey, issuer, jwks_of


def keyset_of(*keys: FactoryKey) -> KeySet:
    return jwks.parse(jwks_of(keys))


def accept(
    token: str,
    keyset: KeySet,
    *,
    by: Issuer | None = None,
    plane: Plane = Plane.INBOUND,
    now: float = NOW,
    max_bytes: int = tokens.MAX_TOKEN_BYTES,
) -> Claims:
    """The claims of a token that the service would accept; TokenError for any other."""
    by = by or issuer()
    parsed = tokens.parse(token, max_bytes=max_bytes)
    found = tokens.find_issuer(parsed, {by.issuer: by})
    tokens.verify(parsed, tokens.find_key(parsed, found, keyset))
    claims = tokens.read_claims(parsed, found)
    tokens.check_claims(claims, found, plane, now)
    return claims


def refusal(token: str, keyset: KeySet, **settings: object) -> Reason | None:
    """Why the service would refuse the token, None when it would accept it."""
    try:
        accept(token, keyset, **settings)
    except TokenError as error:
        return error.reason
    return None
