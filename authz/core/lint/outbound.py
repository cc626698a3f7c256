"""Lint for a policy's rules about outbound calls: tunnels, runs and their assurance levels.

Law: that of `authz.core.lint.review`, which reports this. The cost grows with the rules, not with their pairs.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from authz.core.errors import Problem
from authz.core.model import Level, Plane
from authz.core.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.core.policy.outbound import is_tunnel

_SHOWN: Final = 3
_ANY_PATH: Final = "/**"


def about_calls(policy: Policy) -> Iterator[Problem]:
    """Every warning about outbound calls."""
    limited = {place for rule in _outbound(policy) if _limits(rule) for place in _places(rule)}
    issuers = [issuer.name for issuer in policy.issuers.values() if Plane.EGRESS in issuer.audiences]
    for rule in _outbound(policy):
        if rule.effect is Effect.ALLOW:
            yield from _tunnel(policy, rule, limited)
            yield from _roles_of_runs(policy, rule)
            yield from _claimed_runs(policy, rule, issuers)


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
    return Problem(*policy.place_of(rule), message, hint)


def _outbound(policy: Policy) -> Iterator[Rule]:
    return (rule for rule in policy.rules.values() if Plane.EGRESS in rule.planes)


def _tunnel(policy: Policy, rule: Rule, limited: AbstractSet[str]) -> Iterator[Problem]:
    """The policy sees only the host and port of a tunnel: those of named places are all that there is to check.

    It is not so for any host of a domain, nor for a place where another rule, `limited`, allows some requests only.
    """
    if is_tunnel(rule.methods):
        wide = not rule.destinations and any(host.text.startswith("*") for host in rule.hosts)
        if wide or not limited.isdisjoint(_places(rule)):
            message = f"the rule `{rule.id}` allows tunnels, in which neither methods nor paths can be enforced"
            hint = "name each host, or" if wide else "another rule says methods or paths there:"
            call = "let tasks call the destination's base URL, so that each request is checked"
            yield at(policy, rule, message, f"{hint} {call}")
        yield from _runs_of_tunnels(policy, rule)


def _limits(rule: Rule) -> bool:
    """Whether a rule allows some requests only, by their methods or paths."""
    some = bool(rule.methods) or any(path.text != _ANY_PATH for path in rule.paths)
    return rule.effect is Effect.ALLOW and not is_tunnel(rule.methods) and some


def _places(rule: Rule) -> Iterator[str]:
    """Where a rule's calls go: destinations, and hosts as they are written."""
    yield from (f"destination {name}" for name in rule.destinations)
    yield from (host.text for host in rule.hosts)


def _runs_of_tunnels(policy: Policy, rule: Rule) -> Iterator[Problem]:
    """CONNECT has no URL for a proof: its run is `verified-bearer` at most, and no account can name one."""
    if rule.identity is Level.VERIFIED:
        message = (
            f"the rule `{rule.id}` can allow nothing: it asks for a run that is `verified`, and a tunnel has no proof"
        )
        yield at(policy, rule, message, "write identity: verified-bearer")
    elif rule.identity is Level.ASSERTED and rule.roles and AUTHENTICATED not in rule.roles:
        message = f"the rule `{rule.id}` can allow nothing: an account names its run in a proof, and a tunnel has none"
        yield at(policy, rule, message, "remove `dags`, `tasks` and `identity`, or `roles`")


def _roles_of_runs(policy: Policy, rule: Rule) -> Iterator[Problem]:
    """A run with its own token has no roles, and a caller with roles only asserts which run it is."""
    if rule.identity not in {Level.VERIFIED, Level.VERIFIED_BEARER} or not rule.roles or AUTHENTICATED in rule.roles:
        return
    where = " on egress" if Plane.INBOUND in rule.planes else ""
    message = f"the rule `{rule.id}` can allow nothing{where}: it asks for roles and a run that is `{rule.identity}`"
    yield at(
        policy, rule, message, "runs have no roles: remove `roles`, or, for service accounts, write identity: asserted"
    )


def _claimed_runs(policy: Policy, rule: Rule, issuers: Sequence[str]) -> Iterator[Problem]:
    """At `asserted`, an account names its run itself, so only `roles` say which accounts may."""
    if rule.identity is not Level.ASSERTED or not issuers or (rule.roles and AUTHENTICATED not in rule.roles):
        return
    some = ", ".join(issuers[:_SHOWN]) + (", …" if len(issuers) > _SHOWN else "")
    message = (
        f"any account with an egress token of {some} may call by the rule `{rule.id}`:"
        " at `identity: asserted` it only has to name such a run"
    )
    hint = (
        "for some accounts add `roles`; for tasks with tokens of their own write identity: verified, or, if no account"
        " calls on egress, remove the audience"
    )
    yield at(policy, rule, message, hint)
