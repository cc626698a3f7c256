"""What came of a decision: from a line of Envoy's access log to an entry of the signed log.

Law: an entry has only the fields of `OutcomeEntry`, each in its own form and bounded. What a caller chose, such as a
path or a user agent, is not among them, and neither is what Envoy's details may quote of it.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import orjson

from authz.core.record.envoy_line import flags_of, host_of, instance_of, match, number, time_of
from authz.core.record.fields import OUTCOME, VERSION, EndFields, OutcomeEntry
from authz.core.record.reading import Shape, text_in

OUTCOME_LINE: Final = b'{"v":1,"type":"outcome",'
"""How every such line begins."""
_SHAPE: Final = Shape(OutcomeEntry)
_SOMETIMES: Final = frozenset(EndFields.__annotations__)


class EndedBy(StrEnum):
    """Who ended a request: with an answer, or by going away."""

    UPSTREAM = "upstream"
    GATE = "gate"
    ENVOY = "envoy"
    CLIENT = "client"


# Envoy's response flags. All others say that Envoy ended the request: the upstream was away (UH, UF, UC, UT, UR, …), no
# route was there (NR), a limit was reached (RL, UO, SI, …), and whatever later versions add.
_REFUSED: Final = "UAEX"  # ext_authz: denied, or without an answer
_CLIENT: Final = frozenset({"DC", "DR", "DPE"})  # went away, reset the stream, broke the protocol
_PASSED: Final = frozenset({"URX", "DI"})  # with an answer of the upstream: of the last attempt; after a delay
_NO_ANSWER: Final = frozenset({"ext_authz_error", "ext_authz_timeout"})
_ANSWERED: Final = "via_upstream"

_is_id: Final = re.compile(r"[0-9a-f]{1,64}", re.ASCII).fullmatch
# One of Envoy's own words, with the reason of a reset in braces. Others quote, as do those of failed logins (401).
_details: Final = re.compile(r"[a-z0-9_.]{1,64}(?:\{[A-Za-z0-9_|:.,()=-]{0,384}\})?", re.ASCII).fullmatch
_UNAUTHORIZED: Final = 401
_cluster: Final = re.compile(r"[!-~]{1,256}", re.ASCII).fullmatch
_run: Final = re.compile(r"[!-~]{2,250}", re.ASCII).fullmatch  # "-" is Envoy's word for none


def outcome_of(said: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """The decision's id, and the entry without its newline, of a line of Envoy's access log; None if it names none."""
    if not _is_id(name := text_in(said, "id")):
        return None
    flags, host = flags_of(said), host_of(said)
    status, details = number(said, "status"), text_in(said, "details")
    entry: dict[str, object] = {
        "v": VERSION,
        "type": OUTCOME,
        "decision": name,
        "time": time_of(said),
        "status": status,
        "flags": flags,
        "details": match(_details, details) if status != _UNAUTHORIZED else "",
        "upstream": match(_cluster, text_in(said, "upstream")),
        "upstream_host": host,
        "bytes_received": number(said, "bytes_received"),
        "bytes_sent": number(said, "bytes_sent"),
        "duration_ms": number(said, "duration_ms"),
        "ended_by": ended_by(flags, details, host),
        "run": match(_run, text_in(said, "run")),
        "instance": instance_of(said),
    }
    return name, orjson.dumps({key: value for key, value in entry.items() if value or key not in _SOMETIMES})


def ended_by(flags: str, details: str, upstream_host: str) -> EndedBy:
    """Who ended a request, from Envoy's response flags, its details, and the upstream's address; each "" for none."""
    there = frozenset(flags.split(",")) - {""}
    if _REFUSED in there:
        return EndedBy.ENVOY if details in _NO_ANSWER else EndedBy.GATE
    if there & _CLIENT:
        return EndedBy.CLIENT
    if there - _PASSED or not upstream_host:
        return EndedBy.ENVOY
    # Of an upstream's 401 where browsers log in, the access log has no details that say so.
    return EndedBy.UPSTREAM if details in {_ANSWERED, "unauthorized", ""} else EndedBy.ENVOY


def outcome_in(line: bytes) -> dict[str, Any] | None:
    """The fields of such an entry; None for every other line, and for an entry that does not have its fields."""
    return _SHAPE.fields_in(line) if line.startswith(OUTCOME_LINE) else None
