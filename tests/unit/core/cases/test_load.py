"""A policy whose tests fail is refused like one with a mistake, and every failed case has its place and its reason."""

import pytest

from authz.core import cases
from authz.core.cases.judge import EXPLAINED
from authz.core.errors import MOST_PROBLEMS, PolicyError
from authz.core.policy import Bundle, load
from tests.support.factories.policies import text
from tests.support.factories.suites import bundle, read

PASSES = "{name: readers read, who: reader, request: GET /api/v2/dags, expect: allow}"
FAILS = "{name: readers write, who: reader, request: POST /api/v2/pools, expect: allow}"
FILE = "tests:\n  - {name: etl reads, who: etl, request: GET /api/v2/dags/sales_a, expect: %s}\n"
OWN = """callers:
  reader: {groups: [x]}
  own: {groups: [y]}
tests:
  - {who: owm, request: GET /, expect: deny}
"""
TOLD = """policy.yaml:31:11: unknown caller `raeder`
  (did you mean `reader`?)
tests/a.yaml:2:43: expected `allow` or `deny`, found `alow`
  (did you mean `allow`?)
tests/b.yaml:1:1: unknown key `rules`
  (known keys: description, callers, tests, never)
tests/c.yaml:2:1: not valid YAML: did not find expected node content while parsing a flow node
  (put patterns and special characters in double quotes: "*", "/v1/{id}", "a: b")
tests/d.yaml:2:3: the policy file has a caller `reader` too
  (it is known here: remove this one, or choose another name)
tests/d.yaml:5:11: unknown caller `owm`
  (did you mean `own`?)"""
NAMES = 'version: 1\ntest_files: ["tests/*.yaml"]'


def refused(*arguments, **options):
    with pytest.raises(PolicyError) as caught:
        cases.load(bundle(*arguments, **options))
    return caught.value


def test_a_policy_whose_tests_pass_is_loaded_with_them():
    suite = cases.load(bundle(PASSES))
    assert [case.name for case in suite.cases] == ["readers read"]
    assert "readers" in suite.policy.rules


def test_a_policy_without_tests_is_loaded():
    assert cases.load(bundle()).cases == ()


def test_a_test_that_fails_is_a_problem_with_its_place_and_names_the_case():
    error = refused(f"{PASSES}\n{FAILS}")
    [problem] = error.problems
    assert error.test == "readers write"
    assert problem.message == "the test `readers write` fails: expected allow, found deny (no_rule)"
    assert (problem.file, problem.column) == ("policy.yaml", 5)
    assert "POST /api/v2/pools" in bundle(f"{PASSES}\n{FAILS}").data.decode().splitlines()[problem.line - 1]


def test_where_there_are_mistakes_no_test_is_run():
    error = refused(f"{FAILS}\n{{who: nobody-knows, request: GET /, expect: deny}}")
    assert [problem.message for problem in error.problems] == ["unknown caller `nobody-knows`"]
    assert error.test == ""


def test_all_failed_cases_are_reported_in_order_and_the_first_are_explained():
    many = "\n".join(FAILS.replace("readers write", f"n{number:02}") for number in range(EXPLAINED + 2))
    problems = refused(many).problems
    assert len(problems) == EXPLAINED + 2
    assert [problem.hint.startswith("the nearest rule") for problem in problems] == [True] * EXPLAINED + [False] * 2
    assert problems[-1].hint == "`authz explain` says why"


def test_of_very_many_failed_cases_the_first_are_listed_and_the_others_counted():
    rows = ", ".join(f"GET /api/v2/pools/p{number}: allow" for number in range(MOST_PROBLEMS + 5))
    problems = refused(f"{{name: many, who: reader, table: {{{rows}}}}}").problems
    assert problems[-1].message == "and 5 more mistakes"


