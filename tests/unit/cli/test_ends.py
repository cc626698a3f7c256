"""`authz check`, `explain` and `lint` about what ends: at a time, until when, and since when."""

import json

import pytest
from click.testing import CliRunner

from authz.cli import main
from authz.core.documents.moments import moment_text
from tests.support.factories.policies import ISSUER, text
from tests.support.factories.tokens import NOW, access_claims, jwks_of, make_key, sign

RULES = """{id: later, plane: inbound, roles: [viewer], operations: ["dags:read"], until: 2098-12-31T18:00Z}
{id: over, plane: inbound, roles: [viewer], operations: ["pools:read"], until: 2020-01-01}"""
ASK = ("check", "GET", "/api/v2/dags", "--group", "data-readers")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(text(RULES))

    def call(*arguments):
        return CliRunner().invoke(main, [*arguments], catch_exceptions=False)

    call.folder = tmp_path
    return call


def test_an_allow_says_until_when(run):
    found = run(*ASK)
    assert (found.exit_code, found.output.splitlines()[-1]) == (0, "  the rule `later` holds until 2098-12-31T18:00Z")
    assert json.loads(run(*ASK, "--json").output)["notes"] == ["the rule `later` holds until 2098-12-31T18:00Z"]


def test_a_denial_says_what_has_ended(run):
    found = run("check", "GET", "/api/v2/pools", "--group", "data-readers")
    ended = "  the rule `over` would have applied: it ended on 2020-01-02T00:00Z"
    assert (found.exit_code, found.output.splitlines()[-1]) == (1, ended)


@pytest.mark.parametrize(
    ("at", "status"), [("2098-12-31T17:59:59Z", 0), ("2098-12-31T18:00Z", 1), ("2098-12-31T19:00+01:00", 1)]
)
def test_a_question_about_another_time_is_answered_as_then(run, at, status):
    assert run(*ASK, "--at", at).exit_code == status
    assert run("explain", *ASK[1:], "--at", at).exit_code == status


def test_what_had_not_ended_yet_is_in_force_then(run):
    found = run("check", "GET", "/api/v2/pools", "--group", "data-readers", "--at", "2019-06-01T00:00Z")
    assert found.exit_code == 0


@pytest.mark.parametrize("at", ["2098-12-31", "2098-12-31T18:00", "tomorrow"])
def test_a_time_that_is_not_clear_is_a_usage_error(run, at):
    assert run(*ASK, "--at", at).exit_code == 2


def test_explain_shows_an_ended_rule_with_its_end(run):
    output = run("explain", "GET", "/api/v2/pools", "--group", "data-readers").output
    assert "    ✗ until: ended on 2020-01-02T00:00Z" in output
    assert "nearest rule that would allow: `over`" in output


def test_a_token_must_be_valid_at_that_time_too(run):
    key = make_key("RS256", kid="k1")
    (run.folder / "keys.json").write_bytes(jwks_of([key]))
    claims = access_claims(iss=ISSUER, groups=["data-readers"])
    (run.folder / "token").write_text(sign(claims, key))
    asked = ("check", "GET", "/api/v2/dags", "--token-file", "token", "--jwks", "keys.json", "--at")
    assert run(*asked, moment_text(NOW)).output.startswith("allow 200 reason=rule")
    assert run(*asked, moment_text(NOW + 86400)).output.startswith("deny 401 reason=expired")


def test_lint_warns_of_what_has_ended_and_that_fails_only_if_strict(run):
    found = run("lint", "policy.yaml")
    assert found.exit_code == 0
    assert "warning: policy.yaml:17:5: the rule `over` ended on 2020-01-02T00:00Z (remove it)" in found.output
    assert "note: policy.yaml:16:5: the rule `later` ends on 2098-12-31T18:00Z, more than a year ahead" in found.output
    assert run("lint", "policy.yaml", "--strict").exit_code == 1


def test_who_can_is_about_now(run):
    assert run("who-can", "pools:read").exit_code == 1
    assert run("who-can", "dags:read").exit_code == 0


@pytest.mark.parametrize(
    "command",
    [("who-can", "dags:read"), ("what-can", "--group", "data-readers"), ("matrix", "--format", "csv")],
    ids=lambda words: words[0],
)
def test_who_may_do_what_is_asked_about_another_time_too(run, command):
    """The rule `later` ends in 2098, `over` ended in 2020: what is in force then is in the answer, and nothing else."""
    asked = {at: run(*command, *(("--at", at) if at else ())) for at in ("", "2098-12-31T18:00Z", "2019-06-01T00:00Z")}
    assert ["dags:read" in found.output or "group `data-readers`" in found.output for found in asked.values()] == [
        True, False, True,
    ]  # fmt: skip
    if command[0] != "who-can":
        assert ["pools:read" in found.output for found in asked.values()] == [False, False, True]
    refused = run(*command, "--at", "2098-12-31T18:00")
    assert (refused.exit_code, "does not say in which time zone" in refused.output) == (2, True)
