"""The patterns in rules: path patterns, host patterns and globs.

Law: no regular expressions, so nothing can backtrack, and every pattern stands for the whole value, so
nothing can be unanchored. `matches` is the plain definition of each pattern, which `explain` shows; the
tables of `authz.core.policy.tables` answer the same for thousands of patterns at once, and tests compare the two.
"""

import re
from dataclasses import dataclass
from typing import Final

from authz.core.caching.interning import Shared
from authz.core.documents.wording import Mistake, kind
from authz.core.errors import RequestError
from authz.core.request.path import MAX_PATH_BYTES, canonical_host

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ID_PATTERN: Final = re.compile(r"[\w.*-]+")
_LONGEST_ID: Final = 250  # characters of a DAG or task id, in Airflow's database
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_REGEX_SIGNS: Final = ("^", "$", "|", "/.*", "/.+", "[", "]", "\\")
_share_word: Final = Shared[str]()  # most paths of a policy begin alike
TEAM: Final = "{team}"
"""Stands for the name of each team, where there is one role or rule for all of them."""

_NO_REGEX_ID: Final = "there are no regular expressions here: `*` stands for any characters, as in sales_*"
_NO_REGEX: Final = "there are no regular expressions here: `*` stands for any characters, a last `/**` for any rest"


@dataclass(frozen=True, slots=True)
class Glob:
    """`sales_*`: `*` stands for any characters, or none; everything else is literal."""

    text: str
    parts: tuple[str, ...]

    def matches(self, value: str) -> bool:
        """Whether the whole value matches. Linear: the leftmost place of each part is the best one."""
        first, last = self.parts[0], self.parts[-1]
        if len(self.parts) == 1:
            return value == first
        at, end = len(first), len(value) - len(last)
        if at > end or not value.startswith(first) or not value.endswith(last):
            return False
        for part in self.parts[1:-1]:
            found = value.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class HostPattern:
    """`orders.internal`, or `*.internal` for every host with one or more labels before the rest."""

    text: str

    def matches(self, host: str) -> bool:
        """Whether a canonical host matches."""
        return (
            host.endswith(self.text[1:]) and len(host) >= len(self.text) if self.text[0] == "*" else host == self.text
        )


@dataclass(frozen=True, slots=True)
class PathPattern:
    """`/v1/orders/{id}`: literal segments, `{name}` for one segment, `report-*` for a part of one, a last `/**`.

    In `segments` a `{name}` is None. `rest` is the `/**`: any rest, at least one segment, which may be empty. `key` is
    the same text for patterns that mean the same.
    """

    text: str
    segments: tuple[str | Glob | None, ...]
    rest: bool
    key: str

    @property
    def literal(self) -> bool:
        """Whether it matches only one path."""
        return not self.rest and all(isinstance(segment, str) for segment in self.segments)

    def matches(self, segments: tuple[str, ...]) -> bool:
        """Whether the decoded segments of a canonical path match."""
        wanted = self.segments
        if len(segments) <= len(wanted) if self.rest else len(segments) != len(wanted):
            return False
        return all(segment_matches(want, segment) for want, segment in zip(wanted, segments, strict=False))


def segment_matches(want: str | Glob | None, segment: str) -> bool:
    """Whether one segment matches a pattern's segment; only a literal matches the empty segment."""
    if isinstance(want, str):
        return want == segment
    return bool(segment) and (want is None or want.matches(segment))


def parse_glob(text: str) -> Glob:
    """Split a glob at its stars; `**` means no more than `*`, so it is refused."""
    if "**" in text:
        raise Mistake(f"`{text}` has two stars in a row", "one `*` stands for any characters")
    return Glob(text, tuple(text.split("*")))


def parse_dag(value: object) -> Glob:
    """A pattern for DAG ids."""
    if value == "~":
        raise Mistake("`~` is Airflow's word for all DAGs in a path, not a pattern", 'write "*" for all DAGs')
    if isinstance(value, str) and TEAM in value:
        raise Mistake(f"`{value}`: the patterns of teams stand in `teams`", "here write dags: team, without a list")
    return _parse_id(value, "DAG")


