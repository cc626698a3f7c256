"""Keys over HTTP: discovery, or an explicit `jwks_uri`.

Law: a discovery document is accepted only when its `issuer` equals the configured one exactly (OpenID Connect Discovery
1.0 §4.3), and the URL in it obeys the same rules as the configured one. It is read again for every fetch: a provider
that moves its keys may keep serving old ones from the old address. The content of a token never decides what is
fetched.
"""

import ssl

import orjson

from authz.core.errors import FetchError, KeysUnavailableError
from authz.core.loopback import names_loopback
from authz.core.model import Issuer
from authz.core.urls import Url
from authz.fetching.download import Document, Downloader, Reach, default_tls, read_url
from authz.fetching.guard import Deadline, Resolver, system_resolver
from authz.fetching.limits import Limits
from authz.keys.contract import Fetched


class HttpFetcher:
    """Fetches over HTTP, within limits; the arguments are those of `KeyFetcher`."""

    def __init__(self, *, limits: Limits, tls: ssl.SSLContext | None, resolver: Resolver | None) -> None:
        self._limits = limits
        self._downloader = Downloader(limits=limits, tls=tls or default_tls(), resolver=resolver or system_resolver)

    def fetch(self, issuer: Issuer, *, hurried: bool = False) -> Fetched:  # noqa: ARG002 every result is a new one
        """The bytes of the issuer's key set.

        Raises:
            KeysUnavailableError: there are none.
        """
        try:
            return self._fetch(issuer)
        except FetchError as error:
            raise KeysUnavailableError(error.detail) from None

    def _fetch(self, issuer: Issuer) -> Fetched:
        configured = read_url(issuer.jwks_uri or issuer.issuer)
        loopback = issuer.insecure_http or names_loopback(configured.host)
        reach = Reach(insecure_http=issuer.insecure_http, loopback=loopback)
        deadline = Deadline(self._limits.timeout_s)
        uri = issuer.jwks_uri or self._discover(issuer, reach, deadline)
        document = self._downloader.get(read_url(uri), reach=reach, deadline=deadline)
        return Fetched(data=document.data, max_age=document.max_age)

    def _discover(self, issuer: Issuer, reach: Reach, deadline: Deadline) -> str:
        url = read_url(issuer.issuer.removesuffix("/") + "/.well-known/openid-configuration")
        return jwks_uri_of(self._downloader.get(url, reach=reach, deadline=deadline), url, issuer.issuer)


def jwks_uri_of(document: Document, url: Url, issuer: str) -> str:
    """The `jwks_uri` of a discovery document whose issuer is `issuer`.

    Raises:
        FetchError: it is not such a document.
    """
    try:
        metadata = orjson.loads(document.data)
    except orjson.JSONDecodeError:
        raise FetchError(f"{url} is not JSON") from None
    if not isinstance(metadata, dict):
        raise FetchError(f"{url} is not a JSON object")
    if metadata.get("issuer") != issuer:
        raise FetchError(f"{url}: its `issuer` is not {issuer}")
    uri = metadata.get("jwks_uri")
    if not isinstance(uri, str):
        raise FetchError(f"{url} has no jwks_uri")
    return uri
