"""The sections of a destination in the settings file: its credential and its limits.

Law: every default is explained here, where people look for it. `authz.settings.plan.credentials` checks credentials,
so that a mistake is reported with its place.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.documents.quantities import Duration, Size
from authz.settings.named_files import Authority, SecretFile
from authz.settings.plan import credentials, login
from authz.settings.plan.limits import MOST_RETRIES
from authz.settings.sections import Section

TokenUrl = Annotated[str, AfterValidator(login.url)]
Parameter = Annotated[str, AfterValidator(credentials.parameter)]
Scope = Annotated[str, AfterValidator(login.scope)]


class OAuth2(Section):
    """OAuth2 client credentials: Envoy fetches a token in advance and renews it at half of its lifetime."""

    token_endpoint: TokenUrl = Field(description="where tokens come from; https, or http on this machine")
    client_id: Annotated[str, AfterValidator(login.client_id)] = Field(description="our client there")
    client_secret_file: SecretFile = Field(description="the client's secret, and nothing else: no newline")
    client_auth: Literal["basic", "post"] = Field("basic", description="how the token endpoint wants the secret")
    scopes: tuple[Scope, ...] = Field((), description="scopes that are asked for")
    parameters: tuple[Parameter, ...] = Field((), description="more words of the token request: `audience=orders`")
    ca: Authority | None = Field(
        None, description="authority of the token endpoint's certificate; default: the system's"
    )


class Credential(Section):
    """The credential that Envoy adds to every call to a destination, after the decision; tasks never hold it."""

    header: Annotated[str, AfterValidator(credentials.header)] | None = Field(
        None, description="header of the secret, default `authorization`; whatever a task sends under it is replaced"
    )
    prefix: Annotated[str, AfterValidator(credentials.prefix)] | None = Field(
        None, description="stands before the secret; default `Bearer ` for `authorization`, else nothing"
    )
    secret_file: SecretFile | None = Field(
        None, description="the secret, and nothing else: no newline; read again when moved"
    )
    oauth2: OAuth2 | None = Field(None, description="instead of a secret: a bearer token of OAuth2 client credentials")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.secret_file is None) == (self.oauth2 is None):
            raise ValueError("a credential has either a `secret_file` or `oauth2`")
        if self.oauth2 is not None and not (self.header is None and self.prefix is None):
            raise ValueError("`oauth2` makes `authorization: Bearer …`: leave `header` and `prefix` out")
        return self


class DestinationLimits(Section):
    """Limits of one destination, and when it counts as broken."""

    connections: int = Field(
        64, ge=1, le=65_536, description="calls of it under way at a time; enough for two full workers of 32 tasks"
    )
    pending: int = Field(
        64, ge=1, le=65_536, description="calls that may wait for one to end; the next is answered 503 at once"
    )
    retries: int = Field(
        1,
        ge=0,
        le=MOST_RETRIES,
        description="further tries, where nothing can have got there; at most a fifth of what is under way, or three",
    )
    failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="failures in a row (no connection, cut off, timeout, 502-504) that open the breaker",
    )
    pause: Duration = Field(
        2.0, ge=0.1, description="how long it is then left alone; longer each time, up to 5 times as long"
    )
    connect_timeout: Duration = Field(2.0, ge=0.01, description="longest time for a connection, with TLS")
    idle_timeout: Duration = Field(60.0, ge=0.1, description="a call on which nothing moves for so long is ended")
    request_bytes: Size = Field(
        4 * 1024 * 1024, description="longest body of a call; it is held in memory until whole. 0B: no bound, none held"
    )
    response_bytes: Size = Field(
        0, description="longest answer that may be announced (`Content-Length`); 0B: no bound, streams have none"
    )
