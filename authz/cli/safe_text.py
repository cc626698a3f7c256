"""Text of a policy in what the commands print: for a terminal, Markdown, a spreadsheet, HTML and a shell.

Law: whatever a policy's author wrote stays text. It is one line, moves no cursor, hides nothing, makes no markup and is
no formula. JSON has the text as it is: its own escapes keep it apart.
"""

import html
import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from authz.core.characters import one_line

_MARKUP: Final = re.compile(r"[\\`*\[\]<>|~&#!$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BY_BACKSLASH: Final = frozenset("*_[]~#!>")
_FORMULA: Final = re.compile("\\s*[=+\\-@|%\uff1d\uff0b\uff0d\uff20]")  # also as full-width signs


@dataclass(frozen=True, slots=True)
class Form:
    """How text of a policy is written: `text` as it is, `code` set apart as a name or a command."""

    text: Callable[[str], str]
    code: Callable[[str], str]


def markdown(text: str) -> str:
    """The text in Markdown, also in a cell of a table, where a backslash does not make every character harmless."""
    return _MARKUP.sub(_harmless, one_line(text))


def _harmless(found: re.Match[str]) -> str:
    return f"\\{found[0]}" if found[0] in _BY_BACKSLASH else f"&#{ord(found[0])};"


def _quoted(text: str) -> str:
    """The text between backticks, of which it has none itself."""
    return f"`{one_line(text).replace('`', chr(92) + 'x60')}`"


def _code(text: str) -> str:
    shown = one_line(text)
    if not set(shown).isdisjoint("`|\\") or shown != shown.strip() or not shown:
        return f"<code>{markdown(text)}</code>"  # in a code span, nothing can be escaped
    return f"`{shown}`"


TERMINAL: Final = Form(one_line, _quoted)
RAW: Final = Form(str, str)
"""For what is made safe later."""
MARKDOWN: Final = Form(markdown, _code)


def spreadsheet(text: str) -> str:
    """The text as a cell of CSV that a spreadsheet does not evaluate."""
    shown = one_line(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def in_html(text: str) -> str:
    """The text within HTML."""
    return html.escape(one_line(text))


def command(words: Iterable[str]) -> str:
    """The words for a shell, in one line: to copy and try."""
    return " ".join(shlex.quote(word) if word.isprintable() else _escaped(word) for word in words)


def _escaped(word: str) -> str:
    """The word as `$'…'`, which bash, zsh and ksh read."""
    shown = (char if char.isprintable() else f"\\U{ord(char):08x}" for char in re.sub(r"([\\'])", r"\\\1", word))
    return f"$'{''.join(shown)}'"
