"""`authz shadow report`: what a decision log says about the candidate policies that were compared.

Law: exit status 0 when every verdict of the candidate that was compared last agrees; 1 when some do not, none is known,
or one is not known because of the caller's issuer or an exception; 2 when a file cannot be read. Only the verdicts on
record are counted: no policy is read.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import click
import orjson

from authz.cli.options import json_option
from authz.cli.served import load_settings
from authz.cli.terminal import show
from authz.core.characters import one_line
from authz.core.shadow import UNKNOWN, Report, Tally
from authz.core.shadow.report import Difference, Group
from authz.ops.log_reader import LONGEST_LINE

_SHOWN: Final = 50
_STDIN: Final = "-"
_SETTINGS: Final = Path("authz.yaml")
_TITLES: Final = {
    "gain": ("would be allowed", "green"),
    "loss": ("would be denied", "red"),
    "rights": ("would have other rights", "yellow"),
}
_HARMLESS: Final = "token"  # such a request has no caller who could lose or gain anything
_WHY: Final = {
    "issuer": "the candidate has another entry for the caller's issuer, or none: see `authz diff`",
    "token": "a token that was refused, or not checked yet, on a public route",
    "error": "an exception in the evaluation; the gate's log names it",
}


@click.group(short_help="What would a candidate policy change?")
def shadow() -> None:
    """A candidate policy beside the one in force: `shadow: candidate.yaml` in the settings."""


@shadow.command("report", short_help="What do the recorded decisions say about the candidate?")
@click.argument("logs", metavar="[LOG]...", nargs=-1)
@click.option(
    "--settings",
    "settings_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read the decision log of this settings file. Default, without a LOG: authz.yaml.",
)
@json_option
def report(logs: tuple[str, ...], settings_path: Path | None, *, as_json: bool) -> None:
    """How many decisions were compared with the candidate, and which ones would not be the same?

    Exit status 0: all are the same under the candidate that was compared last, and all callers are known there.
    Exit status 1 also for callers who are not known because of their issuer, whose tokens the candidate may refuse:
    `authz diff` says what changes. LOG is a file of the decision log, or - for standard input. Each group of
    differences has a caller, the rule in force and the candidate's, which rights differ where both allow, and one
    decision as a witness.

    \b
    authz shadow report /var/log/authz/decisions.jsonl
    zcat decisions.jsonl.*.gz | authz shadow report - decisions.jsonl
    authz shadow report --settings authz.yaml && mv candidate.yaml policy.yaml
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    if logs and settings_path is not None:
        raise click.UsageError("give LOG or --settings, not both")
    found, broken = Report(), 0
    for name in logs or (_log_of(settings_path or _SETTINGS),):
        if name == _STDIN:
            broken += _read(sys.stdin.buffer, found)
        else:
            with Path(name).open("rb") as file:
                broken += _read(file, found)
    if as_json:
        click.echo(orjson.dumps(_as_json(found, broken), option=orjson.OPT_INDENT_2).decode())
    else:
        show(_lines(found, broken))
    newest = found.candidates.get(found.newest)
    click.get_current_context().exit(0 if newest is not None and _agrees(newest) else 1)


def _agrees(tally: Tally) -> bool:
    """Whether the candidate decides the same on all that was compared, and nothing that matters is unknown."""
    unknown = any(tally.outcomes[why] for why in UNKNOWN if why != _HARMLESS)
    return tally.compared > 0 and tally.differs == 0 and not unknown


def _log_of(settings_path: Path) -> str:
    """The file of the decision log in the settings.

    Raises:
        ConfigError: with every problem of the settings.
        UsageError: their log is no file.
    """
    settings = load_settings(settings_path)
    if settings is None or settings.log.decisions == "stdout":
        raise click.UsageError("the decision log of these settings is standard output: name a file of it, or -")
    return settings.log.decisions


def _read(lines: IO[bytes], into: Report) -> int:
    """Count the lines of one file; returns how many are not JSON objects, or are too long to be the gate's."""
    broken = 0
    while line := lines.readline(LONGEST_LINE):
        if not line.endswith(b"\n") and len(line) == LONGEST_LINE:
            while (rest := lines.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            broken += 1
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            broken += 1
            continue
        if isinstance(record, dict):
            into.add(record)
        else:
            broken += 1
    return broken


def _lines(found: Report, broken: int) -> Iterator[str]:
    """The report for a terminal."""
    if not found.candidates:
        yield "no decision was compared with a candidate"
    for tally in found.candidates.values():
        yield from _of_one(tally)
    if found.without:
        were = "was" if found.without == 1 else "were"
        without = _counted(found.without, "decision")
        yield f"{without} {were} not compared: no candidate was there, or no policy decided"
    if broken + found.malformed:
        yield f"{_counted(broken + found.malformed, 'line')} skipped: not the gate's, or incomplete"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _of_one(tally: Tally) -> Iterator[str]:
    beside = ", ".join(revision[:12] for revision in tally.in_force)
    yield one_line(f"candidate {tally.revision}, beside {beside}: {_counted(tally.compared, 'decision')} compared")
    counts = {"agree": "agree", **{outcome: title for outcome, (title, _color) in _TITLES.items()}}
    yield "    " + ", ".join(f"{tally.outcomes[outcome]} {text}" for outcome, text in counts.items())
    for why in UNKNOWN:
        if tally.outcomes[why]:
            yield f"    {tally.outcomes[why]} not known: {_WHY[why]}"
    groups = [*tally.sorted()]
    for difference, group in groups[:_SHOWN]:
        title, color = _TITLES[difference.outcome]
        yield click.style(title, fg=color) + one_line(
            f" {difference.caller}, {_counted(group.count, 'time')}: {_because(difference)}"
        )
        if difference.rights:
            yield one_line(f"    {'; '.join(difference.rights)}")
        yield one_line(f"    {_witness(group)}")
    left = sum(group.count for _difference, group in groups[_SHOWN:]) + tally.left_out
    if left:
        yield f"and {left} more that differ{': see --json' if len(groups) > _SHOWN else ''}"


def _because(difference: Difference) -> str:
    now = _by(difference.rule, difference.reason)
    then = _by(difference.candidate_rule, difference.candidate_reason)
    return now if now == then else f"{now} → {then}"


def _by(rule: str, reason: str) -> str:
    return f"rule `{rule}`" if rule else reason


def _witness(group: Group) -> str:
    """One decision of the group."""
    seen = group.witness
    where = seen.get("path") or " ".join(filter(None, (seen.get("operation"), seen.get("dag"))))
    place = seen.get("destination") or seen.get("host", "")
    return f"{seen.get('time', '')} {seen.get('id', '')}: {seen.get('method', '')} {where} at {place}"


def _as_json(found: Report, broken: int) -> dict[str, object]:
    return {
        "candidates": [_tally_as_json(tally) for tally in found.candidates.values()],
        "not_compared": found.without,
        "malformed": broken + found.malformed,
    }


def _tally_as_json(tally: Tally) -> dict[str, object]:
    return {
        "revision": tally.revision,
        "in_force": dict(tally.in_force),
        "compared": tally.compared,
        "agree": tally.outcomes["agree"],
        **{outcome: tally.outcomes[outcome] for outcome in _TITLES},
        "unknown": {why: tally.outcomes[why] for why in UNKNOWN},
        "differences": [*_differences(tally.sorted())],
        "left_out": tally.left_out,
    }


def _differences(groups: Iterable[tuple[Difference, Group]]) -> Iterator[dict[str, object]]:
    for difference, group in groups:
        yield {**difference._asdict(), "count": group.count, "witness": dict(group.witness)}
