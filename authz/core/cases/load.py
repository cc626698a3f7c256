"""The files of a policy → the policy, proven by its own tests; or everything that is wrong.

Law: all or nothing. Mistakes in rules and tests are reported together. Only a policy without mistakes is tested, and a
test that fails is a problem like any other: with its place, what was expected and what was found. What else a policy
claims about itself (`never:`) belongs here too: one more check of the compiled policy, with problems of the same kind.
"""

from dataclasses import dataclass

from authz.core import collector
from authz.core.cases.case import Case
from authz.core.cases.compile import compiled
from authz.core.cases.judge import Judge, Result, failures
from authz.core.errors import PolicyError
from authz.core.policy import Bundle, Policy
from authz.core.policy.load import Parts, assembled, parts_of
from authz.core.policy.load import read as read_policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A policy and its tests, as cases in the order of files and lines."""

    policy: Policy
    cases: tuple[Case, ...]


def load(bundle: Bundle) -> Suite:
    """The policy that may come into force.

    Raises:
        PolicyError: with every mistake; or, where there is none, with every test that fails.
    """
    with collector.resting():
        suite = _read(bundle)
        judge = Judge(suite.policy)
        failed = [result for case in suite.cases if (result := judge.run(case)).wrong]
        if failed:
            raise PolicyError(failures(failed, judge), test=first_of(failed))
        return suite


def read(bundle: Bundle) -> Suite:
    """The policy and its tests, which are not run.

    Raises:
        PolicyError: with every mistake.
    """
    with collector.resting():
        return _read(bundle)


def first_of(failed: list[Result]) -> str:
    """The name of the failed case that comes first."""
    return min(failed, key=lambda one: (one.case.file, one.case.line, one.case.column)).case.name


def _read(bundle: Bundle) -> Suite:
    parts, cases = _checked(bundle)
    return Suite(policy=assembled(parts), cases=tuple(cases))


def _checked(bundle: Bundle) -> tuple[Parts, list[Case]]:
    """The compiled entries, without what the files' texts took."""
    drafted = read_policy(bundle)
    cases, problems = compiled(drafted.draft, drafted.sections)
    if drafted.problems or problems:
        raise PolicyError([*drafted.problems, *problems])
    return parts_of(drafted.draft, bundle), cases
