"""`docs/architecture.md` draws the rooms that `test_architecture.py` enforces, and names files that exist."""

import re
from pathlib import Path

from tests.repository.test_architecture import CORE, ENVOY_CONFIG, PACKAGE, ROOMS

PAGE = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text()
ROOMS_DRAWN, CORE_DRAWN, ENVOY_DRAWN, CHECK_DRAWN = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def floors(drawing):
    """Name → floor. A line begins with its floor; names are separated by a middle dot and end before two spaces."""
    return {
        name: int(floor)
        for floor, names in re.findall(r"^ +(\d+) +(\S+(?: · \S+)*) {2}", drawing, re.MULTILINE)
        for name in names.split(" · ")
    }


def test_the_page_has_every_room_on_its_floor():
    assert floors(ROOMS_DRAWN) == ROOMS
    assert floors(CORE_DRAWN) == CORE
    assert floors(ENVOY_DRAWN) == ENVOY_CONFIG


def test_the_life_of_a_check_names_files_that_exist():
    named = set(re.findall(r"[a-z_]+/[\w/]*(?:\.py|/)", CHECK_DRAWN))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (PACKAGE / name).exists()] == []


def test_the_page_stays_short():
    assert PAGE.count("\n") <= 150
