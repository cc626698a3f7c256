"""Every known mistake that applies has a test named for it, and the security page lists exactly those."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
APPLICABLE = {f"d{number:02}" for number in [*range(1, 27), 29, 30, *range(33, 39), 40, 41, 42, 44]}


def rows_with_a_test():
    names = [name for path in ROOT.glob("tests/**/*.py") for name in re.findall(r"def test_(d\d\d)_", path.read_text())]
    return set(names)


def test_every_applicable_mistake_has_an_attack():
    assert rows_with_a_test() >= APPLICABLE


def test_the_security_page_lists_what_is_tested():
    listed = set(re.findall(r"^\| (d\d\d) \|", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE))
    assert listed == rows_with_a_test()


def test_every_number_in_a_comment_is_a_row_of_the_security_page_and_only_tests_use_them():
    listed = set(re.findall(r"^\| (d\d\d) \|", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE))
    named = {path: set(re.findall(r"\bd-(\d\d)\b", path.read_text())) for path in ROOT.glob("tests/**/*.py")}
    assert {number for numbers in named.values() for number in numbers} <= {row.removeprefix("d") for row in listed}
    assert not [path for path in ROOT.glob("authz/**/*.py") if re.search(r"\bd-\d\d\b", path.read_text())]
