"""What kind of token this is, so that one kind is never taken for another (RFC 8725 §3.11, §3.12).

Law 1: a kind must be stated. By the header (`typ: at+jwt`, RFC 9068 §2.1), by the payload (`typ` of Keycloak,
`token_use` of Cognito), or by claims that only one kind has. A token that says nothing is `untyped`.
Law 2: two statements that differ, or one that we do not know (refresh, logout, DPoP…), refuse the token.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from authz.core.errors import TokenError
from authz.core.jose.primitives import shown
from authz.core.model import Issuer
from authz.core.reasons import Reason
from authz.core.tokens.compact import ParsedToken

ACCESS: Final = "access"
ID: Final = "id"
UNTYPED: Final = "untyped"
KINDS: Final = (ACCESS, ID, UNTYPED)

# Media types are case-insensitive, and `application/` may be left out (RFC 7515 §4.1.9).
_HEADER_TYP: Final[Mapping[str, str | None]] = MappingProxyType({"at+jwt": ACCESS, "jwt": None})
_STATEMENTS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {"typ": {"Bearer": ACCESS, "ID": ID}, "token_use": {"access": ACCESS, "id": ID}}
)
_ID_MARKERS: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
_ACCESS_MARKERS: Final = frozenset({"scope", "scp", "client_id", "cid", "appid", "gty"})
_BOUND: Final = "cnf"
_FOREIGN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "cnf": "it is bound to a key that we cannot ask for (cnf, RFC 7800 §3, RFC 9449 §7)",
        "events": "it is a security event or logout token (events, RFC 8417 §2.2)",
    }
)


def kind_of(parsed: ParsedToken, *, bound: bool = False) -> str:
    """`access`, `id` or `untyped`; TokenError(TOKEN_TYPE) for any other kind and for contradictions.

    `bound`: the caller will demand a proof of the key that the token may be bound to.
    """
    for claim, text in _FOREIGN.items():
        if claim in parsed.payload and not (bound and claim == _BOUND):
            raise TokenError(Reason.TOKEN_TYPE, text)
    stated = _statements(parsed)
    if len(stated) > 1:
        raise TokenError(Reason.TOKEN_TYPE, "it says both that it is an access token and that it is an ID token")
    if stated:
        return stated.pop()
    return _marked(parsed.payload)


def check_kind(parsed: ParsedToken, issuer: Issuer, *, bound: bool = False) -> str:
    """The token's kind, which is one that the issuer's `tokens` accepts; `bound` is that of `kind_of`."""
    kind = kind_of(parsed, bound=bound)
    if kind not in issuer.tokens:
        accepted = ", ".join(sorted(issuer.tokens))
        raise TokenError(Reason.TOKEN_TYPE, f"the kind is {kind}; issuer {issuer.name} accepts {accepted}")
    return kind


def _statements(parsed: ParsedToken) -> set[str]:
    stated: set[str] = set()
    if parsed.typ is not None:
        typ = parsed.typ.lower().removeprefix("application/")
        if typ not in _HEADER_TYP:
            raise TokenError(Reason.TOKEN_TYPE, f"typ of the header is {shown(parsed.typ)}")
        kind = _HEADER_TYP[typ]
        if kind is not None:
            stated.add(kind)
    for claim, kinds in _STATEMENTS.items():
        if claim in parsed.payload:
            value = parsed.payload[claim]
            if not isinstance(value, str) or value not in kinds:
                raise TokenError(Reason.TOKEN_TYPE, f"the claim {claim} is {shown(value)}")
            stated.add(kinds[value])
    return stated


def _marked(payload: Mapping[str, Any]) -> str:
    """The kind by its characteristic claims. Those of an ID token win: it may carry a scope, never the reverse."""
    if not _ID_MARKERS.isdisjoint(payload):
        return ID
    if not _ACCESS_MARKERS.isdisjoint(payload):
        return ACCESS
    return UNTYPED
