"""What can be kept of a file that does not fit its schema: each entry without the keys that do not fit.

Law: one mistake must not hide another. The place of an entry that lost a key
is remembered, because what it lacks is not another mistake.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from authz.core.documents.yaml_document import Loc

_Entry = TypeVar("_Entry", bound=BaseModel)


def mappings(items: Any) -> dict[int, dict[str, Any]]:
    """The entries of a list that are mappings, by position."""
    listed = items if isinstance(items, tuple) else ()
    return {index: item for index, item in enumerate(listed) if isinstance(item, dict)}


def named_mappings(items: Any) -> dict[str, dict[str, Any]]:
    """The entries of a mapping that are mappings, by name."""
    found = items if isinstance(items, dict) else {}
    return {name: item for name, item in found.items() if isinstance(item, dict)}


def salvage(
    item: dict[str, Any], model: type[_Entry], loc: Loc, stand_in: Mapping[str, Any], partial: set[Loc]
) -> _Entry:
    """The entry without the keys that do not fit; `stand_in` has values for the required ones."""
    try:
        return model.model_validate(item)
    except ValidationError as failure:
        broken = {detail["loc"][0] for detail in failure.errors()}
    partial.add(loc)
    return model.model_validate({**stand_in, **{key: value for key, value in item.items() if key not in broken}})
