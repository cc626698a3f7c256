"""`authz break-glass`: what it makes, and what it asks for."""

import re
import stat

import pytest
from click.testing import CliRunner

from authz.cli import main
from authz.core.cases import load
from authz.core.lint import review
from authz.core.policy import Bundle

PASSPHRASE = "correct horse battery staple"
POLICY = """\
version: 1
issuers:
  - {name: corp, issuer: "https://idp.example.com", audiences: {inbound: [airflow]}, algorithms: [RS256], groups: [g]}
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*words, said=PASSPHRASE, times=2):
        return CliRunner().invoke(main, ["break-glass", *words], input=f"{said}\n" * times, catch_exceptions=False)

    return call


def test_init_makes_a_pair_and_lines_that_are_a_policy_without_findings(run, tmp_path):
    made = run("init")
    assert made.exit_code == 0, made.output
    assert stat.S_IMODE((tmp_path / "break-glass.pem").stat().st_mode) == 0o600
    entry, role = re.search(r"`issuers`:\n(.*)and below `roles`:\n(.*)", made.stdout, re.DOTALL).groups()
    text = f"{POLICY}{entry}roles:\n  airflow.viewer: {{groups: [readers]}}\n{role}"
    assert review.lint(load(Bundle(text.encode(), "policy.yaml")).policy) == []
    assert PASSPHRASE not in made.output


def test_init_overwrites_nothing(run, tmp_path):
    for name in ("break-glass.pem", "break-glass.jwks.json"):
        (tmp_path / name).write_text("of yesterday")
        again = run("init")
        assert (again.exit_code, "exists" in again.output) == (2, True)
        assert (tmp_path / name).read_text() == "of yesterday"
        (tmp_path / name).unlink()


def test_a_token_goes_to_standard_output_alone(run):
    run("init")
    made = run("token", "--key", "break-glass.pem", "--name", "ada", "--reason", "provider down", times=1)
    assert made.exit_code == 0
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", made.stdout)
    assert PASSPHRASE not in made.output


@pytest.mark.parametrize("minutes", ["0", "61"])
def test_a_token_lives_an_hour_at_most(run, minutes):
    run("init")
    words = ("--key", "break-glass.pem", "--name", "ada", "--reason", "x", "--minutes", minutes)
    assert run("token", *words, times=1).exit_code == 2


def test_a_wrong_passphrase_gives_no_token(run):
    run("init")
    made = run("token", "--key", "break-glass.pem", "--name", "ada", "--reason", "x", said="wrong", times=1)
    assert (made.exit_code, made.stdout) == (2, "")
