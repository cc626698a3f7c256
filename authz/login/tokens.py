"""What a provider issues to a person: an access token, and perhaps a refresh token and an ID token.

Law 1: the ID token is verified as the gate verifies tokens (`authz.core.tokens`): signature, `iss`, `aud`, times; and
its `nonce`, where one was sent (OpenID Connect Core §3.1.3.7). The access token is for the gate to verify: here it is
a text that fits into a header line.
Law 2: no token in a `repr`.
"""

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from authz.core import tokens
from authz.core.errors import KeysUnavailableError, TokenError
from authz.core.jose import jwks
from authz.core.jose.primitives import ALGORITHMS
from authz.core.model import Issuer, Plane
from authz.keys import KeyFetcher
from authz.login.provider import LoginError, Metadata

_B64TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 §2.1
_REFRESH: Final = re.compile(r"[ -~]+")  # RFC 6749 appendix A.17
_LONGEST_LIFE_S: Final = 366 * 86_400  # of an ID token: what the provider says; the gate has a bound of its own
_LONGEST: Final = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What a login asks for: at which provider, as which public client, for which scope, audience and resource."""

    issuer: str
    client_id: str
    scope: str = "openid"
    audience: str = ""
    resource: str = ""

    @property
    def asks(self) -> dict[str, str]:
        """The parameters of every authorization request: `resource` is RFC 8707's, `audience` some providers' own."""
        found = {"client_id": self.client_id, "scope": self.scope, "audience": self.audience, "resource": self.resource}
        return {name: value for name, value in found.items() if value}

    def token_request(self, grant_type: str, **more: str) -> dict[str, str]:
        """The form of a token request (RFC 6749 §4.1.3, §6; RFC 8628 §3.4): `more` is what the grant asks for."""
        found = {"grant_type": grant_type, **more, "client_id": self.client_id}
        return {**found, "resource": self.resource} if self.resource else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one login; "" for one that there is not. `ends`: of the access token, since the epoch; 0: unknown.

    `subject` is the ID token's `sub`, `person` the name that it has for them; "" without an ID token.
    """

    access: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    ends: int = 0
    subject: str = ""
    person: str = ""


def read_answer(
    answer: Mapping[str, Any], metadata: Metadata, client: Client, *, now: float, nonce: str | None = None
) -> Tokens:
    """The tokens of a token response (RFC 6749 §5.1).

    `nonce` is what the ID token must repeat; None if none was sent.

    Raises:
        LoginError: it is no such response, or its ID token is not good.
    """
    access = _token(answer, "access_token", _B64TOKEN)
    kind = answer.get("token_type")
    if not access or not isinstance(kind, str) or kind.lower() != "bearer":
        raise LoginError("the token endpoint gives no bearer token")
    text = answer.get("id_token", "")
    if not isinstance(text, str) or (nonce is not None and not text and "openid" in client.scope.split()):
        raise LoginError("the token endpoint gives no ID token, though the scope has `openid`")
    subject, person = _person(text, metadata, client, now=now, nonce=nonce) if text else ("", "")
    seconds = answer.get("expires_in")
    known = isinstance(seconds, int) and not isinstance(seconds, bool) and 0 < seconds < _LONGEST_LIFE_S
    return Tokens(
        access=access,
        refresh=_token(answer, "refresh_token", _REFRESH),
        ends=int(now + seconds) if known and isinstance(seconds, int) else 0,
        subject=subject,
        person=person,
    )


def _token(answer: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = answer.get(name, "")
    if value == "":
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST or not form.fullmatch(value):
        raise LoginError(f"the token endpoint gives a malformed {name}")
    return value


def _person(text: str, metadata: Metadata, client: Client, *, now: float, nonce: str | None) -> tuple[str, str]:
    """The ID token's subject, and the name that it has for them.

    Raises:
        LoginError: the ID token is not good, or for another login.
    """
    issuer = Issuer(
        name="login",
        issuer=metadata.issuer,
        audiences={Plane.INBOUND: frozenset({client.client_id})},
        algorithms=frozenset(ALGORITHMS),
        max_lifetime=_LONGEST_LIFE_S,
        username="preferred_username",
        tokens=frozenset({"id", "untyped"}),  # without a nonce, as of a device, it may say nothing
        discovery=False,
        jwks_uri=metadata.jwks_uri,
    )
    try:
        parsed = tokens.parse(text, max_bytes=tokens.MAX_TOKEN_BYTES)
        tokens.find_issuer(parsed, {issuer.issuer: issuer})
        keys = jwks.parse(KeyFetcher().fetch(issuer).data)
        tokens.verify(parsed, tokens.find_key(parsed, issuer, keys))
        claims = tokens.read_claims(parsed, issuer)
        tokens.check_claims(claims, issuer, Plane.INBOUND, now)
    except (TokenError, KeysUnavailableError) as error:
        raise LoginError(f"the ID token is refused: {error.reason}: {error.detail}") from None
    said = parsed.payload.get("nonce")
    if nonce is not None and not (isinstance(said, str) and hmac.compare_digest(said.encode(), nonce.encode())):
        raise LoginError("the ID token is for another login: its nonce is not ours. Nothing was kept")
    return claims.subject, claims.username
