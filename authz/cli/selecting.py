"""The options that say which decisions of a log are meant, and `LOG` of the commands that read logs as they are.

Law: `*` stands for any characters in each of them, an option that is given more than once means any of its values, and
different options all have to hold.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from authz.cli.served import load_settings
from authz.cli.traffic import log_of
from authz.core.documents.moments import parse_end, parse_moment
from authz.core.documents.quantities import seconds
from authz.core.documents.wording import Mistake
from authz.core.policy.patterns import Glob, parse_glob
from authz.core.record import EndedBy
from authz.core.traffic.selection import EndSelection, Selection
from authz.ops.log_reader import find, rotated

_SETTINGS: Final = Path("authz.yaml")
_HOW: Final = "write 2h or 7d ago, 2026-12-31T18:00Z, 2026-12-31T18:00+01:00, or a day in UTC: 2026-12-31"
_HELP: Final[Mapping[str, str]] = {
    "id": "The decision with this id, which is in the answer's header `x-authz-decision`.",
    "subject": "Caller: the token's `sub`.",
    "user": "Caller: the user's name, from the identity entries in these logs.",
    "client": "Caller: the token's client id.",
    "role": "One of the caller's roles.",
    "dag": "DAG, as sales_*; on egress that of the calling run.",
    "run": "Id of the DAG run that called, or that the request to Airflow is about.",
    "operation": "Operation of Airflow's catalogue, as dag_runs:*.",
    "destination": "Egress: name of the destination.",
    "host": "Host that was asked for.",
    "decision": "allow, deny, or issue: a task got its run identity.",
    "reason": "Why: docs/reasons.md lists the words.",
    "rule": "Id of the rule that decided; grant/* for all grants.",
    "revision": "Revision of the policy that decided, or how it begins.",
}
_STATUS: Final = "Status of the answer that the caller got, as 5*: from Envoy's access log, if the log has it."
_ENDED_BY: Final = "Who ended the request, by the same: upstream, gate, envoy, or client."
_PREFIXES: Final = frozenset({"revision"})
_CHOICES: Final = ("allow", "deny", "issue")

logs_argument: Callable[[Any], Any] = click.argument("logs", nargs=-1, metavar="[LOG]...")
log_settings_option: Callable[[Any], Any] = click.option(
    "--settings",
    "settings_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Without a LOG: the decision log of this settings file. Default: authz.yaml.",
)


def _globs(_context: click.Context, option: click.Parameter, values: Sequence[str]) -> tuple[Glob, ...]:
    """The patterns that are given."""
    try:
        return tuple(parse_glob(f"{value}*" if option.name in _PREFIXES else value) for value in values)
    except Mistake as error:
        raise click.BadParameter(f"{error.message} ({error.hint})") from None


def period_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--since` and `--until`, which the command gets as texts."""
    times = (("--until", "Only before this time, or to the end of this day."), ("--since", "Only from this time on."))
    for name, text in times:
        how = f"{text} As 2h or 7d ago, 2026-12-31T18:00Z, or a day in UTC." if name == "--since" else text
        command = click.option(name, metavar="TIME", help=how)(command)
    return command


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The filters, which the command gets by their names: patterns, and texts of times."""
    command = period_options(command)
    for name, text in reversed([*_HELP.items()]):
        kind: Any = click.Choice(_CHOICES) if name == "decision" else str
        made = click.option(f"--{name}", multiple=True, type=kind, metavar="TEXT", callback=_globs, help=text)
        command = made(command)
    return command


def end_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The filters of what came of decisions, which the command gets by their names."""
    enders = click.Choice([str(one) for one in EndedBy])
    for name, kind, text in (("ended-by", enders, _ENDED_BY), ("status", str, _STATUS)):
        made = click.option(f"--{name}", multiple=True, type=kind, metavar="TEXT", callback=_globs, help=text)
        command = made(command)
    return command


def ends_of(given: Mapping[str, Any]) -> EndSelection:
    """What the values of the filters of `end_options` mean."""
    return EndSelection(given["status"], given["ended_by"])


def selection_of(given: Mapping[str, Any], now: float) -> tuple[Selection, tuple[Glob, ...]]:
    """What the values of the filters mean at a time, in seconds since the epoch, and which users are meant.

    Raises:
        BadParameter: a time cannot be read.
    """
    wanted = {name: given[name] for name in _HELP if name != "user" and given[name]}
    since, until = period_of(given, now)
    return Selection(wanted=wanted, since=since, until=until), given["user"]


def period_of(given: Mapping[str, Any], now: float) -> tuple[str, str]:
    """What `since` and `until` mean at a time, as records have times; "" for none.

    Raises:
        BadParameter: a time cannot be read.
    """
    return _time("since", given["since"], now), _time("until", given["until"], now)


def _time(name: str, text: str | None, now: float) -> str:
    """A time as records have it; "" for none."""
    if text is None:
        return ""
    hint = f"--{name}"
    try:
        if text[-1:].isalpha() and text[-1:] != "Z":
            moment = now - seconds(text)
        elif name == "since" and "T" not in text:
            moment = parse_moment(f"{text}T00:00Z")
        else:
            moment = parse_end(text)
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except Mistake as error:
        raise click.BadParameter(f"{error.message} ({_HOW})", param_hint=hint) from None
    except (ValueError, OverflowError):
        raise click.BadParameter(f"`{text}` is no time ({_HOW})", param_hint=hint) from None


def names_meant(names: Sequence[str], settings_path: Path | None) -> Sequence[str]:
    """The names of logs that are given, or else that in the settings.

    Raises:
        ConfigError: with every problem of the settings.
        UsageError: nothing is named, and the settings have no file.
    """
    if names:
        return names
    if settings_path is None and not _SETTINGS.exists():
        raise click.UsageError("name the decision logs: files, patterns or a folder; or give --settings")
    settings = load_settings(settings_path or _SETTINGS)
    return [log_of(settings)]


def logs_meant(names: Sequence[str], settings_path: Path | None) -> list[Path]:
    """The files that are named, or else those of the settings; each once, the ones that were changed last first.

    A closed file may be there compressed too, if the gate was stopped before it removed the other form: one is read.

    Raises:
        ConfigError: a name stands for no file that can be read; or with every problem of the settings.
        UsageError: nothing is named, and the settings have no file.
    """
    from authz.audit.layout import closed_files  # noqa: PLC0415 only this command needs it

    (first, *_) = meant = names_meant(names, settings_path)
    paths = find(meant if names else rotated(Path(first)) or meant)
    folders = {path.parent for path in paths}
    twins = {file.path.with_suffix("") for folder in folders for file in closed_files(folder) if file.is_compressed}
    left = [path for path in paths if path not in twins or path.with_name(f"{path.name}.gz") not in paths]
    left = [path for path in left if str(path) in names or not _is_strange(path)]
    return sorted(left, key=_changed_at, reverse=True)


def _is_strange(path: Path) -> bool:
    """Whether it is in the folder of a signed log, and none of the files that `authz audit verify` reads."""
    from authz.audit.layout import CHECKPOINT, OPEN_FILE, closed_files  # noqa: PLC0415 see above

    if path.name == OPEN_FILE or not (path.parent / CHECKPOINT).exists():
        return False
    return path not in {file.path for file in closed_files(path.parent)}


def _changed_at(path: Path) -> float:
    """When the file was last written; now, if a gate has just compressed or removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()
