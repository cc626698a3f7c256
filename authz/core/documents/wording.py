"""Words pydantic's errors: what is wrong and what to do.

Law: a message never shows a value that may be a secret. It names the type instead; it shows a value only if the schema
has a closed list of words for it, or if it is one of the words that YAML 1.1 took for a boolean.
"""

import bisect
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

EXTRA: Final = "extra_forbidden"
"""The type of pydantic's errors about unknown keys."""

_MOST_HINTS: Final = 200
_MOST_COMPARED: Final = 400
_LONGEST_HINT: Final = 128
_OLD_BOOLEANS: Final = frozenset({"yes", "no", "on", "off", "y", "n"})


class Broken:
    """Marks a value whose mistake was already reported, so that its type is not reported as a second one."""


BROKEN: Final = Broken()


class Mistake(ValueError):  # noqa: N818 a mistake of the file's author; validators raise it as they would a ValueError
    """What is wrong with one value, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Worded:
    """One mistake in words."""

    message: str
    hint: str = ""


class Vocabulary:
    """Known names, one of which an unknown name may have meant: `did you mean …?`.

    Comparing two names takes some 50 µs, and a large file with a wrong name in every line must not take minutes. So
    each name is looked up once, only the first names at all, and among many names only its neighbours in order.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._given = names
        self._names: list[str] = []
        self._found: dict[str, str] = {}

    def near(self, text: str) -> str:
        """`did you mean …?` for a near name, or an empty string."""
        found = self.nearest(text)
        return f"did you mean `{found}`?" if found else ""

    def nearest(self, text: str) -> str:
        """The near name itself, or an empty string."""
        found = self._found.get(text)
        if found is None:
            if len(self._found) >= _MOST_HINTS or len(text) > _LONGEST_HINT:
                return ""
            found = self._found[text] = self._closest(text)
        return found

    def _closest(self, text: str) -> str:
        names = self._names = self._names or sorted(self._given)
        if len(names) > _MOST_COMPARED:
            at = bisect.bisect(names, text)
            names = names[max(at - _MOST_COMPARED // 2, 0) : at + _MOST_COMPARED // 2]
        close = difflib.get_close_matches(text, names, n=1)
        return close[0] if close else ""


def near(text: str, known: Iterable[str]) -> str:
    """`did you mean …?` for a near name, or an empty string."""
    return Vocabulary(known).near(text)


def kind(value: object) -> str:
    """The kind of a value, in the words of a file's author."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text" if value else "empty text"
    return "a mapping" if isinstance(value, dict) else "a list"


def was_reported(detail: ErrorDetails) -> bool:
    """Whether a pydantic error is about an already reported mistake."""
    found = detail["input"]
    # pydantic counts the valid items only, and the others were reported already.
    return found is BROKEN or (detail["type"] == "too_short" and len(found) >= detail["ctx"]["min_length"])


def word(detail: ErrorDetails, model: type[BaseModel]) -> Worded:
    """One pydantic error in our words."""
    found = detail["input"]
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    wording = _WORDINGS.get(detail["type"])
    if wording is not None:
        worded = wording(found, detail.get("ctx", {}))
        return worded if found is not None else Worded(worded.message, "give it a value, or leave the key out")
    if detail["type"] == "missing":
        return Worded(f"`{name}` is missing", _description(model, detail["loc"]))
    if detail["type"] == EXTRA:
        known = _keys(model, detail["loc"][:-1])
        return Worded(f"unknown key `{name}`", near(name, known) or "known keys: " + ", ".join(known))
    return Worded(detail["msg"].replace("Input should", "it should").replace("Value should", "it should"))


def _text(found: object, _: Mapping[str, Any]) -> Worded:
    hint = "put it in double quotes" if isinstance(found, bool | int | float) else ""
    return Worded(f"expected text, found {kind(found)}", hint)


def _boolean(found: object, _: Mapping[str, Any]) -> Worded:
    if isinstance(found, str) and found.lower() in _OLD_BOOLEANS:
        return Worded(f"expected true or false, found the text `{found}`", "YAML 1.2 has only true and false")
    return Worded(f"expected true or false, found {kind(found)}")


def _number(found: object, _: Mapping[str, Any]) -> Worded:
    return Worded(f"expected a number, found {kind(found)}")


def _whole(found: object, _: Mapping[str, Any]) -> Worded:
    return Worded(f"expected a whole number, found {kind(found)}")


def _list(found: object, _: Mapping[str, Any]) -> Worded:
    hint = "write it as [item, item]" if isinstance(found, str) else ""
    return Worded(f"expected a list, found {kind(found)}", hint)


def _mapping(found: object, _: Mapping[str, Any]) -> Worded:
    return Worded(f"expected a mapping, found {kind(found)}", "a mapping consists of `key: value` pairs")


def _choice(found: object, context: Mapping[str, Any]) -> Worded:
    expected = context["expected"].replace("'", "`")
    if not found or not isinstance(found, str):
        shown = str(found) if isinstance(found, int) and not isinstance(found, bool) else kind(found)
        return Worded(f"expected {expected}, found {shown}")
    if found in re.findall(r"\d+", expected):
        return Worded(f"expected {expected}, found text", "write the number without quotes")
    return Worded(f"expected {expected}, found `{found}`", near(found, expected.split("`")[1::2]))


def _own(_: object, context: Mapping[str, Any]) -> Worded:
    failure = context["error"]
    return Worded(failure.message, failure.hint) if isinstance(failure, Mistake) else Worded(str(failure))


def _short(found: object, context: Mapping[str, Any]) -> Worded:
    if not found:
        return Worded("this is empty", "give at least one entry, or leave the key out where it is optional")
    return Worded(f"too short: at least {context.get('min_length', 1)}")


_WORDINGS: Final[Mapping[str, Callable[[object, Mapping[str, Any]], Worded]]] = {
    "string_type": _text,
    "bool_type": _boolean,
    "int_type": _whole,
    "int_from_float": _whole,
    "float_type": _number,
    "tuple_type": _list,
    "dict_type": _mapping,
    "model_type": _mapping,
    "literal_error": _choice,
    "value_error": _own,
    "too_short": _short,
    "string_too_short": _short,
}


def _sections(model: type[BaseModel], loc: tuple[str | int, ...]) -> Iterator[type[BaseModel]]:
    """What the model has at `loc`: one section, or the members of a union."""
    found: list[Any] = [model]
    for part in loc:
        steps = [step for candidate in found for step in _step(candidate, part)]
        found = steps or found
    yield from (candidate for candidate in found if _is_model(candidate))


def _keys(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the model knows at `loc`."""
    fields = (entry for section in _sections(model, loc) for entry in section.model_fields.items())
    return [field.alias or key for key, field in fields]


def _description(model: type[BaseModel], loc: tuple[str | int, ...]) -> str:
    """What the key at `loc` is for."""
    fields = (section.model_fields.get(str(loc[-1])) for section in _sections(model, loc[:-1]))
    return next((field.description for field in fields if field is not None and field.description), "")


def _is_model(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _step(annotation: Any, part: str | int) -> Iterator[Any]:
    """The annotations one step further; nothing if the part does not go further."""
    if _is_model(annotation):
        field = annotation.model_fields.get(part)
        if field is not None:
            yield from _unwrap(field.annotation)
    else:
        yield from (inner for argument in get_args(annotation) for inner in _unwrap(argument))


def _unwrap(annotation: Any) -> Iterator[Any]:
    """The annotation without its metadata, or the members of a union."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _unwrap(get_args(annotation)[0])
    elif origin is Union or origin is UnionType:
        for member in get_args(annotation):
            yield from _unwrap(member)
    else:
        yield annotation
