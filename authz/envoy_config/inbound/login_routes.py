"""The routes of a browser login: its own two paths, signing out, and the one public name.

Law: none of these leads to an upstream. Where the check is off, there is only a redirect to a fixed place, a fixed
page, or our own server, which verifies a logout token itself. Signing out passes the authorizer first, which revokes
the session: otherwise any copy of the provider's cookies would stay valid until they expire.
"""

import string
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    RedirectAction,
    RedirectActionRedirectResponseCode,
    Route,
    RouteAction,
    RouteActionUpgradeConfig,
    RouteMatch,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from authz.core.edge import LOGOUT, SIGN_OUT_MARKER, SIGNED_OUT_MARKER
from authz.core.messages.page_frame import NO_BRANDING, Branding
from authz.core.urls import Url
from authz.envoy_config.ext_authz import NAME as EXT_AUTHZ
from authz.envoy_config.headers import added, response_cookies
from authz.envoy_config.inbound.foreign_cookies import foreign_tokens
from authz.envoy_config.inbound.login import (
    BACKCHANNEL,
    CSRF,
    OAUTH2,
    SESSION,
    brings_bearer,
    cookie_name,
    is_navigation,
    pieces,
    without,
)
from authz.envoy_config.inbound.login_pages import SIGNED_OUT
from authz.envoy_config.reply_bodies import HEADERS
from authz.settings.inbound import Inbound
from authz.settings.login import Login
from authz.settings.urls import endpoint

# After its sign-out, the provider sends the browser to `/`, with `SIGNED_OUT_MARKER`. It must do so within this time.
BACK_WITHIN_S: Final = 300
# What is registered at the provider as the client's back-channel logout URI, after the public URL.
BACKCHANNEL_PATH: Final = "/oauth2/backchannel-logout"
BACKCHANNEL_TIMEOUT: Final = timedelta(seconds=10)
TOO_LARGE: Final = 431
_OK: Final = 200
_NOT_FOUND: Final = 404
_UNRESERVED: Final = frozenset(string.ascii_letters + string.digits + "-._~")
_FOUND: Final = RedirectActionRedirectResponseCode.FOUND


def login_routes(login: Login, base: str = "", branding: Branding = NO_BRANDING, *, heard: bool = False) -> list[Route]:
    """The routes before all others of the upstream that people log in to; `base` is its Airflow's base path.

    `heard`: the provider reports here that a session has ended.
    """
    return [
        *foreign_tokens(login, [added("set-cookie", line) for line in _deletions(login)]),
        _sign_out(login, branding),
        _ask_to_sign_out(login, base),
        *([_back_from_sign_out(login, branding)] if login.ending else []),
        _end(login.callback_path, "login.callback"),
        *([_heard()] if heard else []),
        *([] if login.split_cookies else [_too_large(login)]),
        _public_name(login),
        *([_start_page(base)] if base else []),
    ]


def no_login(listener: Inbound) -> dict[str, Any]:
    """The settings of hosts without a login."""
    return without(OAUTH2, CSRF) if listener.login else {}


def without_cookies(forward: Route) -> list[Route]:
    """The same route for requests that do not use cookies and need no Origin: a bearer token, or no cookie at all."""
    no_cookie = HeaderMatcher(name="cookie", present_match=True, invert_match=True)
    return [
        _like(forward, "bearer", brings_bearer()),
        _like(forward, "no-cookie", no_cookie),
    ]


def _like(forward: Route, name: str, header: HeaderMatcher) -> Route:
    match = forward.match or RouteMatch(prefix="/")
    return Route(
        name=f"{forward.name}.{name}",
        match=RouteMatch(
            prefix=match.prefix,
            path_separated_prefix=match.path_separated_prefix,
            headers=[header],
        ),
        route=forward.route,
        typed_per_filter_config=without(CSRF),
    )


def _sign_out(login: Login, branding: Branding) -> Route:
    """The marker shows that the authorizer was asked: delete the cookies, then end the session at the provider.

    With an ID token the filter does it, as only the filter can read the cookie. Without one it would send an empty
    hint, which some providers take for a forged one; so this route sends the same request without a hint.
    """
    marked = _says(marker(login))
    coming_back = _cookie(login, _host_only(login, SIGNED_OUT_MARKER), value="1", seconds=BACK_WITHIN_S)
    if login.ending and login.keep_id_token:
        # A marker that stayed would let the next sign-out bypass the authorizer.
        return _end(
            login.signout_path, "login.sign-out", marked, config=response_cookies(_deletions(login)[-1], coming_back)
        )
    match = RouteMatch(path=login.signout_path, headers=[marked])
    if not login.ending:
        return _signed_out("login.sign-out", match, _deletions(login), branding)
    return Route(
        name="login.sign-out",
        match=match,
        redirect=_to_provider(login, endpoint(login.ending)),
        response_headers_to_add=[added("set-cookie", line) for line in (*_deletions(login), coming_back)],
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )


def _back_from_sign_out(login: Login, branding: Branding) -> Route:
    """The provider's sign-out redirects to `/`, where the next login would begin as if nothing had happened.

    A browser that has a session, or can renew one, has logged in again in the meantime.
    """
    session = [
        HeaderMatcher(name="cookie", string_match=StringMatcher(contains=cookie_name(login, kind)), invert_match=True)
        for kind in ("oauth_hmac", "refresh_token")
    ]
    name = _host_only(login, SIGNED_OUT_MARKER)
    match = RouteMatch(path="/", headers=[is_navigation(), _says(name), *session])
    return _signed_out("login.signed-out", match, [_cookie(login, name)], branding)


