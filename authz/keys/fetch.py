"""Where an issuer's keys come from: discovery, an explicit `jwks_uri`, or a local file.

Law: bytes come out, unchecked; `authz.core.jose.jwks` reads them. The content of a token never decides what is fetched.
"""

import ssl
from collections.abc import Callable

from authz.core.errors import KeysUnavailableError
from authz.core.model import Issuer
from authz.fetching.limits import Limits
from authz.keys.contract import Fetched, Fetcher
from authz.system.regular_file import read_regular


class KeyFetcher:
    """Fetches over HTTP and from files, within limits.

    Args:
        limits: for one fetch; the time covers discovery and key set together.
        tls: how servers are verified; the system's certificates when not given.
        resolver: the system's, unless a test passes its own.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Callable[[str, int], list[str]] | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._tls = tls
        self._resolver = resolver
        self._http: Fetcher | None = None

    def fetch(self, issuer: Issuer, *, hurried: bool = False) -> Fetched:
        """The bytes of the issuer's key set.

        Raises:
            KeysUnavailableError: there are none.
        """
        if issuer.jwks_file is not None:
            return Fetched(data=read_file(issuer.jwks_file, self._limits.max_bytes))
        if self._http is None:
            # An HTTP client and its certificates cost megabytes and start-up time: a worker whose supervisor fetches,
            # and a gate with key files only, never need them.
            from authz.keys.over_http import HttpFetcher  # noqa: PLC0415

            self._http = HttpFetcher(limits=self._limits, tls=self._tls, resolver=self._resolver)
        return self._http.fetch(issuer, hurried=hurried)


def read_file(path: str, max_bytes: int) -> bytes:
    """The bytes of a regular file of at most `max_bytes`.

    Raises:
        KeysUnavailableError: there is no such file.
    """
    try:
        return read_regular(path, max_bytes)
    except OSError as error:
        raise KeysUnavailableError(f"{path}: {error.strerror}") from None
