"""`authz diff` and `authz prove`: who gains and who loses between two policies, before the new one ships.

Law: exit status 0 when no one gains, or when that was not asked; 1 when someone does; 2 when a policy cannot be read.
"""

from collections.abc import Iterable, Iterator, Sequence
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
from authz.core.policy import Bundle, Policy
from authz.core.proof.conditions import Condition, KeyFiles, conditions
from authz.core.proof.diff import Change, changes

_GIT: Final = "git:"
_SHOWN: Final = 50


class _Side(NamedTuple):
    """One of the two policies, and which keys the files of its issuers have."""

    policy: Policy
    keys: KeyFiles


def _side(text: str) -> _Side:
    bundle, revision = bundle_named(text)
    policy = cases.read(bundle).policy
    return _Side(policy, key_files(policy, revision))


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
    return _side(text).policy


def _conditions(old: _Side, new: _Side) -> Iterator[Condition]:
    return conditions(old.policy, new.policy, (old.keys, new.keys))


@click.command(short_help="Who gains and who loses between two policies?")
@click.argument("old")
@click.argument("new")
@click.option("--fail-on-widen", is_flag=True, help="Exit status 1 if anybody gains anything.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@json_option
def diff(old: str, new: str, *, fail_on_widen: bool, markdown: bool, as_json: bool) -> None:
    """Who gains and who loses if NEW comes into force in place of OLD?

    OLD and NEW are files, or git:REVISION:PATH. The answer is complete: no one else gains or loses anything. Each line
    has a request to try with `authz check`.

    \b
    authz diff git:main:policy.yaml policy.yaml
    authz diff git:HEAD~1:policy.yaml policy.yaml --markdown
    authz diff old.yaml new.yaml --fail-on-widen
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    before, after = _side(old), _side(new)
    policies = before.policy, after.policy
    about, found = [*_conditions(before, after)], [*changes(*policies)]
    if as_json:
        click.echo(orjson.dumps(_as_json(about, found, policies)).decode())
    else:
        click.echo("\n".join((_markdown if markdown else _lines)(about, found, policies)))
    widens = any(one.widens for one in about) or any(change.gained for change in found)
    click.get_current_context().exit(1 if fail_on_widen and widens else 0)


@click.group(short_help="Prove that a policy change gives no one more.")
def prove() -> None:
    """Prove something of a policy: PASS, or FAIL with the reasons."""


@prove.command("no-new-access", short_help="Does no one gain anything?")
@click.argument("old")
@click.argument("new")
@json_option
def no_new_access(old: str, new: str, *, as_json: bool) -> None:
    """PASS if no one may do under NEW what OLD did not allow; else FAIL, with every gain. Exit status 0 or 1."""
    before, after = _side(old), _side(new)
    about = [one for one in _conditions(before, after) if one.widens]
    policies = before.policy, after.policy
    found = [change for change in changes(*policies) if change.gained]
    if as_json:
        click.echo(
            orjson.dumps({"result": "FAIL" if about or found else "PASS", **_as_json(about, found, policies)}).decode()
        )
    else:
        click.echo("\n".join(["FAIL", *_lines(about, found, policies)] if about or found else ["PASS"]))
    click.get_current_context().exit(1 if about or found else 0)


def _lines(about: Iterable[Condition], found: list[Change], policies: Sequence[Policy]) -> Iterator[str]:
    """The report for a terminal."""
    names = Names(policies)
    for condition in about:
        yield click.style(one_line(condition.text), fg="yellow")
    for gained, title, color in ((True, "gains", "green"), (False, "loses", "red")):
        listed = [change for change in found if change.gained is gained]
        for change in listed[:_SHOWN]:
            yield f"{click.style(title, fg=color)} {names.who(change)}: {names.what(change)}"
            yield f"    {names.because(change)}"
            if change.witness is not None:
                shows = f"   shows {one_line(change.witness.shows)}" if change.witness.shows else ""
                yield f"    try: authz check {command(change.witness.words)}{shows}"
        if len(listed) > _SHOWN:
            yield f"and {len(listed) - _SHOWN} more that {'gain' if gained else 'lose'}: see --json"
    if not found:
        yield "no one gains or loses anything by the rules"


def _markdown(about: Iterable[Condition], found: list[Change], policies: Sequence[Policy]) -> Iterator[str]:
    """The report for a pull request."""
    names = Names(policies, MARKDOWN)
    yield from (f"> **{MARKDOWN.text(condition.text)}**\n" for condition in about)
    if not found:
        yield "No one gains or loses anything by the rules."
        return
    yield "| | who | what | rule | try `authz check` |"
    yield "| --- | --- | --- | --- | --- |"
    for change in found[:_SHOWN]:
        words = MARKDOWN.code(command(change.witness.words)) if change.witness is not None else ""
        shows = f" shows {MARKDOWN.code(change.witness.shows)}" if change.witness and change.witness.shows else ""
        title = "gains" if change.gained else "loses"
        yield f"| {title} | {names.who(change)} | {names.what(change)} | {names.because(change)} | {words}{shows} |"
    if len(found) > _SHOWN:
        yield f"\nand {len(found) - _SHOWN} more: see `--json`"


def _as_json(about: Iterable[Condition], found: Iterable[Change], policies: Sequence[Policy]) -> dict[str, object]:
    names = Names(policies)
    return {
        "conditions": [{"text": one.text, "widens": one.widens} for one in about],
        "changes": [
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
        ],
    }
