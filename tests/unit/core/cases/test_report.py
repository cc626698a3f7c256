"""The outcome in three forms, each with every case, its place, and for a failure what was found and why."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from authz.core import cases
from authz.core.cases import report
from authz.core.cases.coverage import coverage
from authz.core.cases.invariants import SHOWN, proofs
from authz.core.cases.judge import EXPLAINED, Judge
from authz.core.errors import PolicyError
from tests.support.factories import included
from tests.support.factories.suites import read

TESTS = """{name: readers read, who: reader, request: GET /api/v2/dags, expect: allow, rule: readers}
{name: "odd \\u0007 <name>", who: reader, request: POST /api/v2/pools, expect: allow}
{name: reads, who: reader, operation: "dags:read", expect: allow}"""
FILE = "tests:\n  - {name: etl, who: etl, request: GET /api/v2/dags/sales_a, expect: deny, reason: no_rule}\n"
NAMES = 'version: 1\ntest_files: ["tests/*.yaml"]'


def made(tests=TESTS, *, measured=False, **parts):
    suite = read(tests, **parts)
    judge = Judge(suite.policy)
    results = [judge.run(case) for case in suite.cases]
    never = [(proof, 0.25) for proof in proofs(suite.policy, suite.never)]
    found = coverage(suite, judge) if measured else None
    return report.outcome(suite, judge, results, [0.5] * len(results), measured=found, never=never)


def with_file(**options):
    return made(top=NAMES, parts=[("tests/a.yaml", FILE)], **options)


def test_people_see_a_line_per_file_and_each_failure_with_its_place():
    lines = list(report.lines(with_file()))
    assert lines[:2] == ["policy.yaml: 3 cases, 1 failed", "tests/a.yaml: 1 case, 1 failed"]
    assert lines[3:6] == [
        "policy.yaml:32:5: odd \\x07 <name>",
        "  expected allow, found deny (no_rule)",
        lines[5],
    ]
    assert lines[5].startswith("  the nearest rule `health` at policy.yaml:")
    assert lines[7:9] == ["tests/a.yaml:2:5: etl", "  expected deny (no_rule), found allow by rule `sales`"]
    assert list(report.lines(made(TESTS.splitlines()[0]))) == ["policy.yaml: 1 case, all pass"]


def test_every_case_is_listed_when_asked():
    lines = list(report.lines(made(), verbose=True))
    assert lines[1:4] == ["  ✓ readers read", "  ✗ odd \\x07 <name>", "  ✓ reads"]


def test_of_many_failures_the_first_are_explained_and_the_rest_is_counted():
    rows = ", ".join(f"GET /api/v2/pools/p{number}: allow" for number in range(105))
    lines = list(report.lines(made(f"{{name: many, who: reader, table: {{{rows}}}}}")))
    assert lines[-1] == "\nand 5 more failed cases"
    assert lines.count("  `authz explain` says why") == 100 - EXPLAINED


def test_coverage_names_what_no_test_has_a_request_for():
    lines = list(report.lines(made(measured=True)))
    at = lines.index("coverage of rules: 1 of 7 (14 %)")
    assert lines[at + 1] == "coverage of conditions: 3 of 19 (16 %)"
    assert "the rule `health` applies to no request of the tests" in lines[at + 2]
    assert "no test has a request at which only `roles` of the rule `readers` fails" in "\n".join(lines)
    rules = "\n".join(f'{{id: r{n:03}, plane: inbound, roles: [viewer], operations: ["dags:read"]}}' for n in range(60))
    assert list(report.lines(made(TESTS.replace(", rule: readers", ""), measured=True, rules=rules)))[-1] != ""
    long = list(report.lines(made("{who: etl, request: GET /x, expect: deny}", measured=True, rules=rules)))
    assert long[-1] == "  and 80 more"


def test_plain_data_has_every_case():
    data = report.as_json(with_file(measured=True))
    assert (data["policy"], data["passed"], data["failed"]) == ("policy.yaml", 2, 2)
    assert re.fullmatch("[0-9a-f]{64}", data["revision"])
    first, second, third, fourth = data["cases"]
    assert first["expected"] == {"decision": "allow", "reason": None, "rule": "readers"}
    assert first["found"] == {"request": "GET /api/v2/dags", "decision": "allow", "reason": "rule", "rule": "readers"}
    assert (first["passed"], first["problem"], first["why"], first["line"]) == (True, "", "", 31)
    assert (second["passed"], second["problem"]) == (False, "expected allow, found deny (no_rule)")
    assert second["why"].startswith("the nearest rule")
    assert (third["requests"], fourth["file"]) == (3, "tests/a.yaml")
    assert fourth["expected"] == {"decision": "deny", "reason": "no_rule", "rule": None}
    assert data["coverage"]["rules"] == {"all": 7, "covered": 2}
    assert data["coverage"]["uncovered"][0] == {
        "rule": "health", "condition": None, "file": "policy.yaml", "line": 17, "column": 5,
    }  # fmt: skip
    assert "coverage" not in report.as_json(made())


def test_junit_has_a_suite_per_file_and_a_failure_with_its_text():
    text = report.junit([with_file(), made(TESTS.splitlines()[0])])
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="authz test">')
    root = ET.fromstring(text)  # noqa: S314 our own
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("time")) for suite in root] == [
        ("policy.yaml", "3", "1", "1.500000"),
        ("tests/a.yaml", "1", "1", "0.500000"),
        ("policy.yaml", "1", "0", "0.500000"),
    ]
    _first, second, _third = root[0]
    assert second.attrib == {
        "name": "odd \\x07 <name>", "classname": "policy.yaml", "file": "policy.yaml", "line": "32", "time": "0.500000",
    }  # fmt: skip
    [failure] = second
    assert failure.get("message") == "expected allow, found deny (no_rule)"
    assert failure.text.startswith("policy.yaml:32:5: expected allow, found deny (no_rule); the nearest rule")


def test_a_failure_that_is_not_explained_has_no_empty_reason():
    rows = ", ".join(f"GET /api/v2/pools/p{number}: allow" for number in range(EXPLAINED + 1))
    root = ET.fromstring(report.junit([made(f"{{name: many, who: reader, table: {{{rows}}}}}")]))  # noqa: S314 our own
    last = root[0][-1][0].text
    assert last.endswith("found deny (no_rule)")


NEVER = """never:
  - {name: "odd \\u0007 <entry>", operations: ["dags:read"]}
  - {name: holds, except: [viewer, sales-etl], operations: ["dags:read"]}
