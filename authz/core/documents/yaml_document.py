"""YAML files that people write: bytes → plain data with places, and plain data → a model with every problem at once.

Law: no I/O. The YAML is a small, safe part of YAML 1.2: UTF-8, one document, a mapping at the top, text keys. Scalars
follow the core schema (YAML 1.2 §10.3) without its infinities: only `true` and `false` are booleans; `on`, `no` and
`yes` are text. Tags, anchors, aliases, merge keys and duplicate keys are refused. Nothing is expanded, so the data is
never larger than the file. Characters that people cannot see, or that only some programs take for a
line end, are refused: every program sees the same comments.
"""

import bisect
import contextlib
import heapq
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from authz.core.characters import misleading
from authz.core.documents.wording import EXTRA, was_reported, word
from authz.core.documents.yaml_reader import COLUMN_BITS, COLUMN_MASK, MAX_DEPTH, Places, Read, Reader
from authz.core.errors import MOST_PROBLEMS, Problem, ProblemsError, in_order

Loc = tuple[str | int, ...]
_AnyModel = TypeVar("_AnyModel", bound=BaseModel)

MAX_BYTES: Final = 16 * 1024 * 1024
_SHALLOW: Final = 2  # levels whose places are kept at first: what is at the top, and what is in that
_MOST_LISTED: Final = 20
# What to do, by libyaml's words for what is wrong.
_HINTS: Final = {
    "cannot start any token": "indent with spaces, not tabs",
    "unknown escape": "write it in single quotes, where a backslash is one; patterns are not regular expressions",
}
_QUOTE: Final = 'put patterns and special characters in double quotes: "*", "/v1/{id}", "a: b"'
_INDENT: Final = f"begin the keys of a mapping, and the items of a list, in one column; {_QUOTE}"


