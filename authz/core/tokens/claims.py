"""The claims of a token as typed values (RFC 7519 §4.1, RFC 9068 §2.2, OpenID Connect Core §2).

Law 1: a claim has its type or the token is refused: no coercion, no default for a wrong value. `"exp": "1"`, `true`,
`null` and 1e300 are not times; `["a"]` is not a subject.
Law 2: the key of a person is (issuer, subject). Names and addresses are only for display; an address that the provider
has not verified is not even shown.
Law 3: one reader per field. `read_claims` and `inspect` use the same readers, so that they cannot disagree.
"""

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import orjson

from authz.core.caching.interning import NOT_SHARED, Sharing
from authz.core.errors import TokenError
from authz.core.jose.primitives import shown
from authz.core.model import Claims, Issuer
from authz.core.reasons import Reason
from authz.core.tokens.compact import ParsedToken
from authz.core.tokens.kind import ID, check_kind

Payload = Mapping[str, Any]

MAX_TIME: Final = 253_402_300_799  # the last second of the year 9999
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ABSENT: Final = object()
_CLIENT_CLAIMS: Final = ("azp", "client_id", "cid", "appid")
_TEXT: Final = frozenset({str})
_LONGEST: Final = 1024  # bytes of a name in JSON: three of them and a grant fit into what Airflow reads
_NEVER_LONGER: Final = _LONGEST // 6 - 1  # characters: JSON takes six bytes for one at most, and two quotes


def read_claims(parsed: ParsedToken, issuer: Issuer, share: Sharing = NOT_SHARED, *, bound: bool = False) -> Claims:
    """The claims of a token of `issuer`; TokenError when its kind or any claim is not what it must be.

    Call it after `verify`; `check_claims` checks times and audience on every use. `share` may replace the read values
    by equal ones. `bound`: the caller will demand a proof of the key that `bound_to` names.
    """
    kind = check_kind(parsed, issuer, bound=bound)
    claims = typed_claims(parsed.payload, issuer, share)
    if kind == ID:
        check_id_audiences(parsed.payload, issuer)
    return claims


def bound_to(parsed: ParsedToken) -> str:
    """The thumbprint of the key that the token is bound to (RFC 9449 §6.1), "" if it is bound to none."""
    if "cnf" not in parsed.payload:
        return ""
    cnf = parsed.payload["cnf"]
    jkt = cnf.get("jkt") if isinstance(cnf, dict) and cnf.keys() == {"jkt"} else None
    if not isinstance(jkt, str) or not jkt:
        raise TokenError(Reason.TOKEN_TYPE, "cnf names no key that could make a proof (RFC 9449 §6.1)")
    return jkt


def typed_claims(payload: Payload, issuer: Issuer, share: Sharing = NOT_SHARED) -> Claims:
    """The claims of a payload, from any kind of token. To accept a token, call `read_claims`.

    The readers of `READERS` in order, written out: iterating over the table takes twice as long.
    """
    subject = _subject(payload, issuer)
    audiences = share.members(_audiences(payload, issuer))
    expires_at = share.seconds(_expires_at(payload, issuer))
    issued_at = _issued_at(payload, issuer)
    not_before = _not_before(payload, issuer)
    client_id = share.text(_client_id(payload, issuer))
    username = share.text(_username(payload, issuer))
    full_name = share.text(_full_name(payload, issuer))
    groups = share.members(_groups(payload, issuer))
    break_glass = _break_glass(payload, issuer)
    session_ids(payload, issuer)  # checked for their type only; `authz.core.revocation` reads them itself
    return Claims(  # by position, in the order of the fields: with their names it takes three times as long
        issuer.name,
        issuer.issuer,
        subject,
        client_id,
        username,
        full_name,
        groups,
        audiences,
        expires_at,
        issued_at if issued_at is None else share.seconds(issued_at),
        not_before if not_before is None else share.seconds(not_before),
        break_glass,
    )


def session_ids(payload: Payload, _: Issuer) -> tuple[str, str]:
    """`sid` (OpenID Connect Front-Channel Logout 1.0 §3) and `jti` (RFC 7519 §4.1.7), "" for one that is absent."""
    return _text(payload, "sid"), _text(payload, "jti")  # as their readers: each new token asks twice


def check_id_audiences(payload: Payload, issuer: Issuer) -> None:
    """An ID token is for its clients alone (OpenID Connect Core §3.1.3.7, steps 3 to 5)."""
    known = frozenset[str]().union(*issuer.audiences.values())
    audiences = _audiences(payload, issuer)
    if not audiences <= known:
        raise TokenError(Reason.AUDIENCE, f"an ID token with foreign audiences {_listed(audiences - known)}")
    azp = _text(payload, "azp")
    if azp and azp not in known:
        raise TokenError(Reason.AUDIENCE, f"an ID token for the foreign client {shown(azp)}")
    if len(audiences) > 1 and not azp:
        raise TokenError(Reason.CLAIM_INVALID, "an ID token with several audiences and no azp")


def _invalid(claim: str, must: str, value: object) -> TokenError:
    return TokenError(Reason.CLAIM_INVALID, f"{claim} must be {must}, not {_type(value)}")


def _type(value: object) -> str:
    """A value's JSON type; the value itself may be personal."""
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}
    return names.get(type(value), "a number")


def _listed(values: frozenset[str]) -> str:
    return ", ".join(shown(value) for value in sorted(values))


def _text(payload: Payload, claim: str) -> str:
    """An optional string; "" when it is absent."""
    value = payload.get(claim, "")
    if not isinstance(value, str):
        raise _invalid(claim, "a string", value)
    return value


