"""OpenID discovery: what a provider says about itself, fetched once, when Envoy's configuration is made.

`complete` fills in what the settings leave out; nothing else is rendered that is not in the file.

Law: the rules are those of the key fetches: https except on loopback, bounded size and time, no redirect to another
host.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from authz.core.errors import ConfigError, FetchError, Problem
from authz.core.loopback import names_loopback
from authz.core.urls import Url
from authz.fetching.discovery import metadata_of, place_of
from authz.fetching.download import Downloader, Reach, tls_of
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits
from authz.settings import Settings
from authz.settings.login import Login
from authz.settings.sections import check_endpoints
from authz.settings.urls import end_of_sessions, url

_UNREACHABLE: Final = (
    "where it cannot be reached, write `authorization_endpoint`, `token_endpoint` and `end_session_endpoint` instead of"
    " `issuer`"
)


class DiscoveryError(Exception):
    """The provider's document is unavailable or incomplete; the message is fit for a log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The endpoints that a login needs. `basic`: the token endpoint expects the client's secret as HTTP Basic."""

    authorization_endpoint: str
    token_endpoint: str
    end_session_endpoint: str = ""
    basic: bool = False


def discover(issuer: str, ca: str | None = None, limits: Limits | None = None) -> Provider:
    """The endpoints of an issuer; `ca` is the bundle that verifies its certificate, else the system's.

    Raises:
        DiscoveryError: they are not available.
    """
    limits = limits or Limits(timeout_s=10.0)
    try:
        tls = tls_of(ca)
        place = place_of(issuer)
        downloader = Downloader(limits=limits, tls=tls, resolver=system_resolver)
        reach = Reach(insecure_http=False, loopback=names_loopback(place.host))
        metadata = metadata_of(issuer, downloader, reach=reach, deadline=Deadline(limits.timeout_s))
    except FetchError as error:
        raise DiscoveryError(error.detail) from None
    except OSError as error:
        raise DiscoveryError(f"{ca}: {error.strerror or 'no certificate in it can be read'}") from None
    return _provider(metadata, place)


def complete(settings: Settings, file: str, ask: Callable[..., Provider] = discover) -> Settings:
    """The settings with every endpoint of a login; `file` is their file's name, for messages.

    What the settings say takes precedence over what the provider says. `ask` fetches the latter.

    Raises:
        ConfigError: there is no `envoy` section, or the provider does not say what is needed.
    """
    envoy = settings.envoy
    if envoy is None:
        problem = Problem(file, 0, 0, "there is no `envoy` section", "set at least envoy.inbound.upstreams")
        raise ConfigError([problem])
    try:
        check_endpoints(settings.authz_endpoints)
        if envoy.inbound is None or envoy.inbound.login is None or not envoy.inbound.login.is_asked_for:
            return settings
        login = _asked(envoy.inbound.login, ask)
    except (ValueError, DiscoveryError) as error:
        raise ConfigError([Problem(file, 0, 0, f"envoy: {error}")]) from None
    inbound = envoy.inbound.model_copy(update={"login": login})
    return settings.model_copy(update={"envoy": envoy.model_copy(update={"inbound": inbound})})


def _asked(login: Login, ask: Callable[..., Provider]) -> Login:
    """The login, completed with what its provider says."""
    try:
        said = ask(login.issuer, login.provider_ca)
    except DiscoveryError as error:
        raise DiscoveryError(f"{error}; {_UNREACHABLE}") from None
    ours = {
        "authorization_endpoint": login.authorization_endpoint or url(said.authorization_endpoint),
        "token_endpoint": login.token_endpoint or url(said.token_endpoint),
        "client_auth": login.client_auth or ("basic" if said.basic else "post"),
    }
    if login.end_session_endpoint is None:
        ours["end_session_endpoint"] = end_of_sessions(said.end_session_endpoint)
    made = login.model_copy(update=ours)
    for unwanted in made.unwanted_id_token():
        raise ValueError(unwanted.text)
    return made


def _provider(metadata: Mapping[str, Any], place: Url) -> Provider:
    found = {name: metadata.get(name, "") for name in ("authorization_endpoint", "token_endpoint")}
    for name, value in found.items():
        if not isinstance(value, str) or not value:
            raise DiscoveryError(f"{place} has no {name}")
    end = metadata.get("end_session_endpoint", "")
    # RFC 8414 §2: a document that does not say means client_secret_basic.
    methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    basic = isinstance(methods, list) and "client_secret_post" not in methods
    return Provider(**found, end_session_endpoint=end if isinstance(end, str) else "", basic=basic)