class Document:
    """One parsed file: `data` (dict, tuple and scalars) and the place of every key and item in it.

    `end_mark` says whether the document ends with a line `...`: then the file is complete.
    `problems` holds the mistakes that did not stop the reader; `validate` reports them with its own. The places take
    more memory and time than the data, and a file without mistakes needs only those near the top: the places in an
    entry (one rule, one role) are read from its text on first use.
    """

    __slots__ = (
        "_first", "_lines", "_places", "_root", "_starts", "_text", "data", "end_mark", "error", "file", "problems",
    )  # fmt: skip

    def __init__(
        self,
        file: str,
        text: str,
        read: Read,
        places: Places,
        problems: Iterable[Problem],
        *,
        error: type[ProblemsError] = ProblemsError,
    ) -> None:
        self.file = file
        self.error = error
        self.problems = tuple(problems)
        self.end_mark = read.end_mark
        self.data: Mapping[str, Any] = read.data
        self._text = text
        self._places = places
        self._root = read.root
        self._lines: list[int] = []
        self._starts: list[int] = []
        self._first: list[int] = []

    def at(self, loc: Loc) -> Any:
        """The value at `loc`.

        Raises:
            LookupError: there is none.
        """
        node: Any = self.data
        for part in loc:
            node = node[part]
        return node

    def leave_out(self, keys: Iterable[str]) -> None:
        """Forget these keys of the file and what they say."""
        whole, left_out = self.data, {*keys}
        self.data = {key: value for key, value in whole.items() if key not in left_out}
        self._places[id(self.data)] = self._places[id(whole)]

    def place(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """Line and column (from 1) of the value at `loc`, or of its key; of the nearest ancestor when there is none.

        Parts of `loc` that the data lacks are skipped: pydantic names the members of unions there.
        """
        return _shown(self._mark(loc, key=key))

    def _mark(self, loc: Loc, *, key: bool, steps: int = MAX_DEPTH) -> int:
        """The mark at `loc`, or of its ancestor after so many steps."""
        node: Any = self.data
        mark = self._root
        for index, part in enumerate(loc, start=1):
            of_key = key and index == len(loc)
            if isinstance(node, dict) and part in node:
                marks = self._places.get(id(node)) or self._marks(node, mark)
                mark = marks[part][0 if of_key else 1]
            elif isinstance(node, tuple) and isinstance(part, int) and part < len(node):
                mark = (self._places.get(id(node)) or self._marks(node, mark))[part]
            else:
                continue
            node = node[part]
            steps -= 1
            if not steps:
                break
        return mark

    def problem(self, loc: Loc, message: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem at the place of `loc`; if it will only be counted, its place is approximate."""
        line, column = self.problem_place(loc, key=key)
        return Problem(self.file, line, column, message, hint)

    def problem_place(self, loc: Loc, *, key: bool = False) -> tuple[int, int]:
        """The place of a problem: the exact one, unless MOST_PROBLEMS others come before its entry."""
        near = self._mark(loc, key=key, steps=_SHALLOW)
        if self._only_counted(near):
            return _shown(near)
        heapq.heappush(self._first, -near)
        if len(self._first) > MOST_PROBLEMS:
            heapq.heappop(self._first)
        return self.place(loc, key=key)

    def only_counted(self, loc: Loc) -> bool:
        """Whether one more problem at `loc` cannot be listed: MOST_PROBLEMS others come before its entry."""
        return self._only_counted(self._mark(loc, key=False, steps=_SHALLOW))

    def _only_counted(self, near: int) -> bool:
        return len(self._first) >= MOST_PROBLEMS and near > -self._first[0]

    def _marks(self, node: Any, mark: int) -> Any:
        """Read and return the marks inside a node that begins at `mark`."""
        self._read_entry(node, mark)
        return self._places[id(node)]

    def _read_entry(self, node: Any, mark: int) -> None:
        """Keep all places in one entry; in the whole file, if its text alone reads differently."""
        line, column = mark >> COLUMN_BITS, mark & COLUMN_MASK
        if column < COLUMN_MASK:
            reader = Reader(self.file, " " * column + self._text[self._offset(mark) : self._end(mark)], go_on=False)
            with contextlib.suppress(yaml.YAMLError, ProblemsError):
                again = reader.node()
                if again == node:
                    _adopt(self._places, node, reader.places, again, line << COLUMN_BITS)
                    return
        reader = Reader(self.file, self._text)
        _adopt(self._places, self.data, reader.places, reader.document().data, 0)

    def _offset(self, mark: int) -> int:
        lines = self._lines = self._lines or [0, *(match.end() for match in re.finditer("\n", self._text))]
        return lines[mark >> COLUMN_BITS] + (mark & COLUMN_MASK)

    def _end(self, mark: int) -> int:
        """The beginning of the next node whose place was kept at first."""
        starts = self._starts = self._starts or sorted(_all_marks(self._places))
        after = bisect.bisect_right(starts, mark)
        return self._offset(starts[after]) if after < len(starts) else len(self._text)


def _shown(mark: int) -> tuple[int, int]:
    return (mark >> COLUMN_BITS) + 1, (mark & COLUMN_MASK) + 1


def _all_marks(places: Places) -> Iterator[int]:
    for marks in places.values():
        yield from (itertools.chain.from_iterable(marks.values()) if isinstance(marks, dict) else marks)


def _adopt(places: Places, node: Any, of_again: Places, again: Any, shift: int) -> None:
    """Give a node and all in it the places of an equal node, shifted."""
    marks = of_again[id(again)]
    inner: Iterable[tuple[Any, Any]]
    if isinstance(node, dict):
        places[id(node)] = {key: (of_key + shift, value + shift) for key, (of_key, value) in marks.items()}
        inner = ((value, again[key]) for key, value in node.items())
    else:
        places[id(node)] = [mark + shift for mark in marks]
        inner = zip(node, again, strict=True)
    for value, read in inner:
        if isinstance(value, dict | tuple):
            _adopt(places, value, of_again, read, shift)


def parse(data: bytes, file: str, *, error: type[ProblemsError] = ProblemsError) -> Document:
    """Read the bytes of a file; `file` is the name that problems carry.

    Raises:
        ProblemsError: (or the given subclass) it is not YAML, or not a mapping.
    """
    try:
        text = _text(data, file)
    except ProblemsError as failure:
        raise error(failure.problems) from None
    reader = Reader(file, text, _SHALLOW, go_on=False)
    with contextlib.suppress(yaml.YAMLError, ProblemsError):  # it is read again, with all places that problems name
        return Document(file, text, reader.document(), reader.places, (), error=error)
    reader = Reader(file, text)
    try:
        read = reader.document()
    except yaml.YAMLError as failure:
        raise error([*reader.problems, _syntax(failure, data, file)], reader.more) from None
    except ProblemsError as failure:
        raise error([*reader.problems, *failure.problems], reader.more) from None
    if reader.more:  # what else is wrong would only be counted
        raise error(reader.problems, reader.more)
    return Document(file, text, read, reader.places, reader.problems, error=error)


def head(data: bytes, until: frozenset[str]) -> Mapping[str, Any]:
    """The keys at the top of a file that stand before the first of `until`, as far as they can be read.

    For what must be known before the file is loaded: `parse` reports its mistakes.
    """
    try:
        text = _text(data, "")
    except ProblemsError:
        return {}
    return Reader("", text, 0).head(until)


def validate(document: Document, model: type[_AnyModel]) -> tuple[_AnyModel | None, list[Problem]]:
    """The document as `model`, or None; and all problems of both, sorted by place.

    Raises:
        ProblemsError: there are more than MOST_PROBLEMS; the first that were found, and the count of the others.
            The others are only counted: placing and wording a million mistakes takes minutes.
    """
    problems = list(document.problems)
    try:
        result = model.model_validate(document.data)
    except ValidationError as failure:
        found = [detail for detail in failure.errors(include_url=False) if not was_reported(detail)]
        more = len(found) - MOST_PROBLEMS
        placed = [(_place_of(document, detail), detail) for detail in found[:MOST_PROBLEMS]]
        for place, detail in sorted(placed, key=operator.itemgetter(0)):
            worded = word(detail, model)
            problems.append(Problem(document.file, *place, worded.message, worded.hint))
        if more > 0:
            raise document.error(problems, more) from None
        result = None
    return (None if problems else result), sorted(problems, key=in_order)


def _place_of(document: Document, detail: ErrorDetails) -> tuple[int, int]:
    """Line and column of a pydantic error."""
    loc = detail["loc"]
    if loc[-1:] == ("[key]",):
        return document.problem_place(loc[:-1], key=True)
    return document.problem_place(loc, key=detail["type"] == EXTRA)


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
    """Line and column after these bytes."""
    before = data.decode("utf-8-sig", "ignore")
    return _place(before, len(before))


def _place(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _syntax(failure: yaml.YAMLError, data: bytes, file: str) -> Problem:
    """One problem from an error of libyaml."""
    if isinstance(failure, yaml.MarkedYAMLError) and failure.problem_mark is not None:
        mark = failure.problem_mark
        context = f" {failure.context}" if failure.context else ""
        usual = _INDENT if "block" in context else _QUOTE
        hint = next((hint for words, hint in _HINTS.items() if words in (failure.problem or "")), usual)
        return Problem(file, mark.line + 1, mark.column + 1, f"not valid YAML: {failure.problem}{context}", hint)
    place = _end(data.removeprefix(b"\xef\xbb\xbf")[: getattr(failure, "position", 0)])
    return Problem(file, *place, f"not valid YAML: {getattr(failure, 'reason', failure)}", "remove it, or escape it")
