"""Lint: finds what the author of a valid policy probably did not mean.

Law: the loader finds mistakes (`authz.core.policy.load`), so that lint and server never differ about them. A finding
never stops a policy. Lint reports only what is certain.
"""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.core import collector
from authz.core.errors import MOST_PROBLEMS, Problem, in_order
from authz.core.lint.dags import about_dags
from authz.core.lint.grantable import colleagues, had_already, open_approval
from authz.core.lint.idle import is_moot, notes, warnings
from authz.core.lint.members import near_members
from authz.core.lint.outbound import about_calls, careful_denials
from authz.core.lint.slips import about_slips
from authz.core.lint.teams import OncePerTeams, about_teams, across_teams
from authz.core.model import Plane
from authz.core.policy import AIRFLOW_ROLES, AUTHENTICATED, BUILT_IN, Effect, Policy, Role, Rule
from authz.core.policy.operations import Words
from authz.core.proof.idle import idle
from authz.core.proof.lifeless import lifeless

_TOKENS: Final = "tokens:create"
_SHOWN: Final = 3
_FEW: Final = 4


class Severity(StrEnum):
    """`warning`: access is wider or narrower than it looks. `note`: something has no effect, or is good to know.

    `error`: the policy refers to what other files do not have (`authz.core.lint.destinations`).
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One problem and its severity."""

    problem: Problem
    severity: Severity


def lint(policy: Policy, *, proven: bool = True) -> list[Finding]:
    """Every finding, sorted by place; beyond MOST_PROBLEMS of one severity, only the number of the others.

    Without `proven` nothing is asked of the prover, which may take long: it takes less time than loading.
    """
    with collector.resting():
        known = _Known(policy, proven=proven)
        first_of_teams = OncePerTeams(policy)
        found, more = [], []
        for severity, problems in ((Severity.WARNING, _warnings(known)), (Severity.NOTE, _notes(known))):
            count = itertools.count()
            counted = (problem for problem, _ in zip(filter(first_of_teams, problems), count, strict=False))
            first = heapq.nsmallest(MOST_PROBLEMS, counted, key=in_order)
            found += [Finding(problem=problem, severity=severity) for problem in first]
            if left := next(count) - len(first):
                rest = Problem(policy.file, 0, 0, f"and {left} more {severity}s", "look at these first")
                more.append(Finding(problem=rest, severity=severity))
        return sorted(found) + more


class _Known:
    """A policy, what its words stand for, and what the prover says of its rules."""

    def __init__(self, policy: Policy, *, proven: bool) -> None:
        self.policy, self.words = policy, Words(policy.catalogue)
        self.lifeless = [*lifeless(policy)] if proven else []
        self.idle = [*idle(policy, [rule.id for rule, _ in self.lifeless])] if proven else []
        self.moot = {one.rule.id for one in self.idle if is_moot(one, policy)}


def _warnings(known: _Known) -> Iterator[Problem]:
    policy, words = known.policy, known.words
    return itertools.chain(
        _issuers(policy),
        _memberships(policy),
        _planes(policy),
        _rules(policy, words),
        _dead(known),
        warnings(known.idle, policy),
        _bulk(policy, words),
        _strong_readers(policy, words),
        _denied_sets(policy),
        about_dags(policy, words, known.moot),
        about_calls(policy),
        about_teams(policy, words),
        open_approval(policy),
        about_slips(policy, near=True),
    )


def _notes(known: _Known) -> Iterator[Problem]:
    policy, words = known.policy, known.words
    return itertools.chain(
        _unused(policy),
        notes(known.idle, policy),
        _raised(policy, words),
        _tokens(policy),
        careful_denials(policy),
        had_already(policy),
        colleagues(policy),
        about_slips(policy, near=False),
        near_members(policy),
        across_teams(policy),
    )


def _at(policy: Policy, what: Role | Rule, message: str, hint: str) -> Problem:
    return Problem(*policy.place_of(what), message, hint)


