"""The sections of a destination in the settings file: its credential and its limits.

Law: every default is explained here, where people look for it. A credential is named by its file and never held here.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from authz.core.documents.quantities import Duration, Size
from authz.settings.named_files import Authority, SecretFile
from authz.settings.sections import SYSTEM_CA, Disagreement, Section
from authz.settings.urls import ClientId, FormParameter, LoginUrl, Scope

AUTHORIZATION: Final = "authorization"
BEARER: Final = "Bearer "
MOST_RETRIES: Final = 5
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2, in lower case
_PREFIX: Final = re.compile(r"(?:[!-~][ -~]*)?")
# Headers that frame a message, that Envoy writes itself, and that the gate sets.
_NOT_THESE: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
        *("expect", "proxy-connection", "proxy-authorization"),
    }
)
_OURS: Final = ("x-authz-", "x-envoy-", "x-forwarded-", "x-run-")


def _header(text: str) -> str:
    """The name of a header that may carry a credential."""
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: not the name of a header")
    if name in _NOT_THESE or name.startswith(_OURS):
        raise ValueError(f"{text!r}: this header carries no credential of a destination")
    return name


def _prefix(text: str) -> str:
    """The text before the secret in the header."""
    if not _PREFIX.fullmatch(text):
        raise ValueError("prefix: visible ASCII and spaces, not beginning with a space")
    return text


class OAuth2(Section):
    """OAuth2 client credentials: Envoy fetches a token in advance and renews it at half of its lifetime."""

    token_endpoint: LoginUrl = Field(description="where tokens come from; https, or http on this machine")
    client_id: ClientId = Field(description="our client there")
    client_secret_file: SecretFile = Field(description="the client's secret, and nothing else: no newline")
    client_auth: Literal["basic", "post"] = Field("basic", description="how the token endpoint expects the secret")
    scopes: tuple[Scope, ...] = Field((), description="requested scopes")
    parameters: tuple[FormParameter, ...] = Field(
        (), description="more parameters of the token request: `audience=orders`"
    )
    ca: Authority | None = Field(
        None, description="authority of the token endpoint's certificate; default: the system's"
    )

    @property
    def authority(self) -> str:
        """The CA bundle by which the token endpoint's certificate is verified."""
        return self.ca or SYSTEM_CA


class Credential(Section):
    """The credential that Envoy adds to every call to a destination, after the decision; tasks never hold it."""

    header: Annotated[str, AfterValidator(_header)] | None = Field(
        None, description="header of the secret, default `authorization`; whatever a task sends under it is replaced"
    )
    prefix: Annotated[str, AfterValidator(_prefix)] | None = Field(
        None, description="text before the secret; default `Bearer ` for `authorization`, else nothing"
    )
    secret_file: SecretFile | None = Field(
        None, description="the secret, and nothing else: no newline; read again when moved"
    )
    oauth2: OAuth2 | None = Field(None, description="instead of a secret: a bearer token of OAuth2 client credentials")

    @property
    def secret(self) -> str:
        """The file that holds the secret of either kind."""
        return self.oauth2.client_secret_file if self.oauth2 is not None else self.secret_file or ""

    @property
    def sent_in(self) -> tuple[str, str]:
        """The header of a secret, and the text before it there."""
        header = self.header or AUTHORIZATION
        usual = BEARER if header == AUTHORIZATION else ""
        return header, usual if self.prefix is None else self.prefix

    def disagreements(self) -> Iterator[Disagreement]:
        """A credential is of one kind."""
        if (self.secret_file is None) == (self.oauth2 is None):
            yield Disagreement(
                (),
                "a credential has either a `secret_file` or `oauth2`",
                "write one of the two",
                without=(("secret_file",), ("oauth2",)),
            )
        if self.oauth2 is not None:
            for key in ("header", "prefix"):
                if getattr(self, key) is not None:
                    text = "`oauth2` makes `authorization: Bearer …`: leave `header` and `prefix` out"
                    yield Disagreement((key,), text, f"remove `{key}`")


class DestinationLimits(Section):
    """Limits of one destination, and when it counts as broken."""

    connections: int = Field(
        64, ge=1, le=65_536, description="concurrent calls to it; enough for two full workers of 32 tasks"
    )
    pending: int = Field(
        64, ge=1, le=65_536, description="further calls that may wait; the next is answered 503 at once"
    )
    retries: int = Field(
        1,
        ge=0,
        le=MOST_RETRIES,
        description="retries of calls that cannot have arrived; at most a fifth of the active calls, or three",
    )
    failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="failures in a row (no connection, cut off, timeout, 502-504) that open the breaker",
    )
    pause: Duration = Field(
        2.0, ge=0.1, description="how long it then gets no calls; longer each time, up to 5 times as long"
    )
    connect_timeout: Duration = Field(2.0, ge=0.01, description="longest time to connect, with TLS")
    idle_timeout: Duration = Field(60.0, ge=0.1, description="a call without traffic for this long is ended")
    request_bytes: Size = Field(
        4 * 1024 * 1024, description="longest body of a call; held in memory until complete. 0B: no limit, none held"
    )
