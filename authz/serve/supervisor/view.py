"""The workers as one, for the admin port: metrics, readiness, grants of DAGs and temporary access.

Law 1: asks the workers on request, all at once and for a second at most. Every few seconds it also asks unprompted, so
that few of a worker's counts are lost when it is killed. Never touches a process.
Law 2: 503 about temporary access means that nothing has changed; 504 that a worker may have recorded it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import orjson
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from authz.core.policy.dags import reference_of
from authz.ops.admin import GRANTS, Readiness
from authz.ops.http_server import Asked, Page
from authz.ops.metrics import OPENMETRICS, state_family
from authz.ops.readiness_log import ReadinessLog
from authz.serve.supervisor.aggregate import Totals, Worker
from authz.serve.supervisor.fleet import Ended, Fleet
from authz.serve.supervisor.private_pages import UnansweredError, forward, read_all, read_first
from authz.serve.supervisor.together import WorkerState, combine_readiness, read_state

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.5
_LOOKS_PER_COUNT: Final = 10


class FleetView:
    """What the workers of a fleet report about themselves, as one."""

    def __init__(
        self,
        fleet: Fleet,
        state_failed: Callable[[], bool] = lambda: False,
        of_log: Callable[[], Iterable[Metric]] = tuple,
    ) -> None:
        self._fleet = fleet
        self._state_failed, self._of_log = state_failed, of_log
        self._totals = Totals()
        self._own = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._own)
        self._changes = ReadinessLog("all workers are ready")
        self._began = time.monotonic()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The metrics of all workers and of this process, as one text; see `Metrics.exposition`."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Once(self._collect()))
        return encode(registry), content_type

    def readiness(self) -> Readiness:
        """Whether all workers are ready and serve the same policy."""
        return combine_readiness(self._states())

    def grant(self, reference: str) -> bytes | None:
        """The answer of the first worker that knows a grant."""
        return read_first(self._pages().values(), GRANTS + reference, lambda body: reference_of(body) == reference)

    def access(self, asked: Asked) -> Page:
        """The answer of a worker to a request about temporary access: this process has no keys and no policy."""
        paths = [path for worker, path in sorted(self._pages().items())]
        try:
            found = forward(paths, asked)
        except UnansweredError:
            if asked.method == "POST":
                hint = "`authz grant list` shows whether it is"
                return _error(HTTPStatus.GATEWAY_TIMEOUT, "unanswered", "no answer: it may be recorded", hint)
            found = None
        return found or _error(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "no worker answers", "try again later")

    def ended(self, ended: Ended) -> None:
        """A worker has ended."""
        self._totals.ended(ended.worker, ended.last_metrics)

    def follow(self, over: threading.Event) -> None:
        """Log every change between ready and not ready with its reasons, and keep up with the counters."""
        looks = 0
        while not over.wait(_LOOK_S):
            try:
                self._log_changes()
                looks += 1
                if looks % _LOOKS_PER_COUNT == 0:
                    for worker, text in self._metrics():
                        self._totals.saw(worker, text)
            except Exception:
                # The thread's outermost handler: a look that fails must not be the last one.
                log.exception("looking at the workers")

    def _log_changes(self) -> None:
        self._changes.look(self.readiness(), since_start=time.monotonic() - self._began)

    def _pages(self) -> dict[Worker, Path]:
        return {slot.worker: self._fleet.context(slot).admin for slot in self._fleet.running()}

    def _metrics(self) -> list[tuple[Worker, str]]:
        pages = read_all(self._pages(), "/metrics", accept=OPENMETRICS)
        return [(worker, body.decode(errors="replace")) for worker, body in pages.items()]

    def _states(self) -> dict[int, WorkerState | None]:
        pages = {worker[0]: body for worker, body in read_all(self._pages(), "/readyz").items()}
        return {slot.index: read_state(pages.get(slot.index)) for slot in self._fleet.slots}

    def _collect(self) -> Iterator[Metric]:
        own = (*self._own.collect(), state_family(failed=self._state_failed()))
        yield from self._totals.collect(self._metrics(), own)
        yield from self._of_log()
        yield from families(self._states(), {slot.index: slot.restarts for slot in self._fleet.slots})


def _error(status: HTTPStatus, error: str, message: str, hint: str) -> Page:
    body = orjson.dumps({"error": error, "message": message, "hint": hint})
    return Page(status, "application/json", body, (("Cache-Control", "no-store"),))


class _Once(Collector):
    """Hands metrics to an encoder."""

    def __init__(self, metrics: Iterator[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics


def families(states: dict[int, WorkerState | None], restarts: dict[int, int]) -> Iterator[Metric]:
    """The supervisor's own metrics."""
    count = {"ready": 0, "not_ready": 0, "silent": 0}
    for state in states.values():
        count["silent" if state is None else "ready" if state.ready else "not_ready"] += 1
    workers = GaugeMetricFamily("authz_workers", "Worker processes, where there are several.", labels=["state"])
    for name, number in count.items():
        workers.add_metric([name], number)
    yield workers
    text = "Workers started because the one before them had ended."
    restarted = CounterMetricFamily("authz_worker_restarts", text, labels=["worker"])
    for index, number in restarts.items():
        restarted.add_metric([str(index)], number)
    yield restarted
