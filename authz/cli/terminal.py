"""Lines of a report on a terminal: words stay whole, and what goes on below a line is indented.

Law: only a terminal gets other lines than a file or a program does. A line with a command to copy is left as it is: a
terminal that breaks it by itself copies it in one piece.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import click

_COMMAND: Final = "authz check "
_INDENT: Final = 4
_NARROWEST: Final = 40  # characters of a terminal


def show(lines: Iterable[str]) -> None:
    """Print lines; each may have several."""
    text = "\n".join(lines)
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns, _NARROWEST)
        text = "\n".join(part for line in text.split("\n") for part in wrapped(line, width))
    click.echo(text)


def verdict(*, good: bool) -> str:
    """PASS, or FAIL."""
    return click.style("PASS", fg="green") if good else click.style("FAIL", fg="red")


def wrapped(line: str, width: int) -> Iterator[str]:
    """The line in parts of at most `width` characters, if its words fit and it has no command. Styles take no room."""
    if _COMMAND in line or len(click.unstyle(line)) <= width:
        yield line
        return
    indent = " " * (len(line) - len(line.lstrip(" ")) + _INDENT)
    made, used = "", 0
    for position, word in enumerate(line.split(" ")):
        size = len(click.unstyle(word))
        if made.strip() and used + 1 + size > width:
            yield made.rstrip()
            made, used = indent + word, len(indent) + size
        elif position:
            made, used = f"{made} {word}", used + 1 + size
        else:
            made, used = word, size
    yield made.rstrip()
