"""Takes the token out of the header that identifies the caller: Authorization, X-Run-Identity, Proxy-Authorization.

Law: exactly one token in exactly one form, or a RequestError. Which header counts is decided elsewhere.
"""

import base64
import binascii
import re
from typing import Final

from authz.core import tokens
from authz.core.errors import RequestError
from authz.core.model import HttpRequest
from authz.core.reasons import Reason

_LINE: Final = re.compile(rb"(dpop|bearer) ([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)
_BASIC: Final = re.compile(rb"basic ([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_USER: Final = b"run:"


def shown_token(http: HttpRequest) -> str:
    """The token that identifies the caller of a request that was let in with one."""
    if http.run_identity:
        return header_token(http.run_identity[0])[1]
    if http.proxy_authorization:
        return proxy_token(http.proxy_authorization[0])
    return tokens.parse_bearer(http.authorization) or ""


def header_token(line: bytes) -> tuple[bytes, str]:
    """Scheme, in lower case, and token of X-Run-Identity."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise RequestError(Reason.BAD_AUTHORIZATION, "X-Run-Identity is not `DPoP` and one token")
    return match[1].lower(), match[2].decode("ascii")


def proxy_token(line: bytes) -> str:
    """The token of Proxy-Authorization: `Bearer`, or the password of the user `run` (RFC 7617)."""
    match = _LINE.fullmatch(line)
    if match is not None and match[1].lower() == b"bearer":
        return match[2].decode("ascii")
    basic = _BASIC.fullmatch(line)
    try:
        pair = base64.b64decode(basic[1], validate=True) if basic is not None else b""
    except binascii.Error:
        pair = b""
    match = _LINE.fullmatch(b"Bearer " + pair.removeprefix(_USER)) if pair.startswith(_USER) else None
    if match is None:
        raise RequestError(Reason.BAD_AUTHORIZATION, "Proxy-Authorization is neither Bearer nor Basic of the user run")
    return match[2].decode("ascii")
