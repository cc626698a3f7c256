"""`git:REVISION:PATH` in place of a policy file: every command answers as if that revision were checked out."""

import re
import subprocess

import pytest
from click.testing import CliRunner

from authz.cli import main
from authz.core import cases
from authz.ops.named_files import read_bundle
from tests.support.factories.decision_logs import day_of

POLICY = """version: 1
include: [{file: teams/sales.yaml, roles: [sales], dags: ["sales_*"], operations: ["dags:*"]}]
test_files: ["tests/*.yaml"]
issuers:
  - name: corp
    issuer: https://idp.example.com
    audiences: {inbound: [airflow], egress: [outbound]}
    algorithms: [RS256]
    groups: [groups]
roles:
  reader: {groups: [readers]}
  sales: {groups: [sales]}
rules:
  - {id: read, plane: inbound, roles: [reader], operations: ["pools:read"]}
never:
  - {roles: [reader], operations: ["variables:*"]}
"""
TEAM = 'rules:\n  - {id: own, plane: inbound, roles: [sales], operations: ["dags:read"], dags: ["sales_*"]}\n'
TESTS = "tests:\n  - {name: sales, who: {groups: [sales]}, request: GET /api/v2/dags/sales_a, expect: allow}\n"
PATH = "policies/policy.yaml"
COMMANDS = {
    "lint": ("lint", "{}"),
    "lint --policy": ("lint", "--policy", "{}"),
    "test": ("test", "--verbose", "{}"),
    "check": ("check", "GET", "/api/v2/dags/sales_a", "--group", "sales", "--policy", "{}"),
    "explain": ("explain", "GET", "/api/v2/dags/sales_a", "--group", "sales", "--policy", "{}"),
    "who-can": ("who-can", "dags:read", "--policy", "{}"),
    "what-can": ("what-can", "--group", "sales", "--policy", "{}"),
    "matrix": ("matrix", "--policy", "{}"),
    "diff": ("diff", "{}", "{}"),
    "no-new-access": ("prove", "no-new-access", "{}", "{}"),
    "never": ("prove", "never", "{}"),
    "replay": ("replay", "log.jsonl", "--policy", "{}"),
    "unused": ("unused", "log.jsonl", "--policy", "{}"),
    "unused --yaml": ("unused", "log.jsonl", "--yaml", "--policy", "{}"),
    "token inspect": ("token", "inspect", "--offline", "--policy", "{}"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A repository with one revision of a policy of several files, which are another policy on the disk."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTHZ_TOKEN", "a.b.c")
    for name, text in (("policy.yaml", POLICY), ("teams/sales.yaml", TEAM), ("tests/a.yaml", TESTS)):
        (tmp_path / "policies" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "policies" / name).write_text(text)
    (tmp_path / "log.jsonl").write_bytes(day_of(cases.read(read_bundle(tmp_path / PATH)).policy))

    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    git("add", "policies")
    git("commit", "-qm", "first")
    return tmp_path


def run(words, policy):
    found = CliRunner().invoke(main, [word.replace("{}", policy) for word in words], catch_exceptions=False)
    return re.sub(r"in \d+\.\d\d s", "", found.stdout), found.stderr, found.exit_code


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_it_answers_for_the_files_of_the_revision(folder, words):
    expected = run(words, PATH)
    assert "sales" in expected[0] or words[0] in {"lint", "diff", "prove", "token", "replay"}, expected
    (folder / "policies" / "teams" / "sales.yaml").unlink()
    (folder / "policies" / "tests" / "a.yaml").write_text(TESTS.replace("expect: allow", "expect: deny"))
    (folder / PATH).write_text("version: 2\n")
    assert run(words, f"git:HEAD:{PATH}") == expected
    assert run(words, PATH) != expected


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("wrong", ["git:HEAD", "git:--output=x:policy.yaml", "git::", "git::policy.yaml"])
def test_what_names_no_revision_is_a_usage_error(folder, words, wrong):
    stdout, stderr, status = run(words, wrong)
    assert (stdout, status, "is not git:REVISION:PATH" in stderr) == ("", 2, True)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_revision_without_the_file_is_an_error(folder, words):
    stdout, stderr, status = run(words, "git:nowhere:policy.yaml")
    assert "git has no such policy" in stdout + stderr
    assert status == (1 if words[0] == "lint" else 2)


def test_with_settings_it_is_their_policy_of_that_revision(folder):
    (folder / "authz.yaml").write_text(f"version: 1\npolicy: {PATH}\n")
    (folder / PATH).write_text("version: 2\n")
    words = ("who-can", "dags:read", "--settings", "authz.yaml", "--policy", "{}")
    assert run(words, f"git:HEAD:{PATH}") == ("group `sales`: sales_*  (rule own/teams/sales.yaml)\n", "", 0)
    other = run(words, "git:HEAD:policies/other.yaml")
    assert (other[2], "git:HEAD:policies/other.yaml is another file" in other[1]) == (2, True)


@pytest.mark.parametrize("words", [("check",), ("diff",), ("lint",), ("test",), ("matrix",), ("replay",), ("unused",)])
def test_help_says_so(words):
    text = " ".join(CliRunner().invoke(main, [*words, "--help"]).output.split())
    assert "git:REVISION:PATH" in text
