"""The difference between two policies in which something ends: now, and after each end in either of them.

Law: complete over time. Between two ends both policies are ordinary ones, and their difference is exact; a period in
which it is the same as in the one before is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from authz.core.documents.moments import moment_text
from authz.core.policy.compiled import Policy
from authz.core.policy.ends import as_of, ends
from authz.core.policy.rules import NEVER
from authz.core.proof.condition import Condition
from authz.core.proof.conditions import KeyFiles, conditions
from authz.core.proof.diff import Change, changes

MOST: Final = 64
"""Ends that are looked at: each takes as long as one comparison of two policies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """What is different from the time `since` on, in seconds since the epoch."""

    since: float
    changes: tuple[Change, ...]


def about(old: Policy, new: Policy, now: float, keys: tuple[KeyFiles, KeyFiles] | None = None) -> Iterator[Condition]:
    """What `periods` does not show, now and later; `keys` as in `conditions`."""
    found: dict[tuple[float, Condition], float] = {}  # since when, what → until when
    holding: dict[Condition, float] = {}
    for since, before, after in _editions(old, new, now):
        said = dict.fromkeys(conditions(before, after, keys))
        for over in [one for one in holding if one not in said]:
            found[holding.pop(over), over] = since
        for one in said:
            if holding.setdefault(one, since) == since:
                found[since, one] = NEVER
    for (since, one), until in found.items():
        yield replace(one, text=_from_until(since if since > now else 0.0, until) + one.text)
    times = _later(old, new, now)
    if len(times) > MOST:
        text = f"there are {len(times)} ends, and only the first {MOST} are compared: until {moment_text(times[MOST])}"
        yield Condition(text=text, widens=True)


def _from_until(since: float, until: float) -> str:
    """The time for which something is so, in words; 0 and `NEVER` are none."""
    if until == NEVER:
        return f"from {moment_text(since)} on: " if since else ""
    return f"from {moment_text(since)} until {moment_text(until)}: " if since else f"until {moment_text(until)}: "


def periods(old: Policy, new: Policy, now: float, *, only_gains: bool = False) -> list[Period]:
    """The changes now, and every later time from which on they are others. The first period is that of `now`."""
    found: list[Period] = []
    for since, before, after in _editions(old, new, now):
        made = tuple(change for change in changes(before, after) if change.gained or not only_gains)
        if not found or made != found[-1].changes:
            found.append(Period(since=since, changes=made))
    return found


def _editions(old: Policy, new: Policy, now: float) -> Iterator[tuple[float, Policy, Policy]]:
    """Both policies as they are now and after each end."""
    for since in (now, *_later(old, new, now)[:MOST]):
        old, new = as_of(old, since), as_of(new, since)
        yield since, old, new


def _later(old: Policy, new: Policy, now: float) -> list[float]:
    return sorted({end for policy in (old, new) for end in ends(policy) if end > now})
