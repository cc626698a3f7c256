"""`docs/decisions.md`: every entry is complete, the index shows them all, and a decision that a text names exists."""

import re
import subprocess
from pathlib import Path

import pytest

from scripts import decision_index, docs

ROOT = Path(__file__).parents[2]
PAGE = decision_index.PAGE.read_text()
ENTRIES = list(decision_index.entries(PAGE))
NAMED = re.compile(r"\b[Dd]ecisions?\s+(\d{1,3}(?:(?:, | and )\d{1,3})*)\b")
TEXTS = {".md", ".py", ".pyi", ".yaml", ".yml", ".toml", ".txt", ".sh", ".cfg", ""}


def committed():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file() and Path(name).suffix in TEXTS]


def test_entries_are_numbered_in_order():
    assert [entry.number for entry in ENTRIES] == list(range(1, len(ENTRIES) + 1))
    assert len(ENTRIES) == PAGE.count("\n## ")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.number))
def test_every_entry_has_a_status_a_context_a_choice_and_a_consequence(entry):
    assert entry.status
    labels = re.findall(r"^\*(\w+)[.:]\*", entry.text, re.MULTILINE)
    assert labels == ["Status", "Context", "Choice", "Consequence"]
    if " by " in entry.status:
        later = int(entry.status.rpartition(" ")[2])
        assert entry.number < later <= len(ENTRIES)


def test_the_index_shows_every_entry_with_its_status():
    rows = re.findall(r"^\| (\d+) \| \[(.+)\]\((#[^)]+)\) \| (.+) \|$", PAGE, re.MULTILINE)
    shown = [(int(number), title, re.sub(r"\[(\d+)\]\(#[^)]+\)", r"\1", status)) for number, title, _, status in rows]
    assert shown == [(entry.number, entry.title, entry.status) for entry in ENTRIES]
    assert docs.fill(PAGE) == PAGE
    links = {decision_index.anchor(entry) for entry in ENTRIES}
    assert len(links) == len(ENTRIES)
    assert set(re.findall(r"\]\((#[^)]+)\)", PAGE)) == links


def test_an_entry_without_a_status_is_found():
    (entry,) = decision_index.entries("# D\n\n## 1. The `x` isn't y, or: z\n\n*Context.* …\n")
    assert (entry.status, decision_index.anchor(entry)) == ("", "#1-the-x-isnt-y-or-z")


def test_every_decision_that_a_text_names_exists():
    named = [
        (path.relative_to(ROOT), int(number))
        for path in committed()
        for found in NAMED.findall(path.read_text(errors="replace"))
        for number in re.findall(r"\d+", found)
    ]
    assert len(named) > 3
    assert [(str(path), number) for path, number in named if not 1 <= number <= len(ENTRIES)] == []


def test_links_to_an_entry_lead_to_it():
    links = {decision_index.anchor(entry) for entry in ENTRIES}
    made = [
        link for path in committed() for link in re.findall(r"decisions\.md(#[\w-]+)", path.read_text(errors="replace"))
    ]
    assert made
    assert set(made) - links == set()
