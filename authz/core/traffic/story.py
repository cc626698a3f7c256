"""What a decision log has about one run or one caller, put in order.

Law: pure, and it asserts only what is on record. Who triggered a run is on record where an outcome names the run, as
Airflow's answer did. Elsewhere those who may have are candidates, by DAG and time, and called so.
Fields of a record may have any type, because programs may have written its line again.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from authz.core.model import EXECUTION, Plane
from authz.core.policy.patterns import Glob
from authz.core.record import ACCEPTED, number_in, text_in, time_in
from authz.core.traffic.selection import Selection

MOST_CANDIDATES: Final = 3
"""Triggers that are named: those nearest before the run's first sign."""
MOST_CHANGES: Final = 1000
"""Changes of a caller that are listed: the newest."""
OTHERS: Final = "others"
"""What is counted together when there are too many different things."""
RUN_IDENTITY: Final = "run identity"
"""What a task asks the gate for before it calls out."""
_MOST_KINDS: Final = 100  # different things that are counted in a day
_MOST_DAYS: Final = 1000
_NEAR_S: Final = 60.0  # between a request and the time in the id of the run that it triggered
_LATE_S: Final = 86400.0  # a run's first sign is rarely later after its trigger
_SCHEDULED: Final = ("scheduled__", "backfill__", "asset_triggered__")
_OF_TASKS: Final = (Plane.EGRESS.value, EXECUTION)  # tuples: a field of any type can be looked for in one
_READS: Final = ("GET", "HEAD", "OPTIONS")


class Recorded(NamedTuple):
    """A decision with what else is on record: its caller's memberships and its outcome, None where they are not."""

    record: Mapping[str, Any]
    entry: Mapping[str, Any] | None = None
    outcome: Mapping[str, Any] | None = None

    @property
    def time(self) -> str:
        """When the check arrived, "" if it is not known."""
        return time_in(self.record)


class Accessed(NamedTuple):
    """What was read or changed in Airflow, and the task whose instance its token names; empty where it is not known."""

    entry: Mapping[str, Any]
    run: Mapping[str, Any] = MappingProxyType({})

    @property
    def time(self) -> str:
        """When the request began, "" if it is not known."""
        return time_in(self.entry)


@dataclass(frozen=True, slots=True)
class Task:
    """What a task asked for, all its tries; `map_index` is -1 where it is not mapped.

    `calls` are decisions of the gate, `accesses` what it read and changed in Airflow without asking the gate.
    """

    task: str
    map_index: int
    calls: tuple[Recorded, ...]
    accesses: tuple[Accessed, ...] = ()


@dataclass(frozen=True, slots=True)
class RunStory:
    """A run.

    Attributes:
        dag, run: its names.
        made_by_airflow: whether its id is one that Airflow gives to the runs that it makes itself.
        trigger: the request that Airflow answered with the run's id; None if that is not on record.
        candidates: requests that may have triggered it where that is not on record, the nearest in time last.
        requests: what people and programs asked Airflow about it, other than reads.
        reads: how many reads there were.
        tasks: in the order of their first calls.
        others: accesses to its XComs by task instances whose task is not on record.
        claimed: requests that Airflow did not accept: by its tasks, as their tokens say, or for its XComs. Anyone can
            make such requests, so no task has them among its accesses.
    """

    dag: str
    run: str
    made_by_airflow: bool
    trigger: Recorded | None
    candidates: tuple[Recorded, ...]
    requests: tuple[Recorded, ...]
    reads: int
    tasks: tuple[Task, ...]
    others: tuple[Accessed, ...] = ()
    claimed: tuple[Accessed, ...] = ()


def run_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """The run that made a call; empty if none is known."""
    run = record.get("run")
    return run if isinstance(run, dict) and record.get("plane") in _OF_TASKS else {}


