"""Plan of the browser login at the edge: a part of `authz.settings.plan.front`.

Law: data and its checks only, as in `plan`. A browser that logs in is sent only to fixed places: the provider's
endpoints and the one public URL. Plain http is allowed on this machine only.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from authz.core.loopback import names_loopback
from authz.core.urls import Url

SYSTEM_CA: Final = "/etc/ssl/certs/ca-certificates.crt"
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 §3.3
_CLIENT: Final = re.compile(r"[ -~]+")  # RFC 6749 §2.2
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._~%-]+=[A-Za-z0-9._~%:/+-]*")


def endpoint(text: str) -> Url:
    """Read the URL of a login. Raises ValueError; plain http may lead to this machine only."""
    try:
        found = Url.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}: write it as https://host/path") from None  # not quoted: it may hold a password
    if found.scheme == "http" and not names_loopback(found.host):
        raise ValueError(f"{text!r}: http is for this machine only; a login needs https")
    return found


def url(text: str) -> str:
    """The URL, if it is one; likewise those below. Settings use them too, to report the place of a mistake."""
    endpoint(text)
    return text


def end_of_sessions(text: str) -> str:
    """The URL where a session ends, or nothing."""
    if text and endpoint(text).query:
        raise ValueError(f"{text!r}: an end_session_endpoint has no query (one is added)")
    return text


def origin(text: str) -> str:
    """A URL without a path."""
    if endpoint(text).target != "/":
        raise ValueError(f"{text!r}: the public URL is an origin, without a path")
    return text


def client_id(text: str) -> str:
    """Visible ASCII."""
    if not _CLIENT.fullmatch(text):
        raise ValueError("client_id: visible ASCII is needed")
    return text


def scope(text: str) -> str:
    """One word."""
    if not _SCOPE.fullmatch(text):
        raise ValueError(f"{text!r}: a scope is one word of visible ASCII")
    return text


def parameter(text: str) -> str:
    """One pair of a query."""
    if not _PARAMETER.fullmatch(text):
        raise ValueError(f"{text!r}: write a parameter of the authorization request as name=value, encoded")
    return text


def plain_path(text: str) -> str:
    """A path that every server reads alike."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r}: a path of the login is plain, as /oauth2/callback is")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPlan:
    """The browser login of one listener: an OpenID provider, our client there, and where people return to.

    `client_secret` and `cookie_secret` are files on Envoy's machine: the secret that the provider gave us, and the key
    that signs and encrypts the session cookies. `public_url` is the origin that browsers see. `parameters` are added to
    the authorization request, encoded (`audience=airflow`). `client_auth` is how the token endpoint wants the client's
    secret: in the body, or as HTTP Basic. `keep_id_token` keeps the ID token in a cookie, for providers that want it
    back at sign-out. `split_cookies`: a token too large for one cookie is kept in several, which Envoy 1.40 can do.
    `backchannel` is the address where the provider reports to `authz serve` that a session has ended.
    """

    client_id: str
    client_secret: str
    cookie_secret: str
    authorization_endpoint: str
    token_endpoint: str
    public_url: str
    end_session_endpoint: str = ""
    scopes: tuple[str, ...] = ("openid", "profile")
    parameters: tuple[str, ...] = ()
    callback: str = "/oauth2/callback"
    signout: str = "/oauth2/signout"
    provider_ca: str = SYSTEM_CA
    client_auth: Literal["post", "basic"] = "post"
    keep_id_token: bool = False
    split_cookies: bool = False
    backchannel: str = ""

    def __post_init__(self) -> None:
        client_id(self.client_id)
        if not self.client_secret or not self.cookie_secret:
            raise ValueError("a login needs a file with the client's secret and one for the cookies' secret")
        if self.client_secret == self.cookie_secret:
            raise ValueError("client secret and cookie secret are one file: the provider would know the cookies' key")
        url(self.authorization_endpoint)
        url(self.token_endpoint)
        end_of_sessions(self.end_session_endpoint)
        if self.keep_id_token and not self.end_session_endpoint:
            raise ValueError(
                "keep_id_token: there is no end_session_endpoint that would want the ID token back: leave it out"
            )
        origin(self.public_url)
        if "openid" not in self.scopes:
            raise ValueError("scopes: OpenID Connect needs `openid` among them")
        for word in self.scopes:
            scope(word)
        for pair in self.parameters:
            parameter(pair)
        plain_path(self.callback)
        plain_path(self.signout)
        if self.callback == self.signout:
            raise ValueError("callback and signout need different paths")

    @property
    def public(self) -> Url:
        """The public URL in its parts."""
        return endpoint(self.public_url)

    @property
    def is_secure(self) -> bool:
        """Whether browsers come over TLS."""
        return self.public.scheme == "https"
