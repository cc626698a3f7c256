"""The names that a policy knows, to remark on others: perhaps a slip.

Law: a group that no role lists is how one tests strangers, so only a name that is nearly one of the policy's is
reported.
"""

from collections.abc import Iterable, Iterator

from authz.core.cases.case import Case
from authz.core.documents.wording import Vocabulary
from authz.core.policy import Policy, Role


class Known:
    """The names that the policy knows, and which of its issuers have groups."""

    def __init__(self, policy: Policy) -> None:
        roles = policy.roles.values()
        self._names = {
            "group": frozenset(name for role in roles for name in (*role.groups, *_ended(role, "groups"))),
            "client": frozenset(name for role in roles for name in (*role.clients, *_ended(role, "clients"))),
            "subject": frozenset(name for role in roles for name in (*role.subjects, *_ended(role, "subjects"))),
            "destination": frozenset(name for rule in policy.rules.values() for name in rule.destinations),
        }
        self._near = {kind: Vocabulary(names) for kind, names in self._names.items()}
        self._grouped = {issuer.name: bool(issuer.groups) for issuer in policy.issuers.values()}

    def names(self, case: Case) -> Iterator[tuple[str, str]]:
        """The remarks about the names in one case: message and hint."""
        caller = case.caller
        for kind, names in (("group", caller.groups), ("client", (caller.client,)), ("subject", (caller.subject,))):
            for name in filter(None, names):
                yield from self._nearly(kind, name, f"no role has the {kind}")
        for name in {request.destination for request in case.requests} - {""}:
            yield from self._nearly("destination", name, "no rule names the destination")

    def about(self, case: Case) -> Iterator[tuple[str, str]]:
        """All remarks about one case."""
        yield from self.names(case)
        caller = case.caller
        having = self._grouped.get(caller.issuer, any(self._grouped.values()))
        if caller.groups and not having:
            issuer = f"the issuer `{caller.issuer}`" if caller.issuer else "any issuer"
            yield f"a test has groups, and tokens of {issuer} show none", "say where they are: groups: [claim]"

    def memberships(self, groups: Iterable[str], client: str, subject: str) -> list[str]:
        """What someone says of a caller that no role has, in sentences.

        Where one membership counts, others do so only if they are nearly one: a person has groups for other things.
        """
        named = [("group", name) for name in groups]
        named += [(kind, name) for kind, name in (("client", client), ("subject", subject)) if name]
        unknown = [(kind, name) for kind, name in named if name not in self._names[kind]]
        stranger = len(unknown) == len(named)
        near = ((kind, name, self._near[kind].near(name)) for kind, name in unknown)
        return [
            f"no role has the {kind} `{name}`" + (f" ({hint})" if hint else "")
            for kind, name, hint in near
            if hint or stranger
        ]

    def _nearly(self, kind: str, name: str, message: str) -> Iterator[tuple[str, str]]:
        hint = "" if name in self._names[kind] else self._near[kind].near(name)
        if hint:
            yield f"{message} `{name}`", hint


def _ended(role: Role, kind: str) -> Iterator[str]:
    """The members that a role had until then: other notes say so."""
    return (member.name for member in role.ended if member.kind == kind)
