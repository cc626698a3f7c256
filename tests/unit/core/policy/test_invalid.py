"""Every mistake in tests/cases/invalid has its expected problems beside it, word for word: they are read by people.

The files that a policy names are in the folder of its name: those of `x.yaml` in `x/`.

After a change of wording: `python tests/unit/core/policy/test_invalid.py` writes them again; read the difference.
"""

from pathlib import Path

import pytest

from authz.core import cases, policy
from authz.core.errors import PolicyError
from authz.core.policy.bundle import Part

INVALID = Path(__file__).parents[3] / "cases" / "invalid"
CASES = sorted(INVALID.glob("*.yaml"))


def parts(path):
    """The other files of a policy."""
    folder = path.with_suffix("")
    return tuple(Part(str(file.relative_to(folder)), file.read_bytes()) for file in sorted(folder.rglob("*.yaml")))


def problems(path):
    try:
        cases.load(policy.Bundle(path.read_bytes(), path.name, parts(path)))
    except PolicyError as failure:
        return "".join(f"{problem}\n".removeprefix(f"{path.name}:").lstrip() for problem in failure.problems)
    return "no problem\n"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_an_invalid_policy_is_reported_exactly_as_the_file_beside_it_says(path):
    assert problems(path) == path.with_suffix(".txt").read_text()
    assert problems(path) != "no problem\n"


def test_no_expectation_is_left_over():
    assert len(CASES) > 100
    assert {path.stem for path in INVALID.glob("*.txt")} == {path.stem for path in CASES}
    assert {path.name for path in INVALID.iterdir() if path.is_dir()} <= {path.stem for path in CASES}


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_no_secret_is_shown(path):
    assert "secret" not in path.read_bytes().decode("utf-8", "ignore") or "user:secret" not in problems(path)


if __name__ == "__main__":
    for case in CASES:
        case.with_suffix(".txt").write_text(problems(case))
