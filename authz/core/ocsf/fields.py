"""Reads the fields of what is on record, of whatever type they are.

Law: total. A field that does not have the type that the gate writes is one that is not there.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from authz.core.record import number_in, text_in
from authz.core.traffic.story import Recorded

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_LONGEST_IP: Final = 40  # characters, of OCSF's type ip_t


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
