"""A policy without rules, beside which whatever another one allows is a gain."""

from dataclasses import replace
from types import MappingProxyType

from authz.core.model import Plane
from authz.core.policy.compiled import Gate, Policy
from authz.core.policy.index import Index
from authz.core.policy.rules import Effect


def without_rules(policy: Policy) -> Policy:
    """The policy with its issuers and roles, and no rule."""
    gates = {}
    for plane in Plane:
        deny, public, allow = (
            Index((), plane=plane, effect=effect, catalogue=policy.catalogue)
            for effect in (Effect.DENY, Effect.PUBLIC, Effect.ALLOW)
        )
        gates[plane] = Gate(deny=deny, public=public, allow=allow)
    return replace(policy, rules=MappingProxyType({}), gates=MappingProxyType(gates))