def dags_of(records: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The DAGs of records that are all about a run of one name: with more than one there are several runs."""
    return frozenset(dag for record in records if (dag := _dag_of(record)))


def _dag_of(record: Mapping[str, Any]) -> str:
    """The DAG of the run that a record is about; "" if it names none."""
    dag = run_of(record).get("dag_id") or record.get("dag")
    return dag if isinstance(dag, str) and dag != "~" else ""


def instances_of(found: Iterable[Recorded], dag: str, run: str) -> dict[str, Mapping[str, Any]]:
    """The ids of task instances of a run, each with the try that it names: those that the gate issued an identity to.

    It verified the token whose id the outcome has, and asked Airflow about the names that the decision has.
    """
    return {
        name: about
        for one in found
        if (name := text_in(one.outcome, "instance"))
        and one.record.get("decision") == "issue"
        and (about := run_of(one.record))
        and (about.get("dag_id"), about.get("run_id")) == (dag, run)
    }


def is_access_of(entry: Mapping[str, Any], dag: str, run: str, instances: Collection[str]) -> bool:
    """Whether an access is by one of these task instances, or to an XCom of the run."""
    return text_in(entry, "instance") in instances or _is_of(entry, dag, run)


def _is_of(entry: Mapping[str, Any], dag: str, run: str) -> bool:
    """Whether an access is to an XCom of the run."""
    return (entry.get("dag"), entry.get("run")) == (dag, run)


def is_accepted(entry: Mapping[str, Any]) -> bool:
    """Whether Airflow accepted the token of the request that an access is: else who asked is only claimed."""
    return number_in(entry, "status") in ACCEPTED


def triggers_of(dag: str, since: str = "", until: str = "") -> Selection:
    """Decisions that allowed a run of the DAG to be triggered; the times are those of `Selection`."""
    wanted = {"operation": "dag_runs:create", "decision": "allow", "dag": dag}
    return Selection(wanted={name: (Glob(text, (text,)),) for name, text in wanted.items()}, since=since, until=until)


def run_story(
    dag: str,
    run: str,
    found: Iterable[Recorded],
    creates: Iterable[Recorded],
    accesses: Iterable[Mapping[str, Any]] = (),
) -> RunStory:
    """The story of a run.

    Args:
        dag: its DAG.
        run: its id.
        found: all decisions about it, in any order; those of another DAG with a run of this name are left out.
        creates: decisions that allowed a run of this DAG to be triggered.
        accesses: those for which `is_access_of` is true, accepted or not, in any order.
    """
    mine = sorted((one for one in found if _dag_of(one.record) in {dag, ""}), key=_by_time)
    of_tasks = [one for one in mine if run_of(one.record).get("run_id") == run]
    about = [one for one in mine if one.record.get("plane") == Plane.INBOUND]
    asked = tuple(one for one in about if _changes(one.record))
    first = next((one.time for one in mine if one.time), "")
    triggers = triggers_of(dag)
    may = [one for one in creates if triggers.matches(one.record) and not _failed(one)]
    trigger = next((one for one in may if _made(one) == run), None)
    known = trigger is not None or run.startswith(_SCHEDULED)
    instances = instances_of(of_tasks, dag, run)
    asking = sorted((Accessed(one, instances.get(text_in(one, "instance"), {})) for one in accesses), key=_by_time)
    done = [one for one in asking if is_accepted(one.entry)]
    return RunStory(
        dag=dag,
        run=run,
        made_by_airflow=run.startswith(_SCHEDULED),
        trigger=trigger,
        candidates=() if known else _candidates(run, first, may),
        requests=asked,
        reads=len(about) - len(asked),
        tasks=tuple(_tasks(of_tasks, done)),
        others=tuple(one for one in done if not one.run and _is_of(one.entry, dag, run)),
        claimed=tuple(one for one in asking if not is_accepted(one.entry)),
    )


def _made(recorded: Recorded) -> object:
    """The run that a request made; None if that is not on record."""
    return (recorded.outcome or {}).get("run")


def _candidates(run: str, first: str, creates: Iterable[Recorded]) -> tuple[Recorded, ...]:
    """The last requests before the run's first sign that may have triggered it: those of its id's time, if it has one.

    Airflow names a run that it was asked for after the time of the request, unless the request says otherwise.
    """
    may = [one for one in creates if one.time <= (first or "~") and not _made(one)]
    named, times = _seconds(run.partition("__")[2]), {id(one): _seconds(one.time) for one in may}
    near = [one for one in may if abs(times[id(one)] - named) <= _NEAR_S]
    late = _seconds(first) - _LATE_S
    return tuple(sorted(near or [one for one in may if times[id(one)] >= late], key=_by_time)[-MOST_CANDIDATES:])


def _seconds(text: str) -> float:
    """A time in seconds since the epoch; 0 if it is none. Without a zone it is in UTC."""
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _failed(recorded: Recorded) -> bool:
    """Whether it is on record that a request came to nothing."""
    status = (recorded.outcome or {}).get("status")
    return isinstance(status, int) and status not in ACCEPTED


def _tasks(calls: Iterable[Recorded], accesses: Iterable[Accessed]) -> Iterator[Task]:
    groups: dict[tuple[str, int], tuple[list[Recorded], list[Accessed]]] = {}
    for call in calls:
        groups.setdefault(_task_of(run_of(call.record)), ([], []))[0].append(call)
    for one in accesses:
        if one.run:
            groups[_task_of(one.run)][1].append(one)
    for (task, index), (asked, done) in groups.items():
        yield Task(task, index, tuple(asked), tuple(done))


def _task_of(run: Mapping[str, Any]) -> tuple[str, int]:
    index = run.get("map_index")
    return str(run.get("task_id", "")), index if isinstance(index, int) else -1


def _by_time(recorded: Recorded | Accessed) -> str:
    return recorded.time


def _changes(record: Mapping[str, Any]) -> bool:
    """Whether it was asked for more than reading."""
    return record.get("method") not in _READS


@dataclass(slots=True)
class Day:
    """A caller's day: how many decisions of which kind there were, and how many of them were denied."""

    day: str
    decisions: int = 0
    denied: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    roles: set[str] = field(default_factory=set)
    changes: list[Mapping[str, Any]] = field(default_factory=list)


class Days:
    """The decisions about a caller by day, in bounded memory.

    Attributes:
        decisions: how many there were.
        changes: how many of them asked for more than reading; the newest 1,000 are listed.
    """

    def __init__(self) -> None:
        self.decisions = self.changes = 0
        self._days: dict[str, Day] = {}
        self._kept: list[tuple[str, int, Mapping[str, Any]]] = []

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a decision."""
        self.decisions += 1
        name = time_in(record)[:10]
        if name not in self._days and len(self._days) >= _MOST_DAYS:
            name = OTHERS
        day = self._days.setdefault(name, Day(name))
        day.decisions += 1
        day.denied += record.get("decision") == "deny"
        _count(day.kinds, _kind(record))
        roles = record.get("roles")
        for role in roles if isinstance(roles, list) else ():
            if isinstance(role, str) and len(day.roles) < _MOST_KINDS:
                day.roles.add(role)
        if _changes(record):
            self.changes += 1
            kept = time_in(record), self.changes, record
            if len(self._kept) < MOST_CHANGES:
                heapq.heappush(self._kept, kept)
            else:
                heapq.heappushpop(self._kept, kept)

    def listed(self) -> list[Mapping[str, Any]]:
        """The changes that are listed, in the order of their times."""
        return [record for _, _, record in sorted(self._kept, key=lambda one: one[:2])]

    def days(self) -> list[Day]:
        """The days in their order, each with its changes."""
        for day in self._days.values():
            day.changes = []
        for record in self.listed():
            name = time_in(record)[:10]
            self._days[name if name in self._days else OTHERS].changes.append(record)
        return sorted(self._days.values(), key=lambda day: day.day)


def _kind(record: Mapping[str, Any]) -> str:
    """What was asked for, in a word: an operation, a destination, or a method."""
    words = (record.get(name) for name in ("operation", "destination", "host", "method"))
    if record.get("plane") == EXECUTION:
        return RUN_IDENTITY
    return next((word for word in words if isinstance(word, str) and word), "")


def _count(kinds: Counter[str], kind: str) -> None:
    kinds[kind if kind in kinds or len(kinds) < _MOST_KINDS else OTHERS] += 1
