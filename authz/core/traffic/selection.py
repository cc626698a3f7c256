"""Which decisions a question about a log is about: by caller, by what was asked for, by the answer, by time.

Law: pure. `matches` is the definition. `needles` only name bytes without which a line cannot match, unless it has
escapes: a reader skips with them, and a test compares both. A field that is not there matches no pattern, not even `*`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

from authz.core.errors import RequestError
from authz.core.policy.patterns import Glob
from authz.core.record import VERSION, time_in
from authz.core.request.path import canonicalise

FIELDS: Final = (
    "id",
    "run",
    "subject",
    "client",
    "dag",
    "rule",
    "destination",
    "host",
    "operation",
    "role",
    "revision",
    "reason",
    "decision",
)
"""What patterns may be about: fields of a decision, its DAG run, each of its caller's roles. Those that tell most apart
are first."""

_RUNS: Final = "dagRuns"  # the segment of Airflow's paths before the id of a run
_plain: Final = re.compile(r"[A-Za-z0-9._~:+-]+")  # what stands for itself in a path
_literal: Final = re.compile(r"\0?[ !#-)+-\[\]-~]+\0?")  # what stands for itself in JSON, NUL for a text's quotes
_MOST_NEEDLES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked for: a decision has to match each of them.

    Args:
        wanted: for some of `FIELDS`, the patterns of which one must match.
        since: the first time, as records have it; "" for none.
        until: the time from which on nothing is meant; "" for none.
        identities: ids of the identity entries of which one is the caller's; None for all.
    """

    wanted: Mapping[str, tuple[Glob, ...]] = field(default_factory=dict)
    since: str = ""
    until: str = ""
    identities: frozenset[str] | None = None

    def of_callers(self, identities: frozenset[str]) -> "Selection":
        """The same, only of callers with these identity entries."""
        return replace(self, identities=identities)

    @property
    def by_time(self) -> bool:
        """Whether it asks for a time."""
        return bool(self.since or self.until)

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the decision with these fields is meant. One of another version of the format never is."""
        if record.get("v") != VERSION:
            return False
        if self.by_time and not self.within(time_in(record)):
            return False
        if self.identities is not None and record.get("identity") not in self.identities:
            return False
        return all(
            any(glob.matches(value) for value in _values(name, record) for glob in globs)
            for name, globs in self.wanted.items()
        )

    def within(self, time: str) -> bool:
        """Whether this is a time that is meant; "" is none."""
        return bool(time) and self.since <= time and (not self.until or time < self.until)

    def needles(self) -> tuple[bytes, ...]:
        """Bytes of which a line that matches has one, if it has no backslash; empty where nothing can be said."""
        found = [_needles(name, self.wanted[name]) for name in FIELDS if name in self.wanted]
        if self.identities is not None:
            found.insert(0, tuple(f'"{name}"'.encode() for name in sorted(self.identities)))
        return next((some for some in found if 0 < len(some) <= _MOST_NEEDLES), ())


def _values(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    """What the patterns are compared with."""
    if name == "run":
        yield from _runs(record)
        return
    found = record.get("roles" if name == "role" else name)
    for value in found if isinstance(found, list) else (found,):
        if isinstance(value, str):
            yield value


def _runs(record: Mapping[str, Any]) -> Iterator[str]:
    """The DAG run that called, and the one that a request to Airflow was about."""
    run, path = record.get("run"), record.get("path")
    if isinstance(run, dict) and isinstance(run.get("run_id"), str):
        yield run["run_id"]
    if isinstance(path, str) and f"/{_RUNS}/" in path:
        try:
            found = canonicalise(path)
        except RequestError:
            return
        if found.path == path:  # the gate writes no other form
            yield from (name for word, name in pairwise(found.segments) if word == _RUNS)


def _needles(name: str, globs: tuple[Glob, ...]) -> tuple[bytes, ...]:
    """For each pattern, the longest of its literal parts; none if one has no such part."""
    if name == "run":
        found = [max(_plain.findall(glob.text), key=len, default="") for glob in globs]
    else:
        found = [max(_literal.findall(f"\0{glob.text}\0"), key=len, default="").replace("\0", '"') for glob in globs]
    return tuple(text.encode() for text in found) if all(found) else ()
