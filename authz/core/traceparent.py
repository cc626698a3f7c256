"""W3C Trace Context: which trace and which span a check belongs to, and whether it is sampled.

Law: a caller may have written the header. What is no `traceparent` (§3.2 of the specification) belongs to no trace, and
it is never guessed what was meant.
"""

import re
from typing import Final, NamedTuple

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_INVALID_VERSION: Final = "ff"
_SAMPLED: Final = 0x01
_NO_FLAG: Final = "-00"


class TracedMessage(bytes):
    """A message with the `traceparent` of the call that brought it, "" where the call has none."""

    traceparent: str = ""


class Parent(NamedTuple):
    """The span above: its trace id and its own id, and the flags, of which one says that it is sampled."""

    trace_id: int
    span_id: int
    flags: int


def traced(message: bytes, traceparent: str) -> TracedMessage:
    """The message with the `traceparent` of its call."""
    made = TracedMessage(message)
    made.traceparent = traceparent
    return made


def trace_of(traceparent: str) -> str:
    """The trace id in a `traceparent`, in hex; "" if it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found.group(1) if found is not None else ""


def sampled_parent(traceparent: str) -> Parent | None:
    """The span above, if its flags say that the trace is sampled; None for anything else, a malformed one too."""
    if traceparent.endswith(_NO_FLAG):  # as most are, where few are sampled
        return None
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or traceparent.startswith(_INVALID_VERSION):
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    return Parent(trace_id, span_id, flags) if trace_id and span_id and flags & _SAMPLED else None
