"""Tracing: the span of a check whose trace is sampled.

Law 1: where nothing is traced, none of this takes part in a check: `TracingRecorder` and `traced_request` stand in the
places of `Recorder` and `wire.parse`, chosen at start.
Law 2: a span says nothing about the caller and nothing that the caller sent, except the id of its trace: its attributes
are closed lists, and names out of the policy. The decision's id leads to the record, for those who may read it.
Law 3: a check without its record has no answer; so the span is made after the record, and says what was answered.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from authz.check import wire
from authz.check.check_record import CheckRecord
from authz.check.parts import Records
from authz.core.errors import AuditUnavailableError
from authz.core.model import EXECUTION, Decision, Deny, HttpRequest
from authz.core.reasons import ANSWERS, Reason, word_of
from authz.core.traceparent import Parent, TracedMessage, sampled_parent

NAME: Final = "envoy.service.auth.v3.Authorization/Check"
_UNAVAILABLE: Final = 503
# Semantic conventions for RPC: the method's full name is the span's name too. A denial is a good answer of gRPC.
_OF_ALL: Final = {"rpc.system.name": "grpc", "rpc.method": NAME, "rpc.response.status_code": "OK"}


class Spans(Protocol):
    """Takes spans (implemented by `authz.ops.spans`)."""

    def put(self, parent: Parent, times: tuple[float, float], attributes: Mapping[str, str], *, failed: bool) -> None:
        """Accept a span below `parent`; it never blocks, and what cannot be accepted is dropped.

        `times` are those of its start and its end, in seconds since the epoch. `failed`: nothing could be decided.
        """
        ...


class TracingRecorder:
    """A recorder that makes the spans of the checks too. Used by one thread.

    Args:
        recorder: makes the records.
        spans: takes the spans.
        wall: the time since the epoch.
        exemplar: takes the seconds of each check that has a span, and its trace's id.
    """

    def __init__(
        self,
        recorder: Records,
        spans: Spans,
        wall: Callable[[], float],
        exemplar: Callable[[float, str], None],
    ) -> None:
        self._recorder = recorder
        self._spans = spans
        self._wall = wall
        self._exemplar = exemplar
        self.forget = recorder.forget

    def record(self, check: CheckRecord, decision: Decision, now: float) -> None:
        """See `Recorder.record`.

        Raises:
            AuditUnavailableError: the record is refused.
        """
        try:
            self._recorder.record(check, decision, now)
        except AuditUnavailableError:
            self._trace(check, Deny(reason=Reason.AUDIT_UNAVAILABLE), now)
            raise
        self._trace(check, decision, now)

    def _trace(self, check: CheckRecord, decision: Decision, now: float) -> None:
        http = check.http
        parent = sampled_parent(http.traceparent) if http is not None and http.traceparent else None
        if http is None or parent is None:
            return
        reason = decision.reason
        attributes = {
            "authz.decision_id": check.id,
            "authz.decision": word_of(reason),
            "authz.reason": str(reason),
            "authz.rule": decision.rule,
            "authz.operation": decision.operation,
            "authz.plane": http.plane if check.request is not None or http.plane == EXECUTION else "",
            "authz.policy_revision": check.revision,
        }
        known = {name: value for name, value in attributes.items() if value}
        end = self._wall()
        times = end - (now - check.asked), end
        self._spans.put(parent, times, _OF_ALL | known, failed=ANSWERS[reason].http == _UNAVAILABLE)
        self._exemplar(now - check.started, f"{parent.trace_id:032x}")


def traced_request(message: bytes) -> HttpRequest:
    """Read a serialised CheckRequest that may be traced; see `wire.parse`.

    Where Envoy traces, the call itself says which span the check is below; the request's own header, which Envoy passes
    on as it came, names the span above Envoy's.
    """
    http = wire.parse(message)
    if isinstance(message, TracedMessage) and message.traceparent:
        object.__setattr__(http, "traceparent", message.traceparent)  # it is new, and a copy would cost 3 µs
    return http
