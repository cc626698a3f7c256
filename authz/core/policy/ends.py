"""A policy whose rules or memberships end → the policy as it is at a time, an ordinary one without what has ended.

Law: pure. The engine, the prover and the tests of a policy know no time: they see a policy in which everything is in
force. Who serves it compares its `valid_until` with the clock, and takes the next one from here. Time only ever takes
away: nothing that is left out comes back, so `as_of(as_of(policy, a), b)` is `as_of(policy, b)` for a <= b.
"""

from dataclasses import replace

from authz.core import collector
from authz.core.policy.compiled import Policy
from authz.core.policy.load import Parts, assembled
from authz.core.policy.rules import NEVER, Role


def as_of(policy: Policy, now: float) -> Policy:
    """The policy without what has ended at `now`, in seconds since the epoch; the same object if nothing has."""
    if now < policy.valid_until:
        return policy
    over = [rule for rule in policy.rules.values() if rule.until <= now]
    roles = {name: _role_at(role, now) for name, role in policy.roles.items()}
    times = [rule.until for rule in over]
    times += [member.until for role in policy.roles.values() for member in role.ends if member.until <= now]
    with collector.resting():
        return assembled(
            Parts(
                file=policy.file,
                revision=policy.revision,
                end_mark=policy.end_mark,
                catalogue=policy.catalogue,
                issuers=[*policy.issuers.values()],
                roles=roles,
                grantable=dict(policy.grantable),
                confines=dict(policy.confines),
                rules={rule.id: rule for rule in policy.rules.values() if rule.until > now},
                since=max(times),
                ended=(*policy.ended, *over),
            )
        )


def ends(policy: Policy) -> list[float]:
    """Every time at which something in the policy ends, the first one first."""
    of_rules = {rule.until for rule in policy.rules.values() if rule.until < NEVER}
    return sorted(of_rules | {member.until for role in policy.roles.values() for member in role.ends})


def _role_at(role: Role, now: float) -> Role:
    """The role without the members whose time is over."""
    over = tuple(member for member in role.ends if member.until <= now)
    if not over:
        return role
    left = {
        kind: getattr(role, kind) - {member.name for member in over if member.kind == kind}
        for kind in ("groups", "clients", "subjects")
    }
    return replace(
        role,
        **left,
        # A role with issuers alone is that of everyone from there: one that has lost its members is no one's.
        issuers=role.issuers if any(left.values()) else frozenset(),
        ends=tuple(member for member in role.ends if member.until > now),
        ended=(*role.ended, *over),
    )
