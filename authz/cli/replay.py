"""`authz replay`: what a policy would have decided about the traffic of a decision log.

Law: exit status 0 if nothing changes that was asked about, 1 if something does, 2 if there is no answer: a mistake, or
a log of which too little can be evaluated.
"""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click
import orjson

from authz.cli.options import gate_option, json_option
from authz.cli.policy_files import HELP, POLICY, PolicyFile
from authz.cli.terminal import show
from authz.cli.traffic import (
    Read,
    evaluated_option,
    logs_of,
    policy_and_settings,
    read,
    span_of,
    span_text,
    tally_json,
    too_few,
    unread_json,
    unread_lines,
)
from authz.core.characters import one_line
from authz.core.policy import Policy
from authz.core.replay import Gap
from authz.core.traffic.changes import Comparison, Kind, Outcome
from authz.core.traffic.evaluating import Traffic
from authz.core.traffic.tally import MOST_CALLERS, Tally, total
from authz.core.traffic.witness import words

_SHOWN: Final = 50
_FEW: Final = 4
_REVISION: Final = 12  # characters
_CHANGES: Final = (Outcome.ALLOWED, Outcome.DENIED, Outcome.NOT_REPRODUCED)
_NOT_OURS: Final = frozenset({Gap.MALFORMED, Gap.IDENTITY_UNKNOWN})  # no gate writes such a record
_FAILS: Final = {
    "change": frozenset({Outcome.ALLOWED, Outcome.DENIED}),
    "allow": frozenset({Outcome.ALLOWED}),
    "deny": frozenset({Outcome.DENIED}),
}
_TITLES: Final = {
    Outcome.ALLOWED: ("now allowed", "green"),
    Outcome.DENIED: ("now denied", "red"),
    Outcome.NOT_REPRODUCED: ("not reproduced", "red"),
}
_Counted = tuple[Kind, Tally]


