"""The browser login: Envoy's `oauth2` and `csrf` filters, and the cluster of the provider's token endpoint.

Law: the filters only *find* a credential; the authorizer decides whether it is valid, and for what, as for every
caller. A program's own bearer token passes untouched; a request that is not a navigation is never redirected but goes
on without a credential, so that the answer (401, or what is public) is the authorizer's. A change that comes with
cookies must come from our own pages.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HttpUri, RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import FilterConfig, HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.csrf.v3 import CsrfPolicy
from envoy_data_plane.envoy.extensions.filters.http.oauth2.v3 import (
    CookieConfig,
    CookieConfigs,
    CookieConfigSameSite,
    OAuth2,
    OAuth2Config,
    OAuth2ConfigAuthType,
    OAuth2Credentials,
    OAuth2CredentialsCookieNames,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import PathMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import FractionalPercent, FractionalPercentDenominatorType
from envoy_data_plane.google.protobuf import Any

from authz.core import edge
from authz.envoy_config.secrets import CLIENT_SECRET, COOKIE_SECRET, sds_secret
from authz.settings.login import Login

OAUTH2: Final = "envoy.filters.http.oauth2"
CSRF: Final = "envoy.filters.http.csrf"
CLUSTER: Final = "provider"
BACKCHANNEL: Final = "backchannel"
TOKEN_TIMEOUT: Final = timedelta(seconds=10)
# How long a person may stay at the provider's pages (a second factor, a new password).
FLOW_LIFETIME: Final = timedelta(minutes=30)
NAMES: Final = {
    "bearer_token": edge.BEARER_TOKEN,
    "oauth_hmac": edge.OAUTH_HMAC,
    "oauth_expires": edge.OAUTH_EXPIRES,
    "id_token": edge.ID_TOKEN,
    "refresh_token": edge.REFRESH_TOKEN,
    "oauth_nonce": edge.OAUTH_NONCE,
    "code_verifier": edge.CODE_VERIFIER,
}
# The cookies of a session; the others belong to a login that is under way.
SESSION: Final = ("bearer_token", "oauth_hmac", "oauth_expires", "id_token", "refresh_token")
# Those that hold a token, encrypted.
TOKENS: Final = ("bearer_token", "id_token", "refresh_token")
# With split cookies, a token that is too large for one is kept in at most this many (Envoy accepts 2 to 16): some 47 kB
# of token.
MOST_PIECES: Final = 16
# The header by which Envoy marks a request that it let through without a login.
STATUS_HEADERS: Final = ("x-envoy-oauth-status", "x-envoy-oauth-failure-reason")


def brings_bearer() -> HeaderMatcher:
    """The request carries its own bearer token. Another site's page cannot make a browser send one."""
    return HeaderMatcher(name="authorization", string_match=StringMatcher(prefix="Bearer "))


def is_navigation(*, invert: bool = False) -> HeaderMatcher:
    """A browser opens a page. Browsers set this header themselves; a page's scripts cannot."""
    return HeaderMatcher(
        name="sec-fetch-mode",
        string_match=StringMatcher(exact="navigate"),
        invert_match=invert,
        treat_missing_header_as_empty=True,
    )


def without(*filters: str) -> dict[str, Any]:
    """The per-route settings that take these filters out of the chain."""
    return {name: Any.pack(FilterConfig(disabled=True)) for name in filters}


def cookie_name(login: Login, kind: str) -> str:
    """The name of a session cookie. Over TLS no other host, not even a sibling, can set a cookie of this prefix."""
    return ("__Host-" if login.is_secure else "") + NAMES[kind]


def pieces(login: Login, kind: str) -> list[str]:
    """The names of all cookies that may hold this token: one, or, if cookies are split, many and their number."""
    name = cookie_name(login, kind)
    if kind not in TOKENS or not login.split_cookies:
        return [name]
    return [name, f"{name}_chunks", *(f"{name}_{at}" for at in range(MOST_PIECES))]


def csrf_filter() -> HttpFilter:
    """Changes need an Origin (or a Referer) that is the request's own host; routes exempt requests without cookies."""
    always = FractionalPercent(numerator=100, denominator=FractionalPercentDenominatorType.HUNDRED)
    policy = CsrfPolicy(filter_enabled=RuntimeFractionalPercent(default_value=always))
    return HttpFilter(name=CSRF, typed_config=Any.pack(policy))


def oauth2_filter(login: Login, sds: str) -> HttpFilter:
    """Code flow with PKCE; the session lives in encrypted cookies, renewed with the refresh token."""
    config = OAuth2Config(
        token_endpoint=HttpUri(uri=login.tokens, cluster=CLUSTER, timeout=TOKEN_TIMEOUT),
        authorization_endpoint=_with_query(login.people, login.parameters),
        end_session_endpoint=login.ending if login.keep_id_token else "",
        credentials=OAuth2Credentials(
            client_id=login.client_id,
            token_secret=sds_secret(sds, CLIENT_SECRET),
            hmac_secret=sds_secret(sds, COOKIE_SECRET),
            cookie_names=OAuth2CredentialsCookieNames(**{kind: cookie_name(login, kind) for kind in NAMES}),
        ),
        redirect_uri=login.public.origin + login.callback_path,
        redirect_path_matcher=_exact_path(login.callback_path),
        signout_path=_exact_path(login.signout_path),
        auth_type=(
            OAuth2ConfigAuthType.BASIC_AUTH if login.client_auth == "basic" else OAuth2ConfigAuthType.URL_ENCODED_BODY
        ),
        auth_scopes=list(login.scopes),
        use_refresh_token=True,
        forward_bearer_token=True,
        pass_through_matcher=[brings_bearer()],
        allow_failed_matcher=[is_navigation(invert=True)],
        # never reached while the matcher above is the same; if that changes, a program still gets a 401
        deny_redirect_matcher=[is_navigation(invert=True)],
        disable_id_token_set_cookie=not login.keep_id_token,
        cookie_configs=_lax(),
        csrf_token_expires_in=FLOW_LIFETIME,
        code_verifier_token_expires_in=FLOW_LIFETIME,
        stat_prefix="login",
    )
    return HttpFilter(name=OAUTH2, typed_config=Any.pack(OAuth2(config=config)))


def _exact_path(path: str) -> PathMatcher:
    return PathMatcher(path=StringMatcher(exact=path))


def _with_query(url: str, parameters: tuple[str, ...]) -> str:
    if not parameters:
        return url
    return url + ("&" if "?" in url else "?") + "&".join(parameters)


def _lax() -> CookieConfigs:
    """Lax: sent when a link leads here from elsewhere (the provider's redirect does), but not with a foreign POST."""
    lax = CookieConfig(same_site=CookieConfigSameSite.LAX, path="/")
    return CookieConfigs(
        bearer_token_cookie_config=lax,
        oauth_hmac_cookie_config=lax,
        oauth_expires_cookie_config=lax,
        id_token_cookie_config=lax,
        refresh_token_cookie_config=lax,
        oauth_nonce_cookie_config=lax,
        code_verifier_cookie_config=lax,
    )
