"""Bearer tokens, from header bytes to typed and checked claims. Pure: no fetch, no clock, no logging.

The one way to accept a token, in this order (RFC 7519 §7.2, RFC 8725, RFC 9068 §4):

    token  = parse_bearer(header_lines)                 400 on ambiguity, None without a header
    parsed = parse(token, max_bytes=…)                  well-formed, nothing trusted yet
    issuer = find_issuer(parsed, issuers)
    key    = find_key(parsed, issuer, keyset)           the algorithm is the issuer's choice, the key fits it
    verify(parsed, key)
    claims = read_claims(parsed, issuer)                typed; may be cached from here on
    check_claims(claims, issuer, plane, now)            on every use, cached or not

A check that depends on the token alone belongs to `read_claims`, one that depends on time or plane to `check_claims`;
`inspect` reports both to people.
"""

from authz.core.tokens.bearer import parse_bearer
from authz.core.tokens.claims import bound_to, read_claims, short_name, subject_name
from authz.core.tokens.compact import MAX_TOKEN_BYTES, ParsedToken, parse
from authz.core.tokens.inspection import Check, Inspection, Outcome, inspect
from authz.core.tokens.kind import KINDS, kind_of
from authz.core.tokens.signature import find_issuer, find_key, verify
from authz.core.tokens.validity import check_claims, window

__all__ = [
    "KINDS",
    "MAX_TOKEN_BYTES",
    "Check",
    "Inspection",
    "Outcome",
    "ParsedToken",
    "bound_to",
    "check_claims",
    "find_issuer",
    "find_key",
    "inspect",
    "kind_of",
    "parse",
    "parse_bearer",
    "read_claims",
    "short_name",
    "subject_name",
    "verify",
    "window",
]
