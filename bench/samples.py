"""Rows and their samples: one per round, summed up as median, lowest and highest."""

import statistics
import time
from dataclasses import dataclass, field

from bench import machine


@dataclass(slots=True)
class Row:
    """One line of the table. `values` has a list of samples for every measure: `cpu_us`, `rate`, `p50_us` …"""

    key: str
    group: str
    label: str
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **samples):
        for name, value in samples.items():
            if value is not None:
                self.values.setdefault(name, []).append(value)

    def median(self, name):
        return statistics.median(self.values[name]) if self.values.get(name) else None

    def as_json(self):
        summed = {
            name: {
                "median": round(statistics.median(v), 3),
                "low": round(min(v), 3),
                "high": round(max(v), 3),
                "n": len(v),
            }
            for name, v in self.values.items()
        }
        return {"key": self.key, "group": self.group, "label": self.label, **summed}


def paired(upper, lower, name, combine):
    """The median over the rounds of `combine(upper, lower)`: samples of one round belong together. None without any."""
    pairs = list(zip(upper.values.get(name, []), lower.values.get(name, []), strict=False))
    return statistics.median(combine(a, b) for a, b in pairs) if pairs else None


class Meter:
    """CPU time of processes between entry and exit, in microseconds; None for a process that cannot be seen."""

    def __init__(self, pids):
        self._pids = pids

    def __enter__(self):
        self._before = machine.family_cpu_ns(self._pids)
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._started
        self.cpu_us = (machine.family_cpu_ns(self._pids) - self._before) / 1000

    def per(self, count):
        return self.cpu_us / count if self._pids else None
