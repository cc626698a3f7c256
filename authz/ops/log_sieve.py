"""Which lines of a block have to be parsed, found in bytes, most of them without looking at each line.

Law: each line is handed out, or it is seen to be one that the gate wrote whole (it begins and ends as a decision, an
outcome or an access, with as many braces opened as closed, and without a hole of NUL) and not to hold what is asked
for. A needle can hide behind an escape: a line with a backslash is handed out. To hand out more costs time, and nothing
else. The gate writes no field twice: a line with one, that someone else wrote into the log, may be passed over.
"""

import re
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import Final

from authz.core.record import DECISION_LINE, FOLLOWED_LINES
from authz.core.traffic.selection import Selection
from authz.ops.log_reader import Block

_TELLING: Final = b"{}\\\0\n"
_OTHERS: Final = bytes({*range(256)}.difference(_TELLING))
_BRACE: Final = ord("}")
_DECISION: Final = re.escape(DECISION_LINE)
_FOLLOWED: Final = [*map(re.escape, FOLLOWED_LINES)]  # no search is about them
_OURS: Final = (DECISION_LINE, *FOLLOWED_LINES)
_TIMED: Final = _DECISION + rb'"id":"[^"\n]{24}","time":"(?!%b)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"'
"""A decision of another time: as the gate writes it, with the time where it stands in such a line."""


_MOST_SHAPES: Final = 1000
"""Different braces of lines that are remembered, and how many of a line: a caller chooses names. A line with others is
handed out."""


class Sieve:
    """Finds the lines of blocks that a selection may mean, that are no whole line of the gate, or are entries."""

    def __init__(self, selection: Selection) -> None:
        self._needles, self._by_time = selection.needles(), selection.by_time
        idle = [*_FOLLOWED]
        if self._by_time:
            idle.append(_TIMED % selection.times())
        elif self._needles:
            idle.append(_DECISION)
        self._idle, self._odd = _patterns(idle)
        self._plain: set[bytes] = set()

    def lines(self, block: Block) -> Iterator[tuple[int, bytes]]:
        """The lines to parse, and where they begin."""
        lines, shapes = block.lines, block.lines.translate(None, _OTHERS).split(b"\n")
        block.count = len(shapes)
        starts = {*self._begins(block), *(broken := self._broken(lines, shapes))}
        if self._needles and not self._by_time:
            starts.update(self._holding(lines))
        needles = self._needles if self._by_time else ()
        for start in sorted(starts):
            end = lines.find(b"\n", start)
            line = lines[start:] if end < 0 else lines[start:end]
            if needles and start not in broken and line.startswith(DECISION_LINE) and line.endswith(b"}"):
                for needle in needles:
                    if needle in line:
                        break
                else:
                    continue
            yield start, line

    def _begins(self, block: Block) -> Iterator[int]:
        """Where the lines begin of which more has to be known than needles, or that are not the gate's."""
        if self._needles and not self._by_time and _are_ours(block):
            return iter(())
        return _begins(block.lines, self._idle, self._odd)

    def _holding(self, lines: bytes) -> Iterator[int]:
        """Where the lines begin that have a needle."""
        for needle in self._needles:
            at = lines.find(needle)
            while at >= 0:
                yield lines.rfind(b"\n", 0, at) + 1
                at = lines.find(b"\n", at)
                at = lines.find(needle, at) if at >= 0 else -1

    def _broken(self, lines: bytes, shapes: list[bytes]) -> frozenset[int]:
        """Where the lines begin that have other braces, a hole, or an escape."""
        if (kinds := {*shapes}) <= self._plain:
            return frozenset()
        self._plain |= {
            *islice((kind for kind in kinds - self._plain if _is_plain(kind)), _MOST_SHAPES - len(self._plain))
        }
        if kinds <= self._plain:
            return frozenset()
        begins = accumulate((len(line) + 1 for line in lines.split(b"\n")), initial=0)
        return frozenset(start for start, shape in zip(begins, shapes, strict=False) if shape not in self._plain)


class Others:
    """Finds the lines that do not begin and end as one of `_OURS`: entries, and what is not the gate's."""

    def lines(self, block: Block) -> Iterator[tuple[int, bytes]]:
        """Those lines, and where they begin."""
        lines = block.lines
        for start in () if _are_ours(block) else sorted({*_begins(lines, _NO_ENTRY, _MAYBE_ENTRY)}):
            end = lines.find(b"\n", start)
            yield start, lines[start:] if end < 0 else lines[start:end]


def _are_ours(block: Block) -> bool:
    """Whether each line begins and ends as one of `_OURS`: quicker than to look for one that does not."""
    lines, bounds = block.lines, block.count - 1
    found = 0
    for begin in _OURS:
        if found < bounds:
            found += lines.count(b"}\n" + begin)
    return found == bounds and lines.startswith(_OURS) and lines.endswith(b"}")


def _is_plain(shape: bytes) -> bool:
    return (
        len(shape) <= _MOST_SHAPES
        and b"\0" not in shape
        and b"\\" not in shape
        and shape.count(b"{") == shape.count(b"}")
    )


def _patterns(idle: list[bytes]) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """What matches a line that begins so, and a newline before another one or after what is no end of a line."""
    skipped = b"|".join(idle)
    return re.compile(skipped), re.compile(rb"\n(?:(?<=[^}]\n)|(?!%b))" % skipped)


def _begins(lines: bytes, idle: re.Pattern[bytes], odd: re.Pattern[bytes]) -> Iterator[int]:
    """Where the lines begin that do not begin as those, or do not end as the gate's."""
    if not idle.match(lines):
        yield 0
    for found in odd.finditer(lines):
        at = found.start()
        yield at + 1
        if at and lines[at - 1] != _BRACE:
            yield lines.rfind(b"\n", 0, at) + 1
    if not lines.endswith(b"}"):
        yield lines.rfind(b"\n") + 1


_NO_ENTRY, _MAYBE_ENTRY = _patterns([_DECISION, *_FOLLOWED])
