"""The section `envoy.inbound.login` of the settings file: people log in at Envoy with a browser.

Law: data and its checks only. A browser that logs in is sent only to fixed places: the provider's endpoints and the one
public URL. What the provider says at discovery is filled in by `authz.envoy_config.provider`, before anything is
rendered.
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from authz.core.urls import Url
from authz.settings.named_files import Authority, SecretFile
from authz.settings.sections import SYSTEM_CA, Disagreement, Section
from authz.settings.urls import (
    ClientId,
    EndSessionUrl,
    LoginPath,
    LoginUrl,
    PublicUrl,
    QueryParameter,
    Scope,
    endpoint,
)


class Login(Section):
    """People log in at Envoy with a browser."""

    public_url: PublicUrl = Field(description="the origin that browsers see, `https://airflow.example.com`")
    issuer: LoginUrl | None = Field(
        None, description="the OpenID provider; when rendering, it is asked for what is not set"
    )
    authorization_endpoint: LoginUrl | None = Field(None, description="overrides what the issuer says")
    token_endpoint: LoginUrl | None = Field(None, description="overrides what the issuer says")
    end_session_endpoint: EndSessionUrl | None = Field(None, description="overrides what the issuer says; `''`: none")
    client_id: ClientId = Field(
        description="our client at the provider, with redirect URI `public_url` + `callback_path`"
    )
    client_secret_file: SecretFile = Field(description="the client's secret, and nothing else: no newline")
    cookie_secret_file: SecretFile = Field(
        "cookie.secret", description="signs and encrypts the session cookies; made when missing"
    )
    client_auth: Literal["post", "basic"] | None = Field(
        None, description="how the token endpoint expects the secret; default: what the issuer says, else `post`"
    )
    scopes: tuple[Scope, ...] = Field(
        ("openid", "profile"), description="requested scopes; `openid` must be among them"
    )
    parameters: tuple[QueryParameter, ...] = Field(
        (), description="more parameters of the authorization request, encoded: `audience=airflow`"
    )
    callback_path: LoginPath = Field("/oauth2/callback", description="where the provider sends people back to")
    signout_path: LoginPath = Field("/oauth2/signout", description="ends the session here and at the provider")
    provider_ca: Authority | None = Field(
        None, description="authority of the provider's certificate; default: the system's"
    )
    keep_id_token: bool = Field(
        False, description="keep the ID token in a cookie, for providers that require it at sign-out"
    )
    split_cookies: bool = Field(
        False, description="split a token that is too large for one cookie; an Envoy before 1.40 does not start"
    )

    @property
    def public(self) -> Url:
        """The public URL in its parts."""
        return endpoint(self.public_url)

    @property
    def is_secure(self) -> bool:
        """Whether browsers come over TLS."""
        return self.public.scheme == "https"

    @property
    def authority(self) -> str:
        """The CA bundle by which the provider's certificate is verified."""
        return self.provider_ca or SYSTEM_CA

    @property
    def is_asked_for(self) -> bool:
        """Whether the provider must be asked before anything is rendered."""
        written = (self.authorization_endpoint, self.token_endpoint, self.end_session_endpoint, self.client_auth)
        return self.issuer is not None and None in written

    @property
    def people(self) -> str:
        """The URL where people log in.

        Raises:
            LookupError: the provider was not asked for it yet.
        """
        return _known(self.authorization_endpoint)

    @property
    def tokens(self) -> str:
        """The URL where tokens come from; raises as `people` does."""
        return _known(self.token_endpoint)

    @property
    def ending(self) -> str:
        """The URL where sessions end; "" if the provider has none."""
        return self.end_session_endpoint or ""

    def disagreements(self) -> Iterator[Disagreement]:
        """Missing endpoints, an issuer that is asked for nothing, and what would break every login."""
        ours = (self.authorization_endpoint, self.token_endpoint)
        if self.issuer is None and not all(ours):
            yield Disagreement(
                (),
                "name the `issuer`, or both `authorization_endpoint` and `token_endpoint`",
                "with the `issuer` alone, the provider is asked for the rest",
                without=(("issuer",), ("authorization_endpoint",), ("token_endpoint",)),
            )
        if self.issuer is not None and not self.is_asked_for:
            yield Disagreement(
                ("issuer",),
                "`issuer` has no effect beside `authorization_endpoint`, `token_endpoint`, `end_session_endpoint` and"
                " `client_auth`, which is all that it is asked for: leave it out",
                "remove `issuer`",
            )
        if "openid" not in self.scopes:
            yield Disagreement(
                ("scopes",),
                "scopes: OpenID Connect needs `openid` among them",
                "add `openid`",
                without=(("scopes",),),
            )
        if self.callback_path == self.signout_path:
            text = "`callback_path` and `signout_path` need different paths"
            yield Disagreement(("signout_path",), text, "give each its own")
        if not self.is_asked_for or self.end_session_endpoint is not None:
            yield from self.unwanted_id_token()

    def unwanted_id_token(self) -> Iterator[Disagreement]:
        """An ID token that no endpoint wants back; with an issuer, this is known once it was asked."""
        if self.keep_id_token and not self.ending:
            yield Disagreement(
                ("keep_id_token",),
                "keep_id_token: there is no end_session_endpoint that would use the ID token: leave it out",
                "remove `keep_id_token`, or write `end_session_endpoint`",
                without=(("issuer",), ("end_session_endpoint",)),
            )


def _known(url: str | None) -> str:
    if url is None:
        raise LookupError(
            "the login's provider was not asked for its endpoints: `authz.envoy_config.provider.complete`"
        )
    return url
