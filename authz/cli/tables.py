"""The table of `authz matrix` as text for a terminal, CSV, Markdown and a page of HTML.

Law: a cell is text, whatever is in it: see `safe_text`. The page has no script and fetches nothing. CSV has each row
and each column by itself, for other programs; elsewhere those that are equal are put together.
"""

import csv
import io
import shutil
from collections.abc import Callable
from typing import Final

from authz.cli.columns import LEVEL, lines
from authz.cli.grid import Grid, Table, grid, joined
from authz.cli.safe_text import in_html, markdown, spreadsheet
from authz.core.characters import one_line


def _text(table: Table) -> str:
    safe = Table([[one_line(cell) for cell in row] for row in table.rows], table.levels)
    return "".join(f"{line}\n" for line in lines(grid(safe), shutil.get_terminal_size().columns))


def _csv(table: Table) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[spreadsheet(cell) for cell in row] for row in table.rows])
    return out.getvalue()


def _markdown(table: Table) -> str:
    made = grid(table)
    rows = [[made.corner, *map(joined, made.titles)], *([[LEVEL, *made.levels]] if made.levels else [])]
    rows += [[joined(names), *cells] for names, cells in zip(made.names, made.cells, strict=True)]
    written = [[markdown(cell) for cell in row] for row in rows]
    written.insert(1, ["---"] * len(rows[0]))
    text = "".join(f"| {' | '.join(row)} |\n" for row in written) if made.titles else ""
    idle = f"No {made.corner}: {markdown(joined(made.idle))}\n" if made.idle else ""
    return text + ("\n" if text and idle else "") + idle


def _html(table: Table) -> str:
    made = grid(table)
    idle = f"<p>No {made.corner}: {in_html(joined(made.idle))}</p>\n" if made.idle else ""
    return _PAGE.format(table=_html_table(made) if made.titles else "", idle=idle)


def _html_table(made: Grid) -> str:
    levels = [f"<small>{LEVEL}: {level or 'no role'}</small>" for level in made.levels] or [""] * len(made.titles)
    head = "".join(
        f'<th scope="col">{"<br>".join(map(in_html, titles))}{level}</th>'
        for titles, level in zip(made.titles, levels, strict=True)
    )
    rows = [
        (in_html(joined(names)), "".join(f"<td>{in_html(cell)}</td>" for cell in cells))
        for names, cells in zip(made.names, made.cells, strict=True)
    ]
    body = "".join(f'<tr><th scope="row">{name}</th>{cells}</tr>\n' for name, cells in rows)
    corner = f'<th scope="col">{in_html(made.corner)}</th>'
    return f"<table><thead><tr>{corner}{head}</tr></thead><tbody>\n{body}</tbody></table>\n"


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Who may do what</title>
<meta name="viewport" content="width=device-width">
<style>
:root {{ color-scheme: light; }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }}
table {{ border-collapse: separate; border-spacing: 0; border: solid #ccc; border-width: 1px 0 0 1px; }}
th, td {{ border: solid #ccc; border-width: 0 1px 1px 0; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
td {{ min-width: 5rem; max-width: 18rem; overflow-wrap: break-word; }}
thead th {{ position: sticky; top: 0; z-index: 1; background: #f4f4f4; white-space: nowrap; }}
thead th:first-child {{ left: 0; z-index: 2; }}
tbody th {{ position: sticky; left: 0; background: #fff; font-weight: 500; overflow-wrap: break-word; }}
tbody th, thead th:first-child {{ min-width: 21rem; max-width: 21rem; }}
tbody tr:hover > * {{ background: #f8f8f8; }}
small {{ display: block; font-weight: 400; color: #555; }}
</style></head>
<body><h1>Who may do what</h1>
{table}{idle}</body></html>
"""
FORMS: Final[dict[str, Callable[[Table], str]]] = {
    "text": _text,
    "csv": _csv,
    "markdown": _markdown,
    "html": _html,
}
"""How to write a table, by the name of the format."""
