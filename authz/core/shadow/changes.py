"""The rules in which two policies differ, to see at once that they decide a request alike.

Law: pure, and one-sided: `may_differ` is true unless both policies are known to give the same decision. A decision
follows from the catalogue, the caller's roles and the rules that apply, so it is the same where the first two are and
no rule applies that only one policy has. Whether any rule names the path at all is part of a denial's reason, so a
changed rule that names it counts too. On egress, rules name a call together: there every change counts.
"""

from dataclasses import replace
from typing import Final

from authz.core.model import Decision, Identity, Plane, Request
from authz.core.policy import AUTHENTICATED, Effect, Policy, Rule
from authz.core.policy.index import ANY, Index, Keys

MOST: Final = 256
"""With more changed rules than these, every decision is evaluated: an index of them would take time to make."""

_ANONYMOUS: Final[Keys] = (ANY,)


class Changes:
    """The changes between two policies. Make it where time does not matter."""

    __slots__ = ("_always", "_egress", "_indexes")

    def __init__(self, policy: Policy, candidate: Policy) -> None:
        found = sorted(_rules(policy) ^ _rules(candidate), key=lambda rule: rule.id)
        self._always = policy.catalogue is not candidate.catalogue or len(found) > MOST
        self._egress = any(Plane.EGRESS in rule.planes for rule in found)
        inbound = [] if self._always else [rule for rule in found if Plane.INBOUND in rule.planes]
        self._indexes = tuple(
            Index(inbound, plane=Plane.INBOUND, effect=effect, catalogue=policy.catalogue)
            for effect in Effect
            if any(rule.effect is effect for rule in inbound)
        )

    def may_differ(self, request: Request, ours: Identity | None, theirs: Identity | None, decision: Decision) -> bool:
        """Whether the candidate must be asked. `ours` and `theirs` are the caller, `decision` is the policy's."""
        if self._always:
            return True
        if ours is not theirs and (ours is None or theirs is None or ours.roles != theirs.roles):
            return True
        if request.plane is Plane.EGRESS:
            return self._egress
        if not self._indexes:
            return False
        roles = _ANONYMOUS if ours is None else (ANY, AUTHENTICATED, *ours.roles)
        for index in self._indexes:
            applying = index.find(request, roles, decision.operation)
            if applying.rule or applying.limited or index.names(request):
                return True
        return False


def _rules(policy: Policy) -> set[Rule]:
    """The rules without where they stand and what people say about them."""
    return {replace(rule, line=0, column=0, description="") for rule in policy.rules.values()}
