"""`authz diff` and `authz prove`: who gains and who loses between two policies, before the new one ships.

Law: exit status 0 when no one gains, or when that was not asked; 1 when someone does; 2 when a policy cannot be read.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Final, NamedTuple

import click
import orjson

from authz.cli.key_files import key_files
from authz.cli.naming import Names, callers_json
from authz.cli.options import json_option, upgrade_option
from authz.cli.policy_files import POLICY, PolicyFile
from authz.cli.safe_text import MARKDOWN, command
from authz.cli.spans import Span, entries, spans
from authz.cli.terminal import show, verdict
from authz.core import cases, collector
from authz.core.characters import one_line
from authz.core.documents.moments import moment_text
from authz.core.errors import Problem
from authz.core.policy import Policy
from authz.core.proof.condition import Condition
from authz.core.proof.conditions import KeyFiles
from authz.core.proof.diff import Change
from authz.core.proof.never import Invariant
from authz.core.proof.periods import Period, about, periods
from authz.core.proof.promises import Lost, lost

_SHOWN: Final = 50


class _Side(NamedTuple):
    """One of the two policies, which keys the files of its issuers have, and the mistakes in its tests.

    `never` has its entries of `never`, None where mistakes hide them. `airflow` is the version in place of the policy's
    own, or "".
    """

    policy: Policy
    keys: KeyFiles
    mistakes: tuple[Problem, ...]
    never: tuple[Invariant, ...] | None
    airflow: str


def _side(file: PolicyFile, airflow: str) -> _Side:
    policy, mistakes, never = cases.read_rules(replace(file.bundle(), airflow=airflow))
    return _Side(policy, key_files(policy, file.revision), mistakes, never, airflow)


class _Report(NamedTuple):
    """What is different between two sides. `mistakes` are those in the tests of both, each once.

    `lost` are the entries of `never` that the new policy does not say; None if that is not known.
    """

    before: _Side
    after: _Side
    named: list[Condition]
    found: list[Period]
    lost: list[Lost] | None

    @property
    def policies(self) -> tuple[Policy, Policy]:
        return self.before.policy, self.after.policy

    @property
    def mistakes(self) -> list[Problem]:
        return [*dict.fromkeys((*self.before.mistakes, *self.after.mistakes))]

    @property
    def widens(self) -> bool:
        """Whether anybody gains anything."""
        changes = (change for one in self.found for change in one.changes)
        return any(one.widens for one in self.named) or any(change.gained for change in changes)

    def options(self, change: Change, since: Period) -> tuple[str, ...]:
        """What `authz check` needs to allow the request of a change: the time, and the version of Airflow."""
        at = () if since is self.found[0] else ("--at", moment_text(since.since))
        airflow = (self.after if change.gained else self.before).airflow
        return (*at, "--airflow", airflow) if airflow else at


def _compared(
    old: PolicyFile, new: PolicyFile | None, airflow: tuple[str, str] | str, *, only_gains: bool = False
) -> _Report:
    """The report on two policies, or on one under two versions of Airflow."""
    if new is None and not airflow:
        raise click.UsageError("give OLD and NEW, or one policy and two versions of Airflow (--airflow OLD NEW)")
    versions = airflow or ("", "")
    with collector.resting():
        before, after, now = _side(old, versions[0]), _side(old if new is None else new, versions[1]), time.time()
        policies = before.policy, after.policy
        named = [*about(*policies, now, (before.keys, after.keys))]
        return _Report(before, after, named, periods(*policies, now, only_gains=only_gains), _lost(before, after))


def _lost(before: _Side, after: _Side) -> list[Lost] | None:
    if before.never is None or (before.never and after.never is None):
        return None
    return lost(before.never, after.never or ())


def _warn(mistakes: Sequence[Problem]) -> None:
    """Say on standard error that a gate would refuse a policy for its tests: who gains is to be seen all the same."""
    if mistakes:
        warning = "the tests have mistakes, for which a gate refuses the policy; the rules are compared"
        click.echo("\n".join([f"warning: {warning}", *(f"  {problem}" for problem in mistakes)]), err=True)


@click.command(short_help="Who gains and who loses between two policies?")
@click.argument("old", type=POLICY)
@click.argument("new", type=POLICY, required=False)
@upgrade_option
@click.option("--fail-on-widen", is_flag=True, help="Exit status 1 if anybody gains anything.")
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request.")
@json_option
def diff(
    old: PolicyFile,
    new: PolicyFile | None,
    *,
    airflow: tuple[str, str] | str,
    fail_on_widen: bool,
    markdown: bool,
    as_json: bool,
) -> None:
    """Who gains and who loses if NEW comes into force in place of OLD, or by an upgrade of Airflow?

    OLD and NEW are files, or git:REVISION:PATH. The answer is complete: no one else gains or loses anything, now or
    when a rule or a membership ends (`until`). Each line has a request to try with `authz check`. Mistakes in tests are
    warnings here: a gate would refuse the policy for them.

    Entries of `never` that NEW does not say any more come first, for a person to compare: they were compared by their
    words. They allow nothing by themselves, so they do not count for --fail-on-widen.

    \b
    authz diff git:main:policy.yaml policy.yaml
    authz diff git:HEAD~1:policy.yaml policy.yaml --markdown
    authz diff old.yaml new.yaml --fail-on-widen
    authz diff --airflow 3.2.2 3.3.2 policy.yaml
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    report = _compared(old, new, airflow)
    if as_json:
        click.echo(orjson.dumps(_as_json(report)).decode())
    else:
        _warn(report.mistakes)
        if markdown:
            click.echo("\n".join(_markdown(report)))
        else:
            show(_lines(report))
    click.get_current_context().exit(1 if fail_on_widen and report.widens else 0)


