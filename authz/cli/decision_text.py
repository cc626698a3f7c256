"""One decision of a log as text: for a terminal, as JSON, as an event of OCSF, and as a row of CSV.

Law: what a caller sent stays text. It is one line and moves no cursor, in JSON too, and in CSV it is no formula.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import click

from authz.cli.safe_text import spreadsheet
from authz.core.characters import one_line
from authz.core.model import EXECUTION
from authz.core.ocsf import event
from authz.core.record import text_in
from authz.core.traffic.story import RUN_IDENTITY, Recorded
from authz.ops.log_search import Found

CSV: Final = (
    "time",
    "decision",
    "reason",
    "rule",
    "subject",
    "user",
    "client",
    "roles",
    "groups",
    "issuer",
    "plane",
    "method",
    "host",
    "path",
    "operation",
    "dag",
    "destination",
    "run_id",
    "task_id",
    "source",
    "revision",
    "gate",
    "id",
)
"""The columns of CSV."""
_OF_ENTRY: Final = frozenset({"user", "groups", "issuer"})
_OF_RUN: Final = frozenset({"run_id", "task_id"})
_COLORS: Final = {"allow": "green", "issue": "green", "deny": "red"}


def as_json(found: Found) -> str:
    """The record as one line of JSON in ASCII, with the memberships of its caller in `caller`, if they are known."""
    entry = found.entry
    whole = dict(found.record) if entry is None else {**found.record, "caller": dict(entry)}
    return ascii_json(whole)


def as_ocsf(found: Found, outcome: Mapping[str, Any] | None = None) -> str:
    """The event of OCSF as one line of JSON in ASCII, with what came of the decision, if it is known."""
    return ascii_json(event(Recorded(found.record, found.entry, outcome)))


def ascii_json(whole: Mapping[str, Any]) -> str:
    """One line of JSON, in which all that a terminal may take for a command is escaped."""
    return json.dumps(whole, separators=(",", ":")).replace("\x7f", "\\u007f")


def as_cells(found: Found) -> list[str]:
    """The row of CSV."""
    return [spreadsheet(_cell(found, name)) for name in CSV]


def _cell(found: Found, name: str) -> str:
    if name in _OF_ENTRY:
        value = (found.entry or {}).get(name)
    elif name in _OF_RUN:
        value = _run(found.record).get(name)
    else:
        value = found.record.get(name)
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _run(record: Mapping[str, Any]) -> Mapping[str, Any]:
    run = record.get("run")
    return run if isinstance(run, dict) else {}


def when(found: Found, *, to: str = "seconds") -> str:
    """The time, as `--since` takes it: to seconds, or as the record has it."""
    time = text_in(found.record, "time")
    return one_line(f"{time[:19]}Z" if to == "seconds" and len(time) > len("2026-11-30T12:00:00") else time)


def who(found: Found) -> str:
    """The caller: the subject and, if it is another one, the user's name; a program's id; a run; or none."""
    record, entry = found.record, found.entry or {}
    subject, user, run = text_in(record, "subject"), text_in(entry, "user"), _run(record)
    name = subject or text_in(record, "client")
    if name:
        return one_line(f"{name} ({user})" if user and user != name else name)
    if run:
        return one_line(f"run {run.get('run_id', '')} of {run.get('dag_id', '')}, task {run.get('task_id', '')}")
    return "-"


def what(found: Found) -> str:
    """What was asked for: an operation, or method and path; a call; a run identity."""
    record = found.record
    method, path = text_in(record, "method"), text_in(record, "path")
    if record.get("plane") == "egress":
        return one_line(f"{method} {text_in(record, 'destination') or text_in(record, 'host')}{path}")
    if record.get("plane") == EXECUTION:
        return RUN_IDENTITY
    return one_line(text_in(record, "operation") or f"{method} {path}")


def dag(found: Found) -> str:
    """The DAG; "" for none."""
    return one_line(text_in(found.record, "dag"))


def answer(found: Found) -> str:
    """`allow` or `deny`, as the record has it."""
    return one_line(text_in(found.record, "decision"))


def why(found: Found) -> str:
    """The reason, and the rule if one decided."""
    return one_line(" ".join(filter(None, (text_in(found.record, "reason"), text_in(found.record, "rule")))))


def name(found: Found) -> str:
    """The id."""
    return one_line(text_in(found.record, "id"))


def colored(text: str) -> str:
    """The answer in its color."""
    return click.style(text, fg=_COLORS.get(text.strip()))