def _issuers(policy: Policy) -> Iterator[Problem]:
    for issuer in policy.issuers.values():
        if issuer.insecure_http:
            message = f"the keys of issuer `{issuer.name}` are fetched over plain http"
            yield Problem(policy.file, 0, 0, message, "anyone on the path can forge tokens: for tests only")


def _unused(policy: Policy) -> Iterator[Problem]:
    named = {role for rule in policy.rules.values() for role in rule.roles}
    named |= {role for entry in policy.grantable.values() for role in entry.requesters | entry.approvers}
    for role in policy.roles.values():
        if not role.airflow and not role.grants and not named & role.includes:  # of a grant, what it gives is reported
            yield _at(policy, role, f"no rule names the role `{role.name}`", "remove it, or add a rule for it")


def _tokens(policy: Policy) -> Iterator[Problem]:
    """Rules that allow Airflow's own tokens by name (no wildcard includes them): our auth manager issues none."""
    for rule in policy.rules.values():
        if rule.effect is Effect.ALLOW and _TOKENS in rule.operations:
            message = f"the rule `{rule.id}` allows `{_TOKENS}`, which Airflow refuses (403) behind `AuthzAuthManager`"
            yield _at(policy, rule, message, "remove it, unless this Airflow keeps its users: `AuthzFabAuthManager`")


def _memberships(policy: Policy) -> Iterator[Problem]:
    for role in policy.roles.values():
        members = role.groups | role.clients | role.subjects
        if role.issuers and not members:
            message = f"everyone with a token of {', '.join(sorted(role.issuers))} has the role `{role.name}`"
            yield _at(policy, role, message, "add groups, clients or subjects if you mean fewer")
        # A break-glass issuer gives no groups unless its entry says so; subject and client stand in all of its tokens.
        by_claims = role.clients | role.subjects
        givers = [one for one in policy.issuers.values() if by_claims or one.groups or not one.break_glass]
        if members and not role.issuers and len(givers) > 1:
            message = f"the role `{role.name}` relies on names that any of the {len(givers)} issuers can give"
            yield _at(policy, role, message, "say which one you mean: issuers: [...]")


def _planes(policy: Policy) -> Iterator[Problem]:
    for plane in Plane:
        tokens = any(plane in issuer.audiences for issuer in policy.issuers.values())
        rules = [r for r in policy.rules.values() if plane in r.planes and r.effect is Effect.ALLOW]
        if tokens and not rules:
            message = f"no rule allows anything on {plane}, though tokens are accepted there"
            yield Problem(policy.file, 0, 0, message, f"add a rule with plane: {plane}, or remove the audience")
        of_issuers = [rule for rule in rules if rule.identity is None]  # runs bring tokens of the gate's own
        if of_issuers and not tokens:
            what = "no rule" if plane is Plane.INBOUND else "no rule about roles"
            message = f"no issuer has an audience for {plane}, so {what} can allow anything there"
            yield _at(policy, of_issuers[0], message, f"add audiences: {{{plane}: [...]}} to an issuer")


def _rules(policy: Policy, words: Words) -> Iterator[Problem]:
    about_dags = [rule.id for rule in policy.rules.values() if rule.effect is Effect.DENY and rule.dags]
    needed = _Needed(policy, words)
    for rule in policy.rules.values():
        if rule.effect is not Effect.ALLOW:
            continue
        strongest = needed.by(rule)
        if AUTHENTICATED in rule.roles and strongest > 0:
            airflow = AIRFLOW_ROLES[strongest]
            message = f"the rule `{rule.id}` lets everyone with a valid token do what Airflow reserves for `{airflow}`"
            yield _at(policy, rule, message, "name roles instead of `authenticated`")
        if (
            about_dags
            and not rule.operations
            and any(path.rest for path in rule.paths)
            and Plane.INBOUND in rule.planes
        ):
            message = f"the rule `{rule.id}` also allows paths that are not known routes"
            hint = (
                f"the DAG is not known there, so deny rules about DAGs ({about_dags[0]}) do not apply: name operations"
            )
            yield _at(policy, rule, message, hint)


