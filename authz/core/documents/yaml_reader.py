"""Reads YAML: text → plain data, with the places of keys and items down to a depth.

Law: no I/O, no recursion deeper than MAX_DEPTH, no mapping or list of more than MAX_ENTRIES, and no more than
MOST_PROBLEMS mistakes kept: memory is bounded however a file is broken. `authz.core.documents.yaml_document`, the one
module that uses this one, states what the data means and which YAML is allowed. Loading a large file spends most of
its time here.

Why not ruamel.yaml, which has places too: for a policy of 10,000 rules (1.1 MB) its loader took 17 s and 151 MB, this
reader 0.4 s and 31 MB.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import yaml

from authz.core.characters import foreign_space, named
from authz.core.documents.wording import BROKEN, Broken
from authz.core.errors import MOST_PROBLEMS, Problem, ProblemsError

MAX_DEPTH: Final = 32
MAX_ENTRIES: Final = 500_000
"""Of one mapping or list: a file of 10 MB has that many only if they mean nothing."""
COLUMN_BITS: Final = 20
COLUMN_MASK: Final = (1 << COLUMN_BITS) - 1
_MAX_DIGITS: Final = 40
_SHORT: Final = 32
_NEW: Final = object()
_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER: Final = re.compile(
    r"(0o[0-7]+)|(0x[0-9a-fA-F]+)|([-+]?[0-9]+)|[-+]?(?:\.[0-9]+|[0-9]+\.?[0-9]*)(?:[eE][-+]?[0-9]+)?"
)
_NUMBER_STARTS: Final = frozenset("+-.0123456789")

Places = dict[int, Any]
"""By the `id` of a mapping its keys with the marks of key and value; by that of a list the marks of its items."""


class Read(NamedTuple):
    """What was read: the data, the mark of its beginning, and whether the document ends with a line `...`."""

    data: Any
    root: int
    end_mark: bool


def mark_of(event: Any) -> int:
    """Line and column in one number: a policy has some hundred thousand of them."""
    mark = event.start_mark
    line, column = int(mark.line), int(mark.column)
    return (line << COLUMN_BITS) | min(column, COLUMN_MASK)


class Reader:
    """Builds data out of libyaml's events.

    Args:
        file: the name that problems carry.
        text: what is read.
        places_to: the depth down to which places are kept.
        go_on: whether to go on after a problem that does not prevent it; if not, the first one is raised.
            Text that is read again with all places need not be read to its end before.
    """

    def __init__(self, file: str, text: str, places_to: int = MAX_DEPTH, *, go_on: bool = True) -> None:
        self._file = file
        self._text = text
        self._places_to = places_to
        self._go_on = go_on
        self.problems: list[Problem] = []
        self.more = 0  # mistakes beyond those that are kept
        self.places: Places = {}
        self._next: Any = None
        self._depth = 0
        self._plain: dict[str, Any] = {}  # most scalars occur many times: names of roles, methods, operations
        self._quoted: dict[str, str] = {}

    def document(self) -> Read:
        """The whole text, which is one document.

        Raises:
            yaml.YAMLError: it is not YAML.
            ProblemsError: it is empty, not a mapping, or nested too deep.
        """
        loader = yaml.CBaseLoader(self._text)
        try:
            first = self._first(loader)
            data = self._node(first)
            end_mark = bool(self._next().explicit)  # the end of the document
            after = self._next()
            if type(after) is not yaml.StreamEndEvent:
                self._report(after, "a second document is not allowed here", "remove the line `---` before it")
        finally:
            loader.dispose()
        if not isinstance(data, dict):
            raise ProblemsError(
                [self._problem(first, "the file is not a mapping", "it consists of `key: value` lines")]
            )
        return Read(data, mark_of(first), end_mark)

    def node(self) -> Any:
        """The first node of the text; the rest is not read. Raises as `document` does."""
        loader = yaml.CBaseLoader(self._text)
        try:
            return self._node(self._first(loader))
        finally:
            loader.dispose()

    def head(self, until: frozenset[str]) -> dict[str, Any]:
        """The keys at the top of the text that stand before the first of `until`, as far as they can be read."""
        loader = yaml.CBaseLoader(self._text)
        found: dict[str, Any] = {}
        try:
            if type(self._first(loader)) is yaml.MappingStartEvent:
                while type(event := self._next()) is yaml.ScalarEvent and event.value not in until:
                    found.setdefault(event.value, self._node(self._next()))
        except (yaml.YAMLError, ProblemsError):
            return found
        finally:
            loader.dispose()
        return found

    def _first(self, loader: Any) -> Any:
        """The event that begins the document's one node."""
        self._next = loader.get_event
        self._next()  # the start of the stream
        start = self._next()
        if type(start) is yaml.StreamEndEvent:
            raise ProblemsError([Problem(self._file, 0, 0, "the file is empty")])
        if start.tags or start.version not in {None, (1, 2)}:
            self._report(start, "a `%` directive is not allowed here", "our files are YAML 1.2")
        return self._next()

    def _problem(self, event: Any, message: str, hint: str) -> Problem:
        mark = event.start_mark
        return Problem(self._file, mark.line + 1, mark.column + 1, message, hint)

    def _report(self, event: Any, message: str, hint: str) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            self.more += 1
            return
        problem = self._problem(event, message, hint)
        if not self._go_on:
            raise ProblemsError([problem])
        self.problems.append(problem)

    def _too_many(self, event: Any) -> ProblemsError:
        """The error at the first entry beyond the limit; the rest is not read."""
        message = f"the mapping or list has more than {MAX_ENTRIES} entries"
        return ProblemsError([self._problem(event, message, "none of our files needs that: write fewer")])

    def _node(self, event: Any) -> Any:
        if type(event) is yaml.ScalarEvent and event.anchor is None and event.tag is None:  # nearly all there are
            text = event.value
            if not event.implicit[0]:
                return self._quoted.setdefault(text, text) if len(text) <= _SHORT else text
            value = self._plain.get(text, _NEW)
            return self._first_time(event) if value is _NEW else value
        return self._other(event)

    def _other(self, event: Any) -> Any:
        """A mapping, a list, or a scalar with something that is not allowed."""
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
            return self._scalar(event) if event.implicit[0] and event.tag is None else event.value
        if self._depth == MAX_DEPTH:
            raise ProblemsError(
                [self._problem(event, f"nested more than {MAX_DEPTH} deep", "none of our files needs that")]
            )
        self._depth += 1
        node = self._mapping() if type(event) is yaml.MappingStartEvent else self._sequence()
        self._depth -= 1
        return node

    def _first_time(self, event: Any) -> Any:
        """A plain scalar on first occurrence."""
        value = self._scalar(event)
        if value is not BROKEN and len(event.value) <= _SHORT:
            self._plain[event.value] = value
        return value

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if space := foreign_space(text):
            self._report(
                event, f"{named(space)} looks like a space but is not one", "use an ordinary one, or double quotes"
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
        read, keep, left = self._next, self._depth <= self._places_to, MAX_ENTRIES
        while type(event := read()) is not yaml.MappingEndEvent:
            if not left:
                raise self._too_many(event)
            left -= 1
            key = self._node(event)
            if type(key) is not str or key == "<<":
                key = self._key(event, key)
            value_event = read()
            value = self._node(value_event)
            if key is None:
                continue
            if key in result:
                line = (marks.get(key, (0, 0))[0] >> COLUMN_BITS) + 1
                self._report(event, f"the key `{key}` is given twice", f"the first is on line {line}")
                continue
            if keep:
                marks[key] = (mark_of(event), mark_of(value_event))
            result[key] = value
        if keep:
            self.places[id(result)] = marks
        return result

    def _key(self, event: Any, key: Any) -> str | None:
        """The key's text; None if it is not text (which is reported)."""
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
            if len(items) == MAX_ENTRIES:
                raise self._too_many(event)
            if keep:
                marks.append(mark_of(event))
            items.append(self._node(event))
        result = tuple(items)
        if keep:
            self.places[id(result)] = marks
        return result
