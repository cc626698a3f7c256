"""The Authorization header: exactly one bearer token or nothing (RFC 6750 §2.1, RFC 9110 §11.4).

Law: no leniency. Tokens in the query, in a form body or in two headers are not accepted (RFC 6750 §2.2, §2.3).
"""

import string
from typing import Final

from authz.core.errors import RequestError
from authz.core.reasons import Reason

# credentials = "Bearer" 1SP b64token; the scheme is case-insensitive (RFC 9110 §11.1).
# RFC 6750 says 1*SP; a sender of two spaces is not an OAuth client, so exactly one is taken.
_SCHEME: Final = b"bearer "
_B64TOKEN: Final = (string.ascii_letters + string.digits + "-._~+/").encode("ascii")  # then any number of "="


def parse_bearer(values: tuple[bytes, ...]) -> str | None:
    """The token of the Authorization header lines `values`, None when there is no such header."""
    if not values:
        return None
    if len(values) > 1:
        raise RequestError(Reason.BAD_AUTHORIZATION, f"{len(values)} Authorization headers")
    line = values[0]
    token = line[len(_SCHEME) :]
    letters = token.rstrip(b"=")
    # Stripped of its letters, a b64token is empty: this takes half the time of a regular expression.
    if not letters or letters.translate(None, _B64TOKEN) or line[: len(_SCHEME)].lower() != _SCHEME:
        raise RequestError(Reason.BAD_AUTHORIZATION, _why(line))
    return token.decode("ascii")


def _why(value: bytes) -> str:
    """What is wrong, without showing anything of the value."""
    scheme, space, token = value.partition(b" ")
    if scheme.lower() != b"bearer":
        return "the scheme is not Bearer"
    if not space or not token:
        return "there is no token after Bearer"
    if b"," in token:
        return "there is a comma: two headers joined into one, or a list"
    return "Bearer is not followed by exactly one space and one token"
