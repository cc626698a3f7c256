"""Tables as text for a terminal, CSV, Markdown and a page of HTML.

Law: a cell is text, whatever is in it: see `safe_text`. The page has no script and fetches nothing.
"""

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from authz.cli.safe_text import in_html, markdown, spreadsheet
from authz.core.characters import one_line

Table = list[list[str]]
"""Rows of cells, the titles first."""

_NARROWEST: Final = 40  # columns of a terminal


def _text(table: Table) -> str:
    """Columns, where they fit into the terminal; else a block for each row."""
    table = [[one_line(cell) for cell in row] for row in table]
    widths = [max(len(row[at]) for row in table) for at in range(len(table[0]))]
    if sum(widths) + 2 * len(widths) <= max(shutil.get_terminal_size().columns, _NARROWEST):
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        )
        return "".join(f"{line}\n" for line in lines)
    return "".join(_block(table[0], row) for row in table[1:])


def _block(titles: Iterable[str], row: Sequence[str]) -> str:
    cells_of = list(zip(titles, row, strict=True))[1:]
    return "".join([f"{row[0]}\n", *(f"  {name}: {cell}\n" for name, cell in cells_of if cell)])


def _csv(table: Table) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[spreadsheet(cell) for cell in row] for row in table])
    return out.getvalue()


def _markdown(table: Table) -> str:
    rows = [[markdown(cell) for cell in row] for row in table]
    rows.insert(1, ["---"] * len(table[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _html(table: Table) -> str:
    head = "".join(f'<th scope="col">{in_html(cell)}</th>' for cell in table[0])
    body = "".join(
        f'<tr><th scope="row">{in_html(row[0])}</th>{"".join(f"<td>{in_html(cell)}</td>" for cell in row[1:])}</tr>\n'
        for row in table[1:]
    )
    return _PAGE.format(head=head, body=body)


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Who may do what</title>
<style>
body {{ font: 14px system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; }}
th, td {{ border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top; }}
thead th {{ position: sticky; top: 0; background: #f4f4f4; }}
tbody th {{ font-weight: 600; overflow-wrap: anywhere; min-width: 12rem; }}
</style></head>
<body><h1>Who may do what</h1>
<table><thead><tr>{head}</tr></thead><tbody>
{body}</tbody></table></body></html>
"""
FORMS: Final[dict[str, Callable[[Table], str]]] = {
    "text": _text,
    "csv": _csv,
    "markdown": _markdown,
    "html": _html,
}
"""How to write a table, by the name of the format."""
