"""`make bench-compare`: two builds side by side, and a verdict that noise cannot turn."""

import json
import math
import shutil
import subprocess
import sys

import pytest

from bench import builds, machine
from bench.bounds import INCONCLUSIVE, NOT_WORSE, WORSE, bounds, verdict
from bench.compare_rows import CASES

pytestmark = [pytest.mark.alone, pytest.mark.timeout(240)]


def compare(*arguments, output):
    command = [sys.executable, "-m", "bench.compare", *arguments, "--output", output]
    done = subprocess.run(
        list(map(str, command)), cwd=machine.ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    return done, {row["key"]: row for row in json.loads(output.read_text())["rows"]} if output.exists() else {}


def test_a_tree_is_never_worse_than_itself(tmp_path):
    done, rows = compare(machine.ROOT, "--plan", "tiny", output=tmp_path / "compare.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(rows) == {case.key for case in CASES}
    assert {row["verdict"] for row in rows.values()} <= {NOT_WORSE, INCONCLUSIVE}
    assert all(row["base_us"] > 0 and row["head_us"] > 0 for row in rows.values())
    assert "INCONCLUSIVE" in done.stdout, "one pair says nothing, and that is said"
    for role in ("base", "head"):
        assert f"/{role}/authz/__init__.py" in done.stdout, "each build shows whose code it runs"


def test_a_slowed_build_is_worse_and_the_status_says_so(tmp_path):
    slowed = tmp_path / "slowed"
    shutil.copytree(machine.ROOT / "authz", slowed / "authz")
    with (slowed / "authz" / "check" / "service.py").open("a") as file:
        file.write("\n\n_check = Service.check\n")
        file.write("Service.check = lambda self, message: (sum(range(9000)), _check(self, message))[1]\n")
    wanted = ["--plan", "tiny", "--rows", "inside_allow", "--pairs", "7"]
    done, rows = compare(machine.ROOT, "--head", slowed, *wanted, output=tmp_path / "compare.json")
    assert (done.returncode, rows["inside_allow"]["verdict"]) == (1, WORSE), done.stdout + done.stderr
    assert rows["inside_allow"]["pairs"] == 7


def test_what_is_no_commit_is_said_and_nothing_is_measured(tmp_path):
    done, rows = compare("no-such-commit", output=tmp_path / "compare.json")
    assert (done.returncode, rows) == (2, {})
    assert "no-such-commit" in done.stderr


def test_a_build_proves_whose_code_it_runs(tmp_path):
    build = builds.make(builds.THIS, tmp_path / "head")
    assert build.prove() == (tmp_path / "head" / "authz" / "__init__.py").resolve()
    shutil.rmtree(tmp_path / "head" / "authz")  # then another one would be found: the installed one
    with pytest.raises(RuntimeError, match="would run"):
        build.prove()


def test_the_bounds_hold_the_median_with_95_percent():
    """Ranks 4 and 12 of 15: P(fewer than 4 of 15 below the median) = 0.0176 on either side."""
    assert bounds([float(number) for number in range(1, 16)]) == (4.0, 12.0)
    assert bounds([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)
    assert bounds([1.0] * 5) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([1.0] * 15, NOT_WORSE),
        ([1.03] * 15, NOT_WORSE),
        ([1.031] * 15, WORSE),
        ([1.0] * 12 + [1.2] * 3, NOT_WORSE),
        ([1.0] * 8 + [1.2] * 7, INCONCLUSIVE),
        ([1.0] * 3 + [1.2] * 12, WORSE),
        ([2.0] * 5, INCONCLUSIVE),
        ([], INCONCLUSIVE),
    ],
)
def test_only_what_is_clear_is_said(ratios, said):
    assert verdict(ratios)[3] == said