def _time(payload: Payload, claim: str) -> int | float | None:
    """An optional NumericDate (RFC 7519 §2): a finite number of seconds, up to the year 9999."""
    value = payload.get(claim, _ABSENT)
    if value is _ABSENT:
        return None
    if type(value) is not int and type(value) is not float:  # a boolean is an int to isinstance
        raise _invalid(claim, "a number of seconds", value)
    if not -MAX_TIME <= value <= MAX_TIME:
        raise TokenError(Reason.CLAIM_INVALID, f"{claim} is beyond the year 9999")
    return value


def _issuer_matches(payload: Payload, issuer: Issuer) -> None:
    if payload.get("iss") != issuer.issuer:
        raise TokenError(Reason.UNKNOWN_ISSUER, f"iss is {shown(payload.get('iss'))}")


def _subject(payload: Payload, issuer: Issuer) -> str:
    _issuer_matches(payload, issuer)
    value = payload.get("sub")
    if not isinstance(value, str) or not value:
        raise _missing_or_invalid(payload, "sub", "a string that is not empty")
    return subject_name(value)


def subject_name(value: str) -> str:
    """A name that a subject can have; TokenError for any other."""
    if not value.isprintable() and _CONTROL.search(value):
        raise TokenError(Reason.CLAIM_INVALID, "sub holds a control character")
    return short_name("sub", value)


def short_name(claim: str, value: str) -> str:
    """A name that fits into the assertion for Airflow; TokenError for a longer one."""
    if len(value) > _NEVER_LONGER and len(orjson.dumps(value)) > _LONGEST:
        raise TokenError(Reason.CLAIM_INVALID, f"{claim} takes more than {_LONGEST} bytes")
    return value


def _missing_or_invalid(payload: Payload, claim: str, must: str) -> TokenError:
    if claim not in payload:
        return TokenError(Reason.CLAIM_INVALID, f"{claim} is missing")
    if payload[claim] in ("", []):
        return TokenError(Reason.CLAIM_INVALID, f"{claim} is empty")
    return _invalid(claim, must, payload[claim])


def _audiences(payload: Payload, _: Issuer) -> frozenset[str]:
    """RFC 7519 §4.1.3: one string or an array of strings."""
    value = payload.get("aud")
    if isinstance(value, str) and value:
        return frozenset((value,))
    if isinstance(value, list) and value and _TEXT.issuperset(map(type, value)):
        return frozenset(value)
    raise _missing_or_invalid(payload, "aud", "a string or an array of strings")


def _expires_at(payload: Payload, _: Issuer) -> int:
    seconds = _time(payload, "exp")
    if seconds is None:
        raise TokenError(Reason.CLAIM_INVALID, "exp is missing")
    return math.floor(seconds)


def _issued_at(payload: Payload, _: Issuer) -> int | None:
    seconds = _time(payload, "iat")
    return None if seconds is None else math.floor(seconds)


def _not_before(payload: Payload, _: Issuer) -> int | None:
    seconds = _time(payload, "nbf")
    return None if seconds is None else math.ceil(seconds)


def _client_id(payload: Payload, _: Issuer) -> str:
    """The client, from the claim that the provider uses; claims that name different clients contradict each other."""
    named = [claim for claim in _CLIENT_CLAIMS if claim in payload]
    if not named:
        return ""
    clients = {short_name(claim, _text(payload, claim)) for claim in named}
    if len(clients) > 1:
        raise TokenError(Reason.CLAIM_INVALID, f"{', '.join(named)} name different clients")
    return clients.pop()


def _username(payload: Payload, issuer: Issuer) -> str:
    """The configured claim, else the subject. An address counts only when the provider has verified it."""
    if issuer.username == "email" and payload.get("email_verified") is not True:
        return _subject(payload, issuer)
    return short_name(issuer.username, _text(payload, issuer.username)) or _subject(payload, issuer)


def _full_name(payload: Payload, issuer: Issuer) -> str:
    return _text(payload, issuer.full_name)


def _break_glass(payload: Payload, issuer: Issuer) -> str:
    """Why the token of a break-glass issuer was made; "" for all other issuers."""
    if not issuer.break_glass:
        return ""
    value = payload.get("reason")
    if not isinstance(value, str) or not value:
        raise _missing_or_invalid(payload, "reason", "a string")
    if value.isspace():
        raise TokenError(Reason.CLAIM_INVALID, "reason is blank")
    if not value.isprintable():
        raise TokenError(Reason.CLAIM_INVALID, "reason holds a character that is not printed")
    return short_name("reason", value)


def _token_id(payload: Payload, _: Issuer) -> str:
    return _text(payload, "jti")


def _session_id(payload: Payload, _: Issuer) -> str:
    return _text(payload, "sid")


def _groups(payload: Payload, issuer: Issuer) -> frozenset[str]:
    """The strings at every configured path, merged. One string is one group (ADFS sends single values like that)."""
    merged: set[str] = set()
    for path in issuer.groups:
        name = ".".join(path)
        value: Any = payload
        for step in path:
            if not isinstance(value, dict):
                raise _invalid(name, "an array of strings", value)
            value = value.get(step, _ABSENT)
            if value is _ABSENT:
                break
        else:
            merged.update(_strings(name, value))
    return frozenset(merged)


def _strings(name: str, value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and _TEXT.issuperset(map(type, value)):
        return value
    raise _invalid(name, "an array of strings", value)


READERS: Final[Mapping[str, Callable[[Payload, Issuer], Any]]] = MappingProxyType(
    {
        "subject": _subject,
        "audiences": _audiences,
        "expires_at": _expires_at,
        "issued_at": _issued_at,
        "not_before": _not_before,
        "client_id": _client_id,
        "username": _username,
        "full_name": _full_name,
        "groups": _groups,
        "break_glass": _break_glass,
        "session_id": _session_id,
        "token_id": _token_id,
    }
)
