"""The clock of another server, as its answer tells it, against ours."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from authz.core.doctor.kinds import Finding

SKEW_S: Final = 5
"""How far apart clocks may be: the default of `[authz] clock_skew` in Airflow."""


def of_date(text: str) -> float | None:
    """Seconds since the epoch of a Date header (RFC 9110 §5.6.7); None if it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def both(whose: str, there: float, here: float) -> str:
    """Both times, for people."""
    return f"here {_utc(here)}, at {whose} {_utc(there)}"


def finding(where: str, whose: str, there: float | None, here: float) -> Finding | None:
    """What is wrong with the clock of `whose`, if that is known. A Date is in whole seconds, so one more is allowed."""
    if there is None or abs(there - here) <= SKEW_S + 1:
        return None
    return Finding(id="clock", where=where, text=f"{both(whose, there, here)}: {abs(there - here):.0f} s apart")


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
