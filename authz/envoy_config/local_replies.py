"""Envoy's own answers, made readable. On a listener with a login: a page for navigations, JSON for everybody else.

Law: what the authorizer answers is left exactly as it is; it is told from Envoy's own answers by the flag UAEX. Nothing
made here may be stored, framed, or show what failed in more than fixed words.
"""

from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLogFilter, HeaderFilter
from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Struct

from authz.envoy_config import login_pages as pages
from authz.envoy_config.failures import destination_replies
from authz.envoy_config.login import is_navigation
from authz.envoy_config.login_pages import Page
from authz.envoy_config.reply_filters import AUTHORIZER, all_of, details, flagged, header, status

HEADERS_TOO_LARGE: Final = {
    "error": "headers_too_large",
    "message": "The headers of the request are more or longer than the gate reads. Large tokens and cookies cause this:"
    " ask for a token with fewer groups, or delete this site's cookies.",
}
# How the details of the oauth2 filter begin.
_PROVIDER: Final = ("OAuth server returned",)
_STALE: Final = ("CSRF token", "Code ", "State ", "Failed to decrypt")
_NO_TOKEN: Final = ("Failed to get", "Failed to parse", "No access token", "No default", "Token endpoint")


def local_replies(*, login: bool = False, outbound: bool = False) -> LocalReplyConfig:
    """What Envoy answers by itself. On any listener: why a request's headers could not be read."""
    if login:
        return _of_a_login()
    return LocalReplyConfig(mappers=[*(destination_replies() if outbound else []), _too_large()])


def _too_large() -> ResponseMapper:
    return ResponseMapper(
        filter=status(431),
        body_format_override=SubstitutionFormatString(json_format=Struct.from_dict(HEADERS_TOO_LARGE)),
    )


def _of_a_login() -> LocalReplyConfig:
    """The first entry that fits an answer makes it. The authorizer's answers fit the first, which changes nothing."""
    denied = _header_is(":path", r"[^?]*\?(?:.*&)?error=access_denied(?:&.*)?")
    return LocalReplyConfig(
        mappers=[
            ResponseMapper(filter=flagged(AUTHORIZER)),
            *_entries(pages.REFUSED, status(401), details(*_PROVIDER), denied),
            *_entries(pages.PROVIDER_ERROR, status(401), details(*_PROVIDER)),
            *_entries(pages.STALE, status(401), details(*_STALE)),
            *_entries(pages.NO_TOKEN, status(401), details(*_NO_TOKEN)),
            *_entries(pages.NOT_READY, status(503), details("OAuth2 secrets")),
            *_entries(pages.UNAUTHENTICATED, status(401)),
            *_entries(pages.FOREIGN, status(403), details("csrf_")),
            *_entries(pages.TOO_LARGE, status(431)),
        ]
    )


def _entries(page: Page, *conditions: AccessLogFilter) -> list[ResponseMapper]:
    navigation = AccessLogFilter(header_filter=HeaderFilter(header=is_navigation()))
    return [
        _entry([*conditions, navigation], page.html(), "text/html; charset=utf-8"),
        _entry(list(conditions), page.json(), "application/json"),
    ]


def _entry(conditions: list[AccessLogFilter], text: str, content_type: str) -> ResponseMapper:
    return ResponseMapper(
        filter=all_of(conditions),
        body_format_override=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=text), content_type=content_type
        ),
        headers_to_add=[header(name, value) for name, value in pages.HEADERS.items()],
    )


def _header_is(name: str, regex: str) -> AccessLogFilter:
    matcher = HeaderMatcher(name=name, string_match=StringMatcher(safe_regex=RegexMatcher(regex=regex)))
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))