def _bulk(policy: Policy, meant: Words) -> Iterator[Problem]:
    """Deny rules against deleting that omit bulk requests, which can also delete."""
    allowed = _Bulk(policy, meant)
    for rule in policy.rules.values():
        if rule.effect is not Effect.DENY or Plane.INBOUND not in rule.planes or rule.paths:
            continue
        by_method = not rule.operations and rule.methods == ("DELETE",)  # which covers no PATCH
        denied = meant.stand_for(("*",) if by_method else rule.operations, never=True)
        areas = {name.partition(":")[0] for name in denied if name.endswith(":delete")}
        left = sorted(f"{area}:bulk" for area in areas if by_method or f"{area}:bulk" not in denied)
        open_ones = {name: granting for name in left if (granting := allowed.by(name, rule))}
        if open_ones:
            names = ", ".join(f"`{name}`" for name in open_ones)
            message = f"the rule `{rule.id}` forbids deleting, but not through {names}"
            hint = f'the rule `{next(iter(open_ones.values()))}` allows that; deny operations: ["*:delete", "*:bulk"]'
            yield _at(policy, rule, message, hint)


class _Bulk:
    """Who may make bulk requests: the roles that rules name, and all roles that these include."""

    def __init__(self, policy: Policy, meant: Words) -> None:
        self._policy = policy
        self._named: dict[tuple[str, str], str] = {}  # operation, role of an allow rule → the rule
        self._held: dict[tuple[str, str], str] = {}  # operation, role that its holders have → the rule
        bulk: dict[tuple[str, ...], list[str]] = {}
        for rule in policy.rules.values():
            if rule.effect is not Effect.ALLOW or Plane.INBOUND not in rule.planes:
                continue
            if rule.operations not in bulk:
                names = meant.stand_for(rule.operations, never=False)
                bulk[rule.operations] = [name for name in names if name.endswith(":bulk")]
            for name in bulk[rule.operations]:
                self._held[name, AUTHENTICATED] = rule.id
                self._named.update(((name, role), rule.id) for role in rule.roles)
        for (name, role), rule_id in self._named.items():  # each role once, however many rules name it
            for held in policy.roles[role].includes if role in policy.roles else ():
                self._held[name, held] = max(rule_id, self._held.get((name, held), ""))

    def by(self, name: str, deny: Rule) -> str:
        """A rule that allows the operation to a caller that the deny rule certainly concerns, or ""."""
        for role in deny.roles or (AUTHENTICATED,):
            known = self._policy.roles.get(role)
            for held in (AUTHENTICATED, *sorted(known.includes if known else ())):
                if rule := self._named.get((name, held)):
                    return rule
            if rule := self._held.get((name, role)):
                return rule
        return ""


def _strong_readers(policy: Policy, words: Words) -> Iterator[Problem]:
    """Roles that change nothing, but are `op` or `admin` in Airflow itself because of what they read."""
    said = _Said(policy, words)
    known = policy.catalogue.operations
    for role in policy.roles.values():
        airflow = policy.airflow_roles.get(role.name, "")
        if role.airflow or role.grants or role.name in AIRFLOW_ROLES or airflow not in {"op", "admin"}:
            continue
        if said.only_reads(role):
            needing = sorted(name for name in said.of(role) if known[name].airflow_role == airflow)
            some = ", ".join(needing[:_FEW]) + (f" and {len(needing) - _FEW} more" if len(needing) > _FEW else "")
            because = f", because of {some}" if needing else ""
            message = f"the role `{role.name}` only reads here, and is `{airflow}` inside Airflow{because}"
            hint = "write `airflow: viewer`: it is then stronger only in requests that need more"
            yield _at(policy, role, message, hint)


