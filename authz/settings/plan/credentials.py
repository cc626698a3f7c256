"""Plan of a destination's credential: a part of `authz.settings.plan.egress`.

Law: data and its checks only. A credential is named by its file and never held here; plain http to a token endpoint is
allowed on this machine only.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from authz.settings.plan.login import SYSTEM_CA, client_id, endpoint, scope

AUTHORIZATION: Final = "authorization"
BEARER: Final = "Bearer "
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2, in lower case
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._-]+=[ -~]+")
_PREFIX: Final = re.compile(r"(?:[!-~][ -~]*)?")
# What a message is read by, what Envoy writes itself, and what the gate says.
_NOT_THESE: Final = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer"),
        *("expect", "proxy-connection", "proxy-authorization"),
    }
)
_OURS: Final = ("x-authz-", "x-envoy-", "x-forwarded-", "x-run-")


def header(text: str) -> str:
    """The name of a header that may carry a credential; settings use this and `prefix` too, to report the place."""
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r}: not the name of a header")
    if name in _NOT_THESE or name.startswith(_OURS):
        raise ValueError(f"{text!r}: this header carries no credential of a destination")
    return name


def prefix(text: str) -> str:
    """The text before the secret in the header."""
    if not _PREFIX.fullmatch(text):
        raise ValueError("prefix: visible ASCII and spaces, not beginning with a space")
    return text


def parameter(text: str) -> str:
    """One pair of a token request, not encoded."""
    if not _PARAMETER.fullmatch(text):
        raise ValueError(f"{text!r}: write a parameter of the token request as name=value")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderSecret:
    """A header that every call carries: `prefix` and the content of the file `secret` on Envoy's machine."""

    secret: str
    header: str = AUTHORIZATION
    prefix: str = BEARER

    def __post_init__(self) -> None:
        if not self.secret:
            raise ValueError("a credential needs the file that holds its secret")
        if header(self.header) != self.header:
            raise ValueError(f"{self.header!r}: write the header in lower case")
        prefix(self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """A bearer token that Envoy fetches in advance from the destination's own token endpoint (RFC 6749 §4.4).

    `secret` is the file with the client's secret. `client_auth` is how the token endpoint wants it: as HTTP
    Basic, which all support, or in the body. `parameters` are added to the request (`audience=orders`).
    """

    token_endpoint: str
    client_id: str
    secret: str
    scopes: tuple[str, ...] = ()
    ca: str = SYSTEM_CA
    client_auth: Literal["basic", "post"] = "basic"
    parameters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        endpoint(self.token_endpoint)
        client_id(self.client_id)
        for word in self.scopes:
            scope(word)
        for pair in self.parameters:
            parameter(pair)
        if not self.secret:
            raise ValueError("a credential needs the file that holds its secret")


Credential = HeaderSecret | ClientCredentials
