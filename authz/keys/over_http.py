"""Keys over HTTP: discovery, or an explicit `jwks_uri`.

Law: the URL in a discovery document obeys the same rules as the configured one. The document is read again for every
fetch: a provider that moves its keys may keep serving old ones from the old address. The content of a token never
decides what is fetched.
"""

import ssl

from authz.core.errors import FetchError, KeysUnavailableError
from authz.core.loopback import names_loopback
from authz.core.model import Issuer
from authz.fetching.discovery import metadata_of, place_of
from authz.fetching.download import Downloader, Reach, default_tls, read_url
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
        uri = metadata_of(issuer.issuer, self._downloader, reach=reach, deadline=deadline).get("jwks_uri")
        if not isinstance(uri, str):
            raise FetchError(f"{place_of(issuer.issuer)} has no jwks_uri")
        return uri
