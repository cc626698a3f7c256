"""docs/fronts.md has every front. Whether it is true: tests/e2e/test_front_corpus.py."""

from pathlib import Path

import pytest

from scripts.fronts_table import runs
from tests.e2e.front_corpus_site import FRONTS
from tests.e2e.front_guarantees import FINDINGS
from tests.e2e.test_front_corpus import FLOORS, STANDARD

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("front", FRONTS)
def test_the_table_has_all_that_was_asked_of_each_front(front):
    run = runs()[front]
    assert run.requests >= STANDARD
    assert {kind for kind, floor in FLOORS.items() if run.counts[kind] < floor} == set()
    assert list(run.found) == list(FINDINGS)


def test_the_page_of_each_front_is_linked():
    page = (ROOT / "docs" / "fronts.md").read_text()
    pages = [path.relative_to(ROOT) for path in ROOT.glob("deploy/fronts/*/README.md")]
    assert [str(path) for path in pages if f"(../{path})" not in page] == []
