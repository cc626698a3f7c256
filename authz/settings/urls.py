"""The values of a login, of OAuth2 credentials and of witnesses in the settings: URLs, paths, client ids, scopes.

Law: pure. Each is checked where it is written, so that a mistake is reported with its place. Plain http leads to this
machine only.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator

from authz.core.loopback import names_loopback
from authz.core.urls import Url

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 §3.3
_CLIENT: Final = re.compile(r"[ -~]+")  # RFC 6749 §2.2
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._~%-]+=[A-Za-z0-9._~%:/+-]*")
_PLAIN_PARAMETER: Final = re.compile(r"[A-Za-z0-9._-]+=[ -~]+")


def endpoint(text: str) -> Url:
    """Read the URL of a login or a witness. Raises ValueError; plain http may lead to this machine only."""
    try:
        found = Url.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}: write it as https://host/path") from None  # not quoted: it may hold a password
    if found.scheme == "http" and not names_loopback(found.host):
        raise ValueError(f"{shown(found)!r}: http is for this machine only; write https")
    return found


def shown(found: Url) -> str:
    """What a message says of a URL: no query, which may hold a key."""
    return found.origin + found.path


def url(text: str) -> str:
    """The URL, if it is one; the functions below work alike."""
    endpoint(text)
    return text


def end_of_sessions(text: str) -> str:
    """The URL where a session ends, or nothing."""
    if text and (found := endpoint(text)).query:
        raise ValueError(f"{shown(found)!r}: an end_session_endpoint has no query (one is added)")
    return text


def prefix(text: str) -> str:
    """A URL without a query, to which a path is added."""
    if (found := endpoint(text)).query:
        raise ValueError(f"{shown(found)!r}: a path is added to this URL, so it has no query")
    return text


def origin(text: str) -> str:
    """A URL without a path."""
    if (found := endpoint(text)).target != "/":
        raise ValueError(f"{shown(found)!r}: the public URL is an origin, without a path")
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


def query_parameter(text: str) -> str:
    """One pair of a query."""
    if not _PARAMETER.fullmatch(text):
        raise ValueError(f"{text!r}: write a parameter of the authorization request as name=value, encoded")
    return text


def form_parameter(text: str) -> str:
    """One pair of a token request, not encoded."""
    if not _PLAIN_PARAMETER.fullmatch(text):
        raise ValueError(f"{text!r}: write a parameter of the token request as name=value")
    return text


def plain_path(text: str) -> str:
    """A path that every server reads alike."""
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r}: a path of the login is plain, as /oauth2/callback is")
    return text


LoginUrl = Annotated[str, AfterValidator(url)]
UrlPrefix = Annotated[str, AfterValidator(prefix)]
PublicUrl = Annotated[str, AfterValidator(origin)]
EndSessionUrl = Annotated[str, AfterValidator(end_of_sessions)]
LoginPath = Annotated[str, AfterValidator(plain_path)]
ClientId = Annotated[str, AfterValidator(client_id)]
Scope = Annotated[str, AfterValidator(scope)]
QueryParameter = Annotated[str, AfterValidator(query_parameter)]
FormParameter = Annotated[str, AfterValidator(form_parameter)]
