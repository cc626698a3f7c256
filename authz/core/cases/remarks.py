"""What tests and entries of `never` name that the policy does not know: perhaps a slip, and then they show little.

Law: remarks only; none of them stops a policy. A group that no role lists is how one tests strangers, so only a name
that is nearly one of the policy's is reported. Where tests fail, their remarks come first: they may be the cause.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from authz.core.cases.case import Case
from authz.core.documents.wording import Vocabulary
from authz.core.errors import MOST_PROBLEMS, Problem
from authz.core.lint.review import Finding, Severity
from authz.core.lint.slips import Slips
from authz.core.policy import Policy, Role
from authz.core.proof.never import Invariant

if TYPE_CHECKING:
    from authz.core.cases.load import Suite


def findings(suite: "Suite", *, by_settings: bool = False) -> list[Finding]:
    """The remarks about all tests and entries of `never`, sorted by place; `by_settings` as in `of_never`."""
    tests = of_tests(suite.policy, suite.cases)
    never = of_never(suite.policy, suite.never, by_settings=by_settings)
    return sorted([*(Finding(problem=problem, severity=Severity.WARNING) for problem in tests), *never])


def of_never(policy: Policy, never: Iterable[Invariant], *, by_settings: bool = False) -> list[Finding]:
    """What entries of `never` name and no rule that allows something does: they hold whatever those rules are.

    A name that is nearly a known one is a warning. `by_settings`: settings say which destinations there are. Not more
    than MOST_PROBLEMS.
    """
    slips = Slips(policy, by_settings=by_settings)
    found = []
    for one in never:
        for slip in slips.of(one.rule):
            message = f"the entry `{one.name}` of `never` names {slip.what}"
            severity = Severity.WARNING if slip.near else Severity.NOTE
            problem = Problem(one.file, one.line, one.column, message, slip.hint)
            found.append(Finding(problem=problem, severity=severity))
    return sorted(found)[:MOST_PROBLEMS]


def of_tests(policy: Policy, cases: Iterable[Case], *, of_names: bool = False) -> list[Problem]:
    """The remarks about tests, sorted by place; each once per file, and not more than MOST_PROBLEMS.

    `of_names`: only those about names, which may be why a test fails.
    """
    known = Known(policy)
    seen: set[tuple[str, str]] = set()
    found = []
    for case in cases:
        for message, hint in known.names(case) if of_names else known.about(case):
            if (case.file, message) not in seen:
                seen.add((case.file, message))
                found.append(Problem(case.file, case.line, case.column, message, hint))
    return sorted(found)[:MOST_PROBLEMS]


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
