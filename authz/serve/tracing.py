"""Tracing, from the settings: what makes spans and where they go, or nothing at all.

Law: without `tracing` no part of a check is another than it would be without this file, and OpenTelemetry is not even
imported.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from authz.check import wire
from authz.check.parts import Records
from authz.check.tracing import TracingRecorder, traced_request
from authz.core.errors import ConfigError, Problem
from authz.core.model import HttpRequest
from authz.ops.metrics import Metrics
from authz.settings import Settings

if TYPE_CHECKING:
    from authz.ops.spans import SpanQueue

_EXTRA: Final = "install this package with its extra `otel`: from a checkout `pip install '.[otel]'`"


class TraceParts:
    """What traces the checks of one process.

    Args:
        settings: the settings.
        metrics: what counts the spans.
        worker: the number of this process among the workers.

    Attributes:
        parse: reads a CheckRequest.

    Raises:
        ConfigError: OpenTelemetry is not installed, or the CA's file cannot be read.
    """

    def __init__(self, settings: Settings, metrics: Metrics, worker: int) -> None:
        self.parse: Callable[[bytes], HttpRequest] = wire.parse
        self._exemplar = metrics.exemplar
        self._spans = None if settings.tracing is None else _queue(settings, f"{settings.gate_name}/{worker}")
        if self._spans is not None:
            self.parse = traced_request
            metrics.watch_spans(self._spans.counts)

    def recorder(self, recorder: Records, wall: Callable[[], float]) -> Records:
        """The recorder, or one that makes spans too."""
        return recorder if self._spans is None else TracingRecorder(recorder, self._spans, wall, self._exemplar)

    def start(self) -> None:
        """Begin to export."""
        if self._spans is not None:
            self._spans.start()

    def stop(self) -> None:
        """Export what is queued, for a short time, and end."""
        if self._spans is not None:
            self._spans.stop()


def _queue(settings: Settings, instance: str) -> "SpanQueue":
    tracing = settings.tracing
    if tracing is None:
        raise ValueError("there is no `tracing`")
    try:
        from authz.ops.spans import SpanQueue  # noqa: PLC0415 an optional dependency, and a slow import
    except ImportError as error:
        text = f"`tracing` needs OpenTelemetry, and there is no module {error.name}"
        raise ConfigError([Problem("tracing", 0, 0, text, _EXTRA)]) from None
    try:
        return SpanQueue(tracing, instance=instance)
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(str(tracing.tls_ca), 0, 0, text, "name the file in `tracing.tls_ca`")]) from None
