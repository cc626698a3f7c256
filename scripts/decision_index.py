"""The index of `docs/decisions.md`: one row for each entry, from its heading and its status."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "decisions.md"
_HEADING: Final = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)
_STATUS: Final = re.compile(r"\A\n\n\*Status:\* (accepted|(?:amended|superseded) by \d+)\n\n")


class Decision(NamedTuple):
    """One entry. `status` is "" if the entry has none in the expected form; `text` is everything below its heading."""

    number: int
    title: str
    status: str
    text: str


def entries(page: str) -> Iterator[Decision]:
    """The entries of the page, in its order."""
    _, *parts = _HEADING.split(page)
    for number, title, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        found = _STATUS.match(text)
        yield Decision(int(number), title, found[1] if found else "", text)


def anchor(decision: Decision) -> str:
    """The fragment under which GitHub shows the entry."""
    heading = f"{decision.number}. {decision.title}".lower()
    return "#" + re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


def index() -> Iterator[str]:
    """The table of all entries."""
    found = {decision.number: decision for decision in entries(PAGE.read_text())}
    yield "| number | decision | status |"
    yield "| --- | --- | --- |"
    for number, decision in found.items():
        word, _, other = decision.status.partition(" by ")
        status = f"{word} by [{other}]({anchor(found[int(other)])})" if other else word
        yield f"| {number} | [{decision.title}]({anchor(decision)}) | {status} |"
