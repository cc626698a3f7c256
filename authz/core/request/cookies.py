"""The Cookie header: finds the cookies of a session at Envoy, and removes ours for the upstream.

Law 1: an upstream never gets our cookies: neither Envoy's, which hold tokens, nor Airflow's own token.
Law 2: a session cookie is not a credential here; Envoy turns it into a bearer token. But it must not contradict that
token: a duplicate session cookie, or one that names another subject than the bearer token, makes the caller unclear.
Law 3: it first looks for the names as bytes, so that thousands of foreign cookies cost next to nothing.

Why not `http.cookies`: it keeps one of two cookies with the same name, and drops what follows the first that it cannot
read. Both would hide what Law 2 looks for.
"""

from dataclasses import field
from typing import Final

from authz.core import edge, tokens
from authz.core.errors import TokenError
from authz.core.model import Claims, made_per_request

# Cookies of Envoy's oauth2 filter. Those of one login add `.` and its id; those of a token that was split add `_0`,
# `_1` and so on, and `_chunks` with their number.
_TOKENS: Final = frozenset(name.encode() for name in (edge.BEARER_TOKEN, edge.ID_TOKEN))
_OTHERS: Final = (edge.REFRESH_TOKEN, edge.OAUTH_HMAC, edge.OAUTH_EXPIRES, edge.OAUTH_NONCE, edge.CODE_VERIFIER)
_SESSION: Final = _TOKENS.union(name.encode() for name in _OTHERS)
_NUMBER: Final = b"_chunks"
_MARKERS: Final = (edge.SIGN_OUT_MARKER, edge.SIGNED_OUT_MARKER)
_OURS: Final = _SESSION.union((b"_token",), (name.encode() for name in _MARKERS))  # the first is Airflow's own
_MOST: Final = 500  # cookies; no browser sends so many


@made_per_request
class Cookies:
    """What a request's Cookie lines hold.

    `left` is the header without our cookies, None if it had none of ours. `session`: there is a session cookie.
    `doubled` is the name of a duplicate one, or "". `tokens` are the values of those that hold a token.
    """

    left: str | None = field(default=None, repr=False)
    session: bool = False
    doubled: str = ""
    tokens: tuple[bytes, ...] = field(default=(), repr=False)


_FOREIGN: Final = Cookies()


def read(lines: tuple[bytes, ...]) -> Cookies:
    """What these Cookie lines hold.

    Envoy 1.40 sets headers of an OK answer from `value`, a string; it ignores `raw_value`. So a cookie that is not
    UTF-8 (RFC 6265 §4.1.1 allows ASCII only) cannot be passed on if the header must be rewritten. It is removed
    whole: without its odd bytes it might have the name of one of ours.

    A header that has our names among more cookies than any browser sends is not parsed: it is removed whole, and
    counts as one with a duplicate cookie.
    """
    if not any(name in line for name in _OURS for line in lines):
        return _FOREIGN
    if sum(line.count(b";") for line in lines) > _MOST:
        return Cookies(left="", session=True, doubled=f"one of more than {_MOST} cookies")
    pairs = [pair for line in lines for pair in map(bytes.strip, line.split(b";")) if pair]
    foreign: list[bytes] = []
    found: dict[bytes, bytes] = {}
    doubled = ""
    for pair in pairs:
        name, _, value = pair.partition(b"=")
        name = name.strip().removeprefix(b"__Host-").removeprefix(b"__Secure-")
        kind = _kind(name)
        if kind not in _OURS:
            foreign.append(pair)
        elif kind in _SESSION:
            if name in found:
                doubled = f"the cookie {kind.decode()}"
            found[name] = value.strip()
    left = None if len(foreign) == len(pairs) else "; ".join(filter(None, map(_text, foreign)))
    return Cookies(left, bool(found), doubled, _joined(found) if found else ())


def contradiction(cookies: Cookies, authorization: tuple[bytes, ...], claims: Claims | None) -> str:
    """Why the caller is unclear, "" if clear. `claims` are those of the bearer token, None without one."""
    if cookies.doubled:
        return f"{cookies.doubled} is duplicated"
    if claims is not None:
        for token in cookies.tokens:
            # Envoy forwards the very token of the cookie, decrypted in both places.
            if token != authorization[0].partition(b" ")[2] and not _names(token, claims):
                return "a session cookie names another subject than the bearer token, or none that can be read"
    return ""


def _kind(name: bytes) -> bytes:
    """The name without what the filter adds to it."""
    kind = name.partition(b".")[0]
    return kind if kind in _OURS else kind.partition(b"_")[0]


def _joined(found: dict[bytes, bytes]) -> tuple[bytes, ...]:
    """The tokens; one that came in pieces is one value.

    Envoy joins the pieces before it asks. If the whole token is there, pieces beside it are left from an earlier
    session, and Envoy did not use them.
    """
    whole: dict[bytes, bytes] = {}
    for name in sorted(found, key=lambda name: (len(name), name)):
        kind = _kind(name)
        if kind in _TOKENS and not name.endswith(_NUMBER) and (name == kind or kind not in found):
            whole[kind] = whole.get(kind, b"") + found[name]
    return tuple(whole.values())


def _names(token: bytes, claims: Claims) -> bool:
    """Whether it is a JWT of the same person. It is used for nothing else, so it is not verified."""
    try:
        payload = tokens.parse(token.decode("ascii", "replace"), max_bytes=tokens.MAX_TOKEN_BYTES).payload
    except TokenError:
        return False
    return (payload.get("iss"), payload.get("sub")) == (claims.issuer, claims.subject)


def _text(pair: bytes) -> str:
    """The pair as text, "" if it is not text."""
    try:
        return pair.decode()
    except UnicodeDecodeError:
        return ""
