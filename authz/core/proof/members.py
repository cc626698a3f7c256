"""The callers with a token who have some role of each of two sets, with as few memberships as possible.

Law: complete for questions to which one more membership never helps: every caller who has such roles has the
memberships of one that is given here, or others that no deny rule tells from them. The second set is about who has such
a role in the policy as it is written, also where that membership has ended.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from authz.core.model import Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import AUTHENTICATED
from authz.core.proof.callers import Caller, Kind, callers

_Question = tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]


@dataclass(slots=True)
class _Issuer:
    """The callers of one issuer and their roles. `base` are the roles of all of them, which never end.

    `holding` has for each other role who has it; `had` has for each who has it in the policy as it is written.
    """

    stranger: Caller
    base: frozenset[str]
    roles: dict[Caller, frozenset[str]]
    holding: dict[str, list[Caller]] = field(default_factory=lambda: defaultdict(list))
    had: dict[str, list[Caller]] = field(default_factory=lambda: defaultdict(list))

    def with_one_of(
        self, wanted: tuple[str, ...], having: dict[str, list[Caller]], spared: frozenset[str]
    ) -> Iterator[Caller]:
        """The callers with one membership, or none, that gives one of these roles; no role at all means everyone."""
        if not wanted or AUTHENTICATED in wanted or not self.base.isdisjoint(wanted):
            yield self.stranger
            return
        found = dict.fromkeys(caller for role in wanted for caller in having.get(role, ()))
        yield from (caller for caller in found if self.roles[caller].isdisjoint(spared))


class Members:
    """The callers of one plane; `telling` are the roles that deny rules are about.

    `written` is the policy as it is written, and `policy` is that as of some time.
    """

    def __init__(self, policy: Policy, written: Policy, plane: Plane, telling: frozenset[str]) -> None:
        self._policy, self._written, self._plane, self._telling = policy, written, plane, telling
        self._answers: dict[_Question, tuple[Caller, ...]] = {}

    @cached_property
    def _issuers(self) -> list[_Issuer]:
        found: dict[str, _Issuer] = {}
        policies = (self._policy,) if self._written is self._policy else (self._policy, self._written)
        for caller in (one for one in callers(self._plane, *policies) if one.issuer):
            roles, *others = (caller.identified(policy).roles for policy in policies)
            if not caller.memberships:
                found[caller.issuer] = _Issuer(caller, roles, {})
            issuer = found[caller.issuer]
            issuer.roles[caller] = roles
            for role in roles - issuer.base:
                issuer.holding[role].append(caller)
            for role in (others[0] if others else roles) - issuer.base:
                issuer.had[role].append(caller)
        return list(found.values())

    def holding(self, one: tuple[str, ...], other: tuple[str, ...], spared: frozenset[str]) -> tuple[Caller, ...]:
        """Callers with a role of `one`, as written one of `other`, and none of `spared`; an empty set is everyone."""
        question = one, other, spared
        found = self._answers.get(question)
        if found is None:
            asked = () if AUTHENTICATED in spared else self._issuers
            having = (caller for issuer in asked for caller in self._of(issuer, *question))
            found = self._answers[question] = tuple(dict.fromkeys(having))
        return found

    def _of(
        self, issuer: _Issuer, one: tuple[str, ...], other: tuple[str, ...], spared: frozenset[str]
    ) -> Iterator[Caller]:
        if not issuer.base.isdisjoint(spared):
            return
        firsts = [*issuer.with_one_of(one, issuer.holding, spared)]
        seconds = [*issuer.with_one_of(other, issuer.had, spared)]
        also = set(seconds)
        alone = [caller for caller in firsts if caller in also or issuer.stranger in also]
        yield from self._distinct(issuer, alone if issuer.stranger not in firsts else seconds)
        if issuer.stranger in firsts or issuer.stranger in also:
            return
        for first in self._distinct(issuer, firsts):
            for second in self._distinct(issuer, seconds):
                both = first.also(second)
                if both is not None:
                    yield both

    def _distinct(self, issuer: _Issuer, found: list[Caller]) -> Iterator[Caller]:
        """Of callers that no deny rule tells apart, the first one."""
        seen: set[tuple[Kind | None, frozenset[str]]] = set()
        for caller in found:
            kind = caller.memberships[0].kind if caller.memberships else None
            key = kind, issuer.roles[caller] & self._telling
            if key not in seen:
                seen.add(key)
                yield caller
