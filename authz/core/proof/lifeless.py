"""Which allow and public rules never allow anything, because deny rules keep every caller from all of it.

Law: exact, for the policy as it is written. A rule is found if and only if someone has its roles, and no caller with
any set of memberships is allowed a request, or shown a DAG of a list that Airflow narrows, that the rule alone would
allow. More memberships only deny more, so that callers with one of them stand for all; and all of a region is denied
only where its stand-in is. Deny rules, and memberships by which they are about someone, are left out if they have an
end: what is denied only until then comes to life.

Most rules are alive, and the first request that is asked about shows it. A rule for which too many questions do not
show it counts as alive.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Final

from authz.core.decision.decide import applies, route_of
from authz.core.model import Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.ends import as_of, ends
from authz.core.policy.index import Index
from authz.core.policy.rules import Effect, Rule
from authz.core.proof.asked import Asked, in_time
from authz.core.proof.points import point
from authz.core.proof.regions import of_rule
from authz.core.proof.samples import Samples
from authz.core.proof.space import Space

MOST_ASKED: Final = 10_000
"""Regions of one rule, each of which takes at least some ten microseconds."""


def lifeless(policy: Policy) -> Iterator[tuple[Rule, tuple[str, ...]]]:
    """The rules, each with the ids of deny rules that together keep everyone from all of it."""
    over = ends(policy)
    lasting = as_of(policy, over[-1]) if over else policy
    sides = {plane: _Side(policy, lasting, plane) for plane in Plane}
    for rule in policy.rules.values():
        if rule.effect is not Effect.DENY:
            found: set[str] = set()
            for plane in rule.planes:
                denying = sides[plane].denying(rule)
                if denying is None:
                    break
                found |= denying
            else:
                if found:  # else no one has its roles
                    yield rule, tuple(sorted(found))


class _Side:
    """One plane of a policy. `lasting` is the policy when all that ends is over."""

    def __init__(self, policy: Policy, lasting: Policy, plane: Plane) -> None:
        self._plane, self._written, self._policy = plane, policy, lasting
        known = lasting.rules.values()
        self._lasting = [one for one in known if one.effect is Effect.DENY and plane in one.planes]
        self._samples = Samples(policy, plane)

    @cached_property
    def _space(self) -> Space:
        return Space(self._plane, self._written)

    @cached_property
    def _anyones(self) -> Index:
        """The deny rules as if all were about everyone: where none of them applies, no one is denied."""
        rules = [replace(rule, roles=()) for rule in self._lasting]
        return Index(rules, plane=self._plane, effect=Effect.DENY, catalogue=self._policy.catalogue)

    @cached_property
    def _asked(self) -> tuple[Asked, Asked]:
        """Who rules are about, and which roles are theirs when all that ends is over."""
        return in_time(self._written, self._policy, self._plane)

    def _is_alive(self, rule: Rule) -> bool:
        """Whether a sample of what the rule allows is denied to no one: most rules need no more."""
        at = self._samples.of(rule)
        return at is not None and not applies(self._anyones, at.request, at.run, route_of(at.request, self._policy), "")

    def denying(self, rule: Rule) -> set[str] | None:
        """The deny rules that keep everyone from all that the rule is about; None if someone is allowed some of it."""
        found: set[str] = set()
        if not self._lasting or (len(rule.planes) == 1 and self._is_alive(rule)):
            return None
        for count, region in enumerate(of_rule(rule, self._plane, self._space)):
            at = point(region, self._space.symbol)
            route = route_of(at.request, self._policy)
            if (route.template if route is not None else "") != region.template:
                continue  # another route has taken its path, and has regions of its own
            about, lasting = self._asked
            names = lasting.denying(about.asking(region, about.named(rule)), at, route)
            if names is None or count >= MOST_ASKED:
                return None
            found |= names
        return found
