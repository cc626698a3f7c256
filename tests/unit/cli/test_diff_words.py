"""The words of `authz diff` for deny rules, ends and groups: each says what has changed, and hides nothing."""

import json

import pytest
from click.testing import CliRunner

from authz.cli import main

POLICY = """
version: 1
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow]}
    algorithms: [RS256]
roles:
  op: {groups: [ops]}
  contractor: {groups: [contractors]}
rules:
  - {id: ops, plane: inbound, roles: [op], operations: ["variables:*"]}
"""
FREEZE = "  - {id: freeze, deny: true, plane: inbound, roles: [contractor], operations: [variables:read]}\n"
WIDER = FREEZE.replace("variables:read", "variables:*")
ENDING = FREEZE.replace("deny: true", "deny: true, until: 2098-12-31T18:00Z")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(old, new, *options, command=("diff",)):
        (tmp_path / "old.yaml").write_text(old)
        (tmp_path / "new.yaml").write_text(new)
        return CliRunner().invoke(main, [*command, "old.yaml", "new.yaml", *options], catch_exceptions=False).output

    return call


@pytest.mark.parametrize(
    ("old", "new", "title", "said"),
    [
        ("", FREEZE, "loses", "is new"),
        (FREEZE, WIDER, "loses", "is wider"),
        (ENDING, FREEZE, "loses", "is wider or ends later"),
        (FREEZE, "", "gains", "is gone"),
        (WIDER, FREEZE, "gains", "is narrower"),
        (FREEZE, ENDING, "gains", "is narrower or ends sooner"),
    ],
)
def test_it_says_what_has_become_of_the_deny_rule(run, old, new, title, said):
    lines = run(POLICY + old, POLICY + new).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith(title))
    assert lines[at + 1] == f"    rule `ops`; the deny rule `freeze` {said}"
    assert f"rule `ops`; the deny rule `freeze` {said} |" in run(POLICY + old, POLICY + new, "--markdown")
    found = json.loads(run(POLICY + old, POLICY + new, "--json"))
    (change,) = [*found["changes"], *(one for later in found["later"] for one in later["changes"])]
    assert (change["denied"], change["denied_is"]) == ("freeze", said.removeprefix("is "))


def test_a_rule_that_allowed_before_is_a_new_deny_rule(run):
    allowing = FREEZE.replace("deny: true, ", "")
    assert "    rule `ops`; the deny rule `freeze` is new" in run(POLICY + allowing, POLICY + FREEZE).splitlines()


def test_a_proof_that_fails_says_it_too(run):
    said = run(POLICY + WIDER, POLICY + FREEZE, command=("prove", "no-new-access"))
    assert "rule `ops`; the deny rule `freeze` is narrower" in said


def test_a_change_without_a_deny_rule_says_none(run):
    (change,) = json.loads(run(POLICY, POLICY.replace("variables:*", "variables:read"), "--json"))["changes"]
    assert (change["denied"], change["denied_is"]) == ("", "")


CONTRACTOR = "contractor: {groups: [contractors]}"
TEMPORARY = "contractor: {groups: [{name: contractors, until: 2098-01-30}], includes: [op]}"
RULES = """
  - {id: pools, plane: inbound, roles: [op], operations: [pools:read]}
  - {id: runs, plane: inbound, roles: [contractor], operations: [dag_runs:create], dags: ["sales_*"]}
"""
SOONER, LATER = (POLICY.replace(CONTRACTOR, TEMPORARY.replace("01-30", date)) + RULES for date in ("01-30", "03-30"))
WHAT = [
    "pools:read",
    "variables:bulk, variables:create, variables:delete, variables:read, variables:update",
    "dag_runs:create, DAG sales_*",
]


@pytest.mark.parametrize(
    ("old", "new", "title", "heading"),
    [
        (SOONER, LATER, "gains", "until 2098-01-31T00:00Z → 2098-03-31T00:00Z:"),
        (LATER, SOONER, "loses", "until 2098-03-31T00:00Z → 2098-01-31T00:00Z:"),
    ],
)
def test_a_moved_end_is_said_once_for_all_rights(run, old, new, title, heading):
    lines = run(old, new).splitlines()
    at = lines.index(heading)
    assert lines[at + 1].startswith(f"{title} group `contractors` (op, contractor): ")
    assert {*lines[at + 1].partition(": ")[2].split("; ")} == {*WHAT}
    assert lines[at + 2] in {"    rules `ops`, `pools`, `runs`", "    rules `pools`, `ops`, `runs`"}
    assert lines[at + 3].endswith(" --at 2098-01-31T00:00Z")
    assert lines[at + 4 :] == []
    assert f"**{heading}**" in run(old, new, "--markdown")
    later = json.loads(run(old, new, "--json"))["later"]
    assert [(one["from"], len(one["changes"])) for one in later] == [
        ("2098-01-31T00:00Z", 3),
        ("2098-03-31T00:00Z", 0),
    ]


def test_what_a_deny_rule_takes_for_a_time_is_no_moved_end(run):
    old, new = (POLICY + ENDING.replace("2098-12-31T18:00Z", date) for date in ("2098-01-30", "2098-03-30"))
    lines = run(old, new).splitlines()
    assert "from 2098-01-31T00:00Z until 2098-03-31T00:00Z:" in lines
    assert "    rule `ops`; the deny rule `freeze` is wider or ends later" in lines


def test_each_span_has_its_heading_and_what_goes_on_comes_first(run):
    new = POLICY + "".join(
        f"  - {{id: {name}, plane: inbound, roles: [contractor], operations: [{what}:read]{until}}}\n"
        for name, what, until in (("a", "pools", ", until: 2098-01-30"), ("b", "jobs", ""), ("c", "assets", ""))
    )
    text = run(POLICY, new)
    lines = [line for line in text.splitlines() if line[0] != " "]
    assert [line for line in lines if line.endswith(":")] == ["now:", "now, until 2098-01-31T00:00Z:"]
    assert [line.partition(": ")[2] for line in lines if line.startswith("gains")] == [
        "jobs:read",
        "assets:read, DAG *",
        "pools:read",
    ]
    assert "**now, until 2098-01-31T00:00Z:**" in run(POLICY, new, "--markdown")
