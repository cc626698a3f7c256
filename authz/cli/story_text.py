"""A story as a tree for a terminal, and as JSON.

Law: what a caller sent stays text: each branch is one line and moves no cursor. Nothing is said that is not on record.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple

from authz.cli import decision_text as text
from authz.core.characters import one_line
from authz.core.traffic.story import Accessed, Day, Days, Recorded, RunStory, Task, run_of
from authz.ops.log_search import Found

_REVISION: Final = 12
_NOT_ON_RECORD: Final = "not on record"


class Branch(NamedTuple):
    """A line, and those below it."""

    text: str
    below: "Sequence[Branch]" = ()


class _Line(NamedTuple):
    """A decision or an access: when it was, what is said of it, and the decision's id."""

    when: str
    said: str
    name: str = ""

    @property
    def branch(self) -> Branch:
        return Branch("  ".join(filter(None, self)))


class Story(NamedTuple):
    """Lines for a terminal, and an object for programs."""

    lines: list[str]
    as_json: Mapping[str, Any]


def drawn(tree: Branch) -> list[str]:
    """The lines of a tree."""
    return [tree.text, *_below(tree.below, "")]


def _below(branches: Sequence[Branch], indent: str) -> Iterator[str]:
    for at, branch in enumerate(branches, 1):
        is_last = at == len(branches)
        yield f"{indent}{'└─' if is_last else '├─'} {branch.text}"
        yield from _below(branch.below, indent + ("   " if is_last else "│  "))


def _folded(lines: Iterable[_Line]) -> list[Branch]:
    """The lines, of more than two in a row that say the same only the first, and how many more there are."""
    found: list[Branch] = []
    for _, group in groupby(lines, key=lambda line: line.said):
        first, *same = group
        found.append(first.branch)
        if len(same) > 1:
            found.append(Branch(f"… the same {len(same):,} more times, until {same[-1].when}"))
        else:
            found += [one.branch for one in same]
    return found


def of_decision(recorded: Recorded) -> Story:
    """Who asked what, the answer and why, and what came of it."""
    record, found = recorded.record, Found(recorded.record, recorded.entry)
    entry = recorded.entry or {}
    who = [
        *_named("issuer", entry.get("issuer")),
        *_named("client", record.get("client")),
        *_named("roles", record.get("roles")),
        *_named("groups", entry.get("groups")),
        *_named("level", record.get("level")),
        *_named("from", record.get("source")),
    ]
    asked = [
        *_named("method", record.get("method")),
        *_named("host", record.get("host")),
        *_named("path", record.get("path")),
        *_named("destination", record.get("destination")),
        *_named("DAG", record.get("dag")),
    ]
    run = run_of(record)
    made = [
        Branch(f"rule: {one_line(str(record.get('rule') or 'none'))}"),
        *_named("policy", record.get("revision")),
        *_named("grants", [str(one.get("id", "")) for one in _objects(record.get("grants"))]),
        *_named("detail", record.get("detail")),
    ]
    tree = Branch(
        f"decision {text.name(found)} of {text.when(found, to='whole')}",
        [
            Branch(f"caller: {text.who(found)}", who),
            *([Branch(f"run: {_run_name(run)}")] if run else []),
            Branch(f"asked for: {text.what(found)}", asked),
            Branch(f"answer: {text.colored(text.answer(found))} {one_line(str(record.get('reason', '')))}", made),
            Branch(f"outcome: {outcome(recorded, long=True)}"),
        ],
    )
    return Story(drawn(tree), {"kind": "decision", **_json(recorded)})


