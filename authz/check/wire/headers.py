"""The headers that are removed, and those that name a caller.

Law: a header name that we emit is always either set or removed, so that a client's own value never gets through.
Emitted values are visible ASCII and bounded.
"""

from typing import Final

from authz.core.edge import ASSERTION, CLIENT, DAG, ISSUER, LEVEL, ROLES, RUN, SUBJECT, TASK, USER
from authz.core.model import Identity, Run

# Removed from every forwarded request. The credentials are ours and end here; the others let a client tell an upstream
# a method, a path, a host or a user other than the one that was checked.
NEVER_FORWARDED: Final = (
    "authorization",  # the first: `allowed` may keep it
    "proxy-authorization",
    "x-run-identity",
    "x-run-proof",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-forwarded-host",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-prefix",
    "x-remote-user",
    "remote-user",
)

_LONGEST_VALUE: Final = 1024  # bytes of one identity header
_LONGEST_ROLES: Final = 4096


def _visible(value: str) -> str:
    """The value in visible ASCII: `%`, spaces at the ends, controls and anything beyond ASCII percent-encoded."""
    if value.isascii() and value.isprintable() and "%" not in value and value == value.strip():
        return value
    encoded = value.encode("utf-8", "replace")
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in encoded)  # noqa: PLR2004 VCHAR of RFC 5234


def identity_headers(identity: Identity, assertion: str) -> dict[str, str]:
    """The headers that name the caller to the upstream. An empty or too long one is omitted, and so removed."""
    claims = identity.claims
    values = {
        SUBJECT: _visible(claims.subject),
        USER: _visible(claims.username),
        ISSUER: _visible(claims.issuer),
        CLIENT: _visible(claims.client_id),
    }
    kept = {name: value for name, value in values.items() if value and len(value) <= _LONGEST_VALUE}
    roles = ",".join(sorted(identity.roles))
    if roles and len(roles) <= _LONGEST_ROLES:
        kept[ROLES] = roles
    if identity.run is not None:
        kept |= _run_headers(identity.run)
    if assertion:
        kept[ASSERTION] = assertion
    return kept


def _run_headers(run: Run) -> dict[str, str]:
    """The run, in full or not at all: a part of it could be mistaken for another run."""
    values = {
        DAG: _visible(run.dag_id),
        RUN: _visible(run.run_id),
        TASK: _visible(run.task_id),
        LEVEL: str(run.level),
    }
    return values if all(0 < len(value) <= _LONGEST_VALUE for value in values.values()) else {}