@click.command(short_help="What would a policy have decided about yesterday's traffic?")
@click.argument("logs", nargs=-1, metavar="[LOG]...")
@click.option(
    "--policy",
    "new",
    type=POLICY,
    help=f"The policy that decides now: {HELP}. Default: that of --settings, else policy.yaml.",
)
@gate_option
@click.option("--check", is_flag=True, help="Is every decision of this same policy reproduced? A test of log and gate.")
@click.option(
    "--fail-on",
    type=click.Choice([*_FAILS]),
    default="change",
    show_default=True,
    help="Exit status 1 if a decision changes, or only if one becomes an allow, or a denial.",
)
@evaluated_option
@json_option
def replay(
    logs: tuple[str, ...],
    new: PolicyFile | None,
    settings_path: Path | None,
    *,
    check: bool,
    fail_on: str,
    least: float,
    as_json: bool,
) -> None:
    """What would a policy have decided about the traffic of decision logs?

    LOG is a file, a pattern, or a folder with a log and the files that it was renamed to; they may be compressed (gzip,
    bzip2, xz). Default: the log of --settings. What cannot be evaluated again is counted, with the reason.

    Exit status 0: no decision changes; 1: one does, or, with --check, one is not reproduced, or is one that no gate
    writes; 2: a mistake, or too few records could be evaluated: none, or less than --min-evaluated. With --check, a
    record that another policy decided confirms nothing, and counts like one that could not be evaluated.

    \b
    authz replay /var/log/authz --policy new.yaml
    authz replay 'decisions.jsonl*' --policy git:proposal:policy.yaml --json
    authz replay decisions.jsonl --policy new.yaml --fail-on deny
    authz replay decisions.jsonl --check
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    policy, _, settings = policy_and_settings(new, settings_path)
    paths = logs_of(logs, settings)
    traffic = Traffic(policy, Comparison(policy, check=check))
    files = read(paths, traffic)
    counts = {outcome: total(t for kind, t in traffic.found.items() if kind.outcome is outcome) for outcome in Outcome}
    changed = sorted(
        ((kind, tally) for kind, tally in traffic.found.items() if kind.outcome in _CHANGES),
        key=lambda one: (_CHANGES.index(one[0].outcome), -one[1].count, one[1].first),
    )
    if as_json:
        click.echo(orjson.dumps(_as_json(files, traffic, policy, counts, changed)).decode())
    else:
        show(_lines(files, traffic, policy, counts, changed))
    forged = sum(tally.count for one, tally in traffic.unknown.items() if one.gap in _NOT_OURS) if check else 0
    evaluated = sum(tally.count for outcome, tally in counts.items() if outcome is not Outcome.OTHER_REVISION)
    fails = frozenset({Outcome.NOT_REPRODUCED}) if check else _FAILS[fail_on]
    found_some = bool(evaluated) and (forged or any(counts[outcome].count for outcome in fails))
    if error := too_few(traffic, evaluated, least, others=counts[Outcome.OTHER_REVISION].count):
        click.echo(error, err=True)
    click.get_current_context().exit(1 if found_some else 2 if error else 0)


def _lines(
    files: Read, traffic: Traffic[Kind], policy: Policy, counts: dict[Outcome, Tally], changed: Sequence[_Counted]
) -> Iterator[str]:
    """The report for a terminal."""
    yield span_text(files, span_of(traffic))
    yield from _counted(counts, _others(traffic))
    lists = total(tally for kind, tally in traffic.found.items() if kind.is_list).count
    if lists:
        stay = "1 list stays" if lists == 1 else f"{lists:,} lists stay"
        yield f"  {stay} allowed; which DAGs Airflow shows in them is not on record: see `authz diff`"
    unknown = total(traffic.unknown.values()).count
    if unknown:
        yield f"{unknown:,} cannot be evaluated again"
    yield from unread_lines(files, traffic)
    for outcome, (title, color) in _TITLES.items():
        listed = [one for one in changed if one[0].outcome is outcome]
        for kind, tally in listed[:_SHOWN]:
            yield from _change(click.style(title, fg=color), kind, tally, policy)
        if len(listed) > _SHOWN:
            rest = sum(tally.count for _kind, tally in listed[_SHOWN:])
            yield f"and {len(listed) - _SHOWN} more that are {title}, {rest:,} decisions: see --json"


def _others(traffic: Traffic[Kind]) -> str:
    """The revisions of the other policies of a check, the latest first."""
    found = {
        kind.revision: tally.last for kind, tally in traffic.found.items() if kind.outcome is Outcome.OTHER_REVISION
    }
    names = [revision[:_REVISION] for revision in sorted(found, key=lambda one: found[one], reverse=True)]
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def _counted(counts: dict[Outcome, Tally], others: str) -> Iterator[str]:
    texts = {
        Outcome.SAME: "the same",
        Outcome.OTHER_REASON: "the same, by another rule or for another reason",
        Outcome.ALLOWED: "now allowed",
        Outcome.DENIED: "now denied",
        Outcome.NOT_REPRODUCED: "not reproduced: the same policy decides otherwise",
        Outcome.OTHER_REVISION: one_line(f"by another policy ({others}), not compared"),
    }
    yield from (f"{counts[outcome].count:,} {text}" for outcome, text in texts.items() if counts[outcome].count)


def _change(title: str, kind: Kind, tally: Tally, policy: Policy) -> Iterator[str]:
    """One group of changes."""
    if kind.rest:
        yield f"{title} {tally.count:,} of other kinds, {_times(tally)}"
    else:
        yield f"{title} {tally.count:,} of {one_line(f'{_who(kind, tally)}: {_what(kind)}')}, {_times(tally)}"
        yield f"    was {one_line(kind.was)}, now {one_line(kind.now)}"
    yield f"    decision {one_line(tally.id + _try(tally, policy))}"


def _times(tally: Tally) -> str:
    return f"{tally.first} to {tally.last}" if tally.count > 1 else tally.first


def _who(kind: Kind, tally: Tally) -> str:
    then, now = (", ".join(names) or "no role" for names in (kind.roles, kind.roles_now))
    roles = then if then == now else f"{then}; now {now}"
    if kind.caller == "token":
        named = [*dict.fromkeys(filter(None, tally.callers.values()))]
        more = len(tally.callers) - min(len(named), _FEW)
        over = "+" if len(tally.callers) == MOST_CALLERS else ""
        names = [*named[:_FEW], *([f"{more:,}{over} more"] if more else [])]
        return f"{roles} ({', '.join(names)})"
    return kind.caller if not (kind.roles or kind.roles_now) else f"{kind.caller}, {roles}"


def _what(kind: Kind) -> str:
    place = " ".join(filter(None, (kind.operation, kind.method, kind.destination)))
    place = place if kind.operation or kind.destination else f"{place}, no operation of Airflow"
    return place + (f", DAG {kind.dag}" if kind.dag else "")


def _try(tally: Tally, policy: Policy) -> str:
    tried = words(tally.case, policy) if tally.case is not None else ()
    return f", try: authz check {shlex.join(tried)}" if tried else ""


def _as_json(
    files: Read, traffic: Traffic[Kind], policy: Policy, counts: dict[Outcome, Tally], changed: Sequence[_Counted]
) -> dict[str, object]:
    revisions: Counter[str] = Counter()
    for kind, tally in traffic.found.items():
        revisions[kind.revision] += tally.count
    span = span_of(traffic)
    return {
        "policy": policy.revision,
        "files": [str(path) for path in files.paths],
        "decisions": span.count,
        "first": span.first,
        "last": span.last,
        "counts": {outcome.value: tally.count for outcome, tally in counts.items()},
        "lists": total(tally for kind, tally in traffic.found.items() if kind.is_list).count,
        "revisions": dict(revisions),
        **unread_json(files, traffic),
        "changes": [_change_json(kind, tally, policy) for kind, tally in changed],
    }


def _change_json(kind: Kind, tally: Tally, policy: Policy) -> dict[str, object]:
    return {
        "change": kind.outcome.value,
        **tally_json(tally),
        "check": list(words(tally.case, policy)) if tally.case is not None else [],
        "callers": {"count": len(tally.callers), "subjects": [*dict.fromkeys(filter(None, tally.callers.values()))]},
        **{name: value for name, value in kind._asdict().items() if name not in {"outcome", "is_list"}},
    }
