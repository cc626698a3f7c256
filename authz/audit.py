"""The decision record: one JSON line per decision, and nothing in it that could hurt when it leaks.

Law: a record is built from canonical values only. It never holds a token, a cookie, a header value or the query, and it
is always exactly one line of valid JSON, whatever a caller managed to put into a path or a claim (PITFALLS d-30).
Signing and chaining wrap `encode` later; nothing else in the package writes records.
"""

from typing import TypedDict

import orjson

_LONGEST = 2048  # characters of any one string in a record; a path may be longer, its head is enough to find it


class OwnFields(TypedDict):
    """The fields of a record that differ from decision to decision.

    `time` is seconds since the epoch, `latency_us` microseconds from the message's arrival to the answer.
    """

    id: str
    time: float
    latency_us: int
    trace: str
    source: str


class SharedFields(TypedDict):
    """The fields of a record that follow from the request, the identity and the policy.

    `path` is canonical, or the raw path without its query where no canonical form exists.
    """

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
    detail: str


class OutboundFields(SharedFields, total=False):
    """What is said besides of an outbound call, and of a task that asks for a token.

    `run` is the run that it comes from, null where none is known, `level` how sure that is, `destination` the name that
    Envoy gave.
    """

    destination: str
    run: dict[str, str | int] | None
    level: str


class DecisionRecord(OwnFields, SharedFields):
    """Who asked what, and what was answered, under which revision of the policy.

    A dictionary, because one is made for every decision and a frozen record would cost as much as all of its encoding.
    """


class OutboundRecord(OwnFields, OutboundFields):
    """The same of an outbound call, and of a task that asks for a token."""


def _safe(value: object) -> object:
    """The value with whatever UTF-8 cannot carry replaced (a claim may hold half of a surrogate pair)."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()[:_LONGEST]
    if isinstance(value, tuple):
        return [_safe(item) for item in value]
    if isinstance(value, dict):
        return {name: _safe(item) for name, item in value.items()}
    return value


def encode(record: DecisionRecord | OutboundRecord | SharedFields) -> bytes:
    """One line of JSON, with its newline; keys stand in the order of the dictionary."""
    if len(record["path"]) <= _LONGEST:
        try:
            return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # a lone surrogate: rare, so it is paid for only when met
            pass
    return orjson.dumps({name: _safe(value) for name, value in record.items()}, option=orjson.OPT_APPEND_NEWLINE)


class PreparedRecord:
    """The records of all decisions that share these fields, which are encoded once.

    `line(own)` gives the very bytes of `encode({**own, **shared})`.
    """

    __slots__ = ("_shared",)

    def __init__(self, shared: SharedFields) -> None:
        self._shared = b"," + encode(shared).removeprefix(b"{")

    def line(self, own: OwnFields) -> bytes:
        """The record of one decision. What is its own is text that came as UTF-8, so there is nothing to replace."""
        return orjson.dumps(own).removesuffix(b"}") + self._shared