@click.group(short_help="Prove that a policy change gives no one more.")
def prove() -> None:
    """Prove something of a policy: PASS, or FAIL with the reasons."""


@prove.command("no-new-access", short_help="Does no one gain anything?")
@click.argument("old", type=POLICY)
@click.argument("new", type=POLICY, required=False)
@upgrade_option
@json_option
def no_new_access(old: PolicyFile, new: PolicyFile | None, *, airflow: tuple[str, str] | str, as_json: bool) -> None:
    """PASS if no one may do under NEW what OLD did not allow; else FAIL, with every gain. Exit status 0 or 1.

    It is so now, and at every later time, when rules and memberships of either have ended.
    """
    whole = _compared(old, new, airflow, only_gains=True)
    report = whole._replace(named=[one for one in whole.named if one.widens])
    if as_json:
        result = {"result": "FAIL" if report.widens else "PASS", **_as_json(report)}
        click.echo(orjson.dumps(result).decode())
    else:
        _warn(report.mistakes)
        show([verdict(good=not report.widens), *(_lines(report) if report.widens else ())])
    click.get_current_context().exit(1 if report.widens else 0)


def _spans(report: _Report, names: Names) -> list[Span]:
    """What is shown together, the first that of now, which may be nothing. A single heading, of now, says nothing."""
    made = [*spans(report.found, report.policies, names)]
    now = report.found[0]
    if not any(one.since is now for one in made):
        made.insert(0, Span("now:", now, ()))
    return [made[0]._replace(heading="")] if len(made) == 1 and made[0].heading == "now:" else made


def _lines(report: _Report) -> Iterator[str]:
    """The report for a terminal."""
    names = Names(report.policies)
    for condition in report.named:
        yield click.style(one_line(condition.text), fg="yellow")
    head, *entries_lost = _invariants(report)
    if head:
        yield click.style(head, fg="yellow")
    yield from (f"    {one_line(text)}" for text in entries_lost)
    for one in _spans(report, names):
        if one.heading:
            yield click.style(one.heading, bold=True)
        yield from _changes(one, names, report)
        if not one.changes:
            yield _nothing(report)


def _invariants(report: _Report) -> Iterator[str]:
    """What became of `never`: a heading, "" where nothing is to be said, and then a line for each entry."""
    found = report.lost
    if found is None:
        yield "invariants: not compared, because mistakes hide entries of `never`"
        return
    yield f"invariants: {_counted(len(found))} removed or weaker: compare by hand" if found else ""
    for one in found:
        entry = one.entry
        said = f"weaker in {', '.join(one.weaker)}" if one.weaker else "removed"
        yield f"{said}: {entry.name} ({entry.file}:{entry.line}:{entry.column})"


def _counted(entries: int) -> str:
    return "1 entry of `never` is" if entries == 1 else f"{entries:,} entries of `never` are"


def _title(change: Change) -> str:
    return "gains" if change.gained else "loses"


