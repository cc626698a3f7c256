"""`authz prove never`, and what other commands say of entries of `never`."""

import json
import shlex
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from authz.cli import main

POLICY = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
roles:
  op: {groups: [ops]}
  contractor: {groups: [contractors]}
  etl: {clients: [etl]}
rules:
  - {id: ops, plane: inbound, roles: [op], operations: [airflow.op]}
  - {id: orders, plane: egress, roles: [etl], destinations: [orders], methods: [GET], paths: ["/v1/orders"]}
"""
NEVER = """never:
  - {name: secrets, roles: [contractor], operations: ["variables:*"]}
  - {except: [op], operations: ["connections:*"]}
"""
TRY = "authz check GET /api/v2/variables --host z --group ops --group contractors --issuer corp"


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "claims.yaml").write_text(POLICY + NEVER)

    def call(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)

    return call


def test_an_entry_of_the_command_line_that_holds(run):
    result = run("prove", "never", "policy.yaml", "--except", "op", "--operations", "connections:*,variables:*")
    assert (result.exit_code, result.output) == (0, "PASS\n")


def test_an_entry_of_the_command_line_that_does_not_hold_is_shown_with_a_request_to_try(run):
    result = run("prove", "never", "policy.yaml", "--roles", "contractor", "--operations", "variables:*")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[:2] == ["FAIL", "contractor: variables:*"]
    assert lines[2].startswith("    group `ops` and group `contractors` may variables:")
    assert lines[2].endswith(", by rule `ops` at policy.yaml:13:5")
    assert lines[3] == f"    try: {TRY}"
    assert run(*shlex.split(TRY)[1:], "--policy", "policy.yaml").exit_code == 0


def test_destinations_are_on_egress(run):
    result = run("prove", "never", "policy.yaml", "--destinations", "orders", "--except", "op")
    assert result.exit_code == 1
    assert "client `etl` may GET orders /v1/orders, by rule `orders`" in result.output
    assert run("prove", "never", "policy.yaml", "--destinations", "orders", "--except", "op,etl").exit_code == 0
    wrong = run("prove", "never", "policy.yaml", "--destinations", "orders", "--plane", "inbound")
    assert (wrong.exit_code, "`destinations` is about outbound calls" in wrong.stderr) == (2, True)


def test_the_entries_of_the_file_are_proven_without_options(run):
    result = run("prove", "never", "claims.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines()[1] == "claims.yaml:16:5: secrets"
    none = run("prove", "never", "policy.yaml")
    assert (none.exit_code, "policy.yaml has no `never`" in none.stderr) == (2, True)


def test_json_has_every_entry(run):
    told = json.loads(run("prove", "never", "claims.yaml", "--json").stdout)
    assert told["result"] == "FAIL"
    assert [(one["name"], one["holds"]) for one in told["never"]] == [
        ("secrets", False), ("anyone but op: connections:*", True),
    ]  # fmt: skip
    [violation] = told["never"][0]["violations"]
    assert violation["rule"] == "ops"
    assert violation["check"] == shlex.split(TRY)[2:]
    passed = run("prove", "never", "policy.yaml", "--except", "op", "--operations", "pools:*", "--json")
    assert json.loads(passed.stdout)["result"] == "PASS"


def test_of_many_reasons_the_first_are_shown(run, tmp_path):
    more = "".join(f"  - {{id: m{n}, plane: inbound, roles: [op], operations: [airflow.op]}}\n" for n in range(9))
    (tmp_path / "many.yaml").write_text(POLICY + more)
    result = run("prove", "never", "many.yaml", "--operations", "pools:*")
    assert result.output.count("try: ") == 5
    assert result.output.splitlines()[-1] == "    there may be more"
    (tmp_path / "many.yaml").write_text(POLICY + more + 'never:\n  - {operations: ["pools:*"]}\n')
    assert "  there may be more" in run("test", "many.yaml").output


def test_a_mistake_in_an_option_is_said_with_its_value(run):
    result = run("prove", "never", "policy.yaml", "--roles", "contractr", "--operations", "pools:*")
    assert result.exit_code == 2
    assert "unknown role `contractr` (did you mean `contractor`?)" in result.stderr


def test_authz_test_counts_and_prints_them(run):
    result = run("test", "claims.yaml", "--verbose", "--junit", "report.xml")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:5] == [
        "claims.yaml: 2 entries of `never`, 1 broken", "  ✗ secrets", "  ✓ anyone but op: connections:*", "",
        "claims.yaml:16:5: secrets",
    ]  # fmt: skip
    assert lines[5].endswith("by rule `ops` at claims.yaml:13:5")
    assert lines[6].strip() == TRY
    assert lines[-1].startswith("FAIL 1 passed, 1 failed in ")
    [suite] = ET.parse("report.xml").getroot()  # noqa: S314 our own
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [case.get("name") for case in suite] == ["never: secrets", "never: anyone but op: connections:*"]
    assert TRY in suite[0][0].text


def test_authz_test_passes_a_policy_that_keeps_them(run, tmp_path):
    kept = POLICY + 'never:\n  - {except: [op], operations: ["variables:*"]}\n'
    (tmp_path / "kept.yaml").write_text(kept)
    result = run("test", "kept.yaml")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "kept.yaml: 1 entry of `never`, holds")
    told = json.loads(run("test", "kept.yaml", "--json").stdout)
    assert (told["passed"], told["failed"], told["policies"][0]["never"][0]["holds"]) == (1, 0, True)


def test_lint_reports_what_does_not_hold_as_the_gate_does(run):
    result = run("lint", "claims.yaml")
    assert result.exit_code == 1
    assert "error: claims.yaml:16:5: the entry `secrets` of `never` does not hold: group `ops` and" in result.stdout


def test_a_policy_that_does_not_keep_them_can_be_asked_and_the_answer_says_so(run):
    told = "a gate refuses this policy, because an entry of `never` does not hold: see `authz test`"
    asked = ("check", "GET", "/api/v2/dags", "--group", "ops")
    assert told in run(*asked, "--policy", "claims.yaml").stdout
    assert told not in run(*asked, "--policy", "policy.yaml").stdout


def test_editors_know_the_key(run):
    for which in ("policy", "tests"):
        made = json.loads(run("schema", which).stdout)
        assert made["properties"]["never"]["items"]["$ref"] == "#/$defs/NeverEntry"
        assert "except" in made["$defs"]["NeverEntry"]["properties"]


ENDING = """  - {id: freeze, deny: true, plane: inbound, operations: ["connections:delete"], until: 2099-12-01}
never:
  - {name: no deletes, plane: inbound, operations: ["connections:delete"]}
