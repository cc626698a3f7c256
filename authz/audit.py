"""The decision record: one JSON line per decision, and nothing in it that could hurt when it leaks.

Law: a record is built from canonical values only. It never holds a token, a cookie, a header value or the query, and it
is always exactly one line of valid JSON, whatever a caller managed to put into a path or a claim (PITFALLS d-30).
Signing and chaining wrap `encode` later; nothing else in the package writes records.
"""

from typing import TypedDict

import orjson

_LONGEST = 2048  # characters of any one string in a record; a path may be longer, its head is enough to find it


class DecisionRecord(TypedDict):
    """Who asked what, and what was answered, under which revision of the policy.

    A dictionary, because one is made for every decision and a frozen record would cost as much as all of its encoding.
    `time` is seconds since the epoch, `latency_us` microseconds from the message's arrival to the answer. `path` is
    canonical, or the raw path without its query where no canonical form exists.
    """

    id: str
    time: float
    plane: str
    method: str
    host: str
    path: str
    subject: str
    client: str
    issuer: str
    roles: tuple[str, ...]
    operation: str
    dag: str
    decision: str
    reason: str
    rule: str
    revision: str
    trace: str
    source: str
    latency_us: int
    detail: str


def _safe(value: object) -> object:
    """The value with whatever UTF-8 cannot carry replaced (a claim may hold half of a surrogate pair)."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()[:_LONGEST]
    if isinstance(value, tuple):
        return [_safe(item) for item in value]
    return value


def encode(record: DecisionRecord) -> bytes:
    """One line of JSON, with its newline; keys stand in the order of `DecisionRecord`."""
    if len(record["path"]) <= _LONGEST:
        try:
            return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # a lone surrogate: rare, so it is paid for only when met
            pass
    return orjson.dumps({name: _safe(value) for name, value in record.items()}, option=orjson.OPT_APPEND_NEWLINE)
