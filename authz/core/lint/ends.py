"""Findings about what ends by itself.

Law: as for all of lint; the time is an argument, and these are the only findings that change with it. The server's log
has them as it has the others: once for each revision, when that comes into force.
"""

from collections.abc import Iterator
from typing import Final

from authz.core.documents.moments import moment_text
from authz.core.errors import Problem
from authz.core.lint.review import Finding, Severity
from authz.core.policy import NEVER, Effect, Policy

_FAR_S: Final = 366 * 86400


def about_ends(policy: Policy, now: float) -> list[Finding]:
    """Every finding at this time about a policy as it is written, sorted by place."""
    found: dict[_Place, Finding] = {}
    for severity, place, message, hint in _about(policy, now):
        # What the file has once for all teams is said once.
        found.setdefault(place, Finding(problem=Problem(*place, message, hint), severity=severity))
    return sorted(found.values())


_Place = tuple[str, int, int]
_Found = tuple[Severity, _Place, str, str]


def _about(policy: Policy, now: float) -> Iterator[_Found]:
    denied = {role for rule in policy.rules.values() if rule.effect is Effect.DENY for role in rule.roles}
    for rule in policy.rules.values():
        if rule.until < NEVER:
            what = f"the rule `{rule.written}`"
            yield from _end(what, rule.until, policy.place_of(rule), now, denies=rule.effect is Effect.DENY)
    for role in policy.roles.values():
        for member in role.ends:
            what = f"the {member.kind.removesuffix('s')} `{member.name}` of the role `{role.name}`"
            denies = not role.includes.isdisjoint(denied)
            place = (policy.file, member.line, member.column)
            yield from _end(what, member.until, place, now, denies=denies)


def _end(what: str, until: float, place: _Place, now: float, *, denies: bool) -> Iterator[_Found]:
    if until <= now:
        yield Severity.WARNING, place, f"{what} ended on {moment_text(until)}", "remove it"
    elif denies:
        message = f"{what} ends on {moment_text(until)}, and what deny rules forbid by it ends too"
        yield Severity.NOTE, place, message, "from then on other rules may allow it"
    elif until > now + _FAR_S:
        message = f"{what} ends on {moment_text(until)}, more than a year ahead"
        yield Severity.NOTE, place, message, "if it is meant to stay, leave `until` out"
