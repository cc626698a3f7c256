"""What tests and entries of `never` name that the policy does not know: perhaps a slip, and then they show little.

Law: remarks only; none of them stops a policy. A group that no role lists is how one tests strangers, so only a name
that is nearly one of the policy's is reported. Where tests fail, their remarks come first: they may be the cause.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from authz.core.cases.case import Case
from authz.core.cases.known import Known
from authz.core.errors import MOST_PROBLEMS, Problem
from authz.core.lint.review import Finding, Severity
from authz.core.lint.slips import Slips
from authz.core.policy import Policy
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
