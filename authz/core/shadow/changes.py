"""The rules in which two policies differ, to see at once that they decide a request alike.

Law: pure, and one-sided: `may_differ` is true unless both policies are known to give the same decision. A decision
follows from the catalogue, the caller's roles and the rules that apply, so it is the same where the first two are and
no rule applies that only one policy has. Whether any rule names the path at all is part of a denial's reason, so a
changed rule that names it counts too. On egress, rules name a call together: there every change counts. No allow rule
is about an anonymous caller, no deny rule where no public rule applies, and no rule at all on egress.
"""

from dataclasses import replace
from typing import Final

from authz.core.model import Decision, Identity, Plane, Request
from authz.core.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.core.policy.index import ANY, Index, Keys
from authz.core.policy.rules import Role
from authz.core.reasons import Reason

MOST: Final = 256
"""With more changed rules than these, every decision is evaluated: an index of them would take time to make."""

_ANONYMOUS: Final[Keys] = (ANY,)


class Changes:
    """The changes between two policies. Make it where time does not matter.

    Attributes:
        same_callers: a caller whose issuer both have is the same under both: they have the same roles.
    """

    __slots__ = ("_always", "_anonymous", "_egress", "_indexes", "_public", "same_callers")

    def __init__(self, policy: Policy, candidate: Policy) -> None:
        found = sorted(_rules(policy) ^ _rules(candidate), key=lambda rule: rule.id)
        self._always = policy.catalogue is not candidate.catalogue or len(found) > MOST
        self._egress = any(Plane.EGRESS in rule.planes for rule in found)
        inbound = [] if self._always else [rule for rule in found if Plane.INBOUND in rule.planes]
        indexes = {
            effect: Index(inbound, plane=Plane.INBOUND, effect=effect, catalogue=policy.catalogue)
            for effect in Effect
            if any(rule.effect is effect for rule in inbound)
        }
        self._indexes = tuple(indexes.values())
        self._public = tuple(index for effect, index in indexes.items() if effect is Effect.PUBLIC)
        self._anonymous = tuple(index for effect, index in indexes.items() if effect is not Effect.ALLOW)
        self.same_callers = _same_callers(policy, candidate)

    def may_differ(self, request: Request, ours: Identity | None, theirs: Identity | None, decision: Decision) -> bool:
        """Whether the candidate must be asked. `ours` and `theirs` are the caller, `decision` is the policy's."""
        if self._always:
            return True
        if ours is not theirs and (ours is None or theirs is None or ours.roles != theirs.roles):
            return True
        if ours is None:
            return request.plane is Plane.INBOUND and _apply(self._for_anonymous(decision), request, decision)
        if request.plane is Plane.EGRESS:
            return self._egress
        roles = (ANY, AUTHENTICATED, *ours.roles)
        for index in self._indexes:
            applying = index.find(request, roles, decision.operation)
            if applying.rule or applying.limited or index.names(request):
                return True
        return False

    def concern_anonymous(self, decision: Decision) -> bool:
        """Whether `may_differ` can be true of any anonymous caller's request that was decided so."""
        return self._always or self._for_anonymous(decision) != ()

    def _for_anonymous(self, decision: Decision) -> tuple[Index, ...]:
        return self._public if decision.reason is Reason.NO_TOKEN else self._anonymous


def _apply(indexes: tuple[Index, ...], request: Request, decision: Decision) -> bool:
    """Whether one of the rules applies to an anonymous caller."""
    found = [index.find(request, _ANONYMOUS, decision.operation) for index in indexes]
    return any(applying.rule or applying.limited for applying in found)


def _same_callers(policy: Policy, candidate: Policy) -> bool:
    """Whether the same claims give the same roles, and the same role in Airflow."""
    ours, theirs = policy.roles, candidate.roles
    if policy.airflow_roles != candidate.airflow_roles or ours.keys() != theirs.keys():
        return False
    if _permitted(policy) != _permitted(candidate):
        return False
    return all(_members(role) == _members(theirs[name]) for name, role in ours.items())


def _permitted(policy: Policy) -> dict[str, tuple[float, bool]]:
    """Which grants of each entry count (`Policy.permits`): how long ones, and whether only approved ones."""
    return {entry.id: (entry.longest, bool(entry.approvers)) for entry in policy.grantable.values()}


def _members(role: Role) -> tuple[object, ...]:
    """Who has the role, and what it is."""
    return role.groups, role.clients, role.subjects, role.grants, role.issuers, role.includes, role.agent


def _rules(policy: Policy) -> set[Rule]:
    """The rules without where they stand and what people say about them."""
    return {replace(rule, line=0, column=0, description="") for rule in policy.rules.values()}
