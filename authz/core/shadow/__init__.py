"""A candidate policy beside the one in force: what it would decide, and the report of a decision log about it.

Law: pure. The candidate's verdict is only ever compared and counted; nothing here gives it to a caller.
"""

from authz.core.shadow.changes import Changes
from authz.core.shadow.comparison import OUTCOMES, UNKNOWN, Comparison, Side, agreed, compare, unknown
from authz.core.shadow.report import Difference, Report, Tally

__all__ = [
    "OUTCOMES",
    "UNKNOWN",
    "Changes",
    "Comparison",
    "Difference",
    "Report",
    "Side",
    "Tally",
    "agreed",
    "compare",
    "unknown",
]
