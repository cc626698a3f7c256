"""The codec: bytes of a CheckRequest to `HttpRequest`, a decision to the bytes of a CheckResponse.

Law: only this package reads or builds Envoy's messages.
"""

from authz.check.wire.headers import NEVER_FORWARDED, identity_headers
from authz.check.wire.request import parse
from authz.check.wire.response import PreparedAllow, PreparedDeny, allowed, denied, is_denial

__all__ = [
    "NEVER_FORWARDED",
    "PreparedAllow",
    "PreparedDeny",
    "allowed",
    "denied",
    "identity_headers",
    "is_denial",
    "parse",
]
