"""YAML files that people write: bytes → plain data with places, and plain data → a model with every problem at once.

Law: no I/O. The YAML is a small, safe part of YAML 1.2: UTF-8, one document, a mapping at the top, text keys. Scalars
follow the core schema (YAML 1.2 §10.3) without its infinities: only `true` and `false` are booleans; `on`, `no` and
`yes` are text. Tags, anchors, aliases, merge keys and duplicate keys are refused. Nothing is expanded, so the data is
never larger than the file (PITFALLS d-32). What people cannot see is refused, and so is what ends a line for some
programs only: a comment is a comment for everybody.
"""

import contextlib
import math
import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from authz.characters import foreign_space, misleading, named
from authz.errors import MOST_PROBLEMS, Problem, ProblemsError
from authz.wording import BROKEN, EXTRA, Broken, Worded, was_reported, word

Loc = tuple[str | int, ...]
_AnyModel = TypeVar("_AnyModel", bound=BaseModel)

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_DEPTH: Final = 32
_MAX_DIGITS: Final = 40
_COLUMN_BITS: Final = 20
_COLUMN_MASK: Final = (1 << _COLUMN_BITS) - 1
_SHALLOW: Final = 2  # levels whose places are kept at first: what is at the top, and what is in that
_SHORT: Final = 32
_MOST_LISTED: Final = 20
_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER: Final = re.compile(
    r"(0o[0-7]+)|(0x[0-9a-fA-F]+)|([-+]?[0-9]+)|[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?"
)
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
_QUOTE: Final = 'put patterns and special characters in double quotes: "*", "/v1/{id}", "a: b"'


