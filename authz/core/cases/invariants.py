"""The entries of `never`: from what people wrote to invariants, and whether the policy keeps them.

Law: `authz.core.proof.never` proves. An entry that does not hold is a problem of the policy like a mistake, with its
place.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from authz.core.documents.moments import moment_text
from authz.core.errors import PolicyError, Problem, TooLargeError
from authz.core.policy import NEVER, Policy, as_of, ends
from authz.core.policy.case_draft import CaseSection
from authz.core.policy.case_schema import ANONYMOUS
from authz.core.policy.rule_compiler import compile_rule
from authz.core.policy.rule_schema import NeverDraft
from authz.core.proof.never import Invariant, Never, Violation
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


def invariants(sections: Iterable[CaseSection]) -> list[Invariant]:
    """The entries of all files, in their order; they have no mistakes."""
    return [
        _invariant(section, entry, section.document.place(("never", index)))
        for section in sections
        for index, entry in section.never.items()
    ]


def _invariant(section: CaseSection, entry: NeverDraft, place: tuple[int, int]) -> Invariant:
    return Invariant(
        name=entry.name or _name(entry),
        file=section.document.file,
        line=place[0],
        column=place[1],
        rule=compile_rule(entry.rule, place),
        excepted=frozenset(entry.excepted) - {ANONYMOUS},
        anonymous=ANONYMOUS not in entry.excepted,
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


def proofs(policy: Policy, wanted: Sequence[Invariant], at: float = -NEVER) -> Iterator[Proof]:
    """Each entry, proven or not for the policy as of a time; it is given as it is written.

    Who the `roles` of an entry are is read as it is written: those whose membership has ended are meant too.

    Raises:
        PolicyError: an entry is about so much that it cannot be proven in a bounded time.
    """
    never = Never(as_of(policy, at), policy, wanted)
    for one in wanted:
        try:
            found = tuple(islice(never.violations(one), SHOWN))
        except TooLargeError as error:
            message = f"the entry `{one.name}` of `never` is not proven: {error}"
            hint = "write fewer or narrower entries, or one deny rule for all that the entry forbids"
            raise PolicyError([Problem(one.file, one.line, one.column, message, hint)], test=one.name) from None
        yield Proof(invariant=one, violations=found, since=at)


def over_time(policy: Policy, wanted: Sequence[Invariant]) -> list[Proof]:
    """Each entry, proven or not for the policy as it is written, and after each end in it, whatever the time is.

    An end may be that of a deny rule.

    Raises:
        PolicyError: as `proofs`.
    """
    found: dict[int, Proof] = {}
    left = [*wanted]
    for moment in (-NEVER, *ends(policy)):
        for proof in proofs(policy, left, moment) if left else ():
            if proof.violations or id(proof.invariant) not in found:
                found[id(proof.invariant)] = proof
        left = [one for one in left if not found[id(one)].violations]
    return [found[id(one)] for one in wanted]


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
    return f"; they no longer have the role {had}: put the end on what they may do" if had else ""


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
