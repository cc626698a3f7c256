"""Refuses token cookies that Envoy did not make, before the oauth2 filter, which would write them into Envoy's log.

Law: the filter prints, at level error, what it cannot decrypt in a token's cookie. Its own cookies are base64url,
without padding, of an IV of 16 bytes and whole AES blocks of 16. So nothing else reaches it: no JWT (it has dots) and
no other token, unless it has exactly that alphabet and length. A request with its own bearer token bypasses the filter,
and so do its cookies.
"""

from typing import Final

from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption
from envoy_data_plane.envoy.config.route.v3 import DirectResponseAction, HeaderMatcher, Route, RouteMatch
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from authz.envoy_config.ext_authz import NAME as EXT_AUTHZ
from authz.envoy_config.inbound.login import CSRF, NAMES, OAUTH2, TOKENS, brings_bearer, cookie_name, without
from authz.settings.login import Login

UNAUTHORIZED: Final = 401
PATTERN_SIZE: Final = 3000  # RE2 instructions that the pattern below may need
NAME: Final = "login.foreign-token"
_LETTER: Final = "[A-Za-z0-9_-]"
# 48 bytes are 64 letters. 16 bytes more are 22 letters, the last with four spare bits; 32 bytes more are 43, with two.
# Spare bits are 0. The shortest value is the IV with one block.
_ONE_MORE: Final = f"(?:{_LETTER}{{1,21}}|{_LETTER}{{21}}[B-PR-Za-fh-vx-z0-9_-])"
_TWO_MORE: Final = f"(?:{_LETTER}{{23,42}}|{_LETTER}{{42}}[B-DF-HJ-LN-PR-TV-XZabd-fh-jl-np-rt-vx-z1-35-79_-])"
_OTHER_LENGTH: Final = f"(?:{_LETTER}{{64}})*(?:{_ONE_MORE}|{_TWO_MORE}|{_LETTER}{{44,63}})|{_LETTER}{{22}}"
# The first piece of a token that Envoy has split is full: nearly 4000 letters. A bound near that would make the pattern
# too large.
_SHORT_PIECE: Final = f"{_LETTER}{{1,200}}"
_ALPHABET: Final = rf"{_LETTER}*[^A-Za-z0-9_;\s-].*|{_LETTER}*\s+[^;\s].*"


def foreign_tokens(login: Login, deletions: list[HeaderValueOption]) -> list[Route]:
    """Routes for requests with such a cookie: 401, and the cookies are deleted. Nothing of them is read."""
    not_text = HeaderMatcher(
        name="cookie", string_match=StringMatcher(safe_regex=RegexMatcher(regex="(?s).*")), invert_match=True
    )
    return [
        _end(NAME, deletions, _matches(foreign(login))),
        # A pattern matches no header that is not UTF-8, so such a header is refused if it has one of these names.
        _end(f"{NAME}.bytes", deletions, not_text, _matches(rf"\C*(?:{'|'.join(NAMES[kind] for kind in TOKENS)})\C*")),
    ]


def foreign(login: Login) -> str:
    """The pattern of a Cookie header with a token cookie that Envoy cannot have made, whole or in pieces.

    Envoy joins the pieces before it decrypts them. A pattern cannot check their total length.

    Several lines are joined with commas for matching, and Envoy reads each.
    """
    names = "|".join(cookie_name(login, kind) for kind in TOKENS)
    whole = rf"(?:{names})\s*=\s*(?:{_ALPHABET}|(?:{_OTHER_LENGTH})\s*(?:;.*)?)"
    piece = rf"(?:{names})[._][^=;]*=\s*(?:{_ALPHABET})"
    first = rf"(?:{names})_0\s*=\s*{_SHORT_PIECE}\s*(?:;.*)?"
    return rf"(?s)(?:.*[;,])?\s*(?:{whole}|{piece}|{first})"


def _matches(regex: str) -> HeaderMatcher:
    return HeaderMatcher(name="cookie", string_match=StringMatcher(safe_regex=RegexMatcher(regex=regex)))


def _end(name: str, deletions: list[HeaderValueOption], *conditions: HeaderMatcher) -> Route:
    bearer = brings_bearer()
    bearer.invert_match = True
    bearer.treat_missing_header_as_empty = True
    return Route(
        name=name,
        match=RouteMatch(prefix="/", headers=[bearer, *conditions]),
        direct_response=DirectResponseAction(status=UNAUTHORIZED),
        response_headers_to_add=deletions,
        typed_per_filter_config=without(OAUTH2, CSRF, EXT_AUTHZ),
    )
