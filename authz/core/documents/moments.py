"""Moments at which something ends, as people write them: `2026-12-31`, `2026-12-31T18:00Z`.

Law: one text is one moment, wherever it is read. A time names its offset from UTC, so that no machine's time zone
decides; a date alone is the end of that day in UTC. Nothing here knows the present time.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import PlainValidator, WithJsonSchema

from authz.core.documents.wording import Mistake, kind

_DATE: Final = r"\d{4}-\d{2}-\d{2}"
_CLOCK: Final = r"\d{2}:\d{2}(?::\d{2})?"
_ZONE: Final = r"Z|[+-]\d{2}:\d{2}"
_FORM: Final = re.compile(rf"({_DATE})(?:T({_CLOCK})(.*))?", re.ASCII)
_LAST_YEAR: Final = 9998  # the end of a day is a moment of the next one
_HINT: Final = "write 2026-12-31T18:00Z, or 2026-12-31T18:00+01:00; 2026-12-31 alone ends with that day in UTC"


def parse_end(value: object) -> float:
    """Seconds since the epoch at which something ends: `2026-12-31T18:00Z` exactly then, `2026-12-31` after that day.

    Raises:
        Mistake: it is no such text.
    """
    if not isinstance(value, str):
        raise Mistake(f"expected a date or a time, found {kind(value)}", _HINT)
    match = _FORM.fullmatch(value)
    if match is None:
        raise Mistake(f"`{value}` is not a date or a time", _HINT)
    date, clock, zone = match.groups()
    if clock is not None and not zone:
        hint = f"write {value}Z if it is UTC, or {value}+01:00 with the offset from UTC that is meant"
        raise Mistake(f"`{value}` does not say in which time zone", hint)
    if clock is not None and not re.fullmatch(_ZONE, zone, re.ASCII):
        hint = "after minutes or whole seconds write Z for UTC, or the offset from UTC: +01:00"
        raise Mistake(f"`{value}` does not end in a time zone that is known", hint)
    try:
        found = datetime.fromisoformat(value if clock is not None else f"{date}T00:00Z")
    except ValueError:
        raise Mistake(f"`{value}` is no moment of the calendar", _HINT) from None
    if not 1 < found.year <= _LAST_YEAR:
        raise Mistake(f"`{value}` is no moment of the calendar", _HINT)
    return (found + timedelta(days=clock is None)).timestamp()


def parse_moment(value: str) -> float:
    """Seconds since the epoch of a time with its time zone; which moment of a day a date alone is, is not clear.

    Raises:
        Mistake: it is no such text.
    """
    found = parse_end(value)
    if "T" not in value:
        raise Mistake(f"`{value}` does not say at what time", f"write {value}T00:00Z for the beginning of that day")
    return found


def moment_text(moment: float) -> str:
    """A moment in UTC, as `parse_end` reads it."""
    found = datetime.fromtimestamp(moment, UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ" if found.second else "%Y-%m-%dT%H:%MZ")


End = Annotated[
    float,
    PlainValidator(parse_end),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^{_DATE}(T{_CLOCK}({_ZONE}))?$",
            "examples": ["2026-12-31", "2026-12-31T18:00Z", "2026-12-31T18:00+01:00"],
        }
    ),
]
"""The end of something, in seconds since the epoch."""
