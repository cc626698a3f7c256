"""`authz audit story`: what is on record about one decision, one run of a DAG, or one caller.

Law: exit status 0 if there is something, 1 if there is nothing, 2 for a mistake. Only what is on record is said, and
what may have been is called so. Memory is bounded: what is left out is counted.
"""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from authz.cli import story_text
from authz.cli.audit_query import unread
from authz.cli.decision_text import ascii_json
from authz.cli.selecting import log_settings_option, logs_meant, period_of, period_options
from authz.core.characters import one_line
from authz.core.policy.patterns import Glob
from authz.core.record import time_in
from authz.core.traffic.selection import Selection
from authz.core.traffic.story import (
    Days,
    Recorded,
    dags_of,
    instances_of,
    is_accepted,
    is_access_of,
    run_story,
    triggers_of,
)
from authz.ops.log_followed import Newest, accesses_of, outcomes_of
from authz.ops.log_parts import searched
from authz.ops.log_reader import Part
from authz.ops.log_search import Search

_MOST: Final = 10_000
_MOST_ACCESSES: Final = 10_000
_MOST_CLAIMED: Final = 100
_MOST_CREATES: Final = 100
_is_decision: Final = re.compile(r"[0-9a-f]{24}", re.ASCII).fullmatch
_KINDS: Final = ("decision", "run", "caller")


@click.command(short_help="What is on record about a decision, a run or a caller?")
@click.argument("name", metavar="DECISION|RUN|CALLER")
@click.argument("logs", nargs=-1, metavar="[LOG]...")
@log_settings_option
@period_options
@click.option("--kind", type=click.Choice(_KINDS), help="What the name is, where it could be several things.")
@click.option(
    "--format", "form", type=click.Choice(["tree", "json"]), default="tree", show_default=True, help="Of the output."
)
def story(
    name: str, logs: tuple[str, ...], settings_path: Path | None, *, kind: str | None, form: str, **given: Any
) -> None:
    """What is on record about a decision, a run of a DAG, or a caller, as a tree.

    DECISION is the id in the answer's header `x-authz-decision`; RUN is `DAG/RUN_ID`, or an id that one DAG has;
    CALLER is a subject, a user's name or a client id. LOG is as for `authz audit query`.

    Exit status 0: there is something; 1: there is nothing; 2: a mistake.

    \b
    authz audit story 926a3e91b7e7441cfa435aae /var/log/authz/audit
    authz audit story sales_daily/manual__2026-11-30T08:00:00+00:00 /var/log/authz/audit
    authz audit story ada --since 7d --settings authz.yaml
    """  # noqa: D301 \b is click's mark for text that must not be rewrapped
    since, until = period_of(given, time.time())
    paths = logs_meant(logs, settings_path)
    recorded = _Logs(paths, since, until).story(name, kind)
    if recorded is None:
        click.echo(one_line(f"nothing is on record about {name}"), err=True)
        click.get_current_context().exit(1)
    lines = [ascii_json(recorded.as_json)] if form == "json" else recorded.lines
    click.echo("\n".join(lines))