def _nothing(report: _Report) -> str:
    """What is said of rules without a change: no all-clear where something else changes."""
    else_changed = [word for word, found in (("conditions", report.named), ("invariants", report.lost != [])) if found]
    see = f"; see the {' and the '.join(else_changed)} above" if else_changed else ""
    return f"no one gains or loses anything by the rules{see}"


def _changes(span: Span, names: Names, report: _Report) -> Iterator[str]:
    for gained, color in ((True, "green"), (False, "red")):
        listed = [change for change in span.changes if change.gained is gained]
        for entry in entries(span, listed[:_SHOWN], names):
            change = entry.changes[0]
            yield f"{click.style(_title(change), fg=color)} {entry.who}: {entry.what}"
            yield f"    {entry.because}"
            if change.witness is not None:
                shows = f"   shows {one_line(change.witness.shows)}" if change.witness.shows else ""
                words = (*change.witness.words, *report.options(change, span.since))
                yield f"    try: authz check {command(words)}{shows}"
        if len(listed) > _SHOWN:
            yield f"and {len(listed) - _SHOWN} more that {'gain' if gained else 'lose'}: see --json"


def _markdown(report: _Report) -> Iterator[str]:
    """The report for a pull request."""
    names = Names(report.policies, MARKDOWN)
    yield from (f"> **{MARKDOWN.text(condition.text)}**\n" for condition in report.named)
    head, *entries_lost = _invariants(report)
    if head:
        yield f"> **{MARKDOWN.text(head)}**\n"
    yield from (f"- {MARKDOWN.text(text)}" for text in entries_lost)
    yield from ("",) if entries_lost else ()
    for at, one in enumerate(_spans(report, names)):
        if one.heading:
            heading = f"**{one.heading}**\n"
            yield f"\n{heading}" if at else heading
        if one.changes:
            yield from _table(one, names, report)
        else:
            yield f"{_nothing(report).capitalize()}."


def _table(span: Span, names: Names, report: _Report) -> Iterator[str]:
    yield "| | who | what | rule | try `authz check` |"
    yield "| --- | --- | --- | --- | --- |"
    for entry in entries(span, span.changes[:_SHOWN], names):  # where an end has moved, a span has gains or losses
        change = entry.changes[0]
        options = report.options(change, span.since)
        words = MARKDOWN.code(command((*change.witness.words, *options))) if change.witness is not None else ""
        shows = f" shows {MARKDOWN.code(change.witness.shows)}" if change.witness and change.witness.shows else ""
        yield f"| {_title(change)} | {entry.who} | {entry.what} | {entry.because} | {words}{shows} |"
    if len(span.changes) > _SHOWN:
        yield f"\nand {len(span.changes) - _SHOWN} more: see `--json`"


def _as_json(report: _Report) -> dict[str, object]:
    names, found = Names(report.policies), report.found
    return {
        "airflow": [policy.catalogue.version for policy in report.policies],
        "conditions": [{"text": one.text, "widens": one.widens} for one in report.named],
        "invariants": None if report.lost is None else [_lost_json(one) for one in report.lost],
        "changes": _dicts(found[0].changes, names),
        "later": [{"from": moment_text(one.since), "changes": _dicts(one.changes, names)} for one in found[1:]],
        "test_mistakes": [asdict(problem) for problem in report.mistakes],
    }


def _lost_json(one: Lost) -> dict[str, object]:
    entry = one.entry
    place = {"file": entry.file, "line": entry.line, "column": entry.column}
    return {"change": "weaker" if one.weaker else "removed", "name": entry.name, "weaker_in": [*one.weaker], **place}


def _dicts(found: Iterable[Change], names: Names) -> list[dict[str, object]]:
    return [
        {
            "change": "gains" if change.gained else "loses",
            "plane": change.plane.value,
            "who": names.all(change),
            "callers": callers_json(change),
            "roles": list(change.roles),
            "operations": list(change.operations),
            "routes": list(change.routes),
            "dags": list(change.dags),
            "destinations": list(change.destinations),
            "hosts": list(change.hosts),
            "methods": list(change.methods),
            "paths": list(change.paths),
            "levels": list(change.levels),
            "tasks": list(change.tasks),
            "rule": change.rule,
            "denied": change.denied,
            "denied_is": names.denied_is(change),
            "check": list(change.witness.words) if change.witness else None,
            "shows": change.witness.shows if change.witness else "",
        }
        for change in found
    ]
