"""A candidate that the gate would not take as its policy is not compared, and says why; an absent one says so once."""

import logging

import pytest

from authz.core.errors import Problem
from authz.ops.candidate_file import CandidateFile
from authz.ops.file_watcher import Content
from tests.support.rigs.service import POLICY

ABSENT = Content(data=None, problem="No such file or directory", absent=True)
FAILING = (
    POLICY
    + """tests:
  - {name: everyone reads, who: anonymous, request: GET /api/v2/dags, expect: allow}
"""
)


def content(text):
    return Content(data=text.encode())


@pytest.fixture
def turns():
    return []


@pytest.fixture
def file(tmp_path, turns, caplog):
    caplog.set_level(logging.INFO)
    return CandidateFile(tmp_path / "candidate.yaml", check=lambda _policy: (), changed=turns.append)


def test_a_good_candidate_is_compared_and_not_loaded_twice(file, turns):
    for _ in range(2):
        file.take(content(POLICY))
    assert (file.state, file.problems, turns) == ("compared", (), [file.current])


def test_an_absent_one_is_said_once(file, turns, caplog):
    for _ in range(3):
        file.take(ABSENT)
    assert (file.state, file.current, file.problems, set(turns)) == ("absent", None, (), {None})
    assert caplog.text.count("there is no candidate, so nothing is compared") == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (content(POLICY.replace("rules:", "rulez:")), "unknown key `rulez`"),
        (content(FAILING), "everyone reads"),
        (Content(data=None, problem="it is a FIFO, not a regular file"), "cannot be read: it is a FIFO"),
    ],
)
def test_one_with_mistakes_ends_the_comparison_until_it_is_mended(file, turns, caplog, bad, why):
    file.take(content(POLICY))
    file.take(bad)
    assert (file.state, file.current, turns[-1]) == ("refused", None, None)
    assert any(why in str(problem) for problem in file.problems)
    assert "the candidate cannot be used, so nothing is compared; no answer is affected" in caplog.text
    assert str(file.problems[0]) in caplog.text
    file.take(content(POLICY))
    assert (file.state, file.problems, turns[-1]) == ("compared", (), file.current)
    assert file.current is not None


def test_what_only_the_settings_show_is_a_mistake_too(tmp_path, turns):
    problem = Problem("candidate.yaml", 1, 1, "an unknown destination")
    file = CandidateFile(tmp_path / "candidate.yaml", check=lambda _policy: [problem], changed=turns.append)
    file.take(content(POLICY))
    assert (file.state, file.problems, turns) == ("refused", (problem,), [None])
