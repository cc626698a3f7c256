"""Durations, sizes and format versions as people write them: `90s`, `15m`, `16KiB`, `1`.

Law: a number without a unit is refused, because no one remembers which unit was meant. The policy's and the
settings' schemas both use this.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from authz.core.documents.wording import kind

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = 36500 * 86400.0  # a hundred years; Envoy and Python have limits of their own
_SIZE: Final = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
_BYTES: Final = {"B": 1, "KiB": 1024, "MiB": 1024 * 1024, "GiB": 1024 * 1024 * 1024}


def seconds(value: object) -> float:
    """`"1h"` → 3600.0.

    Raises:
        ValueError: it is not a number with a unit ms, s, m, h, d, or longer than a hundred years.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a number and a unit: 500ms, 90s, 15m, 1h or 7d")
    found = float(match[1]) * _SECONDS[match[2]]
    if not found <= _LONGEST:
        raise ValueError("write a duration of at most 36500d")
    return found


def octets(value: object) -> int:
    """`"16KiB"` → 16384.

    Raises:
        ValueError: it is not a whole number with a unit B, KiB, MiB, GiB.
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a size as a whole number and a unit: 512B, 16KiB, 1MiB or 2GiB")
    return int(match[1]) * _BYTES[match[2]]


def format_version(value: object) -> object:
    """The value, unless it merely equals a whole number: to Python, `true` and `1.0` are 1.

    Raises:
        ValueError: it is a boolean or a decimal number.
    """
    if isinstance(value, bool | float):
        found = kind(value) if isinstance(value, bool) else "a decimal number"
        raise ValueError(f"expected 1, found {found}")  # noqa: TRY004 pydantic reports ValueErrors only
    return value


def size_text(number: int) -> str:
    """`16384` → `"16KiB"`: a size as people write it."""
    unit = next(name for name in ("GiB", "MiB", "KiB", "B") if number % _BYTES[name] == 0)
    return f"{number // _BYTES[unit]}{unit}"


def duration_text(number: float) -> str:
    """`5400.0` → `"90m"`: a duration as people write it; `seconds` reads it."""
    unit = next((name for name in ("d", "h", "m", "s") if number % _SECONDS[name] == 0), "")
    return f"{number / _SECONDS[unit]:.0f}{unit}" if unit else f"{number * 1000:.0f}ms"


FormatVersion = Annotated[Literal[1], BeforeValidator(format_version)]
Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["90s", "15m", "1h"]}),
]
Size = Annotated[
    int,
    BeforeValidator(octets),
    WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$", "examples": ["16KiB"]}),
]