def _says(name: str) -> HeaderMatcher:
    """The cookie of this name has the value 1."""
    regex = f"(?:.*[;,] *)?{name}=1(?: *[;,].*)?"
    return HeaderMatcher(name="cookie", string_match=StringMatcher(safe_regex=RegexMatcher(regex=regex)))


def marker(login: Login) -> str:
    """The name of the authorizer's cookie that means: this session is revoked, end the rest."""
    return _host_only(login, SIGN_OUT_MARKER)


def _host_only(login: Login, plain: str) -> str:
    return ("__Host-" if login.is_secure else "") + plain


def _deletions(login: Login) -> list[str]:
    """The lines that delete a session's cookies, with the attributes they were set with, so that browsers accept them.

    The cookies of an unfinished login just expire.
    """
    session = [_cookie(login, name) for kind in SESSION for name in pieces(login, kind)]
    return [*session, _cookie(login, marker(login), path="/" if login.is_secure else login.signout_path)]


def _cookie(login: Login, name: str, *, path: str = "/", value: str = "", seconds: int = 0) -> str:
    """The line that sets a cookie; by default, the line that deletes it."""
    secure = " Secure;" if login.is_secure else ""
    return f"{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly;{secure} SameSite=Lax"


def _to_provider(login: Login, end: Url) -> RedirectAction:
    """OpenID Connect RP-Initiated Logout 1.0 §2."""
    query = f"client_id={_encoded(login.client_id)}&post_logout_redirect_uri={_encoded(login.public.origin + '/')}"
    return RedirectAction(
        scheme_redirect=end.scheme,
        host_redirect=end.authority,
        path_redirect=f"{end.path}?{query}",
        response_code=_FOUND,
    )


def _signed_out(name: str, match: RouteMatch, cookies: list[str], branding: Branding) -> Route:
    """The page that says that the session has ended, with these cookies."""
    headers = [*(("set-cookie", line) for line in cookies), ("content-type", "text/html; charset=utf-8")]
    return Route(
        name=name,
        match=match,
        direct_response=DirectResponseAction(status=_OK, body=DataSource(inline_string=SIGNED_OUT.html(branding))),
        response_headers_to_add=[added(name, value) for name, value in (*headers, *HEADERS.items())],
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )


def _encoded(text: str) -> str:
    """Percent-encoded for a query (RFC 3986 §2.3)."""
    return "".join(chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def _ask_to_sign_out(login: Login, base: str) -> Route:
    return Route(
        name="login.ask-to-sign-out",
        match=RouteMatch(path=login.signout_path),
        redirect=RedirectAction(path_redirect=base + LOGOUT, strip_query=True, response_code=_FOUND),
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )


def _heard() -> Route:
    """The provider reports that a session has ended. The call has no session and comes from no page of ours."""
    return Route(
        name="login.backchannel",
        match=RouteMatch(path=BACKCHANNEL_PATH),
        route=RouteAction(
            cluster=BACKCHANNEL,
            timeout=BACKCHANNEL_TIMEOUT,
            upgrade_configs=[RouteActionUpgradeConfig(upgrade_type="websocket", enabled=False)],
        ),
        request_headers_to_remove=["authorization", "cookie"],
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )


def _end(path: str, name: str, *headers: HeaderMatcher, config: Mapping[str, Any] = MappingProxyType({})) -> Route:
    """A path that belongs to the filter. Requests that it ignores (those with a bearer token) end here."""
    return Route(
        name=name,
        match=RouteMatch(path=path, headers=list(headers)),
        direct_response=DirectResponseAction(status=_NOT_FOUND),
        typed_per_filter_config=dict(config),
    )


def _too_large(login: Login) -> Route:
    """A session whose token the browser has discarded, as it does with cookies of more than 4 KiB.

    All cookies of a session are set, and expire, at once. Without this the browser would log in again for ever.
    """
    here = HeaderMatcher(name="cookie", string_match=StringMatcher(contains=cookie_name(login, "oauth_hmac") + "="))
    lost = HeaderMatcher(
        name="cookie",
        string_match=StringMatcher(contains=cookie_name(login, "bearer_token") + "="),
        invert_match=True,
    )
    return Route(
        name="login.too-large",
        match=RouteMatch(prefix="/", headers=[here, lost]),
        direct_response=DirectResponseAction(status=TOO_LARGE),
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )


def _start_page(base: str) -> Route:
    """Our pages and the provider link to `/`."""
    return Route(
        name="login.start-page",
        match=RouteMatch(path="/"),
        redirect=RedirectAction(path_redirect=f"{base}/", response_code=_FOUND),
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )


def _public_name(login: Login) -> Route:
    """Redirect page views under another name to the public one: the provider redirects back only there."""
    elsewhere = HeaderMatcher(
        name=":authority", string_match=StringMatcher(exact=login.public.authority), invert_match=True
    )
    return Route(
        name="login.public-name",
        match=RouteMatch(prefix="/", headers=[is_navigation(), elsewhere]),
        redirect=RedirectAction(
            scheme_redirect=login.public.scheme, host_redirect=login.public.authority, response_code=_FOUND
        ),
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )
