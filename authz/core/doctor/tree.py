"""Reads parsed documents of Envoy's kind: protobuf messages as JSON, in either spelling of their fields.

Law: total: whatever stands in the document, nothing here raises. Protobuf's JSON mapping accepts `failure_mode_allow`
and `failureModeAllow`, names and numbers of enum values, and wraps a message in an Any (`@type`) or a TypedStruct.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Node = Mapping[str, Any]

EMPTY: Final[Node] = {}
_FALSE: Final = {"", "0", "false", "no", "off", "n"}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)s")
_LABEL: Final = 80


def pick(node: Any, name: str) -> Any:
    """The field of this name in snake_case, in either spelling; None if there is none."""
    if not isinstance(node, Mapping):
        return None
    head, *rest = name.split("_")
    found = node.get(name)
    return node.get(head + "".join(part.capitalize() for part in rest)) if found is None else found


def path(node: Any, *names: str) -> Any:
    """The field that these names lead to, or None."""
    for name in names:
        node = pick(node, name)
    return node


def message(node: Any, *names: str) -> Node:
    """The message that these names lead to; an empty one if there is none."""
    found = path(node, *names)
    return found if isinstance(found, Mapping) else EMPTY


def items(node: Any, *names: str) -> Sequence[Any]:
    """The repeated field that these names lead to."""
    found = path(node, *names)
    return found if isinstance(found, list) else []


def text(node: Any, *names: str) -> str:
    """The text that these names lead to; "" if there is none."""
    found = path(node, *names)
    return found if isinstance(found, str) else ""


def truth(value: Any) -> bool:
    """Whether a bool or a BoolValue says true. What is unclear counts as true: ask where true is the finding."""
    if isinstance(value, Mapping):
        value = value.get("value", False)
    if isinstance(value, str):
        return value.strip().lower() not in _FALSE
    return bool(value)


def is_set(value: Any) -> bool:
    """Whether a bool says true beyond doubt: ask where false is the finding."""
    if isinstance(value, Mapping):
        value = value.get("value", False)
    return value is True or (isinstance(value, str) and value.strip().lower() in {"true", "yes", "on"})


def seconds(value: Any) -> float:
    """A Duration; 0 if it is none."""
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(found[1]) if found else 0.0


@dataclass(frozen=True, slots=True)
class Typed:
    """A message with its type's full name."""

    kind: str
    config: Node

    def is_a(self, family: str, name: str) -> bool:
        """Whether it is this message of the package family: `http.ext_authz`, `ExtAuthz`. Any version counts."""
        return f".{family}." in self.kind and self.kind.endswith(f".{name}")


def typed(node: Any) -> Typed:
    """What an Any or a TypedStruct holds; a message without a type has the kind ""."""
    if not isinstance(node, Mapping):
        return Typed("", EMPTY)
    kind = text(node, "@type").rpartition("/")[2]
    if kind.endswith(".TypedStruct"):
        return Typed(text(node, "type_url").rpartition("/")[2], message(node, "value"))
    return Typed(kind, node)


def every(node: Any) -> Iterator[Node]:
    """The node and every mapping below it, each once, however often aliases repeat it."""
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if id(here) in seen:
            continue
        if isinstance(here, Mapping):
            seen.add(id(here))
            yield here
            waiting.extend(here.values())
        elif isinstance(here, list):
            seen.add(id(here))
            waiting.extend(here)


def label(value: Any) -> str:
    """A name for people: one line, bounded."""
    line = " ".join(str(value).split())
    return line if len(line) <= _LABEL else line[: _LABEL - 1] + "…"
