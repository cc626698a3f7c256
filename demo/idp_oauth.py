"""The OAuth 2.0 and OpenID Connect half of the development provider: Authlib's grants over our in-memory store.

Law: development only. Authorization code with PKCE (S256 only), client credentials and refresh; access tokens are JWTs
as in RFC 9068 (`at+jwt`) with `groups`, and with the `sid` of the sign-in that they come from; every token goes through
`AccessTokens`, including those of `/dev/token`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from authlib.common.security import generate_token
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    InvalidRequestError,
    RefreshTokenGrant,
)
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from authlib.oidc.core import OpenIDCode
from flask import Flask, g, has_request_context, request
from joserfc.jwk import KeySet, RSAKey

from demo.idp_store import AUDIENCES, CLIENTS, Client, Code, KeyRing, Moods, Person, RefreshToken, Store

ID_TOKEN_LIFETIME_S = 600
DEV_CLAIMS = "dev_claims"
SESSION = "sid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The provider's state."""

    issuer: str
    keys: KeyRing
    store: Store
    moods: Moods = field(default_factory=Moods)


class AccessTokens(JWTBearerTokenGenerator):  # type: ignore[misc]
    """JWT access tokens (RFC 9068) with the claims that the gate reads."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(
            provider.issuer,
            alg="RS256",
            refresh_token_generator=lambda **_request: generate_token(48),
            expires_generator=lambda _client, _grant_type: provider.moods.access_token_s,
        )
        self._keys = provider.keys
        self._moods = provider.moods

    def get_jwks(self) -> KeySet:
        """Return the signing key; as a set, so that its `kid` is named in the token."""
        return KeySet([self._keys.signing()])

    def get_audiences(self, client: Client, user: Person | None, scope: str) -> str:  # noqa: ARG002 - Authlib's
        """Return the audience requested with `resource` (RFC 8707), by default Airflow's."""
        asked = str(request.form.get("resource", AUDIENCES[0])) if has_request_context() else AUDIENCES[0]
        if asked not in AUDIENCES:
            raise InvalidRequestError(f"`resource` must be one of {', '.join(AUDIENCES)}")
        return asked

    def get_extra_claims(self, client: Client, grant_type: str, user: Person | None, scope: str) -> dict[str, Any]:  # noqa: ARG002
        """Return the identity claims, and last those that `/dev/token` overrides."""
        claims: dict[str, Any] = {"azp": client.client_id, "groups": [], "preferred_username": client.client_id}
        if user is not None:
            groups = [*user.groups, *(f"group-{number:05}" for number in range(self._moods.more_groups))]
            claims |= {"preferred_username": user.login, "name": user.name, "groups": groups}
        if SESSION in g:
            claims["sid"] = g.get(SESSION)
        return claims | dict(g.get(DEV_CLAIMS, {}))


def authorization_server(app: Flask, provider: Provider) -> AuthorizationServer:
    """Build Authlib's server with the three grants."""

    def save_token(token: dict[str, Any], asked: Any) -> None:
        if "refresh_token" in token and asked.user is not None:
            provider.store.put_refresh_token(
                RefreshToken(
                    token=token["refresh_token"],
                    client_id=asked.client.client_id,
                    scope=token.get("scope", ""),
                    person=asked.user,
                    sid=g.get(SESSION, ""),
                )
            )

    server = AuthorizationServer(app, query_client=CLIENTS.get, save_token=save_token)
    server.register_token_generator("default", AccessTokens(provider))
    server.register_grant(_code_grant(provider), [_RequiredPkce(), _id_tokens(provider)])
    server.register_grant(_ClientCredentials)
    server.register_grant(_refresh_grant(provider))
    return server


class _ClientCredentials(ClientCredentialsGrant):  # type: ignore[misc]
    """For services, which send their secret in either way that discovery names."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


class _RequiredPkce(CodeChallenge):  # type: ignore[misc]
    """PKCE with S256 for every client (RFC 9700 §2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse an authorization request without a challenge."""
        data = grant.request.payload.data
        if not data.get("code_challenge") or data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE with `code_challenge_method=S256` is required")
        super().validate_code_challenge(grant, redirect_uri)


def _code_grant(provider: Provider) -> type[AuthorizationCodeGrant]:
    class CodeGrant(AuthorizationCodeGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

        def save_authorization_code(self, code: str, asked: Any) -> None:
            data = asked.payload.data
            provider.store.put_code(
                Code(
                    code=code,
                    client_id=asked.client.client_id,
                    redirect_uri=asked.payload.redirect_uri or "",
                    scope=asked.client.get_allowed_scope(asked.payload.scope),
                    nonce=data.get("nonce", ""),
                    person=asked.user,
                    sid=generate_token(24),
                    code_challenge=data["code_challenge"],
                    code_challenge_method=data["code_challenge_method"],
                    issued_at=int(time.time()),
                )
            )

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return provider.store.find_code(code, client, time.time())

        def delete_authorization_code(self, authorization_code: Code) -> None:
            provider.store.drop_code(authorization_code)

        def authenticate_user(self, authorization_code: Code) -> Person:
            setattr(g, SESSION, authorization_code.sid)
            return authorization_code.person

    return CodeGrant


def _refresh_grant(provider: Provider) -> type[RefreshTokenGrant]:
    class RefreshGrant(RefreshTokenGrant):  # type: ignore[misc]
        TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")

        def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken | None:
            return provider.store.find_refresh_token(refresh_token)

        def authenticate_user(self, refresh_token: RefreshToken) -> Person:
            setattr(g, SESSION, refresh_token.sid)
            return refresh_token.person

        def revoke_old_credential(self, refresh_token: RefreshToken) -> None:
            """Keep it: see `RefreshToken`."""

    return RefreshGrant


def _id_tokens(provider: Provider) -> OpenIDCode:
    class IdTokens(OpenIDCode):  # type: ignore[misc]
        def resolve_client_private_key(self, _client: Client) -> RSAKey:
            return provider.keys.signing()

        def get_encode_header(self, _client: Client) -> dict[str, str]:
            return {"alg": "RS256", "typ": "JWT", "kid": str(provider.keys.signing().kid)}

        def get_client_claims(self, client: Client) -> dict[str, Any]:
            return {"iss": provider.issuer, "aud": client.client_id, "exp": int(time.time()) + ID_TOKEN_LIFETIME_S}

        def generate_user_info(self, user: Person, _scope: str) -> dict[str, Any]:
            return {
                "sub": user.subject,
                "name": user.name,
                "preferred_username": user.login,
                "groups": list(user.groups),
                "sid": g.get(SESSION, ""),
            }

        def exists_nonce(self, _nonce: str, _request: Any) -> bool:
            return False

    return IdTokens()


def mint(server: AuthorizationServer, client: Client, person: Person | None, claims: dict[str, Any]) -> str:
    """Make an access token outside any grant, with `claims` overriding its own."""
    generators: dict[str, Callable[..., dict[str, Any]]] = server._token_generators  # noqa: SLF001 - no public way
    setattr(g, DEV_CLAIMS, claims)
    return str(generators["default"](grant_type="dev", client=client, user=person, scope="")["access_token"])
