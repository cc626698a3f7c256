"""The entries of `never`: from what people wrote to invariants, and whether the policy keeps them.

Law: `authz.core.proof.never` proves. An entry that does not hold is a problem of the policy like a mistake, with its
place.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from authz.core.documents.moments import moment_text
from authz.core.errors import PolicyError, Problem
from authz.core.policy import NEVER, Effect, Policy, as_of
from authz.core.policy.case_draft import CaseSection
from authz.core.policy.case_schema import ANONYMOUS
from authz.core.policy.rule_compiler import compile_rule
from authz.core.policy.rule_schema import NeverDraft
from authz.core.proof.never import Budget, Invariant, Never, UnprovenError, Violation
from authz.core.proof.wording import command_of, name_of, what_of

SHOWN: Final = 5
"""Rules that are reported for one entry: each of them alone is a reason that it does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Whether one entry holds; `violations` has the first reasons why it does not.

    `since` is the end in the policy from which on it does not, -NEVER for the policy as it is written.
    """

    invariant: Invariant
    violations: tuple[Violation, ...]
    since: float = -NEVER


def invariants(sections: Iterable[CaseSection], *, of_teams: bool = False) -> list[Invariant]:
    """The entries of all files, in their order; they have no mistakes. `of_teams`: these are files of teams."""
    return [
        _invariant(section, entry, section.document.place(("never", index)), of_team=of_teams)
        for section in sections
        for index, entry in section.never.items()
    ]


def _invariant(section: CaseSection, entry: NeverDraft, place: tuple[int, int], *, of_team: bool) -> Invariant:
    return Invariant(
        name=entry.name or _name(entry),
        file=section.document.file,
        line=place[0],
        column=place[1],
        rule=compile_rule(entry.rule, place),
        excepted=frozenset(entry.excepted) - {ANONYMOUS},
        anonymous=ANONYMOUS not in entry.excepted,
        team=section.document.file if of_team else "",
    )


def _name(entry: NeverDraft) -> str:
    """The name of an entry that has none."""
    rule = entry.rule
    who = ", ".join(rule.roles) or "anyone"
    but = f" but {', '.join(entry.excepted)}" if entry.excepted else ""
    parts = (
        rule.methods, rule.operations, rule.destinations, (host.text for host in rule.hosts),
        (path.text for path in rule.paths), (f"DAG {glob.text}" for glob in rule.dags),
        (f"task {glob.text}" for glob in rule.tasks),
    )  # fmt: skip
    return f"{who}{but}: {' '.join(filter(None, map(', '.join, parts)))}"


def proofs(
    policy: Policy, wanted: Sequence[Invariant], at: float = -NEVER, budget: Budget | None = None
) -> Iterator[Proof]:
    """Each entry, proven or not for the policy as of a time; it is given as it is written.

    Who the `roles` of an entry are is read as it is written: those whose membership has ended are meant too.

    Raises:
        PolicyError: an entry is about so much that it cannot be proven in a bounded time.
    """
    never = Never(as_of(policy, at), policy, wanted, budget)
    for one in wanted:
        try:
            found = tuple(islice(never.violations(one), SHOWN))
        except UnprovenError as error:
            raise PolicyError([_unproven(one, error, policy)], test=one.name) from None
        yield Proof(invariant=one, violations=found, since=at)


def _unproven(one: Invariant, error: UnprovenError, policy: Policy) -> Problem:
    """What is too much, in the file that is to be changed: it must not keep the changes of other files back."""
    rule, entry = error.rule, f"the entry `{one.name}` of `never`"
    fewer = "write fewer or wider patterns"
    if rule.file and not one.team:
        message = f"the rule `{rule.id}` is too much for {entry} at {one.file}:{one.line} to be proven: {error}"
        return Problem(*policy.place_of(rule), message, fewer)
    if rule.file and rule.file != one.team:  # neither alone: it is of the one that changed
        message = f"{entry} at {one.file}:{one.line} is not proven with the rule `{rule.id}` at {policy.where(rule)}"
        return Problem(policy.file, 0, 0, f"{message}: {error}", f"{fewer} in one of the two files")
    hint = "write fewer or narrower entries, or one deny rule for all that the entry forbids"
    return Problem(one.file, one.line, one.column, f"{entry} is not proven: {error}", hint)


def over_time(policy: Policy, wanted: Sequence[Invariant]) -> list[Proof]:
    """Each entry, proven or not for the policy as it is written, and after each end in it, whatever the time is.

    Only the end of a deny rule, or of what makes a caller denied or excepted, lets callers do more.

    Raises:
        PolicyError: as `proofs`.
    """
    found: dict[int, Proof] = {}
    left, budget = [*wanted], Budget()
    for moment in (-NEVER, *_loosening(policy, wanted)):
        for proof in proofs(policy, left, moment, budget) if left else ():
            if proof.violations or id(proof.invariant) not in found:
                found[id(proof.invariant)] = proof
        left = [one for one in left if not found[id(one)].violations]
    return [found[id(one)] for one in wanted]


def _loosening(policy: Policy, wanted: Iterable[Invariant]) -> list[float]:
    """The ends after which callers may do more of what these entries forbid, the first one first."""
    denials = [rule for rule in policy.rules.values() if rule.effect is Effect.DENY]
    kept = {role for rule in denials for role in rule.roles} | {role for one in wanted for role in one.excepted}
    found = {rule.until for rule in denials if rule.until < NEVER}
    for role in policy.roles.values():
        if not role.includes.isdisjoint(kept):
            found |= {member.until for member in role.ends}
    return sorted(found)


def reasons(proof: Proof, policy: Policy) -> list[tuple[str, str]]:
    """For each violation a sentence, and the command that shows it, "" if none was found.

    `policy` is the one as it is written.
    """
    later = proof.since > -NEVER
    from_then = f"from {moment_text(proof.since)} on " if later else ""
    at = f" --at {moment_text(proof.since)}" if later else ""
    then, roles = as_of(policy, proof.since), proof.invariant.rule.roles
    return [
        (
            from_then + reason(found, policy) + _lost(found, roles, policy, then),
            check_line(found).replace("authz check", f"authz check{at}", 1),
        )
        for found in proof.violations
    ]


def _lost(found: Violation, roles: Iterable[str], policy: Policy, then: Policy) -> str:
    """Which of these roles the caller has as the policy is written, if none of them is left then."""
    ever, left = (found.caller.held(one) for one in (policy, then))
    if then is policy or not left.isdisjoint(roles):
        return ""
    had = " and ".join(f"`{role}`" for role in roles if role in ever)
    return f"; they no longer have the role {had}" if had else ""


def reason(found: Violation, policy: Policy) -> str:
    """One violation as a sentence."""
    rule = found.rule
    may = f"{name_of(found.caller)} may {what_of(found.region, found.operations, found.dags)}"
    return f"{may}, by rule `{rule.id}` at {policy.where(rule)}"


def check_line(found: Violation) -> str:
    """The command that shows the violation; "" if none was found."""
    return command_of(found.witness) if found.witness is not None else ""


def problems(proof: Proof, policy: Policy) -> Iterator[Problem]:
    """The reasons that an entry does not hold, as problems of the policy."""
    one = proof.invariant
    for why, command in reasons(proof, policy):
        message = f"the entry `{one.name}` of `never` does not hold: {why}"
        yield Problem(one.file, one.line, one.column, message, command)
