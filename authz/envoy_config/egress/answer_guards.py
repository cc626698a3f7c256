"""Limits on a destination's answer: no redirect to another host, no change of protocol.

Law: the answer is refused whole, with nothing of it passed on. It fails closed: a redirect that is not certain to stay
on the same host counts as one to another. A redirect takes the caller's headers, and its identity with them, to a place
that was never evaluated.
"""

import re
from collections.abc import Iterable
from typing import Final

from envoy_data_plane.envoy.extensions.filters.http.custom_response.v3 import CustomResponse
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.http.custom_response.local_response_policy.v3 import LocalResponsePolicy
from envoy_data_plane.envoy.type.matcher.v3 import (
    HttpResponseHeaderMatchInput,
    HttpResponseStatusCodeMatchInput,
)
from envoy_data_plane.google.protobuf import Any
from envoy_data_plane.xds.core.v3 import TypedExtensionConfig
from envoy_data_plane.xds.type.matcher.v3 import (
    Matcher,
    MatcherMatcherList,
    MatcherMatcherListFieldMatcher,
    MatcherMatcherListPredicate,
    MatcherMatcherListPredicatePredicateList,
    MatcherMatcherListPredicateSinglePredicate,
    MatcherOnMatch,
    RegexMatcher,
    RegexMatcherGoogleRe2,
    StringMatcher,
)

from authz.core.edge import DECISION, META_DECISION
from authz.envoy_config.egress.failures import NOT_HTTP, REDIRECT, Failure
from authz.envoy_config.ext_authz import NAME as AUTHORIZER
from authz.envoy_config.reply_filters import header

NAME: Final = "authz.answer_guards"
# 304 is not a redirect, whatever headers it has.
_REDIRECTS: Final = "30[0-35-9]|3[1-9][0-9]"
# No client asked for another protocol: requests to upgrade are refused on arrival. Envoy passes a 101 on as an answer.
_SWITCHED: Final = "101"
# What may follow, up to the end. Some clients read a backslash in a Location as a slash and drop control characters.
_REST: Final = r"[^\\\x00-\x1f\x7f]*"
# The first segment of a relative path: visible ASCII except `/`, `\`, `:`, `?` and `#`.
_SEGMENT: Final = r"""[!"$-.0-9;->@-\[\]-~]+"""
# A reference that names no host (RFC 3986 §4.2).
_HERE: Final = rf"(?:/(?:[^/\\\x00-\x1f\x7f]{_REST})?|[?#]{_REST}|{_SEGMENT}(?:[/?#]{_REST})?)?"
# Any bytes (RE2): `.` does not match a byte that is not UTF-8, so one of these would hide the whole Location.
_BYTES: Final = r"\C*"
# Several Location lines are joined by commas, and a client may follow the last one.
_SEVERAL: Final = r".*,\s*(?:[A-Za-z][A-Za-z0-9+.-]*:|//).*"


def answer_guard() -> HttpFilter:
    """The filter. Each destination's settings say what it refuses."""
    return HttpFilter(name=NAME, typed_config=Any.pack(CustomResponse()))


def guarded(hosts: Iterable[str], ports: Iterable[int]) -> dict[str, Any]:
    """The settings of a destination: the hosts and ports that its redirects may name.

    Without hosts every redirect that names one is refused.
    """
    entries = [_entry(_redirects_elsewhere(same_host(hosts, ports)), REDIRECT), _entry(_status(_SWITCHED), NOT_HTTP)]
    matcher = Matcher(matcher_list=MatcherMatcherList(matchers=entries))
    return {NAME: Any.pack(CustomResponse(custom_response_matcher=matcher))}


def same_host(hosts: Iterable[str], ports: Iterable[int]) -> str:
    """The pattern of a Location that leads to one of these hosts, or names none."""
    names = "|".join(_host(host) for host in hosts)
    numbers = "|".join(str(port) for port in sorted({80, 443, *ports}))
    there = rf"(?i:https?://(?:{names}))(?::(?:{numbers}))?(?:[/?#]{_REST})?"
    return f"{there}|{_HERE}" if names else _HERE


def _host(host: str) -> str:
    if host.startswith("*."):
        return r"[a-z0-9_](?:[a-z0-9_.-]*)?" + re.escape(host.removeprefix("*"))
    return re.escape(host)


def _redirects_elsewhere(here: str) -> MatcherMatcherListPredicate:
    status = _status(_REDIRECTS)
    named = _response_header("location", _BYTES)
    elsewhere = _any([_no(_response_header("location", here)), _response_header("location", _SEVERAL)])
    return _all([status, named, elsewhere])


def _entry(predicate: MatcherMatcherListPredicate, failure: Failure) -> MatcherMatcherListFieldMatcher:
    policy = LocalResponsePolicy(
        status_code=failure.status,
        body_format=failure.body(),
        response_headers_to_add=[
            *failure.headers(),
            header("content-type", "application/json"),  # Envoy sets the type of the body for local replies only
            header(DECISION, f"%DYNAMIC_METADATA({AUTHORIZER}:{META_DECISION})%"),
        ],
    )
    action = TypedExtensionConfig(name=failure.word, typed_config=Any.pack(policy))
    return MatcherMatcherListFieldMatcher(predicate=predicate, on_match=MatcherOnMatch(action=action))


def _status(pattern: str) -> MatcherMatcherListPredicate:
    return _predicate(Any.pack(HttpResponseStatusCodeMatchInput()), _regex(pattern))


def _response_header(name: str, pattern: str) -> MatcherMatcherListPredicate:
    return _predicate(Any.pack(HttpResponseHeaderMatchInput(header_name=name)), _regex(pattern))


def _predicate(what: Any, match: StringMatcher) -> MatcherMatcherListPredicate:
    single = MatcherMatcherListPredicateSinglePredicate(
        input=TypedExtensionConfig(name="input", typed_config=what), value_match=match
    )
    return MatcherMatcherListPredicate(single_predicate=single)


def _regex(pattern: str) -> StringMatcher:
    return StringMatcher(safe_regex=RegexMatcher(google_re2=RegexMatcherGoogleRe2(), regex=pattern))


def _all(predicates: list[MatcherMatcherListPredicate]) -> MatcherMatcherListPredicate:
    return MatcherMatcherListPredicate(and_matcher=MatcherMatcherListPredicatePredicateList(predicate=predicates))


def _any(predicates: list[MatcherMatcherListPredicate]) -> MatcherMatcherListPredicate:
    return MatcherMatcherListPredicate(or_matcher=MatcherMatcherListPredicatePredicateList(predicate=predicates))


def _no(predicate: MatcherMatcherListPredicate) -> MatcherMatcherListPredicate:
    return MatcherMatcherListPredicate(not_matcher=predicate)
