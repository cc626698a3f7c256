"""A line of Envoy's access log, and its fields in their own forms.

Law: total. A field that does not have its form is "" or 0, so that what a caller managed to put there goes no further.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from authz.core.record.reading import number_in, text_in

_time: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{1,6})Z", re.ASCII).fullmatch
_uuid: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII).fullmatch
_flags: Final = re.compile(r"[A-Za-z0-9]{1,64}(?:,[A-Za-z0-9]{1,64}){0,15}", re.ASCII).fullmatch
_address: Final = re.compile(r"[A-Za-z0-9_.:/\[\]%@-]{1,256}", re.ASCII).fullmatch
_MOST: Final = 2**53


def number(said: Mapping[str, Any], name: str) -> int:
    """A count; Envoy writes some as texts. 0 if there is none."""
    text = text_in(said, name)
    if text.isascii() and text.isdecimal() and len(text) < len(str(_MOST)):
        return int(text)
    value = number_in(said, name)
    return value if value is not None and 0 <= value <= _MOST else 0


def time_of(said: Mapping[str, Any]) -> str:
    """When the request began, as records have it, with six digits; "" if that is not known."""
    found = _time(text_in(said, "time"))
    return f"{found[1]}.{found[2]:0<6}Z" if found else ""


def flags_of(said: Mapping[str, Any]) -> str:
    """Envoy's response flags, with commas between them; "" for none, which Envoy writes as "-"."""
    return match(_flags, text_in(said, "flags"))


def host_of(said: Mapping[str, Any]) -> str:
    """The address of the upstream that was asked; "" if none was."""
    return match(_address, text_in(said, "upstream_host"))


def request_of(said: Mapping[str, Any]) -> str:
    """The id that Envoy gave to the request; "" if there is none."""
    return match(_uuid, text_in(said, "request_id"))


def instance_of(said: Mapping[str, Any]) -> str:
    """The task instance that the request's task token names, which Envoy did not verify; "" if there is none."""
    return match(_uuid, text_in(said, "instance"))


def match(form: Any, value: str) -> str:
    """The text, if it has this form; else ""."""
    return value if form(value) else ""
