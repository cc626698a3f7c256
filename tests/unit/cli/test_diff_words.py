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
