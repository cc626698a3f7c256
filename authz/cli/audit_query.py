"""`authz audit query`: which decisions on record were about this caller, this DAG, this rule.

Law: exit status 0 if there is such a decision, 1 if there is none, 2 for a mistake. Nothing is left out in silence: on
standard error is how many were found, how many lines could not be read, and where the first one is.
"""

import csv
import io
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from authz.cli import decision_text as text
from authz.cli.columns import table
from authz.cli.selecting import (
    end_options,
    ends_of,
    filter_options,
    log_settings_option,
    logs_argument,
    logs_meant,
    selection_of,
)
from authz.core.characters import one_line
from authz.core.policy.patterns import Glob
from authz.core.record import SKIPPED, Skipped
from authz.core.traffic.selection import EndSelection, Selection
from authz.ops.log_followed import ended_so, outcomes_of
from authz.ops.log_parts import searched
from authz.ops.log_search import Found, Search, Tally

_LARGE: Final = 8 << 20  # bytes of logs that take a second or more to read
_MOST: Final = 1_000_000
_USUAL: Final = 1000
_OCSF: Final = "ocsf"


@click.command(short_help="Which decisions on record were about this?")
@logs_argument
@log_settings_option
@filter_options
@end_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv", _OCSF]),
    default="table",
    show_default=True,
    help="Of the output; json and ocsf are a line for each decision, ocsf an event of OCSF's class API Activity.",
)
@click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, _MOST),
    default=_USUAL,
    show_default=True,
    help="Print at most so many decisions: the newest.",
)
@click.option("--sql", metavar="SELECT", help="Ask in SQL instead; needs DuckDB. See docs/howto/query.md.")
@click.option("--schema", is_flag=True, help="Print the views of --sql for the logs, as statements for DuckDB.")
def query(
    logs: tuple[str, ...],
    settings_path: Path | None,
    *,
    form: str,
    limit: int,
    sql: str | None,
    schema: bool,
    **given: Any,
) -> None:
    """Which decisions on record were about this caller, this DAG, this rule? The newest is the last.

    LOG is a file, a pattern, or a folder with a log and the files that it was renamed to, also a signed log's; they may
    be compressed (gzip, bzip2, xz). Default: the log of --settings. In each filter `*` stands for any characters. A
    filter that is given more than once means any of its values, and different filters all have to hold.

    Exit status 0: there are such decisions; 1: there is none; 2: a mistake.

    \b
    authz audit query /var/log/authz --user ada --decision deny --since 2d
    authz audit query 'decisions.jsonl*' --dag 'sales_*' --operation 'dag_runs:*'
    authz audit query audit --id 926a3e91b7e7441cfa435aae --format json
    authz audit query audit --since 1h --decision allow --status '5*'
    authz audit query audit --since 1d --format ocsf --limit 1000000 > events.jsonl
    authz audit query audit --sql "SELECT rule, count(*) FROM decisions GROUP BY rule"
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    selection, users = selection_of(given, time.time())
    paths = logs_meant(logs, settings_path)
    if sql is not None or schema:
        if any(given.values()) or (sql is not None and schema):
            raise click.UsageError("--sql and --schema go with no filter and not with each other: write WHERE")
        if form == _OCSF:
            raise click.UsageError("--format ocsf is for decisions, not for the rows of --sql: use json")
        click.get_current_context().exit(_in_sql(paths, sql, form, limit))
    found = _searched(paths, selection, users, ends_of(given), limit)
    for part in _as_ocsf([*found.newest()], paths) if form == _OCSF else FORMS[form]([*found.newest()]):
        click.echo(part)
    for line in _about(found.tally, len(paths), limit):
        click.echo(line, err=True)
    click.get_current_context().exit(0 if found.tally.matched else 1)


def _in_sql(paths: Sequence[Path], sql: str | None, form: str, limit: int) -> int:
    """Print the answer, or the views if nothing is asked; returns the exit status."""
    if sql is None:
        from authz.ops.log_views import script  # noqa: PLC0415 only few need it

        click.echo(script([str(path.absolute()) for path in paths]), nl=False)
        return 0
    from authz.cli.audit_sql import answer  # noqa: PLC0415 see above

    return answer(paths, sql, form, limit, _table)


def _searched(
    paths: Sequence[Path], selection: Selection, users: Sequence[Glob], ends: EndSelection, limit: int
) -> Search:
    """All files, searched: first for the entries of the users and for outcomes, if some are asked for."""
    sizes = sum(path.stat().st_size for path in paths if path.exists())
    hidden = sizes < _LARGE or not sys.stderr.isatty()
    length = sizes * (1 + bool(users) + bool(ends))
    with click.progressbar(length=length, label="reading", file=sys.stderr, hidden=hidden) as bar:
        if ends:
            selection = selection.of_decisions(ended_so(paths, ends, bar.update))
        return searched(paths, selection, users, limit, bar.update)


def _about(found: Tally, files: int, limit: int) -> Iterator[str]:
    """How many decisions there are, and what could not be read."""
    decisions = "1 decision" if found.matched == 1 else f"{found.matched:,} decisions"
    lines = "1 line" if found.lines == 1 else f"{found.lines:,} lines"
    yield f"{decisions} found in {lines} of {'1 file' if files == 1 else f'{files:,} files'}"
    if found.matched > limit:
        yield f"printed: the newest {limit:,} (--limit)"
    yield from unread(found)


def unread(found: Tally) -> Iterator[str]:
    """What could not be read."""
    for reason, (count, place) in found.skipped.items():
        if reason is not Skipped.EMPTY:
            yield one_line(f"{_lines(count)} skipped, the first is {place}: {SKIPPED[reason]}")
    if found.others is not None:
        count, place = found.others
        yield one_line(f"{_lines(count)} skipped, the first is {place}: another version of the format")
    if found.undated:
        yield f"{_lines(found.undated)} skipped: no time is on record"
    for damage in found.damages:
        yield one_line(f"{damage.path}:{damage.line}: {damage.text}")


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


def _as_table(found: Sequence[Found]) -> Iterator[str]:
    """A row for each decision: for a terminal of any width, or of one line each for a file or a program."""
    if not found:
        return
    titles = ["time", "decision", "caller", "request", "DAG", "reason", "id"]
    rows = [
        [text.when(one), text.answer(one), text.who(one), text.what(one), text.dag(one), text.why(one), text.name(one)]
        for one in found
    ]
    width = _room(titles, rows)
    if width >= _width(titles, rows):
        yield from table(titles, rows, width)
        return
    narrow = [
        [f"{when}\n{name}", who, f"{what}\n{dag}", f"{made} {why}"] for when, made, who, what, dag, why, name in rows
    ]
    yield from table(["time and id", "caller", "request and DAG", "decision"], narrow, width, whole=(0,))


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in the width of the terminal, of one line each elsewhere."""
    return table(titles, rows, _room(titles, rows))


def _width(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The width in which each row is one line."""
    return sum(max(map(len, column)) for column in zip(titles, *rows, strict=True)) + 2 * (len(titles) - 1)


def _room(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _width(titles, rows)


def _as_json(found: Sequence[Found]) -> Iterator[str]:
    return map(text.as_json, found)


def _as_ocsf(found: Sequence[Found], paths: Sequence[Path]) -> Iterator[str]:
    """The events, with the outcomes that are in these logs."""
    outcomes = outcomes_of(paths, {str(one.record.get("id")) for one in found})
    return (text.as_ocsf(one, outcomes.get(str(one.record.get("id")))) for one in found)


def _as_csv(found: Sequence[Found]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="")
    for row in (list(text.CSV), *map(text.as_cells, found)):
        out.seek(0)
        out.truncate()
        writer.writerow(row)
        yield out.getvalue()


FORMS: Final[Mapping[str, Callable[[Sequence[Found]], Iterator[str]]]] = {
    "table": _as_table,
    "json": _as_json,
    "csv": _as_csv,
}
