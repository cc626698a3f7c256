"""A row of the tour, and its result."""

from collections.abc import Callable
from dataclasses import dataclass, field

from demo.tour_client import Answer

Check = Callable[[Answer], str]


def nothing_more(_answer: Answer) -> str:
    """Find nothing wrong with an answer whose status, reason and rule are right."""
    return ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tour: who asks what, and the expected result.

    `expected` is the status, the reason and the rule, if there is one: `200 rule airflow.viewer`. `check` looks at the
    answer once those are right and says what is wrong with it, or nothing.
    """

    who: str
    request: str
    expected: str
    ask: Callable[[], Answer] = field(repr=False)
    check: Check = field(default=nothing_more, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a row; `problem` is "" when it is right."""

    row: Row
    answer: str = "-"
    reason: str = ""
    rule: str = ""
    problem: str
