"""Lint for rules that change nothing: others do the same, or no request meets all of their conditions.

Law: that of `authz.core.lint.review`, which reports this. Which rules these are is for the prover to say.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from authz.core.errors import Problem
from authz.core.model import Plane
from authz.core.policy import BUILT_IN, Effect, Policy, Rule
from authz.core.policy.airflow_roles import airflow_roles
from authz.core.policy.dags import EVERY
from authz.core.proof.idle import Idle

_SHOWN: Final = 3


def is_limited(rule: Rule) -> bool:
    """Whether a rule is about some DAGs only."""
    return bool(rule.dags) and all(glob.text != EVERY for glob in rule.dags)


def is_moot(one: Idle, policy: Policy) -> bool:
    """Whether it is a rule for some DAGs beside one that allows the same for every DAG."""
    by = [policy.rules[name] for name in one.by]
    limited = is_limited(one.rule) and one.rule.effect is Effect.ALLOW and not one.denied
    return limited and len(by) == 1 and not by[0].dags


def warnings(found: Iterable[Idle], policy: Policy) -> Iterator[Problem]:
    """Rules that limit nothing, and those that never apply."""
    for one in found:
        if is_moot(one, policy):
            message = (
                f"the rule `{one.rule.id}` limits nothing to its DAGs: `{one.by[0]}` allows the same for every DAG"
            )
            if one.by[0] in BUILT_IN:
                hint = f"do not give `{one.by[0]}` to its roles: name it in `operations`"
            else:
                hint = f"remove it, or give `{one.by[0]}` some `dags` too"
            yield _at(policy, one.rule, message, hint)
        elif not one.by and Plane.INBOUND in one.rule.planes:  # `authz.core.lint.outbound` says it of tunnels
            message = f"the rule `{one.rule.id}` can never apply: no request meets all of its conditions"
            hint = "two of them exclude each other, as a path of one DAG and `dags` of others do; correct or remove it"
            yield _at(policy, one.rule, message, hint)


def notes(found: Collection[Idle], policy: Policy) -> Iterator[Problem]:
    """Rules that can be removed; all of them together, too."""
    lower = _lower(found, policy)
    for one in found:
        if not one.by or is_moot(one, policy):
            continue
        if one.same:
            yield _at(
                policy, one.rule, f"the rule `{one.rule.id}` says the same as `{one.by[0]}`", "remove one of them"
            )
            continue
        denies = one.rule.effect is Effect.DENY
        does, do, kind = ("denies", "deny", "deny rule") if denies else ("allows", "allow", "rule")
        names = _named(one.by)
        others = f"the {kind} {names} {does} it too" if len(one.by) == 1 else f"the {kind}s {names} {do} it together"
        rest = f", but for what {_named(one.denied)} denies" if one.denied else ""
        message = f"the rule `{one.rule.id}` {does} nothing more: {others}{rest}"
        hint = "remove it" if denies else "remove it; if it is meant to limit something, narrow the others"
        if weaker := [role for role in one.rule.roles if role in lower]:
            hint += (
                f"; first write `airflow: {lower[weaker[0]]}` for the role `{weaker[0]}`, which has that from this rule"
            )
        yield _at(policy, one.rule, message, hint)


def _lower(found: Collection[Idle], policy: Policy) -> dict[str, str]:
    """The roles that would have a weaker role in Airflow without these rules, and what they have with them.

    Rules of paths alone allow as much, and give no such role.
    """
    if not found:
        return {}
    gone = {one.rule.written for one in found}
    before, after = (
        airflow_roles(
            policy.roles, [rule for rule in policy.rules.values() if rule.written not in without], policy.catalogue
        )
        for without in ((), gone)
    )
    return {role: word for role, word in before.items() if after.get(role) != word}


def _named(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _at(policy: Policy, rule: Rule, message: str, hint: str) -> Problem:
    return Problem(*policy.place_of(rule), message, hint)
