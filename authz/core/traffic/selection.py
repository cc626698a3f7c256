"""Which decisions a question about a log is about: by caller, what was asked for, the answer, time, what came of it.

Law: pure. `matches` is the definition. `needles` only name bytes without which a line cannot match, unless it has
escapes, and `times` only what a time looks like that may be meant: a reader skips with them, and a test compares both.
A field that is not there matches no pattern, not even `*`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
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
_NEVER: Final = b"\0"  # JSON has none
_FIRST: Final = "0000-00-00T00:00"
_LAST: Final = "9999-99-99T99:99"


@dataclass(frozen=True, slots=True)
class EndSelection:
    """What came of decisions: an outcome has to match each of them; no pattern means any.

    Args:
        status: patterns of the status of the answer, as `5*`.
        ended_by: patterns of who ended the request.
    """

    status: tuple[Glob, ...] = ()
    ended_by: tuple[Glob, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.status or self.ended_by)

    def matches(self, outcome: Mapping[str, Any]) -> bool:
        """Whether the outcome with these fields is meant."""
        asked = ((self.status, "status"), (self.ended_by, "ended_by"))
        return all(not globs or _any(globs, str(outcome.get(name, ""))) for globs, name in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked for: a decision has to match each of them.

    Args:
        wanted: for some of `FIELDS`, the patterns of which one must match.
        since: the first time, as records have it; "" for none.
        until: the time from which on nothing is meant; "" for none.
        identities: ids of the identity entries of which one is the caller's; None for all.
        ids: ids of decisions of which it is one; None for all.
    """

    wanted: Mapping[str, tuple[Glob, ...]] = field(default_factory=dict)
    since: str = ""
    until: str = ""
    identities: frozenset[str] | None = None
    ids: frozenset[str] | None = None

    def of_callers(self, identities: frozenset[str]) -> "Selection":
        """The same, only of callers with these identity entries."""
        return replace(self, identities=identities)

    def of_decisions(self, ids: frozenset[str]) -> "Selection":
        """The same, only decisions with these ids."""
        return replace(self, ids=ids)

    @property
    def by_time(self) -> bool:
        """Whether it asks for a time."""
        return bool(self.since or self.until)

    @property
    def is_empty(self) -> bool:
        """Whether it means no decision at all, whatever else it asks for."""
        return any(some is not None and not some for some in (self.identities, self.ids))

    def matches(self, record: Mapping[str, Any]) -> bool:
        """Whether the decision with these fields is meant. One of another version of the format never is."""
        if record.get("v") != VERSION:
            return False
        if self.by_time and not self.within(time_in(record)):
            return False
        if self.identities is not None:
            name = record.get("identity")
            if not isinstance(name, str) or name not in self.identities:
                return False
        if self.ids is not None:
            name = record.get("id")
            if not isinstance(name, str) or name not in self.ids:
                return False
        for name, globs in self.wanted.items():  # plain loops: a log has millions of records
            for value in _values(name, record):
                if _any(globs, value):
                    break
            else:
                return False
        return True

    def within(self, time: str) -> bool:
        """Whether this is a time that is meant; "" is none."""
        return bool(time) and self.since <= time and (not self.until or time < self.until)

    def needles(self) -> tuple[bytes, ...]:
        """Bytes of which a line that matches has one, if it has no backslash; empty where nothing can be said."""
        found = [_needles(name, self.wanted[name]) for name in FIELDS if name in self.wanted]
        if self.is_empty:
            return (_NEVER,)
        for names in (self.identities, self.ids):
            if names is not None:
                found.insert(0, tuple(f'"{name}"'.encode() for name in sorted(names)))
        return next((some for some in found if 0 < len(some) <= _MOST_NEEDLES), ())

    def times(self) -> bytes:
        """A regular expression for how each time begins that is meant; empty for any. Others may begin so too."""
        since, until = self.since or _FIRST, self.until or _LAST
        return _between(since[: len(_FIRST)], until[: len(_LAST)]).encode()


def _between(since: str, until: str) -> str:
    """The expression for all from the one to the other: the same number of last characters of times to the minute."""
    at = len(_FIRST) - len(since)
    if (since, until) == (_FIRST[at:], _LAST[at:]):
        return ""
    low, high, at = since[0], until[0], at + 1
    if low == high:
        return re.escape(low) + _between(since[1:], until[1:])
    found = [low + _between(since[1:], _LAST[at:]), high + _between(_FIRST[at:], until[1:])]
    if ord(high) - ord(low) > 1:
        found.append(f"[{chr(ord(low) + 1)}-{chr(ord(high) - 1)}]")
    return f"(?:{'|'.join(found)})"


def _any(globs: tuple[Glob, ...], value: str) -> bool:
    """Whether one of the patterns matches."""
    for glob in globs:  # noqa: SIM110 see `matches`
        if glob.matches(value):
            return True
    return False


def _values(name: str, record: Mapping[str, Any]) -> Iterable[str]:
    """What the patterns are compared with."""
    if name == "run":
        return _runs(record)
    found = record.get("roles" if name == "role" else name)
    if isinstance(found, str):
        return (found,)
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else ()


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
