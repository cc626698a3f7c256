"""What came of a decision: from a line of Envoy's access log to an entry of the signed log.

Law: an entry has only the fields of `OutcomeEntry`, each in its own form and bounded. What a caller chose, such as a
path or a user agent, is not among them, and neither is what Envoy's details may quote of it.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import orjson

from authz.core.record.fields import OUTCOME, VERSION

OUTCOME_LINE: Final = b'{"v":1,"type":"outcome",'
"""How every such line begins."""


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
_time: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{1,6})Z", re.ASCII).fullmatch
_flags: Final = re.compile(r"[A-Za-z0-9]{1,64}(?:,[A-Za-z0-9]{1,64}){0,15}", re.ASCII).fullmatch
# One of Envoy's own words, with the reason of a reset in braces. Others quote, as do those of failed logins (401).
_details: Final = re.compile(r"[a-z0-9_.]{1,64}(?:\{[A-Za-z0-9_|:.,()=-]{0,384}\})?", re.ASCII).fullmatch
_UNAUTHORIZED: Final = 401
_cluster: Final = re.compile(r"[!-~]{1,256}", re.ASCII).fullmatch
_address: Final = re.compile(r"[A-Za-z0-9_.:/\[\]%@-]{1,256}", re.ASCII).fullmatch
_run: Final = re.compile(r"[!-~]{2,250}", re.ASCII).fullmatch  # "-" is Envoy's word for none
_MOST: Final = 2**53

FIELDS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "v": int,
        "type": str,
        "decision": str,
        "time": str,
        "status": int,
        "flags": str,
        "details": str,
        "upstream": str,
        "upstream_host": str,
        "bytes_received": int,
        "bytes_sent": int,
        "duration_ms": int,
        "ended_by": str,
        "run": str,
    }
)
"""The fields of an entry, in their order."""
_SOMETIMES: Final = frozenset({"details", "upstream_host", "run"})


def outcome_line(line: bytes) -> tuple[str, bytes] | None:
    """The decision's id, and the entry without its newline, of a line of Envoy's access log.

    None for a line that is no JSON object, or is about no decision.
    """
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict) or not _is_id(name := _text(said, "id")):
        return None
    flags, host = _match(_flags, _text(said, "flags")), _match(_address, _text(said, "upstream_host"))
    status, details = _number(said, "status"), _text(said, "details")
    entry: dict[str, object] = {
        "v": VERSION,
        "type": OUTCOME,
        "decision": name,
        "time": _time_of(_text(said, "time")),
        "status": status,
        "flags": flags,
        "details": _match(_details, details) if status != _UNAUTHORIZED else "",
        "upstream": _match(_cluster, _text(said, "upstream")),
        "upstream_host": host,
        "bytes_received": _number(said, "bytes_received"),
        "bytes_sent": _number(said, "bytes_sent"),
        "duration_ms": _number(said, "duration_ms"),
        "ended_by": ended_by(flags, details, host),
        "run": _match(_run, _text(said, "run")),
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
    if not line.startswith(OUTCOME_LINE):
        return None
    try:
        found: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    kinds = {name: type(value) for name, value in found.items()}
    return (
        found if kinds == {name: FIELDS[name] for name in FIELDS if name in kinds or name not in _SOMETIMES} else None
    )


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _number(said: Mapping[str, Any], name: str) -> int:
    """A count; Envoy writes some as texts. 0 if there is none."""
    value = said.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(_MOST)):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST else 0


def _time_of(text: str) -> str:
    """The time as records have it, with six digits; "" if there is none."""
    found = _time(text)
    return f"{found[1]}.{found[2]:0<6}Z" if found else ""


def _match(form: Any, text: str) -> str:
    """The text, if it has this form; else ""."""
    return text if form(text) else ""
