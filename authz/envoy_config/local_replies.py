"""Envoy's own answers, made readable: a page for navigations, JSON for all other requests.

Law: the authorizer's answer is left exactly as it is. The flag UAEX distinguishes it from Envoy's own answers, and
Envoy's details from an authorizer that did not answer. An answer made here may not be stored or framed, and describes
what failed in fixed words only.
"""

from collections.abc import Mapping
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

from authz.core.messages.page_frame import NO_BRANDING, Branding
from authz.envoy_config.egress.failures import destination_replies
from authz.envoy_config.header_room import REFUSED
from authz.envoy_config.inbound import login_pages as pages
from authz.envoy_config.inbound.login import is_navigation
from authz.envoy_config.reply_bodies import GATE_AWAY, HEADERS, UPSTREAM_AWAY, Page, json_fields
from authz.envoy_config.reply_filters import AUTHORIZER, all_of, details, flagged, header, status

HEADERS_TOO_LARGE: Final = json_fields(
    "headers_too_large",
    "The request's headers are too many or too long for the gate. Large tokens and cookies cause this: ask for a"
    " token with fewer groups, or delete this site's cookies.",
)
# How the details of the ext_authz filter begin when the gate is down, not ready or too slow.
_NO_ANSWER: Final = ("ext_authz_error",)
_RETRY_AFTER_S: Final = 5
# How the details of the oauth2 filter begin.
_PROVIDER: Final = ("OAuth server returned",)
_STALE: Final = ("CSRF token", "Code ", "State ", "Failed to decrypt")
_TOO_MANY_PIECES: Final = ("OAuth token exceeds",)
_NO_TOKEN: Final = ("Failed to get", "Failed to parse", "No access token", "No default", "Token endpoint")


def local_replies(*, login: bool = False, outbound: bool = False, branding: Branding = NO_BRANDING) -> LocalReplyConfig:
    """What Envoy answers by itself. The first matching entry makes the answer."""
    if outbound:
        others = [_as_431(_too_large(details(REFUSED))), *destination_replies(), _too_large(status(431))]
    elif login:
        others = [
            *map(_as_431, _entries(branding, pages.TOO_LARGE, details(REFUSED))),
            *_of_a_login(branding),
            *_of_an_upstream(branding),
        ]
    else:
        away = _of_an_upstream(branding)
        others = [_as_431(_too_large(details(REFUSED))), *away, _too_large(status(431))]
    return LocalReplyConfig(mappers=[*_of_the_authorizer(branding), *others])


def _of_the_authorizer(branding: Branding) -> list[ResponseMapper]:
    """If it did not answer, this says so. If it answered, its answer stays as it is."""
    away = (status(503), flagged(AUTHORIZER), details(*_NO_ANSWER))
    return [
        *_entries(branding, GATE_AWAY, *away, after=_RETRY_AFTER_S),
        ResponseMapper(filter=flagged(AUTHORIZER)),
    ]


def _of_an_upstream(branding: Branding) -> list[ResponseMapper]:
    """Airflow is down, or does not answer in time. Its own answers never come here."""
    away = flagged("UH", "UF", "UO", "UC", "UR", "LR", "URX", "UPE", "DF", "NC", "UT", "SI", "UMSDR")
    return _entries(branding, UPSTREAM_AWAY, away, after=_RETRY_AFTER_S)


def _too_large(condition: AccessLogFilter) -> ResponseMapper:
    return ResponseMapper(filter=condition, body_format_override=_as_json(HEADERS_TOO_LARGE))


def _as_431(entry: ResponseMapper) -> ResponseMapper:
    """An oversized request gets 431, as if Envoy itself had refused to read it: the filters answer 403 or 503."""
    entry.status_code = 431
    return entry


def _of_a_login(branding: Branding) -> list[ResponseMapper]:
    denied = _header_is(":path", r"[^?]*\?(?:.*&)?error=access_denied(?:&.*)?")
    return [
        *_entries(branding, pages.REFUSED, status(401), details(*_PROVIDER), denied),
        *_entries(branding, pages.PROVIDER_ERROR, status(401), details(*_PROVIDER)),
        *_entries(branding, pages.STALE, status(401), details(*_STALE)),
        *_entries(branding, pages.NO_TOKEN, status(401), details(*_NO_TOKEN)),
        *map(_as_431, _entries(branding, pages.TOO_LARGE, status(503), details(*_TOO_MANY_PIECES))),
        *_entries(branding, pages.NOT_READY, status(503), details("OAuth2 secrets")),
        *_entries(branding, pages.FOREIGN_COOKIE, status(401), details("direct_response")),
        *_entries(branding, pages.UNAUTHENTICATED, status(401)),
        *_entries(branding, pages.FOREIGN, status(403), details("csrf_")),
        *_entries(branding, pages.TOO_LARGE, status(431)),
    ]


def _entries(branding: Branding, page: Page, *conditions: AccessLogFilter, after: int = 0) -> list[ResponseMapper]:
    """A page for navigations and JSON for others. `after` is the seconds to wait before the next try."""
    navigation = AccessLogFilter(header_filter=HeaderFilter(header=is_navigation()))
    headers = HEADERS | ({"retry-after": str(after)} if after else {})
    return [
        _entry([*conditions, navigation], _as_page(page.format(branding)), headers),
        _entry(list(conditions), _as_json(page.json()), headers),
    ]


def _entry(
    conditions: list[AccessLogFilter], body: SubstitutionFormatString, headers: Mapping[str, str]
) -> ResponseMapper:
    return ResponseMapper(
        filter=all_of(conditions),
        body_format_override=body,
        headers_to_add=[header(name, value) for name, value in headers.items()],
    )


def _as_page(text: str) -> SubstitutionFormatString:
    return SubstitutionFormatString(
        text_format_source=DataSource(inline_string=text), content_type="text/html; charset=utf-8"
    )


def _as_json(fields: Mapping[str, str]) -> SubstitutionFormatString:
    """Envoy escapes the values that it inserts; a missing value becomes null."""
    return SubstitutionFormatString(json_format=Struct.from_dict(dict(fields)), content_type="application/json")


def _header_is(name: str, regex: str) -> AccessLogFilter:
    matcher = HeaderMatcher(name=name, string_match=StringMatcher(safe_regex=RegexMatcher(regex=regex)))
    return AccessLogFilter(header_filter=HeaderFilter(header=matcher))
