"""Reads the fields of what is on record, of whatever type they are.

Law: total. A field that does not have the type that the gate writes is one that is not there.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

from authz.core.traffic.story import Recorded

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_LONGEST_IP: Final = 40  # characters, of OCSF's type ip_t


def text_in(fields: Mapping[str, Any] | None, name: str) -> str:
    """A text; "" if there is none."""
    value = (fields or {}).get(name)
    return value if isinstance(value, str) else ""


def number_in(fields: Mapping[str, Any] | None, name: str) -> int | None:
    """A whole number; None if there is none."""
    value = (fields or {}).get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def of_record(name: str) -> Callable[[Recorded], str]:
    """What reads a text of the decision."""
    return lambda one: text_in(one.record, name)


def of_entry(name: str) -> Callable[[Recorded], str]:
    """What reads a text of the caller's identity entry."""
    return lambda one: text_in(one.entry, name)


def of_outcome(name: str) -> Callable[[Recorded], int | None]:
    """What reads a number of the outcome."""
    return lambda one: number_in(one.outcome, name)


def milliseconds(one: Recorded) -> int:
    """The time in milliseconds since the epoch; 0 if there is none, or if it is on a 30th of February."""
    try:
        return (datetime.fromisoformat(one.time) - _EPOCH) // _MS
    except ValueError:
        return 0


def address(text: str) -> str:
    """The IP address, as OCSF's type ip_t has it; "" if the text is none."""
    try:
        ip_address(text)
    except ValueError:
        return ""
    return text if len(text) <= _LONGEST_IP else ""
