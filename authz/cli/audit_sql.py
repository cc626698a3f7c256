"""The answer of `authz audit query --sql`: rows as a table, as lines of JSON or as CSV.

Law: as for the decisions that the filters find. Nothing is left out in silence, and no text moves a cursor.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any

import click

from authz.cli.decision_text import ascii_json
from authz.cli.safe_text import spreadsheet
from authz.core.characters import one_line
from authz.core.errors import ConfigError, Problem
from authz.core.record import Skipped
from authz.ops.log_database import LogDatabase, Rows
from authz.ops.log_parts import strange

_Show = Callable[[Sequence[str], Sequence[Sequence[str]]], Iterator[str]]


def answer(paths: Sequence[Path], sql: str, form: str, limit: int, show: _Show) -> int:
    """Print the answer; returns the exit status: 0 if it has rows, else 1. `show` makes the lines of a table.

    Raises:
        ConfigError: DuckDB is not installed, cannot read a file, or refuses the question.
    """
    found, broken, others = _asked(paths, sql, limit)
    for line in _lines(found, form, show):
        click.echo(line)
    if found.more:
        click.echo(f"printed: the first {limit:,} rows (--limit)", err=True)
    if broken:
        click.echo(f"{_counted(broken)} skipped: not one JSON object; without --sql the place is shown", err=True)
    if others:
        click.echo(f"{_counted(others)} skipped: another version of the format", err=True)
    return 0 if found.rows else 1


def _asked(paths: Sequence[Path], sql: str, limit: int) -> tuple[Rows, int, int]:
    """The answer, how many lines are no JSON object, and how many of another version of the format.

    DuckDB cannot count lines and answer at once. A log whose lines begin and end as the gate's, which is seen without
    it, it reads once: it stops at a line that it takes for a broken one. Every other log it reads twice.
    """
    with closing(LogDatabase(paths)) as database:
        database.check(sql)
    if _is_whole(paths):  # in more processes, which do not begin as copies of DuckDB's threads
        with closing(LogDatabase(paths, strict=True)) as database, suppress(ConfigError):
            return database.ask(sql, limit), 0, 0
    with closing(LogDatabase(paths)) as database:
        found = database.ask(sql, limit)
        return found, *database.unread()


def _is_whole(paths: Sequence[Path]) -> bool:
    """Whether each line begins and ends as the gate's, or is an entry or a record of this version.

    Raises:
        ConfigError: a file is damaged, or too large decompressed.
    """
    seen = strange(paths)
    hint = "without --sql, what is before it is read"
    if problems := [Problem(str(one.path), one.line, 0, one.text, hint) for one in seen.damages]:
        raise ConfigError(problems)
    return not seen.skipped.keys() - {Skipped.EMPTY} and seen.others is None


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
