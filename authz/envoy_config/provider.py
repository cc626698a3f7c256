"""OpenID discovery: what a provider says about itself, fetched once, when Envoy's configuration is made.

Law: the rules are those of the key fetches: https except on loopback, bounded size and time, no redirect to another
host, and a document is accepted only when its `issuer` is the configured one (OpenID Connect Discovery 1.0 §4.3).
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from authz.core.errors import FetchError
from authz.core.loopback import names_loopback
from authz.core.urls import Url
from authz.fetching.download import Downloader, Reach, read_url, tls_of
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits

_WELL_KNOWN: Final = "/.well-known/openid-configuration"


class DiscoveryError(Exception):
    """The provider's document is unavailable or incomplete; the message is fit for a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The endpoints that a login needs. `basic`: the token endpoint wants the client's secret as HTTP Basic."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str = ""
    basic: bool = False


def discover(issuer: str, ca: str | None = None, limits: Limits | None = None) -> Provider:
    """The endpoints of an issuer; `ca` is a bundle to verify its certificate by, else the system's.

    Raises:
        DiscoveryError: they are not available.
    """
    limits = limits or Limits(timeout_s=10.0)
    try:
        tls = tls_of(ca)
        url = read_url(issuer.removesuffix("/") + _WELL_KNOWN)
        downloader = Downloader(limits=limits, tls=tls, resolver=system_resolver)
        reach = Reach(insecure_http=False, loopback=names_loopback(url.host))
        document = downloader.get(url, reach=reach, deadline=Deadline(limits.timeout_s))
        metadata = orjson.loads(document.data)
    except FetchError as error:
        raise DiscoveryError(error.detail) from None
    except orjson.JSONDecodeError:
        raise DiscoveryError(f"{url} is not JSON") from None
    except OSError as error:
        raise DiscoveryError(f"{ca}: {error.strerror or 'no certificate in it can be read'}") from None
    return _provider(metadata, url, issuer)


def _provider(metadata: Any, url: Url, issuer: str) -> Provider:
    if not isinstance(metadata, dict):
        raise DiscoveryError(f"{url} is not a JSON object")
    if metadata.get("issuer") != issuer:
        raise DiscoveryError(f"{url} is of another issuer than {issuer}")
    found = {name: metadata.get(name, "") for name in ("authorization_endpoint", "token_endpoint")}
    for name, value in found.items():
        if not isinstance(value, str) or not value:
            raise DiscoveryError(f"{url} has no {name}")
    end = metadata.get("end_session_endpoint", "")
    # RFC 8414 §2: a document that does not say means client_secret_basic.
    methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    basic = isinstance(methods, list) and "client_secret_post" not in methods
    return Provider(**found, end_session_endpoint=end if isinstance(end, str) else "", basic=basic)
