"""What the sections of the policy file have in common: strictness, names, texts and lists.

Law: strict. An unknown key, an empty list, a wrong type and `null` are mistakes, because each of them could silently
mean more, or less, than its author thought.
"""

import re
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from authz.core.documents.wording import Mistake
from authz.core.model import SERVICE_NAME

ABSENT: Final[Any] = ""
"""The default of a key that has a closed list of words, none of which is meant when it is absent."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")

_Item = TypeVar("_Item")


def _distinct(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    seen: set[_Item] = set()
    for item in items:
        if item in seen:
            raise Mistake(f"`{getattr(item, 'text', item)}` is listed twice", "remove one of them")
        seen.add(item)
    return items


def parse_name(value: str) -> str:
    """A name as people give one to issuers, roles, rules and callers."""
    if not _NAME.fullmatch(value):
        raise Mistake(f"`{value}` is not a name", "letters, digits, `_`, `-` and `.`, beginning with a letter or digit")
    return value


def _destination(value: str) -> str:
    if not re.fullmatch(SERVICE_NAME, value):
        hint = "as in the settings: lower-case letters, digits, `_` and `-`"
        raise Mistake(f"`{value}` is not the name of a destination", hint)
    return value


NotEmpty: Final = (Field(min_length=1), AfterValidator(_distinct))
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(parse_name)]
Destination = Annotated[
    str, AfterValidator(_destination), WithJsonSchema({"type": "string", "pattern": f"^{SERVICE_NAME}$"})
]


class Section(BaseModel):
    """Absent optional text is "" here: `null` is not a way to say so, because it may be a value that got lost."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
