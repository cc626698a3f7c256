"""From the text of a token to its parts: a signed JWT in compact form, and nothing else (RFC 7515 §5.2, RFC 7519 §7.2).

Law 1: nothing is decoded before its size is known, and nothing is trusted: the result is *unverified*.
Law 2: total. `parse` returns a ParsedToken or raises TokenError, whatever the text is.
Law 3: a header can only choose among the keys that we have. `jku`, `jwk`, `x5u`, `x5c` are never read, never fetched
(RFC 8725 §3.10), and an extension that we do not know is refused (`crit`, RFC 7515 §4.1.11; `b64`, RFC 7797 §7).
Law 4: what a header says depends only on its bytes. So the last few short, well-formed headers are cached with their
content: all tokens of one key begin with the same one.
"""

from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from typing import Any, Final

from authz.core.errors import TokenError
from authz.core.jose.jwks import MAX_KID
from authz.core.jose.primitives import b64url_decode, read_object
from authz.core.model import made_per_request
from authz.core.reasons import Reason

# The default of `limits.token_bytes`: room for 64 KiB of groups in base64, and the rest.
MAX_TOKEN_BYTES: Final = 96 * 1024
_MOST_BRACKETS: Final = 256  # arrays and objects in a header or a payload; real tokens have a few dozen at most
_PARTS: Final = 3  # header, payload, signature (RFC 7515 §3.1)
_PARTS_JWE: Final = 5  # RFC 7516 §3.1
_REFUSED: Final = {
    "crit": "the header has crit: extensions are not supported (RFC 7515 §4.1.11)",
    "b64": "the header has b64: a JWT must not use it (RFC 7797 §7)",
    "enc": "the header has enc: an encrypted token (RFC 7516 §9)",
    "zip": "the header has zip: a compressed token",
}
_NESTED: Final = frozenset({"jwt", "application/jwt"})
_REMEMBERED: Final = 64  # headers; a caller with more different ones pays for reading each
_SHORT: Final = 512  # bytes; a longer header is read every time

_Header = tuple[str, str | None, str | None]  # alg, kid, typ


@made_per_request
class ParsedToken:
    """The parts of one token, well-formed and **not verified**. Never show or log any of it."""

    alg: str
    kid: str | None = field(repr=False)
    typ: str | None = field(repr=False)
    payload: Mapping[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(token: str, *, max_bytes: int) -> ParsedToken:
    """The parts of `token`; TokenError when it is too large or anything but a signed JWT in compact form."""
    if len(token) > max_bytes:
        raise TokenError(Reason.TOKEN_TOO_LARGE, f"{len(token)} characters; at most {max_bytes} are accepted")
    if not token.isascii():
        raise _malformed("it holds characters outside of ASCII")
    text = token.encode("ascii")
    parts = text.split(b".")
    if len(parts) != _PARTS:
        raise _malformed("it is encrypted (JWE)" if len(parts) == _PARTS_JWE else f"{len(parts)} parts instead of 3")
    head = parts[0]
    alg, kid, typ = _remembered_header(head) if len(head) <= _SHORT else _header(head)
    payload = _object("payload", parts[1])
    signing_input = text[: len(head) + 1 + len(parts[1])]
    # By position, in the order of the fields: with their names it takes three times as long.
    return ParsedToken(alg, kid, typ, payload, signing_input, _decode("signature", parts[2]))


def _header(part: bytes) -> _Header:
    """What the first part of a token says. A pure function; a refusal is raised, and so it is never cached."""
    return check_header(_object("header", part))


_remembered_header: Final = lru_cache(maxsize=_REMEMBERED)(_header)


def check_header(header: Mapping[str, Any]) -> _Header:
    """`alg`, `kid`, `typ` of a JOSE header that asks for nothing special (RFC 7515 §4.1)."""
    for member, refusal in _REFUSED.items():
        if member in header:
            raise _malformed(refusal)
    alg, kid, typ, cty = header.get("alg"), header.get("kid"), header.get("typ"), header.get("cty")
    if not isinstance(alg, str):
        raise _malformed("alg is missing or not a string")
    if "kid" in header and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID and kid.isprintable()):
        raise _malformed(f"kid is not a printable string of 1 to {MAX_KID} characters")
    if "typ" in header and not isinstance(typ, str):
        raise _malformed("typ is not a string")
    if "cty" in header and (not isinstance(cty, str) or cty.lower() in _NESTED):
        raise _malformed("a nested token (RFC 7519 §5.2), or cty is not a string")
    return alg, kid, typ


def _object(name: str, part: bytes) -> dict[str, Any]:
    try:
        return read_object(b64url_decode(part), most=_MOST_BRACKETS)
    except ValueError as error:
        raise _malformed(f"the {name}: {error}") from None


def _decode(name: str, part: bytes) -> bytes:
    try:
        return b64url_decode(part)
    except ValueError as error:
        raise _malformed(f"the {name}: {error}") from None


def _malformed(detail: str) -> TokenError:
    return TokenError(Reason.TOKEN_MALFORMED, detail)