"""


@pytest.mark.parametrize("words", [("prove", "never"), ("test",), ("lint",)], ids=lambda words: words[0])
def test_all_commands_prove_an_entry_after_each_end_as_a_load_does(run, tmp_path, words):
    (tmp_path / "ending.yaml").write_text(POLICY + ENDING.replace(", until: 2099-12-01", ""))
    assert run(*words, "ending.yaml").exit_code == 0
    (tmp_path / "ending.yaml").write_text(POLICY + ENDING)
    result = run(*words, "ending.yaml")
    assert result.exit_code == 1
    assert "from 2099-12-02T00:00Z on group `ops` may connections:delete" in result.output
    [command] = [line for line in result.output.splitlines() if "authz check" in line]
    asked = shlex.split(command.partition("authz check ")[2].rstrip(")"))
    assert asked[asked.index("--at") + 1] == "2099-12-02T00:00Z"
    assert run("check", *asked, "--policy", "ending.yaml").exit_code == 0
    at = asked.index("--at")
    assert run("check", *asked[:at], *asked[at + 2 :], "--policy", "ending.yaml").exit_code == 1, "not yet"


def test_an_answer_about_such_a_policy_says_that_a_gate_refuses_it(run, tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY + ENDING)
    assert "an entry of `never` does not hold" in run("check", "GET", "/api/v2/pools").output


def test_json_says_from_when_an_entry_does_not_hold(run, tmp_path):
    (tmp_path / "ending.yaml").write_text(POLICY + ENDING)
    [entry] = json.loads(run("prove", "never", "ending.yaml", "--json").output)["never"]
    assert (entry["holds"], entry["since"]) == (False, "2099-12-02T00:00Z")


def test_an_entry_that_holds_because_of_a_slip_is_not_just_pass(run):
    found = run("prove", "never", "policy.yaml", "--destinations", "ordres", "--methods", "DELETE")
    warning = "which no rule that allows something names (did you mean `orders`?)"
    lines = found.output.splitlines()
    assert (found.exit_code, lines[0], len(lines)) == (0, "PASS", 2)
    assert lines[1].startswith("warning: the entry `anyone: DELETE ordres` of `never` names the destination `ordres`, ")
    assert lines[1].endswith(warning)
    told = json.loads(run("prove", "never", "policy.yaml", "--destinations", "ordres", "--json").output)
    assert [(one["severity"], one["hint"]) for one in told["remarks"]] == [("warning", "did you mean `orders`?")]


def test_lint_and_test_say_so_too(run, tmp_path):
    entry = "never:\n  - {plane: egress, destinations: [ordres]}\n"
    (tmp_path / "policy.yaml").write_text(POLICY + entry)
    tested = run("test")
    assert tested.exit_code == 0
    assert "warning: policy.yaml:16:5: the entry `anyone: ordres` of `never` names the destination" in tested.output
    linted = run("lint", "--strict")
    assert linted.exit_code == 1
    assert "warning: policy.yaml:16:5: the entry `anyone: ordres` of `never` names the destination" in linted.output
    told = json.loads(run("test", "--json").output)
    assert told["policies"][0]["remarks"][0]["hint"] == "did you mean `orders`?"
    (tmp_path / "authz.yaml").write_text(
        "version: 1\npolicy: policy.yaml\nassertion: {issuer: 'https://gate.test', keys: [k.pem]}\n"
        "envoy: {egress: {destinations: [{name: orders, address: '127.0.0.1:1', hosts: [orders.test]}]}}\n"
    )
    linted = run("lint", "--settings", "authz.yaml")
    entry = "error: policy.yaml:16:5: the entry `anyone: ordres` of `never`"
    error = f"{entry} names an unknown destination `ordres`"
    assert linted.exit_code == 1
    assert [line for line in linted.output.splitlines() if "ordres" in line] == [f"{error} (did you mean `orders`?)"]
    assert run("test", "--settings", "authz.yaml").exit_code == 2
