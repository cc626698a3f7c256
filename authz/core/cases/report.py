"""The outcome of a policy's tests and entries of `never`: text for people, plain data, and JUnit's XML for CI systems.

Law: pure. Failures are sorted by place. What a policy's author wrote is one line in every form, whatever is in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from xml.etree import ElementTree as ET

from authz.core.cases import remarks
from authz.core.cases.coverage import Coverage, Uncovered, share
from authz.core.cases.invariants import SHOWN, Proof, reasons
from authz.core.cases.judge import EXPLAINED, Judge, Result
from authz.core.cases.load import Suite
from authz.core.characters import one_line
from authz.core.documents.moments import moment_text
from authz.core.lint.review import Finding, Severity
from authz.core.model import Allow
from authz.core.policy import NEVER, Rule
from authz.core.proof.wording import name_of, what_of

_SHOWN = 100
"""Failures, and rules without a test, that are listed for people; the rest is counted."""

Timed = tuple[Proof, float]
"""Whether an entry of `never` holds, and the seconds that the proof took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The results of one policy's tests in their order, the seconds that each took, and the coverage if it is asked.

    `never` has the entries of `never`.
    """

    suite: Suite
    results: tuple[Result, ...]
    seconds: tuple[float, ...]
    why: Mapping[str, str]
    coverage: Coverage | None = None
    never: tuple[Timed, ...] = ()
    by_settings: bool = False

    @property
    def remarks(self) -> list[Finding]:
        """What failed cases name and the policy does not know, which may be the cause; then entries of `never`."""
        cases = remarks.of_tests(self.suite.policy, (one.case for one in self.failed), of_names=True)
        about_cases = [Finding(problem=problem, severity=Severity.WARNING) for problem in cases]
        return [*about_cases, *remarks.of_never(self.suite.policy, self.suite.never, by_settings=self.by_settings)]

    @property
    def failed(self) -> list[Result]:
        """The failed cases, sorted by place."""
        failed = [result for result in self.results if result.wrong]
        return sorted(failed, key=lambda one: (one.case.file, one.case.line, one.case.column))

    @property
    def broken(self) -> list[Proof]:
        """The entries of `never` that do not hold, sorted by place."""
        broken = [proof for proof, _ in self.never if proof.violations]
        return sorted(broken, key=lambda one: (one.invariant.file, one.invariant.line, one.invariant.column))

    @property
    def counts(self) -> tuple[int, int]:
        """How many cases and entries pass, and how many fail."""
        failed = len(self.failed) + len(self.broken)
        return len(self.results) + len(self.never) - failed, failed


def outcome(
    suite: Suite,
    judge: Judge,
    results: Sequence[Result],
    seconds: Sequence[float],
    *,
    measured: Coverage | None,
    never: Sequence[Timed] = (),
    by_settings: bool = False,
) -> Outcome:
    """The outcome; the first failures are explained. `by_settings`: settings say which destinations there are."""
    made = Outcome(
        suite=suite,
        results=tuple(results),
        seconds=tuple(seconds),
        why={},
        coverage=measured,
        never=tuple(never),
        by_settings=by_settings,
    )
    return replace(made, why={_key(result): judge.why(result) for result in made.failed[:EXPLAINED]})


def lines(made: Outcome, *, verbose: bool = False) -> Iterator[str]:
    """The outcome for people."""
    for file, results in _by_file(made.results).items():
        failed = sum(bool(result.wrong) for result in results)
        yield f"{one_line(file)}: {_counted(len(results), 'case')}, {f'{failed} failed' if failed else 'all pass'}"
        for result in results if verbose else ():
            yield f"  {'✗' if result.wrong else '✓'} {one_line(result.case.name)}"
    yield from _never_lines(made, verbose=verbose)
    for finding in made.remarks:
        yield f"{finding.severity.value}: {finding.problem}"
    for result in made.failed[:_SHOWN]:
        case = result.case
        yield ""
        yield one_line(f"{case.file}:{case.line}:{case.column}: {case.name}")
        yield f"  {one_line(result.wrong)}"
        yield f"  {one_line(made.why.get(_key(result), '`authz explain` says why'))}"
    if more := len(made.failed[_SHOWN:]):
        yield f"\nand {more} more failed cases"
    for proof in made.broken[:_SHOWN]:
        yield ""
        yield f"{_place_of(proof)}: {one_line(proof.invariant.name)}"
        for why, command in reasons(proof, made.suite.policy):
            yield f"  {one_line(why)}"
            yield f"    {one_line(command)}"
        if len(proof.violations) == SHOWN:
            yield "  there may be more"
    if made.coverage is not None:
        yield from _coverage_lines(made.coverage, made.suite.policy.file)


def _never_lines(made: Outcome, *, verbose: bool) -> Iterator[str]:
    for file in dict.fromkeys(proof.invariant.file for proof, _ in made.never):
        here = [proof for proof, _ in made.never if proof.invariant.file == file]
        broken = sum(bool(proof.violations) for proof in here)
        all_hold = "holds" if len(here) == 1 else "all hold"
        counted = "1 entry" if len(here) == 1 else f"{len(here)} entries"
        yield f"{file}: {counted} of `never`, {f'{broken} broken' if broken else all_hold}"
        for proof in here if verbose else ():
            yield f"  {'✗' if proof.violations else '✓'} {one_line(proof.invariant.name)}"


def as_json(made: Outcome) -> dict[str, Any]:
    """The outcome as plain data."""
    passed, failed = made.counts
    data: dict[str, Any] = {
        "policy": made.suite.policy.file,
        "revision": made.suite.policy.revision,
        "passed": passed,
        "failed": failed,
        "cases": [_case_json(result, made) for result in made.results],
        "never": [proof_json(proof) for proof, _ in made.never],
        "remarks": [{"severity": one.severity.value, **asdict(one.problem)} for one in made.remarks],
    }
    found = made.coverage
    if found is not None:
        data["coverage"] = {
            "rules": {"all": found.rules, "covered": found.covered_rules},
            "conditions": {"all": found.conditions, "covered": found.covered_conditions},
            "percent": round(found.percent, 2),
            "uncovered": [_uncovered_json(one, made.suite.policy.file) for one in found.uncovered],
        }
    return data


def junit(outcomes: Iterable[Outcome]) -> str:
    """The outcomes as JUnit's XML: a suite for each file, a test case for each case and each entry of `never`."""
    root = ET.Element("testsuites", name="authz test")
    for made in outcomes:
        seconds = {id(result): taken for result, taken in zip(made.results, made.seconds, strict=True)}
        by_file = _by_file(made.results)
        for file in dict.fromkeys([*by_file, *(proof.invariant.file for proof, _ in made.never)]):
            results = by_file.get(file, [])
            never = [timed for timed in made.never if timed[0].invariant.file == file]
            failed = sum(bool(result.wrong) for result in results) + sum(bool(one.violations) for one, _ in never)
            whole = sum(seconds[id(result)] for result in results) + sum(taken for _, taken in never)
            counts = {"tests": str(len(results) + len(never)), "failures": str(failed), "errors": "0"}
            suite = ET.SubElement(root, "testsuite", {"name": one_line(file), **counts, "time": f"{whole:.6f}"})
            for result in results:
                _junit_case(suite, result, made, seconds[id(result)])
            for proof, taken in never:
                _junit_proof(suite, proof, made, taken)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _junit_case(suite: ET.Element, result: Result, made: Outcome, seconds: float) -> None:
    case = result.case
    place = {"classname": one_line(case.file), "file": one_line(case.file), "line": str(case.line)}
    element = ET.SubElement(suite, "testcase", {"name": one_line(case.name), **place, "time": f"{seconds:.6f}"})
    if result.wrong:
        failure = ET.SubElement(element, "failure", {"message": one_line(result.wrong), "type": "decision"})
        why = made.why.get(_key(result), "")
        failure.text = one_line(f"{case.file}:{case.line}:{case.column}: {result.wrong}" + (f"; {why}" if why else ""))


