"""The entries that a log makes about itself: where files and runs begin and end, what is missing, which keys sign.

Law: an entry has the fields of its event and no other ones, so that a reader who knows the event knows what is there.
Texts are cut as those of decisions are.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import orjson

from authz.core.record.encoding import replaced
from authz.core.record.fields import LOG, LONGEST, VERSION, LogFields

LOG_LINE: Final = b'{"v":1,"type":"log",'
"""How every such line begins."""


class Event(StrEnum):
    """What happened."""

    FILE = "file"
    START = "start"
    STOP = "stop"
    GAP = "gap"
    DROPPED = "dropped"
    KEYS = "keys"
    POLICY = "policy"
    REVOCATION = "revocation"
    GRANT = "grant"


EVENTS: Final[Mapping[Event, Mapping[str, type]]] = MappingProxyType(
    {
        Event.FILE: {"index": int, "file": str},
        Event.START: {"version": str, "unsigned": int, "cut": int},
        Event.STOP: {},
        Event.GAP: {"worker": int, "count": int, "reason": str},
        Event.DROPPED: {"index": int, "count": int, "file": str},
        Event.KEYS: {"keys": list},
        Event.POLICY: {"worker": int, "revision": str, "by": str},
        Event.REVOCATION: {"worker": int, "kind": str, "issuer": str, "value": str, "until": int, "by": str},
        Event.GRANT: {"worker": int, "action": str, "grant": str, "by": str},
    }
)
"""The fields of each event, after those that all have, in their order. `worker` is who handed it over."""

_OWN: Final = tuple(LogFields.__annotations__)


def log_line(event: Event, *, gate: str, time: str, **fields: object) -> bytes:
    """The line of an entry, without its newline. `time` is as in decisions.

    Raises:
        ValueError: these are not the fields of the event.
    """
    if fields.keys() != set(EVENTS[event]):
        raise ValueError(f"an entry {event} has other fields")
    own = dict(zip(_OWN, (VERSION, LOG, event, time, gate), strict=True))
    return orjson.dumps({**own, **{name: replaced(fields[name], LONGEST) for name in EVENTS[event]}})


def log_entry_in(line: bytes) -> dict[str, Any] | None:
    """The fields of such an entry; None for every other line, and for an entry that does not have its fields."""
    if not line.startswith(LOG_LINE):
        return None
    try:
        found = orjson.loads(line)
        fields = EVENTS[Event(found["event"])]
    except (ValueError, KeyError):
        return None
    wanted: dict[str, type] = {"v": int, "type": str, "event": str, "time": str, "gate": str, **fields}
    return found if {name: type(value) for name, value in found.items()} == wanted else None
