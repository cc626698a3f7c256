"""What two patterns match together: `globs`, `segments`, `shapes` and `hosts` give patterns for exactly that.

Law: exact. The union of the returned patterns matches a value if and only if both given patterns match it. No result
covers another one. Two globs may overlap in many ways (`a*b` and `*ab*`), so that the answer is a list.
"""

import sys
from collections.abc import Iterable, Iterator
from itertools import product
from math import comb
from typing import Final, NamedTuple

from authz.core.errors import TooLargeError
from authz.core.policy.patterns import Glob, HostPattern, PathPattern, segment_matches

Segment = str | Glob | None
"""A segment of a path pattern: a literal, a glob (not empty), or None for any segment that is not empty."""

_MOST_WAYS: Final = 1000
"""In which the parts of two globs between their stars can be interleaved: 924 of six and six."""
_STAR: Final = "*"
_FIRST_PRIVATE: Final = 0xE000  # for private use in Unicode, so that patterns rarely hold it or those after it


class Shape(NamedTuple):
    """Segments of a path; `rest`: at least one more segment follows, of which the last one may be empty."""

    segments: tuple[Segment, ...]
    rest: bool = False


def shape_of(path: PathPattern) -> Shape:
    """The shape of a path pattern."""
    return Shape(path.segments, path.rest)


def symbol_beside(text: str) -> str:
    """A character that the text does not hold. What matches it in place of a `*` matches all that the `*` matches."""
    return next(char for char in map(chr, range(_FIRST_PRIVATE, sys.maxunicode)) if char not in text)


def glob_of(text: str) -> Glob:
    """The glob of a text whose stars were checked before."""
    return Glob(text, tuple(text.split(_STAR)))


def globs(one: Glob, other: Glob) -> tuple[Glob, ...]:
    """The globs that match exactly what both match.

    Raises:
        TooLargeError: there are too many of them.
    """
    if other.text in {one.text, _STAR}:
        return (one,)
    if one.text == _STAR:
        return (other,)
    if len(one.parts) == 1 or len(other.parts) == 1:
        literal, wide = (one, other) if len(one.parts) == 1 else (other, one)
        return (literal,) if wide.matches(literal.text) else ()
    if not (agree(one.parts[0], other.parts[0]) and agree(one.parts[-1][::-1], other.parts[-1][::-1])):
        return ()
    if comb(len(one.parts) + len(other.parts) - 4, len(one.parts) - 2) > _MOST_WAYS:
        raise TooLargeError(f"`{one.text}` and `{other.text}` overlap in too many ways: write patterns with fewer `*`")
    return tuple(map(glob_of, _widest(_interleaved(one.text, other.text))))


def agree(one: str, other: str) -> bool:
    """Whether two beginnings can be those of one text."""
    return one.startswith(other) or other.startswith(one)


def _interleaved(one: str, other: str) -> frozenset[str]:
    """The texts of globs whose union is the intersection: a table over the rests of both, from the end."""
    below: list[frozenset[str]] = []
    for first in range(len(one), -1, -1):
        row: list[frozenset[str]] = [frozenset()] * (len(other) + 1)
        for second in range(len(other), -1, -1):
            row[second] = _together(one[first : first + 1], other[second : second + 1], second, row, below)
        below = row
    return below[0]


def _together(
    have: str, want: str, second: int, row: list[frozenset[str]], below: list[frozenset[str]]
) -> frozenset[str]:
    """What two rests match together that begin with `have` and `want`; `row` and `below` have the shorter rests."""
    if not have and not want:
        return frozenset({""})
    if have == _STAR and want == _STAR:
        # The shorter of the two stars' texts is a beginning of the other.
        return frozenset(_starred(text) for text in (*below[second], *row[second + 1]))
    if have == _STAR:  # it stands for nothing more, or for one more character
        more = frozenset(want + text for text in row[second + 1]) if want else frozenset()
        return below[second] | more
    if want == _STAR:
        more = frozenset(have + text for text in below[second]) if have else frozenset()
        return row[second + 1] | more
    return frozenset(have + text for text in below[second + 1]) if have == want and have else frozenset()


def _starred(text: str) -> str:
    return text if text.startswith(_STAR) else _STAR + text


def _widest(texts: Iterable[str]) -> list[str]:
    """The texts without those that another one covers, sorted."""
    found = sorted(texts)
    wide = {text: glob_of(text) for text in found}
    symbol = symbol_beside("".join(found))
    return [
        text
        for text in found
        if not any(other != text and wide[other].matches(text.replace(_STAR, symbol)) for other in found)
    ]


def segments(one: Segment, other: Segment) -> tuple[Segment, ...]:
    """The segment patterns that match exactly what both match."""
    if one is None or other is None:
        both = other if one is None else one
        return () if both == "" else (both,)
    if isinstance(one, str):
        return (one,) if segment_matches(other, one) else ()
    if isinstance(other, str):
        return (other,) if segment_matches(one, other) else ()
    return globs(one, other)


def shapes(one: Shape, other: Shape) -> Iterator[Shape]:
    """The shapes that match exactly the paths that both match."""
    short, long = (one, other) if len(one.segments) <= len(other.segments) else (other, one)
    size = len(short.segments)
    fit = short.rest if size < len(long.segments) else short.rest == long.rest
    if fit:
        each = [segments(have, want) for have, want in zip(short.segments, long.segments[:size], strict=True)]
        for made in product(*each):
            yield Shape((*made, *long.segments[size:]), long.rest)


def hosts(one: HostPattern | None, other: HostPattern | None) -> tuple[HostPattern | None, ...]:
    """The host patterns that match exactly what both match; None matches every host."""
    if one is None or one == other:
        return (other,)
    if other is None:
        return (one,)
    for wide, narrow in ((one, other), (other, one)):
        if wide.text.startswith(_STAR) and wide.matches(narrow.text.removeprefix("*.")):
            return (narrow,)
    return ()
