"""The compiled test: what is asked, who asks, and what must be decided.

Law: data only. One case is one line of a report. It has several requests if it is about an operation; each of them must
be decided as expected.
"""

from dataclasses import dataclass

from authz.core.cases.callers import Caller
from authz.core.model import Request
from authz.core.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must be decided. `reason` is None and `rule` "" if any will do.

    `shows` and `hides` are DAGs that the list has and has not, where Airflow narrows it.
    """

    allow: bool
    reason: Reason | None = None
    rule: str = ""
    shows: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()


ALLOW = Expected(allow=True)
DENY = Expected(allow=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test, or one cell of its table or matrix; `row` says which, "" for a single test."""

    test: str
    row: str = ""
    file: str
    line: int
    column: int
    caller: Caller
    requests: tuple[Request, ...]
    expected: Expected

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.test}: {self.row}" if self.row else self.test
