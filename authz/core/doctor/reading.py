"""Bytes of a configuration file → plain data: YAML (one document or several) or JSON.

Law: no I/O. An error says where, and never what stands there: a bootstrap may hold secrets. Duplicate keys are refused,
since Envoy and this reader could take different ones. Aliases are allowed, but not what would grow without bound.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import yaml

MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest file that is read."""
_MOST_NODES: Final = 4_000_000
_MOST_DEPTH: Final = 200
_HIDDEN: Final = "(its text is not shown: it could be secret)"


class UnreadableError(ValueError):
    """The text is no configuration; its message holds nothing of it."""


class _Loader(yaml.CSafeLoader):
    """YAML 1.1, as Envoy reads it; a duplicate key is an error."""


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _value in node.value if not _merges(key)]
    if len({*map(repr, keys)}) != len(keys):
        raise UnreadableError(f"line {node.start_mark.line + 1}: a mapping has one key twice {_HIDDEN}")
    loader.flatten_mapping(node)
    return {
        str(loader.construct_object(key, deep=True)): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _merges(key: Any) -> bool:
    return bool(key.tag == "tag:yaml.org,2002:merge")


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def documents(data: bytes) -> list[Any]:
    """Every document in the file, mappings, lists and scalars.

    Raises:
        UnreadableError: neither JSON nor YAML, a duplicate key, or too large.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableError("it is not UTF-8 text") from None
    found = [_json(text)] if text.lstrip().startswith("{") and _is_json(text) else _yaml(text)
    for document in found:
        _bounded(document)
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False  # flow YAML begins with a brace too
    return True


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_pairs)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise UnreadableError(f"an object has one key twice {_HIDDEN}")
    return made


def _yaml(text: str) -> list[Any]:
    try:
        _shallow(text)
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UnreadableError(f"{line}neither YAML nor JSON {_HIDDEN}") from None
    except UnreadableError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, TypeError):
        raise UnreadableError(f"neither YAML nor JSON {_HIDDEN}") from None


def _shallow(text: str) -> None:
    """Refuse what is nested so deeply that libyaml, which composes by recursion, would end the process."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise UnreadableError("it is nested too deeply")


def _bounded(document: Any) -> None:
    """Refuse what aliases make larger than any configuration, or endless."""
    nodes, waiting = 0, [(document, 0)]
    while waiting:
        node, depth = waiting.pop()
        nodes += 1
        if nodes > _MOST_NODES or depth > _MOST_DEPTH:
            raise UnreadableError("it is too large or too deep, with its aliases")
        if isinstance(node, Mapping):
            waiting.extend((value, depth + 1) for value in node.values())
        elif isinstance(node, list):
            waiting.extend((value, depth + 1) for value in node)
