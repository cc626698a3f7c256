"""The decision record: one JSON line per decision, which does no harm if it leaks.

Law: a record is built only from canonical values. It never holds a token, a cookie, a header value or the query, and it
is always exactly one line of valid JSON, whatever a caller managed to put into a path or a claim (PITFALLS d-30).
Signing and chaining wrap `encode` later; nothing else in the package writes records.
"""

from typing import Annotated, TypedDict

import orjson

_LONGEST = 2048  # characters of any one string in a record; a path may be longer, its head is enough to find it


class OwnFields(TypedDict):
    """The fields of a record that differ from decision to decision; docs/decision-log.md is made of these."""

    id: Annotated[str, "decision id, as the answer's header `x-authz-decision` has it"]
    time: Annotated[float, "seconds since the epoch at which the check arrived"]
    latency_us: Annotated[int, "microseconds from the check's arrival to its answer"]
    trace: Annotated[str, "trace id of the request's `traceparent`; empty without one"]
    source: Annotated[str, "address of the connection's other end, as Envoy sees it"]


class SharedFields(TypedDict):
    """The fields of a record that follow from the request, the identity and the policy."""

    plane: Annotated[
        str, "`inbound` (to Airflow), `egress` (from tasks) or `execution` (a task asks for its run identity)"
    ]
    method: Annotated[str, "HTTP method"]
    host: Annotated[str, "host that was asked for"]
    path: Annotated[str, "canonical path without its query; the raw one where it has no canonical form"]
    subject: Annotated[str, "the token's `sub`; empty for an anonymous caller and a refused token"]
    client: Annotated[str, "the token's client id; empty where it has none, and for a refused token"]
    issuer: Annotated[str, "the token's `iss`; empty where the token was refused"]
    roles: Annotated[tuple[str, ...], "roles of the caller, those that other roles include too"]
    operation: Annotated[str, "operation of Airflow's catalogue; empty for other paths and for refused tokens"]
    dag: Annotated[str, "DAG that the request names, `~` where it may reach any; on egress that of the calling run"]
    decision: Annotated[str, "`allow`, `deny`, or `issue`: a task got its run identity"]
    reason: Annotated[str, "why: [reasons](reasons.md)"]
    rule: Annotated[str, "id of the rule that decided; empty where none did"]
    revision: Annotated[str, "SHA-256 of the policy file that decided, in hex: `sha256sum policy.yaml`"]
    detail: Annotated[str, "more for the operator; never a secret"]


class OutboundFields(SharedFields, total=False):
    """Extra fields for an outbound call, and for a task that asks for a token."""

    destination: Annotated[str, "egress: name of the destination; empty where Envoy named none"]
    run: Annotated[dict[str, str | int] | None, "egress: the calling run; null where none is known"]
    level: Annotated[str, "egress: assurance level of the run identity"]


class DecisionRecord(OwnFields, SharedFields):
    """Who asked what, and the answer, under which revision of the policy.

    A dictionary, because each decision makes one, and a frozen record would cost as much as encoding it.
    """


class OutboundRecord(OwnFields, OutboundFields):
    """The record of an outbound call or of a task's token request."""


def _safe(value: object) -> object:
    """The value, with what UTF-8 cannot encode replaced (a claim may hold half of a surrogate pair)."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()[:_LONGEST]
    if isinstance(value, tuple):
        return [_safe(item) for item in value]
    if isinstance(value, dict):
        return {name: _safe(item) for name, item in value.items()}
    return value


def encode(record: DecisionRecord | OutboundRecord | SharedFields) -> bytes:
    """One line of JSON, with its newline; keys are in the dictionary's order."""
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
        """The record of one decision. Its own fields hold text that came as UTF-8, so nothing is replaced."""
        return orjson.dumps(own).removesuffix(b"}") + self._shared