def _junit_proof(suite: ET.Element, proof: Proof, made: Outcome, seconds: float) -> None:
    one = proof.invariant
    place = {"classname": one_line(one.file), "file": one_line(one.file), "line": str(one.line)}
    named = {"name": one_line(f"never: {one.name}"), **place, "time": f"{seconds:.6f}"}
    element = ET.SubElement(suite, "testcase", named)
    if proof.violations:
        found = reasons(proof, made.suite.policy)
        why, command = found[0]
        failure = ET.SubElement(element, "failure", {"message": one_line(why), "type": "never"})
        failure.text = one_line(f"{_place_of(proof)}: {'; '.join(why for why, _ in found)}; {command}")


def proof_json(proof: Proof) -> dict[str, Any]:
    """One entry of `never` as plain data."""
    one = proof.invariant
    return {
        "name": one.name,
        "file": one.file,
        "line": one.line,
        "column": one.column,
        "holds": not proof.violations,
        "since": moment_text(proof.since) if proof.since > -NEVER else "",
        "violations": [
            {
                "who": name_of(found.caller),
                "what": what_of(found.region, found.operations, found.dags),
                "operations": found.operations,
                "rule": found.rule.id,
                "check": list(found.witness.words) if found.witness is not None else None,
                "shows": found.witness.shows if found.witness is not None else "",
            }
            for found in proof.violations
        ],
    }


