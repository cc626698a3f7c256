"""The answer of `authz audit query --sql`: rows as a table, as lines of JSON or as CSV.

Law: as for the decisions that the filters find. Nothing is left out in silence, and no text moves a cursor.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

import click

from authz.cli.decision_text import ascii_json
from authz.cli.safe_text import spreadsheet
from authz.core.characters import one_line
from authz.ops.log_database import LogDatabase, Rows

_Show = Callable[[Sequence[str], Sequence[Sequence[str]]], Iterator[str]]


def answer(paths: Sequence[Path], sql: str, form: str, limit: int, show: _Show) -> int:
    """Print the answer; returns the exit status: 0 if it has rows, else 1. `show` makes the lines of a table.

    Raises:
        ConfigError: DuckDB is not installed, cannot read a file, or refuses the question.
    """
    database = LogDatabase(paths)
    try:
        found = database.ask(sql, limit)
        for line in _lines(found, form, show):
            click.echo(line)
        broken, others = database.unread()
    finally:
        database.close()
    if found.more:
        click.echo(f"printed: the first {limit:,} rows (--limit)", err=True)
    if broken:
        click.echo(f"{_counted(broken)} skipped: not one JSON object; without --sql the place is shown", err=True)
    if others:
        click.echo(f"{_counted(others)} skipped: another version of the format", err=True)
    return 0 if found.rows else 1


def _counted(number: int) -> str:
    return "1 line" if number == 1 else f"{number:,} lines"


def _lines(found: Rows, form: str, show: _Show) -> Iterator[str]:
    names = [*found.names]
    if form == "json":
        for row in found.rows:
            yield ascii_json(dict(zip(names, map(_plain, row), strict=True)))
        return
    if form == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([*map(_cell, row)] for row in (names, *found.rows))
        yield from out.getvalue().splitlines()
    elif found.rows:
        rows = [[one_line(_text(value)) for value in row] for row in found.rows]
        yield from show([*map(one_line, names)], rows)


def _cell(value: Any) -> str:
    """The value in a cell of CSV; a number is no formula."""
    return _text(value) if isinstance(value, int | float) else spreadsheet(_text(value))


def _plain(value: Any) -> Any:
    """The value as JSON has it; times are in UTC."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, datetime):
        text = value.isoformat(timespec="microseconds")
        return f"{text}Z" if value.tzinfo is None else text
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _text(value: Any) -> str:
    """The value as text; lists and objects as JSON."""
    plain = _plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