def of_run(story: RunStory, left_out: int, accesses_left_out: int = 0, claimed_left_out: int = 0) -> Story:
    """Who may have triggered a run, what was asked about it, and what its tasks did."""
    branches = [_triggered(story), *_policies(story)]
    if story.requests or story.reads:
        head = f"asked of Airflow about it: {_count(len(story.requests), 'change')}, {_count(story.reads, 'read')}"
        branches.append(Branch(head, _folded(map(_line, story.requests))))
    branches += [_task(task, story) for task in story.tasks]
    if story.others:
        below = _folded(_accessed(one, story, f"by {one.entry.get('instance') or 'unknown'}") for one in story.others)
        branches.append(Branch("its XComs, by task instances whose task is not on record:", below))
    if story.claimed:
        total = _count(len(story.claimed) + claimed_left_out, "request")
        below = _folded(_accessed(one, story, _claimed(one)) for one in story.claimed)
        below += [Branch(f"{claimed_left_out:,} older left out")] if claimed_left_out else []
        branches.append(Branch(f"Airflow did not accept, so who asked is only claimed: {total}", below))
    for count, what in ((left_out, "older decision"), (accesses_left_out, "older access")):
        if count:
            branches.append(Branch(f"{_count(count, what)} left out"))
    tree = Branch(one_line(f"run {story.run} of {story.dag or 'a DAG that is not on record'}"), branches)
    whole = {
        "kind": "run",
        "dag": story.dag,
        "run": story.run,
        "triggered_by": None if story.trigger is None else _json(story.trigger),
        "may_have_been_triggered_by": [_json(one) for one in story.candidates],
        "requests": [_json(one) for one in story.requests],
        "reads": story.reads,
        "tasks": [
            {
                "task": task.task,
                "map_index": task.map_index,
                "calls": [_json(one) for one in task.calls],
                "accesses": [one.entry for one in task.accesses],
            }
            for task in story.tasks
        ],
        "accesses_of_others": [one.entry for one in story.others],
        "left_out": left_out,
        "accesses_left_out": accesses_left_out,
        "claimed": [one.entry for one in story.claimed],
        "claimed_left_out": claimed_left_out,
    }
    return Story(drawn(tree), whole)


def _triggered(story: RunStory) -> Branch:
    if story.trigger is not None:
        return Branch("triggered by:", [_line(story.trigger, dag=False).branch])
    if story.made_by_airflow:
        return Branch("triggered by: not on record; its id is one that Airflow gives to runs of its own")
    if not story.candidates:
        return Branch(f"triggered by: {_NOT_ON_RECORD}")
    return Branch("may have been triggered by:", [_line(one, dag=False).branch for one in reversed(story.candidates)])


def _policies(story: RunStory) -> list[Branch]:
    """Under which policy it was decided; where there were several, when each first decided."""
    trigger = () if story.trigger is None else (story.trigger,)
    calls = [one for task in story.tasks for one in task.calls]
    decided = sorted((*trigger, *story.requests, *calls), key=lambda one: one.time)
    first: dict[str, Recorded] = {}
    for one in decided:
        if revision := str(one.record.get("revision") or "")[:_REVISION]:
            first.setdefault(revision, one)
    if len(first) > 1:
        since = [Branch(one_line(f"{text.when(Found(one.record, None))}  {name}")) for name, one in first.items()]
        return [Branch("policies, each from its first decision on:", since)]
    return [Branch(one_line(f"policy: {name}")) for name in first]


def _task(task: Task, story: RunStory) -> Branch:
    mapped = f"[{task.map_index}]" if task.map_index >= 0 else ""
    calls = [(one.time, _line(one, who=_try(run_of(one.record)), dag=False)) for one in task.calls]
    calls += [(one.time, _accessed(one, story, _try(one.run))) for one in task.accesses]
    in_order = sorted(calls, key=lambda one: one[0])
    return Branch(one_line(f"task {task.task}{mapped}"), _folded(line for _, line in in_order))


def _try(run: Mapping[str, Any]) -> str:
    return f"try {run.get('try_number', '?')}"


def _claimed(accessed: Accessed) -> str:
    run = accessed.run
    return f"as {run.get('task_id')}, {_try(run)}" if run else f"as {accessed.entry.get('instance') or 'unknown'}"


