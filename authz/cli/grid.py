"""What stands in the table of `authz matrix`, and what of it is equal.

Law: pure. Nothing is left out: a name is in exactly one place of the grid.
"""

from collections.abc import Sequence
from typing import NamedTuple

Cells = list[str]


class Table(NamedTuple):
    """Rows of cells, the titles first. In each row the first cell says what it is about; an empty cell is a "no".

    `levels` has for each column the role in Airflow itself, "" for none; it is empty where none is meant.
    """

    rows: list[Cells]
    levels: Cells


class Grid(NamedTuple):
    """A table in which equal columns are one, and equal rows, each with all of its names.

    `corner` says what the rows are. `idle` are the titles of columns in which nothing is.
    """

    corner: str
    titles: list[tuple[str, ...]]
    levels: Cells
    names: list[tuple[str, ...]]
    cells: list[tuple[str, ...]]
    idle: tuple[str, ...]


def joined(names: Sequence[str]) -> str:
    """Names in one text, with semicolons where some have commas themselves."""
    return ("; " if any(", " in name for name in names) else ", ").join(names)


def grid(table: Table) -> Grid:
    """Put together what is equal, where the first of it stands. Columns are equal only at the same level."""
    (corner, *titles), *rows = table.rows
    columns: dict[tuple[tuple[str, ...], str], list[str]] = {}
    idle: list[str] = []
    for at, title in enumerate(titles):
        filled = tuple(row[at + 1] for row in rows)
        if any(filled):
            columns.setdefault((filled, table.levels[at] if table.levels else ""), []).append(title)
        else:
            idle.append(title)
    alike: dict[tuple[str, ...], list[str]] = {}
    for at, row in enumerate(rows):
        alike.setdefault(tuple(filled[at] for filled, _ in columns), []).append(row[0])
    return Grid(
        corner=corner,
        titles=[tuple(some) for some in columns.values()],
        levels=[level for _, level in columns] if table.levels else [],
        names=[tuple(some) for some in alike.values()],
        cells=[*alike],
        idle=tuple(idle),
    )
