"""Distinguishes the gate's refusals from the destination's, and says what they mean for a task.

Law: a refusal by the gate is recognised by its header and its body together. Every answer that went through the gate
has the header, so the destination's own 403 has it as well. In case of doubt the answer is the destination's.
"""

import json
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

DECISION = "x-authz-decision"
UNAUTHENTICATED = 401
FORBIDDEN = 403
TOO_MANY = 429
UNAVAILABLE = 503
MAYBE_BEGUN = frozenset({"connection_lost"})  # Envoy's 503, sent after the destination may have received the call
_LONGEST_BODY = 16_384


class Refusal(NamedTuple):
    """What the gate answered instead of passing the call on."""

    status: int
    error: str
    message: str
    decision: str
    rule: str

    def __str__(self) -> str:
        rule = f", rule {self.rule}" if self.rule else ""
        return f"the gate says {self.error}{rule}: {self.message} (decision {self.decision})"


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> Refusal | None:
    """The gate's refusal, or None if this answer is the destination's own."""
    decision = headers.get(DECISION, "")
    if not decision or status < 400 or len(body) > _LONGEST_BODY:  # noqa: PLR2004 RFC 9110 §15.5
        return None
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if (
        not isinstance(fields, dict)
        or fields.get("decision_id") != decision
        or not isinstance(fields.get("error"), str)
    ):
        return None
    return Refusal(
        status=status,
        error=fields["error"],
        message=str(fields.get("message", "")),
        decision=decision,
        rule=str(fields.get("rule") or ""),
    )


def may_be_refusal(status: int, headers: Mapping[str, str]) -> bool:
    """Whether to read the body: the answer may be a 401 by the gate, which a new token or proof can fix."""
    return status == UNAUTHENTICATED and bool(headers.get(DECISION))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of `Retry-After` (RFC 9110 §10.2.3); None if it is missing or invalid."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:6])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return None
