"""From records to lines.

Law: one line of valid JSON, whatever the values are. What UTF-8 cannot encode is replaced by U+FFFD, and a reader sees
that it was. A record whose fields are mostly those of another one is encoded once, and gives the very same bytes.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import orjson

from authz.core.record.fields import LONGEST, REPLACED

_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))
_MOST_KNOWN: Final = 1024
_surrogates: Final = re.compile("[\ud800-\udfff]")


def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).replace(tzinfo=None).isoformat() + "."


def valid(text: str) -> str:
    """The text, with U+FFFD for what UTF-8 cannot encode."""
    return text if text.isascii() else _surrogates.sub(REPLACED, text)


def replaced(value: object, longest: int | None = None) -> object:
    """The value, with U+FFFD for what UTF-8 cannot encode; texts are cut if they may only be so long."""
    if isinstance(value, str):
        return valid(value)[:longest]
    if isinstance(value, tuple):
        return [replaced(item, longest) for item in value]
    if isinstance(value, dict):
        return {name: replaced(item, longest) for name, item in value.items()}
    return value


def end_of_line(shared: Mapping[str, object]) -> bytes:
    """The end of the lines of all decisions that share these fields, with its newline; they are in this order."""
    path = shared.get("path")
    if not isinstance(path, str) or len(path) <= LONGEST:
        try:
            return orjson.dumps(shared, option=orjson.OPT_APPEND_NEWLINE)[1:]
        except TypeError:  # a lone surrogate: rare, so it is paid for only when met
            pass
    safe = {name: replaced(value, LONGEST) for name, value in shared.items()}
    return orjson.dumps(safe, option=orjson.OPT_APPEND_NEWLINE)[1:]


class DecisionLine:
    """Makes the lines of one worker's decisions, from what is a decision's own and what it shares with others.

    They are the very bytes that encoding a dictionary of all fields gives. Every check makes one, and this takes less
    than half as long.
    """

    __slots__ = ("_ends", "_known", "_second", "_source", "_upstream", "_whole", "_worker")

    def __init__(self, gate: str, worker: int) -> None:
        self._worker = {"gate": gate, "worker": worker}
        self._whole = -1.0
        self._second = ""
        self._known: dict[tuple[str | None, str], str] = {}
        self._choose_ends("", "")

    def __call__(  # noqa: PLR0917 by position: with their names it takes half as long again
        self, decision_id: str, time: float, latency_us: int, trace: str, source: str | None, upstream: str, end: bytes
    ) -> bytes:
        """The line. `end` is what `end_of_line` made; `decision_id` and `trace` are hexadecimal digits.

        A `source` of None is left out.
        """
        part = time - self._whole
        if not 0.0 <= part < 1.0:
            part = self._begin_second(time)
        micros = int(part * 1e6)
        if source != self._source or upstream != self._upstream:
            self._choose_ends(source, upstream)
        own = (
            f'{{"v":1,"type":"decision","id":"{decision_id}",'
            f'"time":"{self._second}{_DIGITS[micros // 1000]}{_DIGITS[micros % 1000]}Z",'
            f'"latency_us":{latency_us},"trace":"{trace}",{self._ends},'
        )
        return own.encode() + end

    def stamp(self, time: float) -> str:
        """A time since the epoch as ISO 8601, UTC, with six digits after the second."""
        part = time - self._whole
        if not 0.0 <= part < 1.0:
            part = self._begin_second(time)
        micros = int(part * 1e6)
        return f"{self._second}{_DIGITS[micros // 1000]}{_DIGITS[micros % 1000]}Z"

    def _begin_second(self, time: float) -> float:
        """Remember the second of this time; returns what is above it."""
        whole = int(time // 1)
        self._whole, self._second = float(whole), _second(whole)
        return time - whole

    def _choose_ends(self, source: str | None, upstream: str) -> None:
        """Choose the fields from `source` on."""
        ends = self._known.get((source, upstream))
        if ends is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            fields = {**({} if source is None else {"source": source}), "upstream": upstream, **self._worker}
            ends = self._known[source, upstream] = orjson.dumps(fields).decode()[1:-1]
        self._source, self._upstream, self._ends = source, upstream, ends
