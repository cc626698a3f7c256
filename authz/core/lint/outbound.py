"""Lint for a policy's rules about outbound calls: tunnels, runs and their assurance levels.

Law: that of `authz.core.lint.review`, which reports this. The cost grows with the rules, not with their pairs.
"""

from collections.abc import Iterator

from authz.core.errors import Problem
from authz.core.model import Level, Plane
from authz.core.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.core.policy.outbound import is_tunnel


def about_calls(policy: Policy) -> Iterator[Problem]:
    """Every warning about outbound calls."""
    for rule in _outbound(policy):
        if rule.effect is Effect.ALLOW:
            yield from _tunnel(policy, rule)
            yield from _roles_of_runs(policy, rule)


def careful_denials(policy: Policy) -> Iterator[Problem]:
    """Deny rules about runs that also deny calls whose run is not certain; these are notes."""
    for rule in _outbound(policy):
        if rule.effect is Effect.DENY and (rule.dags or rule.tasks):
            what = "DAGs" if rule.dags else "tasks"
            message = f"the rule `{rule.id}` also denies calls whose run is not certain"
            hint = f"whatever their {what} are: an asserted run may be a lie, and service accounts have no run"
            yield at(policy, rule, message, hint)


def at(policy: Policy, rule: Rule, message: str, hint: str) -> Problem:
    """A problem at the place of a rule."""
    return Problem(policy.file, rule.line, rule.column, message, hint)


def _outbound(policy: Policy) -> Iterator[Rule]:
    return (rule for rule in policy.rules.values() if Plane.EGRESS in rule.planes)


def _tunnel(policy: Policy, rule: Rule) -> Iterator[Problem]:
    """The policy sees only the host and port of a tunnel."""
    if is_tunnel(rule.methods):
        message = f"the rule `{rule.id}` allows tunnels, in which neither methods nor paths can be enforced"
        yield at(policy, rule, message, "let tasks call the destination's base URL, so that each request is checked")


def _roles_of_runs(policy: Policy, rule: Rule) -> Iterator[Problem]:
    """A run with its own token has no roles, and a caller with roles only asserts which run it is."""
    if rule.identity not in {Level.VERIFIED, Level.VERIFIED_BEARER} or not rule.roles or AUTHENTICATED in rule.roles:
        return
    where = " on egress" if Plane.INBOUND in rule.planes else ""
    message = f"the rule `{rule.id}` can allow nothing{where}: it asks for roles and a run that is `{rule.identity}`"
    yield at(
        policy, rule, message, "runs have no roles: remove `roles`, or, for service accounts, write identity: asserted"
    )