class _Said:
    """What the operations of allow rules about each role are."""

    def __init__(self, policy: Policy, words: Words) -> None:
        self._known, self._words = policy.catalogue.operations, words
        self._said: dict[str, set[tuple[str, ...]]] = {}
        for rule in policy.rules.values():
            for name in rule.roles if rule.operations and rule.effect is Effect.ALLOW else ():
                self._said.setdefault(name, set()).add(rule.operations)

    def of(self, role: Role) -> set[str]:
        """The operations of a role."""
        every = {one for name in role.includes for one in self._said.get(name, ())}
        return {name for one in every for name in self._words.stand_for(one, never=False)}

    def only_reads(self, role: Role) -> bool:
        """Whether rules give the role operations, and none of them changes anything."""
        names = self.of(role)
        return bool(names) and not any(self._known[name].changes for name in names)


def _raised(policy: Policy, words: Words) -> Iterator[Problem]:
    """Roles whose own `airflow:` is weaker than one of their rules needs: it may be meant as a cap, but is not one."""
    needed_by = _Needed(policy, words).by
    most: dict[str, tuple[int, str]] = {}  # role → the most that one of its rules needs, and that rule
    for rule in policy.rules.values():
        strongest = needed_by(rule)
        for name in rule.roles if rule.effect is Effect.ALLOW else ():
            if strongest > most.get(name, (0, ""))[0]:
                most[name] = strongest, rule.id
    said = _Said(policy, words)
    for role in policy.roles.values():
        if not role.airflow or role.name in BUILT_IN:
            continue
        own = max(AIRFLOW_ROLES.index(policy.airflow_roles.get(name, AIRFLOW_ROLES[0])) for name in role.includes)
        needed, rule_id = max((most[name] for name in role.includes if name in most), default=(0, ""))
        if needed > own and not said.only_reads(role):  # then it is what lint advises to write
            message = (
                f"the role `{role.name}` says `airflow: {role.airflow}`, and its rule `{rule_id}` allows what needs"
                f" `{AIRFLOW_ROLES[needed]}`, which raises it"
            )
            yield _at(policy, role, message, "`airflow` is not a cap: to forbid it, change the rule or add a deny rule")


def _denied_sets(policy: Policy) -> Iterator[Problem]:
    """Deny rules that name a stronger role's set, perhaps for what only that role may do."""
    for rule in policy.rules.values():
        words = [word for word in rule.operations if BUILT_IN.get(word, AIRFLOW_ROLES[0]) != AIRFLOW_ROLES[0]]
        if rule.effect is Effect.DENY and words:
            message = f"the rule `{rule.id}` also takes away what weaker roles may do: `{words[0]}` includes it"
            yield _at(policy, rule, message, "name the operations that you mean, as connections:*")


class _Needed:
    """The strongest Airflow role that a rule's operations need; computed once for equal ones."""

    def __init__(self, policy: Policy, words: Words) -> None:
        self._operations = policy.catalogue.operations
        self._words = words
        self._known: dict[tuple[str, ...], int] = {}

    def by(self, rule: Rule) -> int:
        """Its position among Airflow's roles, for an allow rule."""
        rank = self._known.get(rule.operations)
        if rank is None:
            names = self._words.stand_for(rule.operations, never=False)
            ranks = (AIRFLOW_ROLES.index(self._operations[name].airflow_role) for name in names)
            rank = self._known[rule.operations] = max(ranks, default=0)
        return rank


def _dead(known: _Known) -> Iterator[Problem]:
    """Rules that deny rules keep from ever allowing anything."""
    for rule, denying in known.lifeless:
        names = ", ".join(f"`{name}`" for name in denying[:_SHOWN]) + (", …" if len(denying) > _SHOWN else "")
        by = f"the deny rule {names} covers it" if len(denying) == 1 else f"the deny rules {names} cover it together"
        message = f"the rule `{rule.id}` can never allow anything: {by}"
        hint = (
            "remove one of them, or narrow the deny rule" if len(denying) == 1 else "remove it, or narrow one of them"
        )
        yield _at(known.policy, rule, message, hint)
