"""The codec: bytes of a CheckRequest to `HttpRequest`, a decision to the bytes of a CheckResponse.

Law: nobody else reads or builds Envoy's messages.
"""

from authz.wire.headers import (
    ASSERTION,
    CLIENT,
    DAG,
    DECISION,
    IDENTITY_HEADERS,
    ISSUER,
    LEVEL,
    NEVER_FORWARDED,
    READ_HEADERS,
    READ_ON_EGRESS,
    READ_ON_EXECUTION,
    ROLES,
    RUN,
    SUBJECT,
    TASK,
    USER,
    identity_headers,
)
from authz.wire.request import parse
from authz.wire.response import PreparedAllow, allowed, answered, denied

__all__ = [
    "ASSERTION",
    "CLIENT",
    "DAG",
    "DECISION",
    "IDENTITY_HEADERS",
    "ISSUER",
    "LEVEL",
    "NEVER_FORWARDED",
    "READ_HEADERS",
    "READ_ON_EGRESS",
    "READ_ON_EXECUTION",
    "ROLES",
    "RUN",
    "SUBJECT",
    "TASK",
    "USER",
    "PreparedAllow",
    "allowed",
    "answered",
    "denied",
    "identity_headers",
    "parse",
]
