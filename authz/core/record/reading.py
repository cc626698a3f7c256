"""From the log's lines back to their fields.

Law: total. A line is a decision, an entry, or a word that says why it is neither. What many decisions share is
handed on as bytes that are equal for all of them, so that a reader parses it once; programs may have written a line
again, with its fields in another order, and it means the same.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import orjson

from authz.core.record.fields import DECISION, ENTRIES, IDENTITY, VERSION, Memberships, OwnFields
from authz.core.record.identity import identity_id, written

_TEXT: Final = rb'"(?:[^"\\]|\\.)*"'
_TIME: Final = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
# The beginning of a line as `DecisionLine` writes it, with the id and the time.
_own: Final = re.compile(
    rb'\{"v":1,"type":"decision","id":"([0-9a-f]+)","time":"(' + _TIME + rb')",'
    rb'"latency_us":-?\d+,"trace":"[0-9a-f]*",(?:"source":' + _TEXT + rb',)?"upstream":' + _TEXT + rb","
    rb'"gate":' + _TEXT + rb',"worker":\d+,'
).match
_is_time: Final = re.compile(_TIME.decode(), re.ASCII).fullmatch
_maybe_entry: Final = re.compile(rb'"type"\s*:\s*"identity"').search
DECISION_LINE: Final = b'{"v":1,"type":"decision",'
"""How every decision that the gate writes begins."""
_DEEPEST: Final = 250
"""So deep objects and lists can be within each other, and be written again."""
_OWN: Final = frozenset(OwnFields.__annotations__) - {"v"}


class Skipped(StrEnum):
    """Why a line is neither a decision nor an entry."""

    EMPTY = "empty"
    BROKEN = "broken"
    OTHER_TYPE = "other_type"


SKIPPED: Final[Mapping[Skipped, str]] = MappingProxyType(
    {
        Skipped.EMPTY: "The line is empty.",
        Skipped.BROKEN: "The line is not one JSON object: it was cut, or something else wrote it.",
        Skipped.OTHER_TYPE: "The line has a type that this version does not know.",
    }
)


class DecisionParts(NamedTuple):
    """A decision: its id, its time ("" if it has none of the log's form), and its other fields as a JSON object."""

    id: str
    time: str
    rest: bytes


def record_in(line: bytes) -> tuple[str, dict[str, Any]] | Skipped:
    """The type and all fields of a line without its newline, of whichever version; or why it has none."""
    if not line.strip():
        return Skipped.EMPTY
    fields = object_in(line)
    if fields is None:
        return Skipped.BROKEN
    kind = fields.get("type", DECISION)  # older formats had no types
    if not isinstance(kind, str) or kind not in ENTRIES:
        return Skipped.OTHER_TYPE
    return kind, fields


def text_in(fields: Mapping[str, Any] | None, name: str) -> str:
    """A text; "" if there is none."""
    value = (fields or {}).get(name)
    return value if isinstance(value, str) else ""


def number_in(fields: Mapping[str, Any] | None, name: str) -> int | None:
    """A whole number; None if there is none."""
    value = (fields or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def time_in(fields: Mapping[str, Any]) -> str:
    """The time of a record, "" if it has none of the log's form. Such times compare as texts."""
    time = fields.get("time")
    return time if isinstance(time, str) and _is_time(time) else ""


def decision_in(line: bytes) -> DecisionParts | Skipped | None:
    """The decision of a line without its newline; None for an entry, of whichever kind. `fields_of` has its fields."""
    own = _own(line)
    if own is not None:
        return DecisionParts(own[1].decode(), own[2].decode(), b"{" + line[own.end() :])
    found = record_in(line)
    if isinstance(found, Skipped):
        return found
    kind, fields = found
    if kind != DECISION:
        return None
    name = fields.get("id")
    shared = {"v": None, **{key: value for key, value in fields.items() if key not in _OWN}}
    return DecisionParts(name if isinstance(name, str) else "", time_in(fields), orjson.dumps(shared))


def fields_of(parts: DecisionParts) -> dict[str, Any] | None:
    """The decision's fields without those that are its own, but with `v` and `id`; None if it is a broken line."""
    shared = object_in(parts.rest)
    return None if shared is None else {"v": VERSION, **shared, "id": parts.id}


def entry_in(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """The id and the fields of an identity entry that says what its id says; None for every other line."""
    if line.startswith(DECISION_LINE):
        return None
    fields = object_in(line) if _maybe_entry(line) else None
    if fields is None or fields.get("type") != IDENTITY or fields.get("v") != VERSION:
        return None
    name, found = fields.get("id"), {key: fields[key] for key in Memberships.__annotations__ if key in fields}
    return (name, found) if isinstance(name, str) and identity_id(written(found)) == name else None


class Shape:
    """The fields that a kind of entry has, each with its type in JSON.

    Args:
        kind: the entry's TypedDict, whose fields are plain values.
    """

    def __init__(self, kind: Any) -> None:
        hints = get_type_hints(kind).items()
        self._types = {name: type(get_args(hint)[0]) if get_origin(hint) is Literal else hint for name, hint in hints}
        self._required: frozenset[str] = kind.__required_keys__

    def fields_in(self, line: bytes) -> dict[str, Any] | None:
        """The fields of a line if they are those of such an entry; None for every other line."""
        found = object_in(line)
        if found is None or not self._required <= found.keys():
            return None
        return found if all(self._types.get(name) is type(value) for name, value in found.items()) else None


def object_in(text: bytes) -> dict[str, Any] | None:
    """A JSON object; None if the text is none."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if text.count(b"[") + text.count(b"{") > _DEEPEST:
        try:
            orjson.dumps(found)
        except TypeError:  # nested deeper than what can be written again
            return None
    return found if isinstance(found, dict) else None
