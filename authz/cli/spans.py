"""For how long each change between two policies holds: what people are shown under one heading.

Law: nothing is left out. Each change of each period is in exactly one span, and stands in it for that period.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from authz.cli.naming import Names
from authz.core.documents.moments import moment_text
from authz.core.policy import Policy
from authz.core.policy.ends import ends
from authz.core.policy.rules import NEVER
from authz.core.proof.diff import Change
from authz.core.proof.periods import Period


class Span(NamedTuple):
    """The changes that hold from the begin of a period until a time, `NEVER` if they go on.

    `heading` says so. `moved` is whether they are what one later or earlier end is about, so that who gains or loses
    them is said once.
    """

    heading: str
    since: Period
    changes: Sequence[Change]
    moved: bool = False


def spans(found: Sequence[Period], policies: Sequence[Policy], names: Names) -> Iterator[Span]:
    """What holds now first; of what begins at the same time, what goes on first. `policies` are the old and the new."""
    held: dict[tuple[int, float], list[Change]] = defaultdict(list)
    holding: dict[object, tuple[int, list[Change]]] = {}
    for at, period in enumerate(found):
        said: dict[object, list[Change]] = defaultdict(list)
        for change in period.changes:
            said[change.gained, names.who(change), names.what(change), names.because(change)].append(change)
        for over in [one for one in holding if one not in said]:
            begin, changes = holding.pop(over)
            held[begin, period.since] += changes
        for one, changes in said.items():
            holding.setdefault(one, (at, changes))
    for begin, changes in holding.values():
        held[begin, NEVER] += changes
    before, after = ({*ends(policy)} for policy in policies)
    for (at, until), changes in sorted(held.items(), key=lambda one: (one[0][0], one[0][1] < NEVER, one[0][1])):
        since = found[at].since
        later = at > 0 and since in before and until in after
        sooner = at > 0 and since in after and until in before
        groups: dict[str, list[Change]] = defaultdict(list)
        for change in changes:
            moved = not change.denied and (later if change.gained else sooner)
            was, becomes = (since, until) if change.gained else (until, since)
            groups[f"until {moment_text(was)} → {moment_text(becomes)}:" if moved else ""].append(change)
        for moves, some in groups.items():
            yield Span(moves or _heading(at, since, until), found[at], some, moved=bool(moves))


def _heading(at: int, since: float, until: float) -> str:
    if until == NEVER:
        return f"from {moment_text(since)} on:" if at else "now:"
    return f"from {moment_text(since)} until {moment_text(until)}:" if at else f"now, until {moment_text(until)}:"


class Entry(NamedTuple):
    """What is said in one entry: the changes of the same people."""

    who: str
    what: str
    because: str
    changes: Sequence[Change]


def entries(span: Span, changes: Iterable[Change], names: Names) -> Iterator[Entry]:
    """Changes of a span, an entry for each; where an end has moved, for all of the same people."""
    if not span.moved:
        yield from (Entry(names.who(one), names.what(one), names.because(one), [one]) for one in changes)
        return
    same: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        same[names.people(change)].append(change)
    for people, some in same.items():
        who = people + names.roles(role for change in some for role in change.roles)
        yield Entry(who, "; ".join(map(names.what, some)), names.rules(one.rule for one in some), some)
