"""Where an issuer's keys come from: discovery, an explicit `jwks_uri`, or a local file.

Law: bytes come out, unjudged; `authz.jwks` reads them. A discovery document is believed only when its `issuer` equals
the configured one exactly (OpenID Connect Discovery 1.0 §4.3), and what it names obeys the rules that the configured
URL obeys. Nothing in a token ever leads here.
"""

import os
import ssl
import stat
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from authz.errors import KeysUnavailableError
from authz.keys.download import Document, Downloader, Limits, Reach, Url, default_tls
from authz.keys.network import Deadline, Resolver, names_loopback, system_resolver
from authz.model import Issuer


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The bytes of a key set. `jwks_uri` is what discovery named (""), `max_age` how long the server calls it fresh.

    `age` is 0 for a fetch made for this question; for one that was made for somebody else, how many seconds ago it
    began.
    """

    data: bytes = field(repr=False)
    jwks_uri: str = field(default="", repr=False)
    max_age: int | None = None
    age: float = 0.0


class Fetcher(Protocol):
    """Fetches key sets; `KeyFetcher` for real, a simulator in tests."""

    def fetch(self, issuer: Issuer, jwks_uri: str = "", *, hurried: bool = False) -> Fetched:
        """The bytes of the issuer's key set; `jwks_uri` is a recent result of its discovery, to be used again.

        `hurried` says that a key is missing: a result that was good a while ago is of no use.

        Raises:
            KeysUnavailableError: there are none; the message is fit for a log.
        """
        ...


class KeyFetcher:
    """Fetches over HTTP and from files, within limits.

    Args:
        limits: what one fetch may cost: the time covers discovery and key set together.
        tls: how servers are verified; the system's certificates when not given.
        resolver: the system's, unless a test brings its own.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver = system_resolver,
    ) -> None:
        self._limits = limits or Limits()
        self._downloader = Downloader(limits=self._limits, tls=tls or default_tls(), resolver=resolver)

    def fetch(self, issuer: Issuer, jwks_uri: str = "", *, hurried: bool = False) -> Fetched:  # noqa: ARG002 every result is a new one
        """The bytes of the issuer's key set.

        Raises:
            KeysUnavailableError: there are none.
        """
        if issuer.jwks_file is not None:
            return Fetched(data=read_file(issuer.jwks_file, self._limits.max_bytes))
        configured = Url.parse(issuer.jwks_uri or issuer.issuer)
        loopback = issuer.insecure_http or names_loopback(configured.host)
        reach = Reach(insecure_http=issuer.insecure_http, loopback=loopback)
        deadline = Deadline(self._limits.timeout_s)
        uri = issuer.jwks_uri or jwks_uri or self._discover(issuer, reach, deadline)
        document = self._downloader.get(Url.parse(uri), reach=reach, deadline=deadline)
        return Fetched(data=document.data, jwks_uri="" if issuer.jwks_uri else uri, max_age=document.max_age)

    def _discover(self, issuer: Issuer, reach: Reach, deadline: Deadline) -> str:
        url = Url.parse(issuer.issuer.removesuffix("/") + "/.well-known/openid-configuration")
        return jwks_uri_of(self._downloader.get(url, reach=reach, deadline=deadline), url, issuer.issuer)


def jwks_uri_of(document: Document, url: Url, issuer: str) -> str:
    """The `jwks_uri` of a discovery document that speaks for `issuer`.

    Raises:
        KeysUnavailableError: it is no such document.
    """
    try:
        metadata = orjson.loads(document.data)
    except orjson.JSONDecodeError:
        raise KeysUnavailableError(f"{url} is not JSON") from None
    if not isinstance(metadata, dict):
        raise KeysUnavailableError(f"{url} is not a JSON object")
    if metadata.get("issuer") != issuer:
        raise KeysUnavailableError(f"{url} speaks for another issuer than {issuer}")
    uri = metadata.get("jwks_uri")
    if not isinstance(uri, str):
        raise KeysUnavailableError(f"{url} has no jwks_uri")
    return uri


def read_file(path: str, max_bytes: int) -> bytes:
    """The bytes of a regular file of at most `max_bytes`.

    Raises:
        KeysUnavailableError: there is no such file.
    """
    try:
        # Without O_NONBLOCK the opening of a FIFO would wait for a writer.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeysUnavailableError(f"{path} is not a regular file")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise KeysUnavailableError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise KeysUnavailableError("a path that holds NUL") from None
    if len(data) > max_bytes:
        raise KeysUnavailableError(f"{path} holds more than {max_bytes} bytes")
    return data
