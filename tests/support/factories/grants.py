"""Grants: a policy with entries, callers, and events at made-up times."""

from authz.core.grants import Actor, Approved, Caller, Ended, Requested
from tests.support.factories import policies
from tests.support.factories.tokens import ISS, NOW

HOUR = 3600
DAY = 86_400
ROLES = "\n  viewer: {groups: [viewers]}\n  lead: {groups: [leads]}\n  editor: {}\n"
RULES = '{id: edit, plane: inbound, roles: [editor], operations: ["dags:read"]}'
ONCALL = "{id: oncall, requesters: [viewer], approvers: [lead], longest: 3d, roles: [editor], description: Help}"
NIGHT = "{id: night, requesters: [authenticated], approvers: none, longest: 1h, roles: [editor]}"


def policy(*entries, roles=ROLES):
    return policies.load(RULES, roles=roles, grantable="\n".join(entries or (ONCALL, NIGHT)))


def who(subject="ana", issuer=ISS, name=""):
    return Actor(issuer=issuer, subject=subject, name=name)


def caller(subject="ana", *roles, issuer=ISS):
    return Caller(actor=who(subject, issuer), roles=frozenset({"authenticated", *roles}))


LOCAL = Caller(actor=Actor(local="root"))


def requested(name="g0000001", *, at=NOW, seconds=HOUR, entry="oncall", subject="ana", **fields):
    return Requested(id=name, at=at, holder=who(subject), entry=entry, seconds=seconds, reason="incident", **fields)


def approved(name="g0000001", *, at=NOW + 60, by="bo"):
    return Approved(id=name, at=at, by=who(by))


def ended(name="g0000001", *, at=NOW + 120, by=None):
    return Ended(id=name, at=at, by=who(by) if by else None)
