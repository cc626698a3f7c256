"""The sets of memberships that stand for all callers under two policies.

Law: exact for these policies. Two memberships of one kind that give the same roles under both policies are one; a
membership that gives nothing beyond what every caller of the issuer has is none. A token has any number of groups, one
client and one subject, and its caller may hold any number of grants, whichever issuer it is of. Runs and anonymous
callers are callers like all others, with no roles of their own.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from authz.core.model import Claims, Identity, Plane, Run
from authz.core.policy.compiled import Policy
from authz.core.policy.rules import AUTHENTICATED, held

_NO_ONE: Final = ""  # no policy names this subject or client


class Kind(StrEnum):
    """What a membership is a member of."""

    GROUP = "group"
    CLIENT = "client"
    SUBJECT = "subject"
    GRANT = "grant"


@dataclass(frozen=True, slots=True)
class Membership:
    """One membership."""

    kind: Kind
    value: str


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller: the token's issuer (its name in the policy) and memberships.

    `issuer` is "" for those without a token: anonymous callers, and runs that prove which run they are.
    `alike` are memberships that would do as well as the last one. `role` stands for a caller who has this role of the
    policy, however they came by it.
    """

    issuer: str
    memberships: tuple[Membership, ...] = ()
    alike: tuple[Membership, ...] = ()
    anonymous: bool = False
    role: str = ""

    def identity(self, policy: Policy, run: Run | None = None) -> Identity | None:
        """The caller under a policy; `run` is the run that calls, or that the caller asserts."""
        if self.anonymous:
            return None
        if self.issuer and not self.role:
            known = self.identified(policy)
            return Identity(claims=known.claims, roles=known.roles, run=run)
        roles = policy.roles[self.role].includes if self.role else frozenset()
        return Identity(claims=self.claims(), roles=roles, run=run)

    def held(self, policy: Policy) -> frozenset[str]:
        """The roles by which rules may name the caller: `authenticated` too, unless the caller is anonymous."""
        known = self.identity(policy)
        return frozenset() if known is None else known.roles | {AUTHENTICATED}

    def identified(self, policy: Policy) -> Identity:
        """What the policy makes of a token and of grants with these memberships."""
        return policy.identify(self.claims(), held(m.value for m in self.memberships if m.kind is Kind.GRANT))

    def claims(self) -> Claims:
        """The claims of a token with these memberships."""
        named = {m.kind: m.value for m in self.memberships}  # one subject and one client at most
        groups = frozenset(m.value for m in self.memberships if m.kind is Kind.GROUP)
        subject, client = named.get(Kind.SUBJECT, _NO_ONE), named.get(Kind.CLIENT, _NO_ONE)
        # All fields, in their order: `replace` takes ten times as long.
        return Claims(self.issuer, "", subject, client, "", "", groups, frozenset(), 0, None, None)

    def also(self, other: "Caller") -> "Caller | None":
        """The caller with another one's memberships too; None if no token has both."""
        if not self.issuer or self.issuer != other.issuer or self.role or other.role:
            return None
        both = (*self.memberships, *(m for m in other.memberships if m not in self.memberships))
        kinds = [m.kind for m in both]
        single = all(kinds.count(kind) <= 1 for kind in (Kind.CLIENT, Kind.SUBJECT))
        return Caller(self.issuer, both, other.alike) if single else None


ANONYMOUS: Final = Caller("", anonymous=True)
"""A caller without a token."""
RUN: Final = Caller("")
"""A run that proves which one it is: it has no roles of its own."""
TOKENLESS: Final[Mapping[Plane, Caller]] = MappingProxyType({Plane.INBOUND: ANONYMOUS, Plane.EGRESS: RUN})
"""Who may be allowed something without a token, by plane. On egress, anonymous callers never are."""


def callers(plane: Plane, *policies: Policy) -> Iterator[Caller]:
    """For each issuer of all policies: a stranger, and a caller for each way in which a membership counts.

    The one without a token is the last.
    """
    for issuer in policies[0].issuers.values():
        if plane in issuer.audiences and all(issuer.issuer in policy.issuers for policy in policies):
            yield from _of_issuer(issuer.name, policies)
    yield TOKENLESS[plane]


def _of_issuer(issuer: str, policies: Iterable[Policy]) -> Iterator[Caller]:
    policies = tuple(policies)
    stranger = Caller(issuer)
    yield stranger
    nothing = _roles(stranger, policies)
    alike: dict[tuple[Kind, tuple[frozenset[str], ...]], list[Membership]] = defaultdict(list)
    for membership in _memberships(policies):
        roles = _roles(Caller(issuer, (membership,)), policies)
        if roles != nothing:
            alike[membership.kind, roles].append(membership)
    for found in alike.values():
        yield Caller(issuer, (found[0],), tuple(found[1:]))


def _memberships(policies: Iterable[Policy]) -> Iterator[Membership]:
    roles = [role for policy in policies for role in policy.roles.values()]
    for kind, values in (
        (Kind.GROUP, {value for role in roles for value in role.groups}),
        (Kind.CLIENT, {value for role in roles for value in role.clients}),
        (Kind.SUBJECT, {value for role in roles for value in role.subjects}),
        (Kind.GRANT, {value for role in roles for value in role.grants}),
    ):
        yield from (Membership(kind, value) for value in sorted(values))


def _roles(caller: Caller, policies: Iterable[Policy]) -> tuple[frozenset[str], ...]:
    return tuple(caller.identified(policy).roles for policy in policies)