def _case_json(result: Result, made: Outcome) -> dict[str, Any]:
    case, decision, expected = result.case, result.decision, result.case.expected
    return {
        "name": case.name,
        "file": case.file,
        "line": case.line,
        "column": case.column,
        "requests": len(case.requests),
        "passed": not result.wrong,
        "expected": {
            "decision": "allow" if expected.allow else "deny",
            "reason": expected.reason.value if expected.reason is not None else None,
            "rule": expected.rule or None,
        },
        "found": {
            "request": f"{result.request.method} {result.request.whole_path}",
            "decision": "allow" if isinstance(decision, Allow) else "deny",
            "reason": decision.reason.value,
            "rule": decision.rule,
        },
        "problem": result.wrong,
        "why": made.why.get(_key(result), ""),
    }


def _coverage_lines(found: Coverage, file: str) -> Iterator[str]:
    yield ""
    for what, part, whole in (
        ("rules", found.covered_rules, found.rules),
        ("conditions", found.covered_conditions, found.conditions),
    ):
        yield f"coverage of {what}: {part} of {whole} ({share(part, whole):.0f} %)"
    for one in sorted(found.uncovered, key=lambda one: (one.rule.line, one.rule.column))[:_SHOWN]:
        yield f"  {_place(one.rule, file)}: {_uncovered_text(one)}"
    if more := len(found.uncovered[_SHOWN:]):
        yield f"  and {more} more"


def _uncovered_text(one: Uncovered) -> str:
    if not one.condition:
        return f"the rule `{one.rule.written}` applies to no request of the tests"
    return f"no test has a request at which only `{one.condition}` of the rule `{one.rule.written}` fails"


def _uncovered_json(one: Uncovered, file: str) -> dict[str, Any]:
    rule = one.rule
    return {
        "rule": rule.written,
        "condition": one.condition or None,
        "file": file,
        "line": rule.line,
        "column": rule.column,
    }


def _place_of(proof: Proof) -> str:
    one = proof.invariant
    return f"{one.file}:{one.line}:{one.column}"


def _place(rule: Rule, file: str) -> str:
    return f"{file}:{rule.line}:{rule.column}"


def _by_file(results: Iterable[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.case.file, []).append(result)
    return found


def _key(result: Result) -> str:
    case = result.case
    return f"{case.file}:{case.line}:{case.column}:{case.name}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
