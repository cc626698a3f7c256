"""The fields of the decision log for readers: the tables of `docs/decision-log.md`, and a JSON Schema of its lines.

Both are made of `authz.core.record.fields`. A line of a type that the schema does not know is valid, and so is a field
that it does not know: readers skip both.
"""

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

from authz.core.record import (
    ENTRIES,
    PATH,
    PEOPLE,
    VERSION,
    ComparedFields,
    DagsFields,
    GrantFields,
    OutboundFields,
    OwnFields,
    RequestFields,
    RightsFields,
    RunFields,
    ShadowFields,
    SharedFields,
)

FILE = "docs/decision-log.schema.json"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_NAMES = {str: "text", int: "number", bool: "true or false", tuple: "list of texts"}
_TYPES: dict[object, dict[str, object]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    tuple: {"type": "array", "items": {"type": "string"}},
}
_OPTIONAL = {*PEOPLE, PATH, "identity"}  # `log.privacy` may leave them out
_OBJECTS = {ShadowFields: "shadow", RightsFields: "rights", DagsFields: "dags"}
_RUN = {"anyOf": [{"$ref": "#/$defs/run"}, {"type": "null"}]}


def hints(*parts: type) -> dict[str, tuple[Any, str]]:
    """The type and the meaning of each field of these dictionaries, in their order."""
    found = {name: hint for part in parts for name, hint in get_type_hints(part, include_extras=True).items()}
    return {name: get_args(hint) for name, hint in found.items()}


def table(*parts: type) -> Iterator[str]:
    """The rows of a table of these fields."""
    yield "| field | JSON | meaning |"
    yield "| --- | --- | --- |"
    for name, (plain, text) in hints(*parts).items():
        yield f"| `{name}` | {_name(plain)} | {text} |"


def decision_table() -> Iterator[str]:
    """The fields of a decision: those of the request after those that every decision has."""
    sometimes = {**RequestFields.__annotations__, **ComparedFields.__annotations__}
    always = [name for name in get_type_hints(SharedFields) if name not in sometimes]
    found = {**hints(OwnFields), **hints(SharedFields), **hints(OutboundFields)}
    order = [*OwnFields.__annotations__, *always, *sometimes, *OutboundFields.__annotations__]
    yield "| field | JSON | meaning |"
    yield "| --- | --- | --- |"
    for name in dict.fromkeys(order):
        plain, text = found[name]
        yield f"| `{name}` | {_name(plain)} | {text} |"


def _name(plain: Any) -> str:
    """The type of a field, as the page shows it."""
    if get_origin(plain) is Literal:
        return "true" if get_args(plain) == (True,) else "text"
    if plain == tuple[GrantFields, ...]:
        return "list of objects"
    return "object" if plain in _OBJECTS else _NAMES.get(get_origin(plain) or plain, "object or null")


def schema() -> str:
    """The schema, as its file has it."""
    made = {
        "$schema": _DIALECT,
        "title": f"A line of the decision log, version {VERSION} of the format",
        "description": "Lines of other types, and other fields, may be added: skip what you do not know.",
        "type": "object",
        "required": ["v", "type"],
        "properties": {"v": {"const": VERSION}, "type": {"type": "string"}},
        "allOf": [
            {"if": {"properties": {"type": {"const": name}}}, "then": {"$ref": f"#/$defs/{name}"}} for name in ENTRIES
        ],
        "$defs": {
            **{name: _object(kind) for name, kind in ENTRIES.items()},
            "run": _object(RunFields),
            **{name: _object(kind) for kind, name in _OBJECTS.items()},
            "grant": _object(GrantFields),
        },
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _object(kind: Any) -> dict[str, object]:
    fields = hints(kind)
    return {
        "type": "object",
        "required": [name for name in fields if name in kind.__required_keys__ - _OPTIONAL],
        "properties": {name: {**_type(name, plain), "description": text} for name, (plain, text) in fields.items()},
    }


def _type(name: str, plain: Any) -> dict[str, object]:
    if get_origin(plain) is Literal:
        return {"const": get_args(plain)[0]}
    if plain == tuple[GrantFields, ...]:
        return {"type": "array", "items": {"$ref": "#/$defs/grant"}}
    if name == "time":
        return {"type": "string", "format": "date-time"}
    if plain in _OBJECTS:
        return {"$ref": f"#/$defs/{_OBJECTS[plain]}"}
    return _TYPES.get(get_origin(plain) or plain, _RUN)
