"""What tests name that the policy does not know: perhaps a slip, and then the test shows less than it seems to.

Law: remarks only; none of them stops a policy. A group that no role lists is how one tests strangers, so only a name
that is nearly one of the policy's is reported.
"""

from collections.abc import Callable, Iterable, Iterator

from authz.core.cases.case import Case
from authz.core.cases.load import Suite
from authz.core.documents.wording import Vocabulary
from authz.core.errors import MOST_PROBLEMS, Problem
from authz.core.policy import Policy


def warnings(suite: Suite) -> list[Problem]:
    """The remarks about all tests, sorted by place; each name once per file, and not more than MOST_PROBLEMS."""
    known = _Known(suite.policy)
    seen: set[tuple[str, str]] = set()
    found = []
    for case in suite.cases:
        for message, hint in known.about(case):
            if (case.file, message) not in seen:
                seen.add((case.file, message))
                found.append(Problem(case.file, case.line, case.column, message, hint))
    return sorted(found)[:MOST_PROBLEMS]


class _Known:
    """The names that the policy knows, and which of its issuers have groups."""

    def __init__(self, policy: Policy) -> None:
        roles = policy.roles.values()
        self._names = {
            "group": _near(name for role in roles for name in role.groups),
            "client": _near(name for role in roles for name in role.clients),
            "subject": _near(name for role in roles for name in role.subjects),
            "destination": _near(name for rule in policy.rules.values() for name in rule.destinations),
        }
        self._grouped = {issuer.name: bool(issuer.groups) for issuer in policy.issuers.values()}

    def about(self, case: Case) -> Iterator[tuple[str, str]]:
        """The remarks about one case: message and hint."""
        caller = case.caller
        for kind, names in (("group", caller.groups), ("client", (caller.client,)), ("subject", (caller.subject,))):
            for name in filter(None, names):
                yield from self._nearly(kind, name, f"no role has the {kind}")
        for name in {request.destination for request in case.requests} - {""}:
            yield from self._nearly("destination", name, "no rule names the destination")
        having = self._grouped.get(caller.issuer, any(self._grouped.values()))
        if caller.groups and not having:
            issuer = f"the issuer `{caller.issuer}`" if caller.issuer else "any issuer"
            yield f"a test has groups, and tokens of {issuer} show none", "say where they are: groups: [claim]"

    def _nearly(self, kind: str, name: str, message: str) -> Iterator[tuple[str, str]]:
        hint = self._names[kind](name)
        if hint:
            yield f"{message} `{name}`", hint


def _near(names: Iterable[str]) -> Callable[[str], str]:
    """`did you mean …?` for a name that is not known and nearly another; "" for all others."""
    known = frozenset(names)
    vocabulary = Vocabulary(known)
    return lambda name: "" if name in known else vocabulary.near(name)
