"""A grid as columns in the width of a terminal.

Law: pure. No line is wider than the terminal, and nothing is cut off. Columns that do not fit beside each other stand
in blocks, each with the heads of its rows, without rows in which it has nothing; a list that is too long for its place
stands in full below the table.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final

import click

from authz.cli.grid import Grid, joined

NONE: Final = "-"
LEVEL: Final = "in Airflow"
_GAP: Final = "  "
_NARROWEST: Final = 40  # characters of a terminal
_COMFORTABLE: Final = 24  # beyond so many characters, a cell is broken between words
_NARROW: Final = 12  # the same, where columns do not fit beside each other
_LEAST: Final = 6  # characters of a column of a table of rows
_MOST: Final = 6  # lines of a cell
_FEW: Final = 3  # lines of a head that is repeated

_Place = Sequence[Sequence[str]]
"""The lines of each cell of a row."""


class _Notes:
    """Lists that stand below the table, each once; `most` is how many lines of names stand in the table itself."""

    most = _MOST

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, text: str) -> str:
        """The number that stands for a list."""
        return f"[{self._numbers.setdefault(text, len(self._numbers) + 1)}]"

    def lines(self, width: int) -> Iterator[str]:
        for text, number in self._numbers.items():
            yield from _wrapped(f"[{number}] {text}", width, "    ")


def lines(made: Grid, width: int) -> Iterator[str]:
    """The table in lines of at most `width` characters, or of 40."""
    width, notes = max(width, _NARROWEST), _Notes()
    head = _width([made.corner, LEVEL, *_commas(made.names)], width // 2, width * 2 // 5)
    room = width - head - len(_GAP)
    widths = _widths(made, room, _COMFORTABLE)
    blocks = [*_blocks(widths, room)]
    if len(blocks) > 1:
        widths, notes.most = _widths(made, room, _NARROW), _FEW
        blocks = [*_blocks(widths, room)]
    for number, block in enumerate(blocks):
        yield from [""] if number else []
        yield from _block(made, block, (head, *(widths[at] for at in block)), notes)
    below = [*_wrapped(f"no {made.corner}: {joined(made.idle)}", width, _GAP)] if made.idle else []
    below += notes.lines(width)
    yield from [""] if blocks and below else []
    yield from below


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], width: int, whole: Sequence[int] = ()) -> Iterator[str]:
    """Rows below their titles, in lines of at most `width` characters, or of what the columns in `whole` need.

    Cells go on below; only words that are longer than their column are broken, in `whole` none. Line ends stay.
    """
    cells = [[cell.split("\n") for cell in row] for row in rows]
    widths = [max(map(len, [title, *(line for row in cells for line in row[at])])) for at, title in enumerate(titles)]
    room = width - len(_GAP) * (len(titles) - 1)
    others = [at for at in range(len(titles)) if at not in whole]
    while sum(widths) > room and widths[widest := max(others, key=widths.__getitem__)] > _LEAST:
        widths[widest] -= 1
    heads = [_wrapped(title, size) for title, size in zip(titles, widths, strict=True)]
    yield from (click.style(line, bold=True) for line in _row(heads, widths))
    for row in cells:
        yield from _row(
            [[part for line in cell for part in _wrapped(line, size)] for cell, size in zip(row, widths, strict=True)],
            widths,
        )


def _widths(made: Grid, room: int, comfortable: int) -> list[int]:
    """The width of each column."""
    levels = made.levels or [""] * len(made.titles)
    return [
        _width([level, *_commas([titles]), *(row[at] for row in made.cells)], room, comfortable)
        for at, (titles, level) in enumerate(zip(made.titles, levels, strict=True))
    ]


def _blocks(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """The positions of the columns that stand beside each other."""
    block: list[int] = []
    for at, width in enumerate(widths):
        if block and sum(widths[one] + len(_GAP) for one in block) + width > room:
            yield block
            block = []
        block.append(at)
    if block:
        yield block


def _block(made: Grid, block: Sequence[int], widths: Sequence[int], notes: _Notes) -> Iterator[str]:
    """Some columns of the table."""
    head, *others = widths
    titles = [_listed(made.titles[at], width, notes) for at, width in zip(block, others, strict=True)]
    yield from (click.style(line, bold=True) for line in _row([[made.corner], *titles], widths))
    if made.levels:
        yield from _row([[LEVEL], *([made.levels[at] or NONE] for at in block)], widths)
    yield _GAP.join("─" * width for width in widths)
    for names, cells in zip(made.names, made.cells, strict=True):
        if not any(cells[at] for at in block):
            continue
        shown = [_cell(cells[at], width, notes) for at, width in zip(block, others, strict=True)]
        yield from _row([_listed(names, head, notes), *shown], widths)


def _row(cells: _Place, widths: Sequence[int]) -> Iterator[str]:
    for line in zip_longest(*cells, fillvalue=""):
        yield _GAP.join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()


def _listed(names: Sequence[str], width: int, notes: _Notes) -> list[str]:
    """Names, each on a line of its own; of many the first, and where all are."""
    each = [_wrapped(text, width, _GAP) for text in _commas([names])]
    if len(names) == 1 or sum(map(len, each)) <= notes.most:
        return [line for some in each for line in some]
    shown = each[0]
    left = [*each[1:]]
    while len(shown) + len(left[0]) < notes.most:
        shown = [*shown, *left.pop(0)]
    return [*shown, f"… {len(left)} more {notes.mark(joined(names))}"]


def _cell(text: str, width: int, notes: _Notes) -> list[str]:
    found = _wrapped(text or NONE, width)
    return found if len(found) <= _MOST else [*found[: _MOST - 1], f"… {notes.mark(text)}"]


def _commas(groups: Iterable[Sequence[str]]) -> list[str]:
    """Names as they stand below each other."""
    return [name if at == len(names) else f"{name}," for names in groups for at, name in enumerate(names, 1)]


def _width(texts: Iterable[str], most: int, comfortable: int) -> int:
    """How wide a column is: no word is broken that fits into `most` characters."""
    there = [*texts]
    word = max((len(word) for text in there for word in text.split()), default=1)
    return min(most, max(word, min(comfortable, max(map(len, there), default=1))))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
