"""The valid rest of settings with mistakes, for checks across its keys.

Law: only the values that are wrong are left out, and with a required one the section that needs it. Places are always
those of the whole file. What is left is for checks alone; nothing is ever served or rendered from it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from authz.settings.named_files import Loc

_AnyModel = TypeVar("_AnyModel", bound=BaseModel)
_MOST_ROUNDS: Final = 32  # a wrong value may take each of the sections around it with it, one a round


class _Items(dict[int, Any]):
    """A list of which items may be missing, by their original positions."""


class Salvaged(Generic[_AnyModel]):
    """`settings` is the valid rest of the data, or None where nothing is left."""

    def __init__(self, data: Mapping[str, Any], model: type[_AnyModel], given: Mapping[str, Any]) -> None:
        """`given` are values of keys at the top that are not taken from the data."""
        self._tree = {**_tree(data), **given}
        self._lost: list[Loc] = []
        self.settings = self._rest(model)

    def original(self, loc: Loc) -> Loc:
        """The place in the file of the value at `loc` in the rest."""
        return tuple(part for part, _node in self._walk(loc))

    def lacks(self, loc: Loc) -> bool:
        """Whether something at, in or around this place in the file was left out."""
        return any(lost[: len(loc)] == loc[: len(lost)] for lost in self._lost)

    def stands_in_for(self, loc: Loc) -> bool:
        """Whether what is there in the rest is a default, in place of a value that was left out."""
        return any(loc[: len(lost)] == lost for lost in self._lost)

    def _rest(self, model: type[_AnyModel]) -> _AnyModel | None:
        for _round in range(_MOST_ROUNDS):
            try:
                return model.model_validate(_plain(self._tree))
            except ValidationError as failure:
                wrong = {self._found(detail["loc"]) for detail in failure.errors(include_url=False)}
            if () in wrong:
                return None
            for loc in wrong:
                self._remove(loc)
        return None

    def _walk(self, loc: Loc) -> Iterator[tuple[str | int, Any]]:
        """Each part of a place in the rest as it is in the file, and the value there (None: there is none)."""
        node: Any = self._tree
        for part in loc:
            positions = list(node) if isinstance(node, _Items) else []
            known = positions[part] if isinstance(part, int) and part < len(positions) else part
            node = node.get(known) if isinstance(node, dict) else None
            yield known, node

    def _found(self, loc: Loc) -> Loc:
        """The place in the file of an error: of its value, or of the nearest section around it."""
        node: Any = self._tree
        found: list[str | int] = []
        for part in loc:
            positions = list(node) if isinstance(node, _Items) else []
            known = positions[part] if isinstance(part, int) and part < len(positions) else part
            if isinstance(node, dict) and known in node:  # pydantic also names the members of unions
                found.append(known)
                node = node[known]
        return tuple(found)

    def _remove(self, loc: Loc) -> None:
        self._lost.append(loc)
        *way, last = loc
        node: Any = self._tree
        for part in way:
            node = node.get(part, {})  # {}: it went with another one
        node.pop(last, None)


def _tree(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tree(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return _Items((position, _tree(inner)) for position, inner in enumerate(value))
    return value


def _plain(node: Any) -> Any:
    if isinstance(node, _Items):
        return tuple(_plain(inner) for inner in node.values())
    if isinstance(node, dict):
        return {key: _plain(inner) for key, inner in node.items()}
    return node