"""
ALSO = 'never:\n  - {except: [viewer, sales-etl], operations: ["dags:read"]}\n'


def with_never(**options):
    return made(TESTS.splitlines()[0], top=NAMES, parts=[("tests/a.yaml", NEVER), ("tests/b.yaml", ALSO)], **options)


def test_people_see_entries_of_never_by_file_and_each_reason_with_a_command():
    lines = list(report.lines(with_never(), verbose=True))
    assert lines[2:6] == [
        "tests/a.yaml: 2 entries of `never`, 1 broken",
        "  ✗ odd \\x07 <entry>",
        "  ✓ holds",
        "tests/b.yaml: 1 entry of `never`, holds",
    ]
    assert lines[8] == "tests/a.yaml:2:5: odd \\x07 <entry>"
    assert lines[9].startswith("  group `data-admins` may dags:read, DAG *, by rule `readers` at policy.yaml:")
    assert lines[10].startswith("    authz check GET ")
    assert len(lines) == 13
    rules = "".join(f"{{id: r{n}, plane: inbound, roles: [viewer], operations: ['dags:read']}}\n" for n in range(9))
    many = list(report.lines(made(TESTS.splitlines()[2], rules=rules, top=NAMES, parts=[("tests/a.yaml", NEVER)])))
    assert sum(line.startswith("    authz check ") for line in many) == SHOWN
    assert many[-1] == "  there may be more"
    assert "tests/b.yaml: 2 entries of `never`, all hold" in report.lines(
        made(top=NAMES, parts=[("tests/b.yaml", ALSO + ALSO.partition("\n")[2])])
    )


def test_plain_data_has_every_entry_of_never():
    data = report.as_json(with_never())
    assert (data["passed"], data["failed"]) == (3, 1)
    assert [(one["name"], one["holds"], one["line"]) for one in data["never"]] == [
        ("odd \x07 <entry>", False, 2),
        ("holds", True, 3),
        ("anyone but viewer, sales-etl: dags:read", True, 2),
    ]
    first = data["never"][0]["violations"][0]
    assert (first["who"], first["what"], first["rule"]) == ("group `data-admins`", "dags:read, DAG *", "readers")
    assert first["check"][0] == "GET"
    assert data["never"][1]["violations"] == []


def test_an_entry_for_which_no_real_request_was_found_has_none_in_plain_data():
    [proof, *_] = [proof for proof, _ in with_never().never]
    without = replace(proof, violations=(replace(proof.violations[0], witness=None),))
    [told] = report.proof_json(without)["violations"]
    assert (told["check"], told["shows"]) == (None, "")


def test_junit_has_a_test_case_per_entry_of_never():
    root = ET.fromstring(report.junit([with_never()]))  # noqa: S314 our own
    assert [(suite.get("name"), suite.get("tests"), suite.get("failures")) for suite in root] == [
        ("policy.yaml", "1", "0"),
        ("tests/a.yaml", "2", "1"),
        ("tests/b.yaml", "1", "0"),
    ]
    entry = root[1][0]
    assert (entry.get("name"), entry.get("line")) == ("never: odd \\x07 <entry>", "2")
    assert entry[0].get("type") == "never"
    assert "authz check GET" in entry[0].text
    assert root[1].get("time") == "0.500000"


def test_what_tests_leave_uncovered_is_placed_in_the_file_that_has_it():
    tests = "tests: [{who: {groups: [admins]}, operation: dags:read, expect: allow}]\n"
    suite = cases.read(included.bundle(text=included.main() + tests))
    found = report.outcome(suite, Judge(suite.policy), [], [], measured=coverage(suite, Judge(suite.policy)))
    place, name = f"{included.SALES}:2:5", f"view/{included.SALES}"
    assert f"  {place}: the rule `{name}` applies to no request of the tests" in [*report.lines(found)]
    listed = [one for one in report.as_json(found)["coverage"]["uncovered"] if one["rule"] == name]
    assert {(one["file"], one["line"], one["column"]) for one in listed} == {(included.SALES, 2, 5)}


def test_why_an_entry_of_never_does_not_hold_is_placed_in_the_file_that_has_it():
    never = 'never: [{name: runs, operations: ["dag_runs:read"], except: [admin, hr-viewer]}]\n'
    with pytest.raises(PolicyError) as caught:
        cases.load(included.bundle(text=included.main() + never))
    [problem] = caught.value.problems
    assert problem.file == "policy.yaml"
    assert f"by rule `view/{included.SALES}` at {included.SALES}:2:5" in problem.message


def test_what_the_tests_name_and_the_policy_does_not_is_said_before_the_failures():
    unknown = "{name: slip, who: {groups: [data-admin]}, operation: 'dags:read', expect: allow}"
    lines = list(report.lines(made(unknown)))
    assert lines[1].startswith("warning: policy.yaml:")
    assert "`data-admin` (did you mean `data-admins`?)" in lines[1]