def test_tests_of_files_that_the_policy_names_are_run_too():
    parts = [("tests/a.yaml", FILE % "allow")]
    suite = cases.load(bundle(PASSES, top=NAMES, parts=parts))
    assert [(case.file, case.name) for case in suite.cases] == [
        ("policy.yaml", "readers read"),
        ("tests/a.yaml", "etl reads"),
    ]
    error = refused(PASSES, top=NAMES, parts=[("tests/a.yaml", FILE % "deny")])
    assert [str(problem).partition(" fails")[0] for problem in error.problems] == [
        "tests/a.yaml:2:5: the test `etl reads`"
    ]


def test_the_first_failed_test_is_the_first_by_place_whatever_is_run_first():
    error = refused(FAILS, top=NAMES, parts=[("tests/a.yaml", FILE % "deny")])
    assert error.test == "readers write"


def test_mistakes_of_all_files_are_reported_together():
    parts = [
        ("tests/a.yaml", "tests:\n  - {who: reader, request: GET /, expect: alow}\n"),
        ("tests/b.yaml", "rules: []\n"),
        ("tests/c.yaml", "tests: [\n"),
        ("tests/d.yaml", OWN),
    ]
    error = refused("{who: raeder, request: GET /, expect: deny}", top=NAMES, parts=parts)
    assert "\n".join(str(problem) for problem in error.problems).replace(" (", "\n  (") == TOLD


def test_a_name_may_be_that_of_a_test_in_another_file():
    parts = [(f"tests/{name}.yaml", FILE % "allow") for name in "ab"]
    assert len(cases.load(bundle(top=NAMES, parts=parts)).cases) == 2


def test_a_test_of_a_caller_with_a_mistake_is_not_read():
    error = refused("{who: broken, request: GET api, expect: deny}", callers="\n  broken: {issuer: crop}\n")
    assert [problem.message for problem in error.problems] == ["unknown issuer `crop`"]
    matrix = "{matrix: {GET /api/v2/dags: [broken]}, among: [broken]}"
    error = refused(matrix, callers="\n  broken: {issuer: crop}\n")
    assert [problem.message for problem in error.problems] == ["unknown issuer `crop`"]


def test_reading_runs_no_test():
    assert [case.name for case in read(FAILS).cases] == ["readers write"]


def test_the_policy_itself_is_the_same_with_and_without_tests():
    with_tests, plain = cases.load(bundle(PASSES)).policy, load(Bundle(bundle(PASSES).data, "policy.yaml"))
    assert with_tests.revision == plain.revision
    assert with_tests.rules == plain.rules


def test_never_holds_after_each_end_too_at_every_load():
    rules = """{id: ops, plane: inbound, roles: [op], operations: ["connections:*"]}
{id: freeze, deny: true, plane: inbound, operations: ["connections:delete"], until: 2026-12-01}"""
    never = 'never: [{name: no deletes, plane: inbound, operations: ["connections:delete"]}]\n'
    kept = text(rules.replace(", until: 2026-12-01", "")) + never
    assert cases.load(Bundle(kept.encode(), "policy.yaml")).never
    with pytest.raises(PolicyError) as error:
        cases.load(Bundle((text(rules) + never).encode(), "policy.yaml"))
    assert error.value.test == "no deletes"


def test_rules_are_read_although_tests_have_mistakes():
    wrong = bundle("{name: x, who: raeder, request: GET /, expect: allow}")
    found, right = cases.read_rules(wrong), cases.read_rules(bundle(PASSES))
    assert found.policy.rules.keys() == right.policy.rules.keys()
    assert ["raeder" in mistake.message for mistake in found.mistakes] == [True]
    assert right.mistakes == ()
    assert (found.never, right.never) == (None, ()), "what mistakes hide is not an empty list"


def test_mistakes_in_rules_are_reported_with_those_in_tests():
    wrong = bundle("{name: x, who: raeder, request: GET /, expect: allow}")
    broken = Bundle(wrong.data.replace(b"id: readers", b"id: 'read ers'"), wrong.file, wrong.parts)
    assert broken.data != wrong.data
    with pytest.raises(PolicyError) as caught:
        cases.read_rules(broken)
    assert any("raeder" in problem.message for problem in caught.value.problems)
    assert any("read ers" in problem.message for problem in caught.value.problems)
