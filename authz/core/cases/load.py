"""The files of a policy → the policy, proven by its own tests; or everything that is wrong.

Law: all or nothing. Mistakes in rules and tests are reported together. Only a policy without mistakes is tested, and a
test that fails is a problem like any other: with its place, what was expected and what was found, and at the first one
of a caller what the policy does not know of it. An entry of `never`
that does not hold is one too: with a caller, the requests, the rule that allows them and a command that shows it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from authz.core import collector
from authz.core.cases.case import ALLOW, DENY, Case, Expected
from authz.core.cases.compile import compiled
from authz.core.cases.invariants import invariants, over_time, problems
from authz.core.cases.judge import Judge, Result, failures
from authz.core.documents.yaml_document import parse
from authz.core.errors import PolicyError, Problem
from authz.core.model import Allow
from authz.core.policy import Bundle, Effect, Policy
from authz.core.policy.case_draft import section_of
from authz.core.policy.load import Drafted, Parts, assembled, load_without_tests, parts_of
from authz.core.policy.load import read as read_policy
from authz.core.policy.rule_checks import check_never
from authz.core.proof.never import Invariant


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A policy, its tests as cases, and its entries of `never`, each in the order of files and lines.

    `generous` is there where a file is left out: what it would have said is not known. `policy` has all that it might
    forbid, and `generous` all that it might allow.
    """

    policy: Policy
    cases: tuple[Case, ...]
    never: tuple[Invariant, ...] = ()
    generous: Policy | None = None


class Rules(NamedTuple):
    """A policy, the mistakes in its tests and in `never`, and its entries of `never`: None where there are mistakes."""

    policy: Policy
    mistakes: tuple[Problem, ...]
    never: tuple[Invariant, ...] | None


def load(bundle: Bundle) -> Suite:
    """The policy that may come into force.

    Raises:
        PolicyError: with every mistake; or, where there is none, with every test that fails and every entry of `never`
            that does not hold.
    """
    with collector.resting():
        suite = _read(bundle)
        judge = Judge(suite.policy)
        failed = [result for case in suite.cases if (result := judge.run(case)).wrong]
        if suite.generous is not None:
            failed = [*_for_sure(failed, judge, Judge(suite.generous))]
        broken = [proof for proof in over_time(suite.policy, suite.never) if proof.violations]
        if failed or broken:
            from authz.core.cases import remarks  # noqa: PLC0415 only where tests fail

            found = [*remarks.of_tests(suite.policy, (one.case for one in failed), of_names=True)]
            found += [*failures(failed, judge), *(one for proof in broken for one in problems(proof, suite.policy))]
            raise PolicyError(found, test=_first(*(one.case for one in failed), *(one.invariant for one in broken)))
        return suite


def _for_sure(failed: Iterable[Result], strict: Judge, generous: Judge) -> Iterator[Result]:
    """The failed cases that fail whatever a file that is left out would say: it may be what they rely on.

    Which rule decides, for what reason, and what else a list shows is not known then.
    """
    for case in (result.case for result in failed):
        hidden = Expected(allow=True, hides=case.expected.hides)
        if not case.expected.allow:
            result = strict.run(replace(case, expected=DENY))
        elif not (result := generous.run(replace(case, expected=ALLOW))).wrong:
            result = strict.run(replace(case, expected=hidden))
            if not isinstance(result.decision, Allow):
                continue
        if result.wrong:
            yield result


def read(bundle: Bundle) -> Suite:
    """The policy, its tests, which are not run, and its entries of `never`, which are not proven.

    Raises:
        PolicyError: with every mistake.
    """
    with collector.resting():
        return _read(bundle)


def read_rules(bundle: Bundle) -> Rules:
    """The policy; mistakes in its tests and in its entries of `never` keep no one from asking about it.

    Raises:
        PolicyError: with every mistake, if there is one in anything else.
    """
    with collector.resting():
        try:
            suite = _read(bundle)
            return Rules(suite.policy, (), suite.never)
        except PolicyError as refused:
            error = refused
        try:
            return Rules(load_without_tests(bundle), error.problems, None)
        except PolicyError:
            raise error from None


def read_with(bundle: Bundle, never: bytes, file: str) -> Suite:
    """The policy and, in place of its own, the entries of `never` in another text; `file` is its name in problems.

    Raises:
        PolicyError: with every mistake.
    """
    with collector.resting():
        drafted = read_policy(bundle)
        section, found = section_of(parse(never, file, error=PolicyError))
        found += check_never(drafted.draft, [section])
        checked = _checked(bundle, drafted._replace(problems=[*drafted.problems, *found]))
        return replace(_suite(checked), never=tuple(invariants([section])))


def _first(*failed: Case | Invariant) -> str:
    """The name of the failed test or entry that comes first."""
    return min(failed, key=lambda one: (one.file, one.line, one.column)).name


class _Checked(NamedTuple):
    """The compiled entries, without what the files' texts took."""

    parts: Parts
    generous: Parts | None
    cases: Iterable[Case]
    never: Iterable[Invariant]


def _read(bundle: Bundle) -> Suite:
    return _suite(_checked(bundle, read_policy(bundle)))


def _suite(checked: _Checked) -> Suite:
    return Suite(
        policy=assembled(checked.parts),
        cases=tuple(checked.cases),
        never=tuple(checked.never),
        generous=None if checked.generous is None else assembled(checked.generous),
    )


def _checked(bundle: Bundle, drafted: Drafted) -> _Checked:
    cases, found = compiled(drafted.draft, drafted.sections)
    if drafted.problems or found:
        raise PolicyError([*drafted.problems, *found])
    of_teams = [one.section for one in drafted.draft.included if one.section is not None]
    left_out = any(one.document is None for one in drafted.draft.included)
    return _Checked(
        parts_of(drafted.draft, bundle),
        parts_of(drafted.draft, bundle, left_out=Effect.ALLOW) if left_out else None,
        cases,
        [*invariants(drafted.sections), *invariants(of_teams, of_teams=True)],
    )
