"""The queue of spans: bounded, counted, and never waited for."""

import threading

from authz.core.traceparent import Parent
from authz.ops import spans
from authz.ops.spans import SpanQueue
from authz.settings.tracing import Tracing
from tests.support.ports import loopback
from tests.support.simulators.collector import Collector
from tests.support.waiting import wait_for

PARENT = Parent(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, 1)


def put(queue, number=1, *, failed=False):
    for _ in range(number):
        queue.put(PARENT, (1000.0, 1000.5), {"rpc.method": "a/B", "authz.decision": "allow"}, failed=failed)


def test_what_does_not_fit_is_dropped_and_counted_and_the_rest_arrives(monkeypatch):
    monkeypatch.setattr(spans, "MOST_WAITING", 10)
    monkeypatch.setattr(spans, "_BATCH", 5)
    released = threading.Event()
    with Collector(hold=released) as collector:
        queue = SpanQueue(Tracing(endpoint=collector.endpoint), instance="i")
        queue.start()
        put(queue, 25)
        assert queue.counts() == {"exported": 0, "dropped": 15}
        released.set()
        wait_for(lambda: queue.counts() == {"exported": 10, "dropped": 15})
        put(queue)  # there is room again
        queue.stop()
        assert len(collector.spans()) == 11
    assert queue.counts() == {"exported": 11, "dropped": 15}


def test_times_and_status_are_those_that_were_given():
    with Collector() as collector:
        queue = SpanQueue(Tracing(endpoint=collector.endpoint), instance="i")
        queue.start()
        put(queue, failed=True)
        queue.stop()
        [span] = collector.spans()
    assert span.nanoseconds == (1_000_000_000_000, 1_000_500_000_000)
    assert span.failed


def test_one_that_never_started_and_one_that_has_ended_drop_without_an_error():
    queue = SpanQueue(Tracing(endpoint=loopback()), instance="i")
    put(queue)
    queue.stop()
    assert queue.counts() == {"exported": 0, "dropped": 1}
    queue.start()
    queue.stop()
    queue.stop()


def test_environment_variables_of_opentelemetry_choose_no_other_collector_and_no_other_sampler(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{loopback()}")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    with Collector() as collector:
        queue = SpanQueue(Tracing(endpoint=collector.endpoint), instance="i")
        queue.start()
        put(queue, 3)
        queue.stop()
        assert len(collector.spans()) == 3
