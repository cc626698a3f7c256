"""`authz diff` and `authz prove`: who gains and who loses between two policies, before the new one ships.

Law: exit status 0 when no one gains, or when that was not asked; 1 when someone does; 2 when a policy cannot be read.
"""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click
import orjson

from authz.cli.git_bundle import bundle_of
from authz.cli.options import json_option, load_policy
from authz.core import cases
from authz.core.policy import Policy
from authz.core.proof.callers import Caller
from authz.core.proof.diff import Change, Condition, changes, conditions

_GIT: Final = "git:"
_SHOWN: Final = 50
_FEW: Final = 4


def _policy(text: str) -> Policy:
    """The policy of a file, or of `git:REVISION:PATH`.

    Raises:
        ConfigError, PolicyError: it cannot be read.
    """
    if not text.startswith(_GIT):
        return load_policy(Path(text))
    revision, _, path = text.removeprefix(_GIT).partition(":")
    if not path or revision.startswith("-"):
        raise click.UsageError(f"{text} is not git:REVISION:PATH, as git:main:policy.yaml")
    return cases.read(bundle_of(revision, path)).policy


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
    before, after = _policy(old), _policy(new)
    about, found = [*conditions(before, after)], [*changes(before, after)]
    if as_json:
        click.echo(orjson.dumps(_as_json(about, found)).decode())
    else:
        click.echo("\n".join((_markdown if markdown else _lines)(about, found)))
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
    before, after = _policy(old), _policy(new)
    about = [one for one in conditions(before, after) if one.widens]
    found = [change for change in changes(before, after) if change.gained]
    if as_json:
        click.echo(orjson.dumps({"result": "FAIL" if about or found else "PASS", **_as_json(about, found)}).decode())
    else:
        click.echo("\n".join(["FAIL", *_lines(about, found)] if about or found else ["PASS"]))
    click.get_current_context().exit(1 if about or found else 0)


def _lines(about: Iterable[Condition], found: list[Change]) -> Iterator[str]:
    """The report for a terminal."""
    for condition in about:
        yield click.style(condition.text, fg="yellow")
    for gained, title, color in ((True, "gains", "green"), (False, "loses", "red")):
        listed = [change for change in found if change.gained is gained]
        for change in listed[:_SHOWN]:
            yield f"{click.style(title, fg=color)} {who(change)}: {what(change)}"
            yield f"    {_because(change)}"
            if change.witness is not None:
                shows = f"   shows {change.witness.shows}" if change.witness.shows else ""
                yield f"    try: authz check {shlex.join(change.witness.words)}{shows}"
        if len(listed) > _SHOWN:
            yield f"and {len(listed) - _SHOWN} more that {'gain' if gained else 'lose'}: see --json"
    if not found:
        yield "no one gains or loses anything by the rules"


def _markdown(about: Iterable[Condition], found: list[Change]) -> Iterator[str]:
    """The report for a pull request."""
    yield from (f"> **{condition.text}**\n" for condition in about)
    if not found:
        yield "No one gains or loses anything by the rules."
        return
    yield "| | who | what | rule | try `authz check` |"
    yield "| --- | --- | --- | --- | --- |"
    for change in found[:_SHOWN]:
        words = f"`{shlex.join(change.witness.words)}`" if change.witness is not None else ""
        cells = ["gains" if change.gained else "loses", who(change), what(change), _because(change), words]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    if len(found) > _SHOWN:
        yield f"\nand {len(found) - _SHOWN} more"


def _as_json(about: Iterable[Condition], found: Iterable[Change]) -> dict[str, object]:
    return {
        "conditions": [{"text": one.text, "widens": one.widens} for one in about],
        "changes": [
            {
                "change": "gains" if change.gained else "loses",
                "plane": change.plane.value,
                "who": [name_of(caller) for caller in change.callers],
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


def who(change: Change) -> str:
    """The callers, as people name them."""
    # What every caller gains needs no list of those who also do.
    named = [caller for caller in change.callers if caller.anonymous]
    named = named or [caller for caller in change.callers if caller.issuer and not caller.memberships]
    named = named or [*change.callers]
    names = [name_of(caller) for caller in named]
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    roles = f" ({', '.join(change.roles)})" if change.roles else ""
    return f"{', '.join(names[:_FEW])}{more}{roles}"


def name_of(caller: Caller) -> str:
    """One caller by their memberships."""
    if caller.anonymous:
        return "callers without a token"
    if not caller.issuer:
        return "a run"
    held = " and ".join(f"{membership.kind} `{membership.value}`" for membership in caller.memberships)
    return held or f"every caller of {caller.issuer}"


def what(change: Change) -> str:
    """Operations, DAGs and place."""
    place = " ".join(map(", ".join, filter(None, (change.methods, change.destinations or change.hosts, change.paths))))
    run = f"as a run ({', '.join(change.levels)})" if change.levels else ""
    named = [f"{word} {', '.join(texts)}" for word, texts in (("DAG", change.dags), ("task", change.tasks)) if texts]
    return ", ".join(filter(None, (", ".join(change.operations), place, run, *named)))


def _because(change: Change) -> str:
    rule = f"rule `{change.rule}`"
    return f"{rule}; the deny rule `{change.denied}` is gone or narrower" if change.denied else rule
