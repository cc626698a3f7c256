"""What the service counts, and how Prometheus reads it.

Law 1: label values never come from a caller. Planes, decisions, reasons, results and engines are closed lists; issuers
and revisions come from the policy, and so do rules: the first that decided or were compared, and one label for all
others. An exemplar is no label: each bucket has one at most, with the id of a trace.
Law 2: counting a check costs less than a microsecond and takes no lock. `check`, `run_call`, `token_cache` and
`parked` are touched by the serving thread only (one writer), which adds to plain integers; a scrape reads them from
another thread and may be one check behind. So are `compared` and `not_compared`. What other threads count is rare, and
counted under a lock.

Names, labels and meanings are listed in the documentation, and a test compares the two.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from authz.core.characters import one_line
from authz.core.model import Level
from authz.core.shadow import UNKNOWN
from authz.ops.check_counts import OTHER_RULES, CheckCounts
from authz.ops.decision_log import SinkStatus

BUCKETS: Final = (
    *(25e-6, 50e-6, 75e-6, 100e-6, 150e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0),
)

OPENMETRICS: Final = "application/openmetrics-text"
"""What to accept for a text with exemplars."""

_CACHE_RESULTS: Final = ("hit", "miss")
_LEVELS: Final = (*(level.value for level in Level), "none")
_DECISIONS: Final = ("allow", "deny")
_QUESTION_RESULTS: Final = ("running", "refused", "failed")
_REFRESH_RESULTS: Final = ("changed", "unchanged", "failed")
_RELOAD_RESULTS: Final = ("ok", "failed", "restored")
_REVISION_LENGTH: Final = 12
_MOST_CHARS: Final = 120  # of a test's name
_MOST_RULES: Final = 200  # with series of their own, in three outcomes or four each
_NO_RULE: Final = "(none)"  # no id of a rule holds a parenthesis


class Metrics:
    """All metrics of one process, in a registry of their own.

    Args:
        worker: the number of this process among the workers.
        wall: the time since the epoch.

    Attributes:
        parked: checks that wait for a key; the engine sets it.
        registry: what `exposition` shows.
    """

    def __init__(self, worker: int = 0, wall: Callable[[], float] = time.time) -> None:
        self.parked = 0
        self._worker, self._wall = str(worker), wall
        self.registry = CollectorRegistry(auto_describe=False)
        self._checks = CheckCounts()
        self.break_glass = self._checks.add_break_glass
        self._run_calls = {(level, decision): 0 for level in _LEVELS for decision in _DECISIONS}
        self._questions = dict.fromkeys(_QUESTION_RESULTS, 0)
        self._question_seconds = 0.0
        self._question_buckets = [0] * (len(BUCKETS) + 1)
        self._replays: Callable[[], float] = lambda: 0.0
        self._buckets = [0] * (len(BUCKETS) + 1)
        self._seconds = 0.0
        self._exemplars: list[Exemplar | None] = [None] * (len(BUCKETS) + 1)
        self._cache = dict.fromkeys(_CACHE_RESULTS, 0)
        self._compared: dict[tuple[str, str], int] = {}
        self._compared_rules: set[str] = set()
        self._not_compared = dict.fromkeys(map(str, UNKNOWN), 0)
        self._shadow: Callable[[], tuple[str, bool]] = lambda: ("", False)
        self._lock = threading.Lock()
        self._reloads = dict.fromkeys(_RELOAD_RESULTS, 0)
        self._refreshes: dict[tuple[str, str], int] = {}
        self._revision = ""
        self._loaded_at = 0.0  # since the epoch
        self._refused: str | None = None
        self._refused_files: dict[tuple[str, str], int] = {}
        self._engine = ""
        self._key_ages: Callable[[], Mapping[str, float]] = dict
        self._sink: Callable[[], SinkStatus] = SinkStatus
        self._clock: Callable[[], float] = lambda: 0.0
        self._state: Callable[[], bool] = lambda: False
        self._revocations: Callable[[], tuple[int, int, bool]] = lambda: (0, 0, False)
        self._grants: Callable[[], tuple[int, int, int, bool]] = lambda: (0, 0, 0, False)
        self._grant_events: dict[tuple[str, str], int] = {}
        self._certificates: Callable[[], Mapping[str, float]] = dict
        self._spans: Callable[[], Mapping[str, float]] = dict
        self.registry.register(_Collector(self._collect))
        ProcessCollector(registry=self.registry)

    def check(self, plane: str, reason: str, seconds: float, rule: str = "") -> None:
        """Count one answered check; `plane` is "" if it was not known, `rule` if none decided. Serving thread only."""
        self._checks.add(plane, reason, rule)
        self._buckets[bisect_left(BUCKETS, seconds)] += 1
        self._seconds += seconds

    def exemplar(self, seconds: float, trace_id: str) -> None:
        """Name the trace of a check, 32 hex digits, as the example of its bucket. Serving thread only."""
        self._exemplars[bisect_left(BUCKETS, seconds)] = Exemplar({"trace_id": trace_id}, seconds, self._wall())

    def token_cache(self, result: str) -> None:
        """Count one look into the cache of verified tokens: `hit` or `miss`. Serving thread only."""
        self._cache[result] += 1

    def run_call(self, level: str, decision: str) -> None:
        """Count one outbound call by its run's assurance level, `none` if no run is known. Serving thread only."""
        self._run_calls[level, decision] += 1

    def compared(self, rule: str, outcome: str) -> None:
        """Count a check by the rule in force ("" for none) and how the candidate compares. Serving thread only."""
        key = (rule, outcome)
        count = self._compared.get(key)
        if count is None:
            if rule and rule not in self._compared_rules and len(self._compared_rules) >= _MOST_RULES:
                key = (OTHER_RULES, outcome)
            else:
                self._compared_rules.add(rule)
            count = self._compared.get(key, 0)
        self._compared[key] = count + 1

    def not_compared(self, why: str) -> None:
        """Count a check on which the candidate's verdict is not known. Serving thread only."""
        self._not_compared[why] += 1

    def airflow_question(self, seconds: float, result: str) -> None:
        """Airflow was asked about a task (`running`, `refused`, `failed`). Any thread."""
        with self._lock:
            self._questions[result] += 1
            self._question_seconds += seconds
            self._question_buckets[bisect_left(BUCKETS, seconds)] += 1

    def grant_event(self, event: str, result: str) -> None:
        """A request about grants was answered. Any thread."""
        with self._lock:
            self._grant_events[event, result] = self._grant_events.get((event, result), 0) + 1

    def policy_loaded(self, revision: str, rules: Iterable[str] = ()) -> None:
        """A policy with these ids of rules came into force. Any thread."""
        with self._lock:
            self._reloads["ok"] += 1
            self._refused = None
            self._took(revision, rules)

    def policy_files_refused(self, files: Mapping[str, str]) -> None:
        """These files of teams are not in force as they are; by name, what is in their place. Any thread."""
        with self._lock:
            self._refused_files = dict.fromkeys(files.items(), 1)

    def policy_restored(self, revision: str, rules: Iterable[str] = ()) -> None:
        """The policy from before the restart came into force. Any thread."""
        with self._lock:
            self._reloads["restored"] += 1
            self._took(revision, rules)

    def _took(self, revision: str, rules: Iterable[str]) -> None:
        if self._revision != revision[:_REVISION_LENGTH]:
            self._revision, self._loaded_at = revision[:_REVISION_LENGTH], self._wall()
        self._checks.show(rules)

    def policy_refused(self, test: str) -> None:
        """A policy could not be loaded; the old one stays. `test` names its first failed test, or is "". Any thread."""
        with self._lock:
            self._reloads["failed"] += 1
            self._refused = one_line(test)[:_MOST_CHARS]

    def issuers(self, names: Iterable[str]) -> None:
        """The key sets of these issuers are fetched from now on: their counters begin at 0. Any thread."""
        with self._lock:
            for name in names:
                for result in _REFRESH_RESULTS:
                    self._refreshes.setdefault((name, result), 0)

    def key_refresh(self, issuer: str, result: str) -> None:
        """A fetch of an issuer's keys ended (`changed`, `unchanged`, `failed`). Any thread."""
        with self._lock:
            self._refreshes[issuer, result] = self._refreshes.get((issuer, result), 0) + 1

    def engine(self, name: str) -> None:
        """The engine that serves."""
        self._engine = name

    def watch_keys(self, ages: Callable[[], Mapping[str, float]]) -> None:
        """Set where every scrape reads the seconds since each issuer's last good fetch."""
        self._key_ages = ages

    def watch_sink(self, status: Callable[[], SinkStatus]) -> None:
        """Set where every scrape reads the decision log's state."""
        self._sink = status

    def watch_clock(self, divergence: Callable[[], float]) -> None:
        """Set where every scrape reads how many seconds our time is ahead of the system's clock."""
        self._clock = divergence

    def watch_state(self, failed: Callable[[], bool]) -> None:
        """Set where every scrape reads whether something in the state folder cannot be kept or used."""
        self._state = failed

    def watch_grants(
        self, status: Callable[[], tuple[int, int, int, bool]], events: Iterable[tuple[str, str]] = ()
    ) -> None:
        """Set where every scrape reads the grants' (in force, waiting, broken lines, failed); events to show as 0."""
        self._grants = status
        with self._lock:
            self._grant_events = dict.fromkeys(events, 0) | self._grant_events

    def watch_revocations(self, status: Callable[[], tuple[int, int, bool]]) -> None:
        """Set where every scrape reads the revocations' (in force, broken lines, failed)."""
        self._revocations = status

    def watch_certificates(self, ends: Callable[[], Mapping[str, float]]) -> None:
        """Set where every scrape reads when each certificate expires, by the key of the settings."""
        self._certificates = ends

    def watch_spans(self, counts: Callable[[], Mapping[str, float]]) -> None:
        """Set where every scrape reads how many spans were `exported` and `dropped`."""
        self._spans = counts

    def watch_replays(self, used: Callable[[], float]) -> None:
        """Set where every scrape reads the share of the replay cache that is in use."""
        self._replays = used

    def watch_shadow(self, status: Callable[[], tuple[str, bool]]) -> None:
        """Set where every scrape reads the candidate's revision, "" without one, and whether its file is refused."""
        self._shadow = status

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """The text for a scrape and its content type, OpenMetrics where `accept` asks for it."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _collect(self) -> Iterator[Metric]:
        """Every metric of ours at this moment."""
        yield from self._checks.families()
        text = "Time from a check's message to its answer."
        yield _histogram("authz_check_seconds", text, self._buckets, self._seconds, self._exemplars)
        yield _labelled(CounterMetricFamily, "authz_token_cache", "Looks for a verified token.", "result", self._cache)
        with self._lock:
            reloads, refreshes = dict(self._reloads), dict(self._refreshes)
            engine, refused = self._engine, self._refused
        meaning = "Policy loads; `restored`: from the state folder."
        yield _labelled(CounterMetricFamily, "authz_policy_reloads", meaning, "result", reloads)
        fetches = CounterMetricFamily("authz_key_refreshes", "Fetches of key sets.", labels=["issuer", "result"])
        for labels, count in refreshes.items():
            fetches.add_metric(labels, count)
        yield fetches
        ages = self._key_ages()
        yield _labelled(GaugeMetricFamily, "authz_key_age_seconds", "Time since the last good fetch.", "issuer", ages)
        yield from self._policy_families(refused)
        serving = {engine: 1} if engine else {}
        yield _labelled(GaugeMetricFamily, "authz_engine_info", "The engine that serves.", "engine", serving)
        yield GaugeMetricFamily("authz_parked", "Checks that wait for a key.", self.parked)
        yield from self._sink_families()
        text, ends = "When the certificate that a key of the settings names expires.", self._certificates()
        yield _labelled(GaugeMetricFamily, "authz_certificate_expires_timestamp_seconds", text, "setting", ends)
        text = "Seconds by which the gate's time is ahead of the system's clock, after that was set back."
        yield GaugeMetricFamily("authz_clock_ahead_seconds", text, self._clock())
        yield state_family(failed=self._state())
        yield from self._revocation_families()
        yield from self._grant_families()
        yield from self._run_families()
        yield from self._shadow_families()
        text = "Spans of sampled checks; `dropped`: the queue was full, or the collector did not take them."
        yield _labelled(CounterMetricFamily, "authz_spans", text, "result", self._spans())

    def _policy_families(self, refused: str | None) -> Iterator[Metric]:
        with self._lock:
            revision, since, files = self._revision, self._loaded_at, dict(self._refused_files)
        in_force = {revision: 1} if revision else {}
        yield _labelled(GaugeMetricFamily, "authz_policy_info", "The policy in force.", "revision", in_force)
        text = "When the worker's policy came into force."
        loaded = GaugeMetricFamily("authz_policy_loaded_timestamp_seconds", text, labels=["worker", "revision"])
        if revision:
            loaded.add_metric([self._worker, revision], since)
        yield loaded
        meaning = (
            "1 while the saved policy is refused; `test`: the first of its tests that fails,"
            " or of its entries of `never` that do not hold; empty for another mistake."
        )
        waiting = {} if refused is None else {refused: 1}
        yield _labelled(GaugeMetricFamily, "authz_policy_refused", meaning, "test", waiting)
        text = "1 while a file of a team is refused; `serves`: its `last good` content, or it is `left out`."
        refused_files = GaugeMetricFamily("authz_policy_file_refused", text, labels=["file", "serves"])
        for labels, count in files.items():
            refused_files.add_metric(labels, count)
        yield refused_files

    def _sink_families(self) -> Iterator[Metric]:
        sink = self._sink()
        yield GaugeMetricFamily("authz_sink_queue", "Decision records that wait to be written.", sink.queued)
        text = "Age of the oldest decision record that waits to be written."
        yield GaugeMetricFamily("authz_sink_oldest_seconds", text, sink.oldest_s)
        yield CounterMetricFamily("authz_sink_dropped", "Decision records that were not recorded.", sink.dropped)
        text = "1 while the decision log cannot be written."
        yield GaugeMetricFamily("authz_sink_failed", text, int(bool(sink.failed)))

    def _run_families(self) -> Iterator[Metric]:
        text = "Outbound calls by assurance level of the run identity."
        calls = CounterMetricFamily("authz_run_calls", text, labels=["level", "decision"])
        for labels, count in self._run_calls.items():
            calls.add_metric(labels, count)
        yield calls
        with self._lock:
            questions, buckets, seconds = dict(self._questions), tuple(self._question_buckets), self._question_seconds
        text = "Questions to Airflow about a task."
        yield _labelled(CounterMetricFamily, "authz_airflow_questions", text, "result", questions)
        yield _histogram("authz_airflow_question_seconds", "Time of one question to Airflow.", buckets, seconds)
        text = "Share of the table of used proofs that counts; beyond a half, calls begin to be refused."
        yield GaugeMetricFamily("authz_replays_used_ratio", text, self._replays())

    def _shadow_families(self) -> Iterator[Metric]:
        revision, refused = self._shadow()
        text = "The candidate policy that checks are compared with."
        compared_with = {revision[:_REVISION_LENGTH]: 1} if revision else {}
        yield _labelled(GaugeMetricFamily, "authz_shadow_info", text, "revision", compared_with)
        text = "1 while the candidate's file cannot be used."
        yield GaugeMetricFamily("authz_shadow_refused", text, int(refused))
        text = "Checks compared with the candidate, by the rule in force that decided."
        family = CounterMetricFamily("authz_shadow_checks", text, labels=["rule", "outcome"])
        for (rule, outcome), count in self._compared.copy().items():
            family.add_metric([rule or _NO_RULE, outcome], count)
        yield family
        text = "Checks on which the candidate's verdict is not known."
        yield _labelled(CounterMetricFamily, "authz_shadow_not_compared", text, "reason", self._not_compared)

    def _revocation_families(self) -> Iterator[Metric]:
        in_force, broken, failed = self._revocations()
        yield GaugeMetricFamily("authz_revocations", "Sessions, tokens and subjects that are revoked.", in_force)
        text = "Lines of the revocation file that are no revocations."
        yield GaugeMetricFamily("authz_revocation_broken_lines", text, broken)
        text = "1 while the revocation file cannot be read, or could not be written the last time."
        yield GaugeMetricFamily("authz_revocation_failed", text, int(failed))

    def _grant_families(self) -> Iterator[Metric]:
        active, waiting, broken, failed = self._grants()
        text = "Grants of access: in force under the policy (`active`), waiting; 0 while the file is unreadable."
        yield _labelled(GaugeMetricFamily, "authz_grants", text, "state", {"active": active, "waiting": waiting})
        text = "Lines of the grants file that are no events."
        yield GaugeMetricFamily("authz_grant_broken_lines", text, broken)
        text = "1 while the grants file cannot be read or followed, or could not be written the last time."
        yield GaugeMetricFamily("authz_grant_failed", text, int(failed))
        text = "Requests about grants, by event and result."
        family = CounterMetricFamily("authz_grant_events", text, labels=["event", "result"])
        with self._lock:
            counts = self._grant_events.copy()
        for (event, result), count in counts.items():
            family.add_metric([event, result], count)
        yield family


def _histogram(
    name: str, text: str, buckets: Sequence[int], seconds: float, exemplars: Sequence[Exemplar | None] = ()
) -> Metric:
    """A histogram over `BUCKETS`."""
    family = HistogramMetricFamily(name, text)
    counts = list(zip([*map(str, BUCKETS), "+Inf"], accumulate(buckets), strict=True))
    examples = exemplars or [None] * len(counts)
    pairs = zip(counts, examples, strict=True)
    family.add_metric([], [count if example is None else (*count, example) for count, example in pairs], seconds)
    return family


def state_family(*, failed: bool) -> Metric:
    """Whether something in the state folder cannot be kept or used: for workers, and for the supervisor's keys."""
    text = "1 while something of the state folder cannot be kept or used."
    return GaugeMetricFamily("authz_state_failed", text, int(failed))


_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


def _labelled(kind: _Family, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """A metric with one label."""
    family = kind(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


class _Collector(Collector):
    """Passes a scrape on to the metrics that are plain integers."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        return self._collect()