def parse_task(value: object) -> Glob:
    """A pattern for task ids, which hold those of their task groups: `extract.orders`."""
    return _parse_id(value, "task")


def parse_one_id(value: object, what: str) -> str:
    """The id of one DAG or task."""
    glob = _parse_id(value, what)
    if len(glob.parts) > 1:
        raise Mistake(f"`{glob.text}` stands for many {what}s", f"name one {what}")
    return glob.text


def _parse_id(value: object, what: str) -> Glob:
    """A pattern for Airflow's ids (`validate_key`)."""
    text = _text(value)
    if not _ID_PATTERN.fullmatch(text):
        raise Mistake(
            f"`{text}` matches no {what} id",
            _NO_REGEX_ID
            if any(sign in text for sign in "^$|[](){}+?\\")
            else f"a {what} id has only letters, digits, `_`, `-` and `.`; `*` stands for any characters",
        )
    if len(text) - text.count("*") > _LONGEST_ID:
        raise Mistake(
            "the pattern is too long, so it can never match", f"a {what} id has at most {_LONGEST_ID} characters"
        )
    return parse_glob(text)


def parse_host(value: object) -> HostPattern:
    """A host, or `*.` and a host. Upper case means the same as lower case."""
    text = _text(value)
    wildcard = "*." if text.startswith("*.") else ""
    try:
        host, port = canonical_host(text.removeprefix(wildcard))
    except RequestError:
        hint = "write it as orders.internal, or as *.internal for all hosts below; without scheme, port and path"
        raise Mistake(f"`{text}` is not a host", hint) from None
    if port is not None:
        raise Mistake(f"`{text}` has a port", f"rules do not look at ports: write {wildcard}{host}")
    return HostPattern(wildcard + host)


def parse_path(value: object) -> PathPattern:
    """A path pattern. One that can never equal a canonical path is refused (see `authz.core.request.path`)."""
    text = _text(value)
    if not text.startswith("/"):
        raise Mistake(f"`{text}` does not start with `/`", "a pattern stands for the whole path, from its first `/`")
    _refuse_characters(text)
    words = text[1:].split("/")
    rest = words[-1] == "**"
    segments = tuple(_segment(word, text) for word in (words[:-1] if rest else words))
    if "" in (segments if rest else segments[:-1]):
        raise Mistake(f"`{text}` has an empty segment, so it can never match", "remove the doubled `/`")
    named = ["{}" if s is None else s if isinstance(s, str) else s.text for s in segments]
    key = "/" + "/".join([*named, "**"] if rest else named)
    return PathPattern(text, segments, rest, text if key == text else key)


def _refuse_characters(text: str) -> None:
    for sign in _REGEX_SIGNS:
        if sign in text:
            raise Mistake(f"`{text}` has `{sign}` in it", _NO_REGEX)
    if "?" in text or "#" in text:
        raise Mistake(f"`{text}` has a query or fragment", "rules look at the path only: end it before the `?` or `#`")
    if "%" in text:
        raise Mistake(
            f"`{text}` has a percent sign", "write the character itself: paths are decoded before they are compared"
        )
    if _CONTROL.search(text) or len(text.encode()) > MAX_PATH_BYTES:
        raise Mistake("the pattern is too long or has control characters, so it can never match")


def _segment(word: str, text: str) -> str | Glob | None:
    if word in {".", ".."}:
        raise Mistake(f"`{text}` has a dot segment, so it can never match", "write the path without `.` and `..`")
    if "{" in word or "}" in word:
        if word[0] == "{" and word[-1] == "}" and _NAME.fullmatch(word[1:-1]):
            return None
        raise Mistake(
            f"`{word}` is not a parameter", "write {name} for one whole segment, `*` for a part of one, a last `/**`"
        )
    if word == "**":
        raise Mistake(f"`{text}` has `**` before its end", "only the end of a pattern may stand for several segments")
    if word == "*":
        return None
    return parse_glob(word) if "*" in word else _share_word(word)


def _text(value: object) -> str:
    if not isinstance(value, str):
        hint = "put it in double quotes" if isinstance(value, bool | int | float) else ""
        raise Mistake(f"expected text, found {kind(value)}", hint)
    if not value:
        raise Mistake("this is empty", "an empty pattern can never match")
    return value
