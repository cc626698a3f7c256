"""The metrics of all workers as one: what `/metrics` shows when several processes serve.

Law 1: counters and histograms are summed over all workers that ever existed. What an ended worker had counted, as far
as it was seen, stays in the sum, so that totals never go backwards.
Law 2: a gauge is about the workers that answer now: a sum, or the largest or smallest where a sum would mean nothing.
Law 3: of the workers' exemplars of one bucket the newest is shown.
Law 4: pure bookkeeping over texts that are passed in, under one lock; other code asks the workers.
"""

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar, Sample

_SUMMED_FOR_EVER: Final = frozenset({"counter", "histogram"})
_LARGEST: Final = frozenset(
    {
        "authz_key_age_seconds",
        "authz_policy_loaded_timestamp_seconds",
        "authz_sink_failed",
        "authz_sink_oldest_seconds",
        "authz_state_failed",
        "authz_clock_ahead_seconds",
        "authz_revocations",
        "authz_revocation_broken_lines",
        "authz_revocation_failed",
        "authz_grants",
        "authz_grant_broken_lines",
        "authz_grant_failed",
        "authz_replays_used_ratio",
    }
)
_SMALLEST: Final = frozenset(
    {"process_start_time_seconds", "process_max_fds", "authz_certificate_expires_timestamp_seconds"}
)

_Point = tuple[str, tuple[tuple[str, str], ...]]  # a sample's name and labels
Worker = tuple[int, int]  # its slot, and which one it is in that slot


@dataclass(slots=True)
class _Family:
    """One metric: its head, and the value of each of its samples, some with an exemplar."""

    kind: str
    text: str
    points: dict[_Point, float] = field(default_factory=dict)
    exemplars: dict[_Point, Exemplar] = field(default_factory=dict)

    def merge(self, other: "_Family", combine: Callable[[float, float], float]) -> None:
        for point, value in other.points.items():
            known = self.points.get(point)
            self.points[point] = value if known is None else combine(known, value)
        for point, exemplar in other.exemplars.items():
            known_one = self.exemplars.get(point)
            if known_one is None or _time(known_one) < _time(exemplar):
                self.exemplars[point] = exemplar

    def forget_zeros(self, points: Container[_Point]) -> None:
        """Keep no 0 of a series that is not shown any more: rules of earlier policies would pile up."""
        self.points = {point: value for point, value in self.points.items() if value or point in points}


_Families = dict[str, _Family]


class Totals:
    """What all workers have counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Worker, _Families] = {}  # the last of each living worker, counters and histograms only
        self._past: _Families = {}
        self._ended: set[Worker] = set()

    def saw(self, worker: Worker, text: str) -> None:
        """A worker showed these metrics. If two answers arrive out of order, the higher counts are kept."""
        self._remember(worker, parse(text))

    def ended(self, worker: Worker, last_text: str = "") -> None:
        """A worker has ended; `last_text` is what it showed at its end, if it could."""
        if last_text:
            self._remember(worker, parse(last_text))
        with self._lock:
            if worker not in self._ended:
                self._ended.add(worker)
                _merge(self._past, self._seen.pop(worker, {}), lambda _name: _add)

    def collect(self, texts: Sequence[tuple[Worker, str]], own: Iterable[Metric]) -> Iterator[Metric]:
        """All metrics: `texts` are the answers of the workers that answered now, `own` the supervisor's metrics."""
        result: _Families = _families(own)
        now = {worker: parse(text) for worker, text in texts}
        for worker, families in now.items():
            self._remember(worker, families)
            lasting = {name for name, family in families.items() if family.kind in _SUMMED_FOR_EVER}
            gauges = {name: family for name, family in families.items() if name not in lasting}
            _merge(result, gauges, _rule)
        with self._lock:
            for seen in (self._past, *self._seen.values()):
                _merge(result, seen, lambda _name: _add)
        for name, family in result.items():
            metric = Metric(name, family.text, family.kind)
            metric.samples = [
                Sample(point[0], dict(point[1]), value, exemplar=family.exemplars.get(point))
                for point, value in family.points.items()
            ]
            yield metric

    def _remember(self, worker: Worker, families: _Families) -> None:
        lasting = {name: family for name, family in families.items() if family.kind in _SUMMED_FOR_EVER}
        with self._lock:
            if worker not in self._ended:
                seen = self._seen.setdefault(worker, {})
                _merge(seen, lasting, lambda _name: max)
                for name, family in lasting.items():
                    seen[name].forget_zeros(family.points)


def parse(text: str) -> _Families:
    """The metrics of an exposition in OpenMetrics' text format; none if the text is not one."""
    try:
        return _families(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    except ValueError:
        return {}


def _families(metrics: Iterable[Metric]) -> _Families:
    result: _Families = {}
    for metric in metrics:
        family = result.setdefault(metric.name, _Family(metric.type, metric.documentation))
        for sample in metric.samples:
            point = sample.name, tuple(sample.labels.items())
            family.points[point] = sample.value
            if sample.exemplar is not None:
                family.exemplars[point] = sample.exemplar
    return result


def _merge(into: _Families, others: _Families, rule: Callable[[str], Callable[[float, float], float]]) -> None:
    for name, family in others.items():
        known = into.setdefault(name, _Family(family.kind, family.text))
        known.merge(family, rule(name))


def _rule(name: str) -> Callable[[float, float], float]:
    """How the values of a gauge are combined."""
    if name in _LARGEST or name.endswith("_info"):
        return max
    return min if name in _SMALLEST else _add


def _time(exemplar: Exemplar) -> float:
    return float(exemplar.timestamp or 0)


def _add(one: float, other: float) -> float:
    return one + other