class Document:
    """One parsed file: `data` (dict, tuple and scalars) and the place of every key and item in it.

    `end_mark` says whether the document ends with a line `...`: then nothing of it is missing.
    `problems` holds the mistakes that did not prevent reading on; `validate` reports them with its own. The places take
    more memory than the data, and of a file without mistakes only those near the top are asked for: deeper ones are
    read, from the text, when the first of them is.
    """

    __slots__ = ("_places", "_root", "_text", "data", "end_mark", "file", "problems")

    def __init__(self, reader: "_Reader", data: Mapping[str, Any], root: int) -> None:
        self.file = reader.file
        self.problems = tuple(reader.problems)
        self.end_mark = reader.end_mark
        self.data = data
        self._text = reader.text
        self._places = reader.places
        self._root = root

    def at(self, loc: Loc) -> Any:
        """The value at `loc`.

        Raises:
            LookupError: there is none.
        """
        node: Any = self.data
        for part in loc:
            node = node[part]
        return node

    def place(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Line and column (from 1) of the value at `loc`, or of its key; of the nearest ancestor when there is none.

        Parts of `loc` that the data does not have are passed over: pydantic names the members of unions there.
        """
        try:
            mark = self._mark(loc, key=key)
        except KeyError:
            deep = _Reader(self.file, self._text, MAX_DEPTH)
            self.data, self._places = deep.document().data, deep.places
            mark = self._mark(loc, key=key)
        return (mark >> _COLUMN_BITS) + 1, (mark & _COLUMN_MASK) + 1

    def _mark(self, loc: Loc, *, key: bool) -> int:
        """The mark at `loc`. Raises KeyError where it is too deep to have been kept."""
        node: Any = self.data
        mark = self._root
        for index, part in enumerate(loc, start=1):
            if isinstance(node, dict) and part in node:
                mark = self._places[id(node)][part][0 if key and index == len(loc) else 1]
                node = node[part]
            elif isinstance(node, tuple) and isinstance(part, int) and part < len(node):
                mark = self._places[id(node)][part]
                node = node[part]
        return mark

    def problem(self, loc: Loc, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem with the place of `loc`."""
        line, column = self.place(loc, key=key)
        return Problem(self.file, line, column, message, hint)


def parse(data: bytes, file: str, *, error: type[ProblemsError] = ProblemsError) -> Document:
    """Read the bytes of a file; `file` is the name that problems carry.

    Raises:
        ProblemsError: (or the given subclass) it is not YAML, or not a mapping.
    """
    try:
        text = _text(data, file)
    except ProblemsError as failure:
        raise error(failure.problems) from None
    with contextlib.suppress(yaml.YAMLError, ProblemsError):  # it is read again, with all places that problems name
        document = _Reader(file, text, _SHALLOW).document()
        if not document.problems:
            return document
    reader = _Reader(file, text, MAX_DEPTH)
    try:
        return reader.document()
    except yaml.YAMLError as failure:
        raise error([*reader.problems, _syntax(failure, data, file)]) from None
    except ProblemsError as failure:
        raise error([*reader.problems, *failure.problems]) from None


def validate(document: Document, model: type[_AnyModel]) -> tuple[_AnyModel | None, list[Problem]]:
    """The document as `model`, or None; and all problems of both, sorted by place."""
    problems = list(document.problems)
    try:
        result = model.model_validate(document.data)
    except ValidationError as failure:
        placed = [(_place_of(document, detail), detail) for detail in failure.errors(include_url=False)]
        for place, detail in sorted(placed, key=operator.itemgetter(0)):
            if not was_reported(detail):
                # The others are only counted.
                worded = word(detail, model) if len(problems) <= MOST_PROBLEMS else Worded(detail["msg"])
                problems.append(Problem(document.file, *place, worded.message, worded.hint))
        return None, sorted(problems)
    return (None if problems else result), sorted(problems)


def _place_of(document: Document, detail: ErrorDetails) -> tuple[int, int]:
    """Line and column of what pydantic complains about."""
    loc = detail["loc"]
    if loc[-1:] == ("[key]",):
        return document.place(loc[:-1], key=True)
    return document.place(loc, key=detail["type"] == EXTRA)


def _text(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise ProblemsError([Problem(file, 0, 0, "the file is too large", f"the limit is {MAX_BYTES} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        place = _end(data[: failure.start])
        hint = "save it with the encoding UTF-8"
        raise ProblemsError([Problem(file, *place, "the file is not UTF-8", hint)]) from None
    if problems := list(_misleading(text, file)):
        raise ProblemsError(problems)
    return text


def _misleading(text: str, file: str) -> Iterator[Problem]:
    found = list(misleading(text))
    for one in found[:_MOST_LISTED]:
        hint = f'remove it; where it is meant, write "{one.escape}" in double quotes'
        yield Problem(file, *_place(text, one.offset), one.message, hint)
    if len(found) > _MOST_LISTED:
        yield Problem(
            file, *_place(text, found[_MOST_LISTED].offset), f"and {len(found) - _MOST_LISTED} more like these"
        )


def _end(data: bytes) -> tuple[int, int]:
    """Line and column of what comes after these bytes."""
    before = data.decode("utf-8-sig", "ignore")
    return _place(before, len(before))


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _syntax(failure: yaml.YAMLError, data: bytes, file: str) -> Problem:
    """One problem out of what libyaml says."""
    if isinstance(failure, yaml.MarkedYAMLError) and failure.problem_mark is not None:
        mark = failure.problem_mark
        context = f" {failure.context}" if failure.context else ""
        hint = "indent with spaces, not tabs" if "cannot start any token" in (failure.problem or "") else _QUOTE
        return Problem(file, mark.line + 1, mark.column + 1, f"not valid YAML: {failure.problem}{context}", hint)
    place = _end(data.removeprefix(b"\xef\xbb\xbf")[: getattr(failure, "position", 0)])
    return Problem(file, *place, f"not valid YAML: {getattr(failure, 'reason', failure)}", "remove it, or escape it")


def _mark(event: Any) -> int:
    """Line and column in one number: a policy has some hundred thousand of them."""
    mark = event.start_mark
    line, column = int(mark.line), int(mark.column)
    return (line << _COLUMN_BITS) | min(column, _COLUMN_MASK)


class _Reader:
    """Builds data out of libyaml's events, and the places down to a depth. No recursion is deeper than MAX_DEPTH."""

    def __init__(self, file: str, text: str, places_to: int) -> None:
        self.file = file
        self.text = text
        self._places_to = places_to
        self.problems: list[Problem] = []
        self.end_mark = False
        self.places: dict[int, Any] = {}
        self._next: Any = None
        self._depth = 0
        self._words: dict[str, str] = {}

    def document(self) -> Document:
        loader = yaml.CBaseLoader(self.text)
        try:
            self._next = loader.get_event
            self._next()  # the start of the stream
            start = self._next()
            if isinstance(start, yaml.StreamEndEvent):
                raise ProblemsError([Problem(self.file, 0, 0, "the file is empty")])
            if start.tags or start.version not in {None, (1, 2)}:
                self._report(start, "a `%` directive is not allowed here", "files of ours are YAML 1.2")
            first = self._next()
            data = self._node(first)
            self.end_mark = self._next().explicit  # the end of the document
            after = self._next()
            if not isinstance(after, yaml.StreamEndEvent):
                self._report(after, "a second document is not allowed here", "remove the line `---` before it")
        finally:
            loader.dispose()
        if not isinstance(data, dict):
            raise ProblemsError(
                [self._problem(first, "the file is not a mapping", "it consists of `key: value` lines")]
            )
        return Document(self, data, _mark(first))

    def _problem(self, event: Any, message: str, hint: str) -> Problem:
        mark = event.start_mark
        return Problem(self.file, mark.line + 1, mark.column + 1, message, hint)

    def _report(self, event: Any, message: str, hint: str) -> None:
        self.problems.append(self._problem(event, message, hint))

    def _node(self, event: Any) -> Any:
        if type(event) is yaml.AliasEvent:
            self._report(
                event, f"the alias `*{event.anchor}` is not allowed here", f'for a pattern write "*{event.anchor}"'
            )
            return BROKEN
        if event.tag is not None:
            self._report(event, "a tag (`!…`) is not allowed here", "remove it, or put the text in quotes")
        if event.anchor is not None:
            self._report(
                event, f"the anchor `&{event.anchor}` is not allowed here", "write the value out where it is used"
            )
        if type(event) is yaml.ScalarEvent:
            return self._scalar(event)
        if self._depth == MAX_DEPTH:
            raise ProblemsError(
                [self._problem(event, f"nested more than {MAX_DEPTH} deep", "no file of ours needs that")]
            )
        self._depth += 1
        node = self._mapping() if type(event) is yaml.MappingStartEvent else self._sequence()
        self._depth -= 1
        return node

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if len(text) <= _SHORT:  # most are there many times: keys, names of roles, methods
            text = self._words.setdefault(text, text)
        if not event.implicit[0] or event.tag is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if space := foreign_space(text):
            self._report(
                event, f"{named(space)} looks like a space and is none", "use an ordinary one, or double quotes"
            )
            return BROKEN
        if text[0] in _NUMBER_STARTS and (match := _NUMBER.fullmatch(text)) is not None:
            return self._number(event, match)
        return text

    def _number(self, event: Any, match: re.Match[str]) -> int | float | Broken:
        text = match[0]
        if len(text) > _MAX_DIGITS or (match.lastindex is None and not math.isfinite(float(text))):
            self._report(event, "the number is too large", "put it in double quotes if it is text")
            return BROKEN
        return float(text) if match.lastindex is None else int(text, (8, 16, 10)[match.lastindex - 1])

    def _mapping(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        marks: dict[str, tuple[int, int]] = {}
        read, keep = self._next, self._depth <= self._places_to
        while type(event := read()) is not yaml.MappingEndEvent:
            key = self._key(event)
            value_event = read()
            value = self._node(value_event)
            if key is None:
                continue
            if key in result:
                line = (marks.get(key, (0, 0))[0] >> _COLUMN_BITS) + 1
                self._report(event, f"the key `{key}` is there twice", f"the first is on line {line}")
                continue
            if keep:
                marks[key] = (_mark(event), _mark(value_event))
            result[key] = value
        if keep:
            self.places[id(result)] = marks
        return result

    def _key(self, event: Any) -> str | None:
        """The key's text; None where it is no text (and that was reported)."""
        key = self._node(event)
        if key == "<<" and event.implicit[0]:
            self._report(event, "the merge key `<<` is not allowed here", "write the keys out")
            return None
        if isinstance(key, str):
            return key
        if key is not BROKEN:
            self._report(event, "this key is not text", "put it in double quotes")
        return None

    def _sequence(self) -> tuple[Any, ...]:
        items: list[Any] = []
        marks: list[int] = []
        read, keep = self._next, self._depth <= self._places_to
        while type(event := read()) is not yaml.SequenceEndEvent:
            if keep:
                marks.append(_mark(event))
            items.append(self._node(event))
        result = tuple(items)
        if keep:
            self.places[id(result)] = marks
        return result
