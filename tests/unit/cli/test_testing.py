"""`authz test`: what it prints, what it writes for CI, how it ends; and what other commands say of a failing test."""

import json
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner

from authz.cli import main, testing
from tests.support.factories.suites import bundle

PASSES = "{name: readers read, who: reader, request: GET /api/v2/dags, expect: allow, rule: readers}"
FAILS = "{name: readers write, who: reader, request: POST /api/v2/pools, expect: allow}"
OTHERS = "tests:\n  - {name: etl reads, who: etl, request: GET /api/v2/dags/sales_a, expect: allow}\n"
SETTINGS = """version: 1
policy: served.yaml
assertion: {issuer: "https://gate.test", keys: [k.pem]}
envoy:
  egress:
    destinations: [{name: orders, address: "10.0.0.1:443", hosts: [orders.internal]}]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)

    def save(tests, name="policy.yaml", **parts):
        (tmp_path / name).write_bytes(bundle(tests, **parts).data)

    call.folder, call.save = tmp_path, save
    save(PASSES)
    return call


def test_a_policy_whose_tests_pass(run):
    result = run("test")
    assert result.exit_code == 0
    first, _blank, last = result.stdout.splitlines()
    assert first == "policy.yaml: 1 case, all pass"
    assert last.startswith("PASS 1 passed, 0 failed in ")


def test_a_failed_case_is_shown_with_its_place_and_reason(run):
    run.save(f"{PASSES}\n{FAILS}")
    result = run("test", "policy.yaml")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "policy.yaml: 2 cases, 1 failed"
    assert lines[2].endswith(":5: readers write")
    assert lines[3] == "  expected allow, found deny (no_rule)"
    assert lines[4].startswith("  the nearest rule `health` at policy.yaml:")
    assert lines[-1].startswith("FAIL 1 passed, 1 failed")


def test_files_that_the_policy_names_are_run_too(run):
    (run.folder / "tests").mkdir()
    (run.folder / "tests" / "a.yaml").write_text(OTHERS)
    run.save(PASSES, top='version: 1\ntest_files: ["tests/*.yaml"]')
    result = run("test", "--verbose")
    assert result.stdout.splitlines()[:4] == [
        "policy.yaml: 1 case, all pass", "  ✓ readers read", "tests/a.yaml: 1 case, all pass", "  ✓ etl reads",
    ]  # fmt: skip


def test_several_policies_are_tested_each_once(run):
    run.save(FAILS, "other.yaml")
    result = run("test", "policy.yaml", "other.yaml", "policy.yaml")
    assert result.exit_code == 1
    assert "FAIL 1 passed, 1 failed" in result.stdout


@pytest.mark.parametrize("tests", ["{who: reader, request: GET /x, expect: maybe}", ""])
def test_a_policy_with_a_mistake_or_without_tests_ends_with_2(run, tests):
    run.save(tests)
    result = run("test")
    assert result.exit_code == 2
    assert ("found `maybe`" if tests else "policy.yaml has no tests: add `tests`") in result.stderr


def test_a_policy_that_cannot_be_read_ends_with_2(run):
    result = run("test", "missing.yaml")
    assert (result.exit_code, "cannot be read: No such file" in result.stderr) == (2, True)


def test_coverage_is_reported_and_may_be_required(run):
    result = run("test", "--coverage")
    assert result.exit_code == 0
    assert "coverage of rules: 1 of 7 (14 %)" in result.stdout
    assert "the rule `health` applies to no request of the tests" in result.stdout
    low = run("test", "--fail-under", "12.5")
    assert low.exit_code == 1
    assert "FAIL 1 passed, 0 failed" in low.stdout
    assert low.stderr == "policy.yaml: less than 12.5 % is covered\n"
    assert run("test", "--fail-under", "0").exit_code == 0
    assert run("test", "--fail-under", "101").exit_code == 2


def test_everything_may_be_covered(run):
    rule = "{id: readers, plane: inbound, roles: [viewer], operations: ['dags:read']}"
    tests = f"""{PASSES}
{{who: authenticated, request: GET /api/v2/dags, expect: deny}}
{{who: reader, request: GET /api/v2/pools, expect: deny}}"""
    run.save(tests, rules=rule)
    result = run("test", "--fail-under", "100")
    assert result.exit_code == 0
    assert "coverage of conditions: 2 of 2 (100 %)" in result.stdout


def test_json_has_every_case_and_nothing_else_is_printed(run):
    run.save(f"{PASSES}\n{FAILS}")
    result = run("test", "--json", "--coverage")
    data = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (1, "")
    assert (data["passed"], data["failed"]) == (1, 1)
    [policy] = data["policies"]
    assert [case["name"] for case in policy["cases"]] == ["readers read", "readers write"]
    assert policy["coverage"]["rules"]["all"] == 7


def test_junit_is_written_beside_what_is_printed(run):
    run.save(f"{PASSES}\n{FAILS}")
    result = run("test", "--junit", "report.xml")
    assert "FAIL 1 passed, 1 failed" in result.stdout
    root = ET.parse(run.folder / "report.xml").getroot()  # noqa: S314 our own
    assert (root[0].get("tests"), root[0].get("failures")) == ("2", "1")
    assert run("test", "--junit", "missing/report.xml").exit_code == 2


def test_with_settings_the_policy_is_theirs_and_must_agree_with_them(run):
    (run.folder / "authz.yaml").write_text(SETTINGS)
    run.save(PASSES, "served.yaml")
    assert "served.yaml: 1 case, all pass" in run("test", "--settings", "authz.yaml").stdout
    unknown = "{id: x, plane: egress, destinations: [ordres], paths: ['/**'], identity: asserted}"
    run.save("{who: etl, request: GET /x, expect: deny}", "served.yaml", rules=unknown)
    result = run("test", "--settings", "authz.yaml")
    assert result.exit_code == 2
    assert "`ordres`" in result.stderr


def test_on_a_terminal_there_is_a_progress_bar(run, monkeypatch):
    drawn = []

    class Terminal:
        def isatty(self):
            return True

        def write(self, text):
            drawn.append(text)

        def flush(self):
            pass

    monkeypatch.setattr(testing.sys, "stderr", Terminal())
    assert list(testing._progress([1, 2], "policy.yaml").__enter__()) == [1, 2]
    assert drawn == []  # that takes no time
    monkeypatch.setattr(testing, "_MANY", 2)
    with testing._progress([1, 2], "policy.yaml") as each:
        assert list(each) == [1, 2]
    assert "policy.yaml" in click.unstyle("".join(drawn))


def test_lint_reports_a_failing_test_as_the_gate_does(run):
    run.save(FAILS)
    result = run("lint")
    assert result.exit_code == 1
    assert "error: policy.yaml:" in result.stdout
    assert "the test `readers write` fails: expected allow, found deny (no_rule)" in result.stdout


def test_lint_warns_about_a_slip_in_a_test(run):
    run.save("{who: {groups: [data-raeders]}, request: GET /api/v2/dags, expect: deny}")
    result = run("lint", "--strict")
    assert result.exit_code == 1
    assert "warning: policy.yaml:30:5: no role has the group `data-raeders`" in result.stdout


def test_a_policy_whose_tests_fail_can_be_asked_and_the_answer_says_so(run):
    run.save(FAILS)
    told = "a gate refuses this policy, because its tests fail: see `authz test`"
    result = run("check", "GET", "/api/v2/dags", "--group", "data-readers")
    assert (result.exit_code, result.stdout.splitlines()[-1].strip()) == (0, told)
    assert told in run("explain", "POST", "/api/v2/pools", "--group", "data-readers").stdout
    assert json.loads(run("check", "GET", "/api/v2/dags", "--json").stdout)["notes"] == [told]
    run.save(PASSES)
    assert told not in run("check", "GET", "/api/v2/dags").stdout
