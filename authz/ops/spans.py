"""Exports spans to an OpenTelemetry collector, over OTLP/gRPC.

Law 1: this is the only file that imports OpenTelemetry, and it is imported only where the settings have `tracing`.
Law 2: a check never waits for a span. Exporting is a thread of its own behind a bounded queue; a span that finds it
full, or that the collector does not take, is dropped and counted. Of a failure's messages one is logged, until it ends.
Law 3: at the end, what is still queued has a short time to be sent.
"""

import logging
import ssl
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import certifi
import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from authz.core.traceparent import Parent
from authz.core.version import __version__
from authz.settings.tracing import Tracing
from authz.system.threads import Background

log = logging.getLogger(__name__)

SERVICE: Final = "airflow-envoy-authz"
MOST_WAITING: Final = 2048
_BATCH: Final = 512
_DELAY_MS: Final = 1000
_EXPORT_S: Final = 5.0  # for one batch, with its retries
_FLUSH_S: Final = 2.0
_CANCEL_S: Final = 1.0
_NANOSECONDS: Final = 1e9


class SpanQueue:
    """The spans of one process. `put` is for the serving thread only.

    Args:
        tracing: where they go.
        instance: the name of this process among the gates and their workers.

    Raises:
        OSError: the CA's file cannot be read.
    """

    def __init__(self, tracing: Tracing, *, instance: str) -> None:
        self._tracing = tracing
        self._ca = _authority(tracing) if tracing.tls else b""
        self._resource = {"service.name": SERVICE, "service.version": __version__, "service.instance.id": instance}
        self._accepted = 0
        self._refused = 0
        self._exporter: _CountingExporter | None = None
        self._processor: BatchSpanProcessor | None = None
        self._tracer: trace.Tracer = trace.NoOpTracer()

    def start(self) -> None:
        """Begin to export: in the process that makes the spans, because a fork would inherit the connection."""
        resource = Resource.create(self._resource)
        self._exporter = _CountingExporter(_exporter(self._tracing, self._ca), self._tracing.endpoint)
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=MOST_WAITING,
            schedule_delay_millis=_DELAY_MS,
            max_export_batch_size=_BATCH,
        )
        # Sampled is what Envoy, or who called it, has sampled.
        provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(SERVICE, __version__)

    def put(self, parent: Parent, times: tuple[float, float], attributes: Mapping[str, str], *, failed: bool) -> None:
        """See `authz.check.tracing.Spans`."""
        exporter = self._exporter
        if exporter is None or self._accepted - exporter.ended >= MOST_WAITING:
            self._refused += 1
            return
        self._accepted += 1
        above = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=TraceFlags(parent.flags))
        start, end = (int(seconds * _NANOSECONDS) for seconds in times)
        span = self._tracer.start_span(
            attributes["rpc.method"],
            trace.set_span_in_context(NonRecordingSpan(above)),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=start,
        )
        if failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def counts(self) -> dict[str, int]:
        """How many spans were `exported`, and how many `dropped`."""
        exporter = self._exporter
        exported, lost = (exporter.exported, exporter.lost) if exporter is not None else (0, 0)
        return {"exported": exported, "dropped": self._refused + lost}

    def stop(self) -> None:
        """Send what is queued, for a short time, and end."""
        if self._processor is None or self._exporter is None:
            return
        ending = Background(self._processor.shutdown, name="spans-end")
        ending.start()
        ending.join(_FLUSH_S)
        if ending.is_alive():
            self._exporter.cancel()
            ending.join(_CANCEL_S)


class _CountingExporter(SpanExporter):
    """Counts what the real exporter sends and loses; logs the first message about a failure, and its end.

    Only the exporting thread changes the numbers.
    """

    def __init__(self, exporter: OTLPSpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._messages = _first_messages(endpoint)
        self.exported = 0
        self.lost = 0

    @property
    def ended(self) -> int:
        """How many spans no longer wait."""
        return self.exported + self.lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter.export`."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
                if self._messages.over():
                    log.info("spans are exported to %s again", self._endpoint)
            else:
                self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        """See `SpanExporter.shutdown`."""
        self._exporter.shutdown()

    def cancel(self) -> None:
        """End the export that is under way. May be called from any thread."""
        self._exporter.shutdown()


class _FirstMessages(logging.Handler):
    """Passes on the first message of OpenTelemetry about a failure; the others would repeat it for each batch."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(logging.WARNING)
        self._endpoint = endpoint
        self._failing = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        if not self._failing.is_set():
            self._failing.set()
            log.warning(
                "spans cannot be exported to %s, and those that do not fit into the queue are dropped: %s",
                self._endpoint,
                record.getMessage(),
            )

    def over(self) -> bool:
        """Whether a failure has ended: the next one is logged again."""
        failed = self._failing.is_set()
        self._failing.clear()
        return failed


def _first_messages(endpoint: str) -> _FirstMessages:
    """OpenTelemetry's own messages go there, and nowhere else."""
    messages = _FirstMessages(endpoint)
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [messages], False
    return messages


def _authority(tracing: Tracing) -> bytes:
    """The certificates by which the collector is verified."""
    return Path(tracing.tls_ca or ssl.get_default_verify_paths().cafile or certifi.where()).read_bytes()


def _exporter(tracing: Tracing, ca: bytes) -> OTLPSpanExporter:
    named = (("grpc.ssl_target_name_override", tracing.tls_name),) if tracing.tls_name else None
    return OTLPSpanExporter(
        tracing.endpoint,
        insecure=not tracing.tls,
        credentials=grpc.ssl_channel_credentials(ca) if tracing.tls else None,
        timeout=_EXPORT_S,
        channel_options=named,
    )
