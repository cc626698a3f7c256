"""Spans of checks: which checks have one, that it agrees with the record, and that it is never instead of one."""

import pytest

from authz.check.recorder import Recorder
from authz.check.tracing import TracingRecorder, traced_request
from authz.core.errors import AuditUnavailableError
from authz.core.model import EXECUTION
from authz.core.traceparent import traced
from tests.support.rigs.service import Rig, message, read
from tests.support.simulators.idp import MemorySink

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
HEADER = ("traceparent", SAMPLED.encode())


class Spans:
    """Keeps what it is given; `error` is raised instead."""

    def __init__(self, error=None):
        self.seen = []
        self._error = error

    def put(self, parent, times, attributes, *, failed):
        if self._error is not None:
            raise self._error
        self.seen.append((parent, times, dict(attributes), failed))

    @property
    def only(self):
        [(_parent, _times, attributes, failed)] = self.seen
        return attributes, failed


class Refusing(MemorySink):
    def put(self, lines):
        raise AuditUnavailableError("full")


def rig_with(spans, sink=None, exemplar=lambda _seconds, _trace: None):
    sink = sink or MemorySink()
    recorder = TracingRecorder(Recorder(sink, gate="gate-1", worker=0), spans, lambda: 2000.0, exemplar)
    rig = Rig(recorder=recorder, parse=traced_request)
    rig.sink = sink
    return rig


def test_a_sampled_check_has_one_span_that_agrees_with_its_record():
    spans = Spans()
    rig = rig_with(spans)
    assert rig.check(token=rig.token(), headers=[HEADER]).allowed
    attributes, failed = spans.only
    record = rig.record
    assert {name.removeprefix("authz."): value for name, value in attributes.items() if name.startswith("authz.")} == {
        "decision_id": record["id"],
        "policy_revision": record["revision"],
        **{name: record[name] for name in ("decision", "reason", "rule", "operation", "plane")},
    }
    assert not failed


def test_it_lasts_from_the_arrival_to_the_answer_also_of_a_check_that_waited():
    spans = Spans()
    rig = rig_with(spans)
    parked = rig.ask(token=rig.token(headers={"kid": "unknown"}), headers=[HEADER])
    rig.clock.advance(1.5)
    assert not read(parked.resume()).allowed
    [(_, (start, end), attributes, _)] = spans.seen
    assert (start, end) == (1998.5, 2000.0)
    assert attributes["authz.reason"] == "unknown_key"


@pytest.mark.parametrize("header", [None, SAMPLED[:-1] + "0", "broken"])
def test_any_other_has_none(header):
    spans = Spans()
    rig = rig_with(spans)
    headers = [("traceparent", header.encode())] if header else []
    assert rig.check(token=rig.token(), headers=headers).allowed
    assert len(rig.sink.records) == 1
    assert spans.seen == []


def test_a_message_that_is_no_check_and_an_overload_have_none():
    spans = Spans()
    rig = rig_with(spans)
    assert not read(rig.service.check(traced(b"\xff", SAMPLED))).allowed
    assert not read(rig.service.overloaded()).allowed
    assert spans.seen == []


def test_the_call_says_which_span_is_above_and_the_header_only_where_it_does_not():
    spans = Spans()
    rig = rig_with(spans)
    other = f"00-{'a' * 32}-{'b' * 16}-01"
    for called in (other, ""):
        rig.service.check(traced(message(headers=[HEADER]), called))
    assert [f"{parent.trace_id:032x}" for parent, *_ in spans.seen] == ["a" * 32, TRACE]
    assert [record["trace"] for record in rig.sink.records] == ["a" * 32, TRACE]


def test_no_caller_and_no_unknown_plane_adds_to_what_a_span_may_say():
    spans = Spans()
    rig = rig_with(spans)
    rig.check(target="/s3cret?s3cret", plane="s3cret", headers=[HEADER, ("cookie", b"s3cret")], host="s3cret")
    attributes, failed = spans.only
    assert "s3cret" not in str(attributes)
    assert "authz.plane" not in attributes
    assert (attributes["authz.reason"], failed) == ("misconfigured", True)


def test_a_task_that_asks_who_it_is_is_of_its_own_plane():
    spans = Spans()
    rig = rig_with(spans)
    rig.check(plane=EXECUTION, headers=[HEADER])
    assert spans.only[0]["authz.plane"] == EXECUTION


def test_a_record_that_is_refused_is_the_spans_answer_too():
    spans = Spans()
    rig = rig_with(spans, Refusing())
    answer = rig.check(token=rig.token(), headers=[HEADER])
    assert (answer.http, answer.allowed) == (503, False)
    attributes, failed = spans.only
    assert (attributes["authz.decision"], attributes["authz.reason"], failed) == ("deny", "audit_unavailable", True)
    assert "authz.rule" not in attributes


def test_a_bug_in_tracing_is_an_internal_error_and_never_an_allow():
    rig = rig_with(Spans(ZeroDivisionError()))
    answer = rig.check(token=rig.token(), headers=[HEADER])
    assert (answer.http, answer.allowed, answer.reason) == (503, False, "internal_error")


def test_only_a_check_with_a_span_is_an_exemplar_with_the_seconds_of_its_record():
    named = []
    rig = rig_with(Spans(), exemplar=lambda seconds, trace: named.append((seconds, trace)))
    rig.check(token=rig.token())
    assert named == []
    rig.check(token=rig.token(), headers=[HEADER])
    [(seconds, trace)] = named
    assert trace == HEADER[1].decode().split("-")[1]
    assert int(seconds * 1e6) == rig.record["latency_us"]


def test_what_is_forgotten_is_forgotten_by_the_recorder():
    forgotten = []
    recorder = Recorder(MemorySink(), gate="g", worker=0)
    recorder.forget = lambda: forgotten.append(1)
    TracingRecorder(recorder, Spans(), lambda: 0.0, lambda _seconds, _trace: None).forget()
    assert forgotten == [1]
