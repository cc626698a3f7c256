"""The running gate says what lint thinks of its policy: once, briefly, and never at the price of a reload."""

from types import SimpleNamespace

import pytest

from authz.core import cases, policy
from authz.core.lint import review
from authz.serve.policy_warnings import MOST_BYTES, PolicyWarnings
from authz.settings import Settings
from tests.support.rigs.service import POLICY


def regexes(count):
    """A valid policy with so many globs that look like regular expressions."""
    rules = "".join(
        f'  - {{id: r{n}, plane: inbound, roles: [viewer], operations: ["dag_runs:create"], dags: ["s{n}_.*"]}}\n'
        for n in range(count)
    )
    return cases.read(policy.Bundle((POLICY + rules).encode(), "policy.yaml"))


def settings():
    made = {
        "version": 1,
        "listen": ("unix:/run/authz.sock",),
        "assertion": {"issuer": "https://gate.test", "keys": ("assertion.pem",)},
    }
    return Settings.model_validate(made)


@pytest.fixture
def warnings():
    return PolicyWarnings(settings())


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_a_policy_without_warnings_is_not_spoken_of(warnings, caplog):
    warnings.log(cases.read(policy.Bundle(POLICY.encode(), "policy.yaml")), len(POLICY))
    assert lines(caplog) == []


def test_one_line_names_the_first_warnings_and_how_to_see_all(warnings, caplog):
    warnings.log(regexes(50), 5000)
    ((level, text),) = lines(caplog)
    assert level == "WARNING"
    assert "50 warning(s)" in text
    assert [f"`s{n}_.*`" in text for n in (0, 1, 2, 3)] == [True, True, True, False]
    assert "and 47 more" in text
    assert text.endswith("authz lint --settings FILE")
    assert "policy.yaml:21:" in text, "the place"
    assert len(text) < 1200


def test_the_warnings_of_a_revision_are_logged_once(warnings, caplog):
    for count in (1, 1, 2, 2):
        warnings.log(regexes(count), 100)
    assert ["1 warning(s)" in text for _, text in lines(caplog)] == [True, False]


def test_a_large_policy_is_left_to_the_command(warnings, caplog):
    warnings.log(regexes(1), MOST_BYTES + 1)
    assert lines(caplog) == []
    warnings.log(regexes(1), MOST_BYTES)
    assert len(lines(caplog)) == 1


def test_a_bug_in_lint_stops_nothing(warnings, caplog):
    warnings.log(SimpleNamespace(policy=SimpleNamespace(revision="abc")), 100)
    ((level, text),) = lines(caplog)
    assert (level, "abc" in text) == ("ERROR", True)


def test_what_takes_a_proof_is_left_to_the_command(warnings, caplog, monkeypatch):
    """The prover's bound on one policy is many seconds, in which the gate would answer slowly."""
    suite = regexes(1)
    for name in ("lifeless", "idle"):
        monkeypatch.setattr(review, name, lambda *_: pytest.fail("the prover was asked"))
    warnings.log(suite, 100)
    ((level, text),) = lines(caplog)
    assert (level, "1 warning(s)" in text) == ("WARNING", True)
