"""Many requests for `authz check`: one line of a file each, parsed like the command line itself.

Law: a line has only what `authz check` takes about a request and its caller, as words or as a JSON object: a line
cannot name a file to open. All lines that cannot be read are reported at once, and then nothing is answered.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import click
import orjson

from authz.cli.asking import Answer, Question, answer
from authz.cli.callers import Caller
from authz.cli.served import Served
from authz.core.errors import ConfigError, Problem

HELP: Final = """A file with one request per line (- is standard input), as
`GET /api/v2/dags --group data-readers` or as {"method": "GET", "url": "/api/v2/dags", "group": ["data-readers"]}."""

_OF_CALLER: Final = frozenset(field.name for field in fields(Caller)) - {"token_file", "jwks_file"}
NAMES: Final = frozenset(field.name for field in fields(Question)) - {"caller"} | _OF_CALLER
"""The parameters of `authz check` that a line may have."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is neither empty nor a comment."""

    number: int
    text: str


def lines_of(file: Any) -> list[Line]:
    """The lines of an open file that have a request in them."""
    texts = ((number, line.strip()) for number, line in enumerate(file, start=1))
    return [Line(number, text) for number, text in texts if text and not text.startswith("#")]


def answers(
    lines: Sequence[Line], file: str, options: Sequence[click.Parameter], defaults: dict[str, Any], served: Served
) -> list[Answer]:
    """The answer to each line; `options` are those that a line may have, `defaults` those of the command line.

    Raises:
        ConfigError: with every line that is not a request.
    """
    command = click.Command("line", params=[*options], callback=_question, add_help_option=False)
    found: list[Answer] = []
    problems: list[Problem] = []
    for line in lines:
        try:
            with command.make_context("line", [*_words(line.text)], default_map=defaults) as context:
                found.append(answer(command.invoke(context), served))
        except (click.UsageError, ValueError) as error:
            text = error.format_message() if isinstance(error, click.UsageError) else str(error)
            problems.append(Problem(file, line.number, 1, text, "see `authz check --help`"))
    if problems:
        raise ConfigError(problems)
    return found


def _question(**options: Any) -> Question:
    if None in (options["method"], options["url"]):
        raise click.UsageError("a request is a METHOD and a URL")
    of_caller = {name: options.pop(name) for name in _OF_CALLER}
    return Question(**options, caller=Caller(**of_caller, token_file=None, jwks_file=None))


def _words(text: str) -> Iterator[str]:
    """The line as the words of a command line.

    Raises:
        ValueError: quotes that do not end, or JSON that is not an object of texts, lists and booleans.
    """
    if not text.startswith("{"):
        yield from shlex.split(text)
        return
    members = orjson.loads(text)
    for name, value in members.items():
        if name not in {"method", "url"}:
            yield from _option(name, value)
    yield "--"
    yield from (_text(name, members[name]) for name in ("method", "url") if name in members)


def _option(name: str, value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--not-{name}"
        return
    for item in value if isinstance(value, list) else [value]:
        yield f"--{name}"
        yield _text(name, item)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"`{name}` is not text")  # noqa: TRY004 a mistake of the file, not of a caller
    return value