class _Logs:
    """The files that are asked."""

    def __init__(self, paths: Sequence[Path], since: str, until: str) -> None:
        self._paths, self._since, self._until = paths, since, until
        self._said = False  # what could not be read

    def story(self, name: str, kind: str | None) -> story_text.Story | None:
        """The story of what the name stands for; None if nothing is on record.

        Raises:
            UsageError: the name stands for several things.
        """
        if kind == "decision" or (kind is None and _is_decision(name)):
            found = self._decision(name)
            if found is not None or kind is not None:
                return found
        if kind == "caller":
            return self._caller(name, self._search(self._meant(identities=frozenset()), 0))
        dag, _, run = name.partition("/") if "/" in name else ("", "", name)
        runs = self._search(self._meant(run=run), _MOST)
        callers = bool(runs.of_caller(name))
        if runs.tally.matched and callers and kind is None:
            raise click.UsageError(f"{one_line(name)} is a run and a caller: give --kind run or --kind caller")
        recorded = self._run(dag, run, runs) if runs.tally.matched or dag else None
        return self._caller(name, runs) if recorded is None and not runs.tally.matched and kind is None else recorded

    def _meant(self, identities: frozenset[str] | None = None, **wanted: str) -> Selection:
        """Decisions of the time that is meant with exactly these values."""
        globs = {field: (Glob(text, (text,)),) for field, text in wanted.items()}
        return Selection(wanted=globs, since=self._since, until=self._until, identities=identities)

    def _search(self, selection: Selection, most: int, seen: Callable[[Any], None] | None = None) -> Search:
        if seen is None:
            found = searched(self._paths, selection, (), most)
        else:
            found = Search(selection, most, seen=seen)
            for path in self._paths:
                found.read(Part(path))
        for line in () if self._said else unread(found.tally):
            click.echo(line, err=True)
        self._said = True
        return found

    def _recorded(self, found: Search) -> list[Recorded]:
        return self._with_outcomes(_recorded(found))

    def _with_outcomes(self, some: Iterable[Recorded]) -> list[Recorded]:
        known = [*some]
        outcomes = outcomes_of(self._paths, {str(one.record.get("id")) for one in known})
        return [one._replace(outcome=outcomes.get(str(one.record.get("id")))) for one in known]

    def _decision(self, name: str) -> story_text.Story | None:
        recorded = self._recorded(self._search(self._meant(id=name), 1))
        return story_text.of_decision(recorded[0]) if recorded else None

    def _run(self, dag: str, run: str, found: Search) -> story_text.Story | None:
        calls = _recorded(found)
        dags = dags_of(one.record for one in calls)
        if not dag and len(dags) > 1:
            names = ", ".join(one_line(f"{one}/{run}") for one in sorted(dags)[:10])
            raise click.UsageError(f"several DAGs have a run of this name: {names}")
        dag = dag or next(iter(dags), "")
        if dag not in dags and dags:
            return None
        first = min((one.time for one in calls if one.time), default="")
        creates = triggers_of(dag, self._since, first or self._until)
        may = _recorded(self._search(creates, _MOST_CREATES if calls else _MOST))
        known = self._with_outcomes([*calls, *may])  # together: each time the whole log is read
        calls, may = known[: len(calls)], known[len(calls) :]
        done, claimed = self._accesses(dag, run, calls)
        made = run_story(dag, run, calls, may, [*done.kept(), *claimed.kept()])
        if not (calls or made.trigger or done.count or claimed.count):
            return None
        return story_text.of_run(made, found.tally.matched - len(calls), done.left_out, claimed.left_out)

    def _accesses(self, dag: str, run: str, calls: Iterable[Recorded]) -> list[Newest]:
        """What Airflow answered the run's tasks, and others who asked for its XComs, and what it did not accept."""
        instances, meant = frozenset(instances_of(calls, dag, run)), self._meant()

        def kind(entry: Mapping[str, Any]) -> int | None:
            if meant.by_time and not meant.within(time_in(entry)):
                return None
            return int(not is_accepted(entry)) if is_access_of(entry, dag, run, instances) else None

        return accesses_of(self._paths, kind, (_MOST_ACCESSES, _MOST_CLAIMED))

    def _caller(self, name: str, known: Search) -> story_text.Story | None:
        """All decisions about a caller: by the entries of the logs, else by the subject."""
        identities = known.of_caller(name)
        days = Days()
        selection = self._meant(identities=identities) if identities else self._meant(subject=name)
        found = self._search(selection, 0, days.add)
        if not days.decisions and not identities:
            found = self._search(self._meant(client=name), 0, days.add)
        if not days.decisions:
            return None
        changes = self._with_outcomes(Recorded(record, found.entry_of(record)) for record in days.listed())
        return story_text.of_caller(name, days, changes)


def _recorded(found: Search) -> list[Recorded]:
    return [Recorded(one.record, one.entry) for one in found.newest()]
