"""`authz diff` and `authz prove`: who gains and who loses between two policies, before the new one ships.

Law: exit status 0 when no one gains, or when that was not asked; 1 when someone does; 2 when a policy cannot be read.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final, NamedTuple

import click
import orjson

from authz.cli import options
from authz.cli.git_bundle import bundle_of
from authz.cli.key_files import key_files
from authz.cli.naming import Names, callers_json
from authz.cli.options import json_option
from authz.cli.safe_text import MARKDOWN, command
from authz.core import cases
from authz.core.characters import one_line
from authz.core.documents.moments import moment_text
from authz.core.errors import Problem
from authz.core.policy import Bundle, Policy
from authz.core.proof.condition import Condition
from authz.core.proof.conditions import KeyFiles
from authz.core.proof.diff import Change
from authz.core.proof.periods import Period, about, periods

_GIT: Final = "git:"
_SHOWN: Final = 50


class _Side(NamedTuple):
    """One of the two policies, which keys the files of its issuers have, and the mistakes in its tests."""

    policy: Policy
    keys: KeyFiles
    mistakes: tuple[Problem, ...]


def _side(text: str) -> _Side:
    bundle, revision = bundle_named(text)
    policy, mistakes = cases.read_rules(bundle)
    return _Side(policy, key_files(policy, revision), mistakes)


def _mistakes(before: _Side, after: _Side) -> list[Problem]:
    """The mistakes in the tests of both, each once."""
    return [*dict.fromkeys((*before.mistakes, *after.mistakes))]


def _warn(mistakes: Sequence[Problem]) -> None:
    """Say on standard error that a gate would refuse a policy for its tests: who gains is to be seen all the same."""
    if mistakes:
        warning = "the tests have mistakes, for which a gate refuses the policy; the rules are compared"
        click.echo("\n".join([f"warning: {warning}", *(f"  {problem}" for problem in mistakes)]), err=True)


def bundle_named(text: str) -> tuple[Bundle, str]:
    """The files of the policy in a file, or of `git:REVISION:PATH`, and the revision; "" for a file.

    Raises:
        ConfigError, PolicyError: it cannot be read.
    """
    if not text.startswith(_GIT):
        return options.bundle_of(Path(text)), ""
    revision, _, path = text.removeprefix(_GIT).partition(":")
    if not path or revision.startswith("-"):
        raise click.UsageError(f"{text} is not git:REVISION:PATH, as git:main:policy.yaml")
    return bundle_of(revision, path), revision


def policy_at(text: str) -> Policy:
    """The policy of a file, or of `git:REVISION:PATH`.

    Raises:
        ConfigError, PolicyError: it cannot be read.
    """
    return cases.read(bundle_named(text)[0]).policy


@click.command(short_help="Who gains and who loses between two policies?")
@click.argument("old")
@click.argument("new")
@click.option("--fail-on-widen", is_flag=True, help="Exit status 1 if anybody gains anything.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@json_option
def diff(old: str, new: str, *, fail_on_widen: bool, markdown: bool, as_json: bool) -> None:
    """Who gains and who loses if NEW comes into force in place of OLD?

    OLD and NEW are files, or git:REVISION:PATH. The answer is complete: no one else gains or loses anything, now or
    when a rule or a membership ends (`until`). Each line has a request to try with `authz check`. Mistakes in tests are
    warnings here: a gate would refuse the policy for them.

    \b
    authz diff git:main:policy.yaml policy.yaml
    authz diff git:HEAD~1:policy.yaml policy.yaml --markdown
    authz diff old.yaml new.yaml --fail-on-widen
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    before, after, now = _side(old), _side(new), time.time()
    policies, mistakes = (before.policy, after.policy), _mistakes(before, after)
    named, found = [*about(*policies, now, (before.keys, after.keys))], periods(*policies, now)
    if as_json:
        click.echo(orjson.dumps(_as_json(named, found, policies, mistakes)).decode())
    else:
        _warn(mistakes)
        click.echo("\n".join((_markdown if markdown else _lines)(named, found, policies)))
    widens = any(one.widens for one in named) or any(change.gained for one in found for change in one.changes)
    click.get_current_context().exit(1 if fail_on_widen and widens else 0)


@click.group(short_help="Prove that a policy change gives no one more.")
def prove() -> None:
    """Prove something of a policy: PASS, or FAIL with the reasons."""


@prove.command("no-new-access", short_help="Does no one gain anything?")
@click.argument("old")
@click.argument("new")
@json_option
def no_new_access(old: str, new: str, *, as_json: bool) -> None:
    """PASS if no one may do under NEW what OLD did not allow; else FAIL, with every gain. Exit status 0 or 1.

    It is so now, and at every later time, when rules and memberships of either have ended.
    """
    before, after, now = _side(old), _side(new), time.time()
    policies, mistakes = (before.policy, after.policy), _mistakes(before, after)
    named = [one for one in about(*policies, now, (before.keys, after.keys)) if one.widens]
    found = periods(*policies, now, only_gains=True)
    fails = bool(named) or any(one.changes for one in found)
    if as_json:
        result = {"result": "FAIL" if fails else "PASS", **_as_json(named, found, policies, mistakes)}
        click.echo(orjson.dumps(result).decode())
    else:
        _warn(mistakes)
        click.echo("\n".join(["FAIL", *_lines(named, found, policies)] if fails else ["PASS"]))
    click.get_current_context().exit(1 if fails else 0)


