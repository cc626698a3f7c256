"""`authz audit tail`: the decisions of logs as they are written.

Law: one line for each decision, whatever a caller sent, and a word on standard error for each line that is none. Ends
with exit status 130 on Ctrl-C, as other programs do.
"""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from authz.cli import decision_text as text
from authz.cli.options import json_option
from authz.cli.selecting import filter_options, log_settings_option, logs_argument, names_meant, selection_of
from authz.core.characters import one_line
from authz.core.errors import ConfigError, Problem
from authz.core.policy.patterns import Glob
from authz.core.record import DECISION, SKIPPED, VERSION, Skipped, entry_in, record_in
from authz.core.traffic.selection import Selection
from authz.ops.log_follower import LogFollower
from authz.ops.log_reader import find
from authz.ops.log_search import Found

_PAUSE_S: Final = 0.2
_INTERRUPTED: Final = 130
_MOST_ENTRIES: Final = 100_000
_LONGEST: Final = 48  # characters of one text in a terminal
_WIDTHS: Final = (20, 5, 16, 22, 14, 18, 0)


def _line(found: Found) -> str:
    """One line; in a terminal with long texts shortened: `--json` and `authz audit query` have all of them."""
    parts = [getattr(text, part)(found) for part in ("when", "answer", "who", "what", "dag", "why", "name")]
    if sys.stdout.isatty():
        parts = [part if len(part) <= _LONGEST else f"{part[: _LONGEST - 1]}…" for part in parts]
    padded = [(part or "-").ljust(width) for part, width in zip(parts, _WIDTHS, strict=True)]
    padded[1] = text.colored(padded[1])
    return "  ".join(padded)


_FORMS: Final[Mapping[str, Callable[[Found], str]]] = {"text": _line, "json": text.as_json, "ocsf": text.as_ocsf}


@click.command(short_help="Show decisions as they are made.")
@logs_argument
@log_settings_option
@filter_options
@json_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*_FORMS]),
    help="Of a line: text, the record as json, or an event of OCSF's class API Activity. Default: text.",
)
def tail(logs: tuple[str, ...], settings_path: Path | None, *, as_json: bool, form: str | None, **given: Any) -> None:
    """Show decisions as they are made, a line each, until Ctrl-C: time, answer, caller, request, DAG, reason, id.

    LOG is a file, or the folder of a log, also of a signed one. Default: the log of --settings. Filters are as for
    `authz audit query`. With --since the decisions since then that are in the newest file come first.

    \b
    authz audit tail /var/log/authz --decision deny
    authz audit tail --settings authz.yaml --dag 'sales_*' --since 10m
    authz audit tail /var/log/authz/audit --format ocsf
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    if as_json and form not in {None, "json"}:
        raise click.UsageError("--json is --format json: give one of them")
    selection, users = selection_of(given, time.time())
    followers = [LogFollower(path) for path in _followed(names_meant(logs, settings_path))]
    shown = _Shown(selection, users, _FORMS["json" if as_json else form or "text"])
    try:
        _follow(followers, shown)
    except KeyboardInterrupt:
        click.get_current_context().exit(_INTERRUPTED)
    finally:
        for follower in followers:
            follower.close()


def _follow(followers: Sequence[LogFollower], shown: "_Shown") -> None:
    """Show what is added, for ever."""
    for follower in followers:
        for number, line in follower.look():
            shown.old(follower.path, number, line)
    names = ", ".join(str(follower.path) for follower in followers)
    click.echo(one_line(f"following {names}: Ctrl-C ends"), err=True)
    while True:
        for follower in followers:
            for number, line in follower.look():
                shown.new(follower.path, number, line)
            if follower.too_long:
                click.echo(one_line(f"{follower.path}: a line is longer than any of the gate's"), err=True)
                follower.too_long = 0
        time.sleep(_PAUSE_S)


def _followed(names: Sequence[str]) -> Iterator[Path]:
    """The files that are written.

    Raises:
        ConfigError: a name stands for no file, or for a folder without a log.
    """
    from authz.audit.layout import OPEN_FILE, is_a_log  # noqa: PLC0415 only this command needs it

    for name in names:
        path = Path(name)
        if not path.is_dir():
            yield from find([name])
        elif is_a_log(path):
            yield path / OPEN_FILE
        else:
            found = sorted(path.glob("*.jsonl"))
            if not found:
                problem = Problem(name, 0, 0, "there is no decision log", "name the files that the gate writes")
                raise ConfigError([problem])
            yield from found


class _Shown:
    """Prints the decisions that are meant."""

    def __init__(self, selection: Selection, users: Sequence[Glob], line: Callable[[Found], str]) -> None:
        self._selection, self._users, self._line = selection, users, line
        self._entries: dict[str, Mapping[str, Any]] = {}

    def old(self, path: Path, number: int, line: bytes) -> None:
        """A line that was there before: its entry counts, and, if a first time is given, its decision."""
        if self._selection.since:
            self.new(path, number, line)
        else:
            self._learn(line)

    def new(self, path: Path, number: int, line: bytes) -> None:
        """A line that was added."""
        if self._learn(line):
            return
        read = record_in(line)
        if isinstance(read, Skipped):
            if read is not Skipped.EMPTY:
                click.echo(one_line(f"{path}:{number}: {SKIPPED[read]}"), err=True)
            return
        kind, record = read
        if kind != DECISION:
            return
        if record.get("v") != VERSION:
            click.echo(one_line(f"{path}:{number}: another version of the format"), err=True)
            return
        name = record.get("identity")
        found = Found(record, self._entries.get(name) if isinstance(name, str) else None)
        if self._selection.matches(record) and self._is_of_users(found):
            click.echo(self._line(found))

    def _learn(self, line: bytes) -> bool:
        """Keep the identity entry of a line; false if it is none."""
        entry = entry_in(line)
        if entry is not None:
            if len(self._entries) >= _MOST_ENTRIES:
                self._entries.clear()
            self._entries[entry[0]] = entry[1]
        return entry is not None

    def _is_of_users(self, found: Found) -> bool:
        user = (found.entry or {}).get("user")
        return not self._users or (isinstance(user, str) and any(glob.matches(user) for glob in self._users))
