"""Findings about what ends by itself.

Law: as for all of lint; the time is an argument, and these are the only findings that change with it. The server's log
has them as it has the others: once for each revision, when that comes into force, and unproven. The prover says what a
deny rule loses with a member: it is like an entry of `never` about those who had its roles before the end.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from authz.core.documents.moments import moment_text
from authz.core.errors import Problem, TooLargeError
from authz.core.lint.review import Finding, Severity
from authz.core.policy import NEVER, Effect, Policy, Role, Rule, as_of, ends
from authz.core.policy.rules import Member
from authz.core.proof.never import Budget, Invariant, Never
from authz.core.proof.wording import name_of, what_of

_FAR_S: Final = 366 * 86400
_MOST_PROVEN: Final = 32
"""Ends of roles that are asked about, each for as long as the load of the tables takes, and a proof."""


def about_ends(policy: Policy, now: float, *, proven: bool = True) -> list[Finding]:
    """Every finding at this time about a policy as it is written, sorted by place; `proven` as in `review.lint`."""
    found: dict[_Place, Finding] = {}
    for severity, place, message, hint in _about(policy, now, _Lost(policy, _MOST_PROVEN if proven else 0)):
        # What the file has once for all teams is said once.
        found.setdefault(place, Finding(problem=Problem(*place, message, hint), severity=severity))
    return sorted(found.values())


_Place = tuple[str, int, int]
_Found = tuple[Severity, _Place, str, str]
_Loss = tuple[()] | tuple[str, str]


def _about(policy: Policy, now: float, lost: "_Lost") -> Iterator[_Found]:
    for rule in policy.rules.values():
        if rule.until < NEVER:
            denies = "it forbids" if rule.effect is Effect.DENY else ""
            yield from _end(f"the rule `{rule.written}`", rule.until, policy.place_of(rule), now, denies=denies)
    for role in policy.roles.values():
        for member in role.ends:
            kind = member.kind.removesuffix("s")
            what = f"the {kind} `{member.name}` of the role `{role.name}`"
            place = (policy.file, member.line, member.column)
            found = lost.by(role, member)
            if found:
                losing, then = found
                moment = moment_text(member.until)
                when = f"since {moment}" if member.until <= now else f"from {moment} on"
                hint = f"keep the {kind} in the role without an end, and put the end on what they may do"
                message = f"{when} the deny rule `{losing}` no longer reaches {what}: {then}"
                yield Severity.WARNING, place, message, hint
            else:
                denies = "deny rules forbid by it" if found is None else ""
                yield from _end(what, member.until, place, now, denies=denies)


class _Lost:
    """What people may do from the end of a membership on, because a deny rule is about them no longer.

    That is the rule's id and a sentence, () if there is nothing, None if that is too much to prove.
    """

    def __init__(self, policy: Policy, most: int) -> None:
        self._policy, self._left, self._budget = policy, most, Budget()
        self._denials = [rule for rule in policy.rules.values() if rule.effect is Effect.DENY and rule.roles]
        self._known: dict[tuple[str, float], _Loss | None] = {}

    def by(self, role: Role, member: Member) -> _Loss | None:
        """What is lost with the member."""
        losing = [
            rule for rule in self._denials if rule.until > member.until and not role.includes.isdisjoint(rule.roles)
        ]
        question = role.name, member.until
        if losing and question not in self._known:
            self._left -= 1
            self._known[question] = self._proven(role, member.until, losing) if self._left >= 0 else None
        return self._known[question] if losing else ()

    def _proven(self, role: Role, until: float, losing: list[Rule]) -> _Loss | None:
        earlier = [end for end in ends(self._policy) if end < until]
        before = as_of(self._policy, earlier[-1]) if earlier else self._policy
        after = as_of(before, until)
        asked = [_about_those(role, rule) for rule in losing]
        never = Never(after, before, asked, self._budget)
        try:
            for one in asked:
                for found in never.violations(one):
                    who, what = name_of(found.caller), what_of(found.region, found.operations, found.dags)
                    by = f"by rule `{found.rule.id}` at {after.where(found.rule)}"
                    return one.name, f"{who} may {what}, {by}"
        except TooLargeError:
            return None
        return ()


def _about_those(role: Role, rule: Rule) -> Invariant:
    """An entry of `never` that says the same as the deny rule, of those who have the role."""
    about = replace(rule, roles=(role.name,))
    return Invariant(name=rule.id, file=rule.file, line=rule.line, column=rule.column, rule=about, anonymous=False)


def _end(what: str, until: float, place: _Place, now: float, *, denies: str) -> Iterator[_Found]:
    moment = moment_text(until)
    if until <= now:
        yield Severity.WARNING, place, f"{what} ended on {moment}", "remove it"
    elif denies:
        message = f"{what} ends on {moment}, and what {denies} ends too"
        yield Severity.NOTE, place, message, "from then on other rules may allow it"
    elif until > now + _FAR_S:
        message = f"{what} ends on {moment}, more than a year ahead"
        yield Severity.NOTE, place, message, "if it is meant to stay, leave `until` out"