def _lines(named: Sequence[Condition], found: Sequence[Period], policies: Sequence[Policy]) -> Iterator[str]:
    """The report for a terminal."""
    names = Names(policies)
    nothing = _nothing(named)
    for condition in named:
        yield click.style(one_line(condition.text), fg="yellow")
    for one in found:
        if len(found) > 1:
            yield click.style(_since(one, found), bold=True)
        yield from _changes(one.changes, names, _at(one, found)) if one.changes else (nothing,)


def _nothing(named: Sequence[Condition]) -> str:
    """What is said of rules without a change: no all-clear where something else changes."""
    return f"no one gains or loses anything by the rules{'; see the conditions above' if named else ''}"


def _since(one: Period, found: Sequence[Period]) -> str:
    return "now:" if one is found[0] else f"from {moment_text(one.since)} on:"


def _at(one: Period, found: Sequence[Period]) -> tuple[str, ...]:
    """The option of `authz check` that asks about this period."""
    return () if one is found[0] else ("--at", moment_text(one.since))


def _changes(found: Sequence[Change], names: Names, at: tuple[str, ...]) -> Iterator[str]:
    for gained, title, color in ((True, "gains", "green"), (False, "loses", "red")):
        listed = [change for change in found if change.gained is gained]
        for change in listed[:_SHOWN]:
            yield f"{click.style(title, fg=color)} {names.who(change)}: {names.what(change)}"
            yield f"    {names.because(change)}"
            if change.witness is not None:
                shows = f"   shows {one_line(change.witness.shows)}" if change.witness.shows else ""
                yield f"    try: authz check {command((*change.witness.words, *at))}{shows}"
        if len(listed) > _SHOWN:
            yield f"and {len(listed) - _SHOWN} more that {'gain' if gained else 'lose'}: see --json"


def _markdown(named: Sequence[Condition], found: Sequence[Period], policies: Sequence[Policy]) -> Iterator[str]:
    """The report for a pull request."""
    names = Names(policies, MARKDOWN)
    yield from (f"> **{MARKDOWN.text(condition.text)}**\n" for condition in named)
    for one in found:
        if len(found) > 1:
            yield f"**{_since(one, found)}**\n" if one is found[0] else f"\n**{_since(one, found)}**\n"
        yield from _table(one.changes, names, _at(one, found)) if one.changes else (f"{_nothing(named).capitalize()}.",)


def _table(found: Sequence[Change], names: Names, at: tuple[str, ...]) -> Iterator[str]:
    yield "| | who | what | rule | try `authz check` |"
    yield "| --- | --- | --- | --- | --- |"
    for change in found[:_SHOWN]:
        words = MARKDOWN.code(command((*change.witness.words, *at))) if change.witness is not None else ""
        shows = f" shows {MARKDOWN.code(change.witness.shows)}" if change.witness and change.witness.shows else ""
        title = "gains" if change.gained else "loses"
        yield f"| {title} | {names.who(change)} | {names.what(change)} | {names.because(change)} | {words}{shows} |"
    if len(found) > _SHOWN:
        yield f"\nand {len(found) - _SHOWN} more: see `--json`"


def _as_json(
    named: Iterable[Condition], found: Sequence[Period], policies: Sequence[Policy], mistakes: Sequence[Problem]
) -> dict[str, object]:
    names = Names(policies)
    return {
        "conditions": [{"text": one.text, "widens": one.widens} for one in named],
        "changes": _dicts(found[0].changes, names),
        "later": [{"from": moment_text(one.since), "changes": _dicts(one.changes, names)} for one in found[1:]],
        "test_mistakes": [asdict(problem) for problem in mistakes],
    }


def _dicts(found: Iterable[Change], names: Names) -> list[dict[str, object]]:
    return [
        {
            "change": "gains" if change.gained else "loses",
            "plane": change.plane.value,
            "who": names.all(change),
            "callers": callers_json(change),
            "roles": list(change.roles),
            "operations": list(change.operations),
            "dags": list(change.dags),
            "destinations": list(change.destinations),
            "hosts": list(change.hosts),
            "methods": list(change.methods),
            "paths": list(change.paths),
            "levels": list(change.levels),
            "tasks": list(change.tasks),
            "rule": change.rule,
            "denied": change.denied,
            "check": list(change.witness.words) if change.witness else None,
            "shows": change.witness.shows if change.witness else "",
        }
        for change in found
    ]