def _accessed(accessed: Accessed, story: RunStory, who: str) -> _Line:
    """What was read or changed as one line: when, the caller, what, and what came of it."""
    entry = accessed.entry
    what = f"{entry.get('kind')} {entry.get('name')}"
    if "task" in entry:
        here = (entry.get("dag"), entry.get("run")) == (story.dag, story.run)
        of = [entry.get("task")] if here else [entry.get(name) for name in ("dag", "run", "task")]
        what = f"{what} of {'/'.join(map(str, of))}"
    parts = [str(entry.get("action")), who, what, f"→ {outcome(Recorded({}, outcome=entry))}"]
    return _Line(text.when(Found(entry, None)), one_line("  ".join(parts)))


def of_caller(name: str, days: Days, changes: Sequence[Recorded]) -> Story:
    """A caller's days: how much was asked for, and each change."""
    by_day: dict[int, Recorded] = {id(one.record): one for one in changes}
    found = days.days()
    head = f"{name}: {_count(days.decisions, 'decision')} on {_count(len(found), 'day')}"
    branches = [_day(day, [by_day[id(record)] for record in day.changes]) for day in found]
    if days.changes > len(changes):
        branches.append(Branch(f"{_count(days.changes - len(changes), 'older change')} left out"))
    whole = {
        "kind": "caller",
        "caller": name,
        "decisions": days.decisions,
        "days": [
            {
                "day": day.day,
                "decisions": day.decisions,
                "denied": day.denied,
                "operations": dict(day.kinds.most_common()),
                "roles": sorted(day.roles),
                "changes": [_json(by_day[id(record)]) for record in day.changes],
            }
            for day in found
        ],
        "changes_left_out": days.changes - len(changes),
    }
    return Story(drawn(Branch(one_line(head), branches)), whole)


def _day(day: Day, changes: Sequence[Recorded]) -> Branch:
    denied = f", {day.denied:,} denied" if day.denied else ""
    counts = ", ".join(f"{kind or '-'} {count:,}" for kind, count in day.kinds.most_common())
    below = [
        *([Branch(one_line(f"roles: {', '.join(sorted(day.roles))}"))] if day.roles else []),
        Branch(one_line(f"asked for: {counts}")),
        *([Branch("changes:", _folded(_line(one, who="") for one in changes))] if changes else []),
    ]
    return Branch(one_line(f"{day.day or 'no time'}: {_count(day.decisions, 'decision')}{denied}"), below)


def _line(recorded: Recorded, who: str | None = None, *, dag: bool = True) -> _Line:
    """A decision as one line: when, answer, who, what, why, what came of it, id."""
    found = Found(recorded.record, recorded.entry)
    parts = [
        text.colored(text.answer(found)),
        text.who(found) if who is None else one_line(who),
        text.what(found),
        text.dag(found) if dag else "",
        text.why(found),
        f"→ {outcome(recorded)}" if recorded.outcome is not None else "",
    ]
    return _Line(text.when(found), "  ".join(filter(None, parts)), text.name(found))


def outcome(recorded: Recorded, *, long: bool = False) -> str:
    """What came of a decision, in a few words."""
    said = recorded.outcome
    if said is None:
        return _NOT_ON_RECORD
    status = f"{said.get('status')}" if said.get("status") else "no answer"
    short = f"{status} by {said.get('ended_by', '?')}"
    if not long:
        return one_line(short)
    flags = f", flags {said['flags']}" if said.get("flags") else ""
    host = f" at {said['upstream_host']}" if said.get("upstream_host") else ""
    where = f", {said['upstream']}{host}" if said.get("upstream") else ""
    size = f", {said.get('bytes_sent', '?')} bytes in {said.get('duration_ms', '?')} ms"
    return one_line(f"{short}{flags}{where}{size}")


def _json(recorded: Recorded) -> dict[str, Any]:
    return {"decision": recorded.record, "caller": recorded.entry, "outcome": recorded.outcome}


def _run_name(run: Mapping[str, Any]) -> str:
    names = f"{run.get('dag_id', '')}/{run.get('run_id', '')}, task {run.get('task_id', '')}"
    return one_line(f"{names}, try {run.get('try_number', '?')}")


def _named(name: str, value: object) -> Iterable[Branch]:
    """A branch for a value, none for an empty one."""
    shown = ", ".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else ""
    return [Branch(one_line(f"{name}: {shown}"))] if shown else []


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
