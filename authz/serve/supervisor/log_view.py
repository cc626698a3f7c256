"""What the signed log's writer says, for the admin port: its state, and the checkpoint that others can keep.

Law: this process never opens the log. It shows what the writer said last, and says when that is too old.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from authz.audit.status import LogStatus, read_status
from authz.keys import SystemClock
from authz.serve.supervisor.fleet import Fleet
from authz.settings import Settings

_ROOT_LINE: Final = 2
_ROOT_BYTES: Final = 6  # a metric is a float of 53 bits


class LogView:
    """The log as its writer describes it; nothing where there is none.

    Args:
        settings: of the gate.
        writer: the process.
    """

    def __init__(self, settings: Settings, writer: Fleet) -> None:
        self._spool = Path(settings.spool) if settings.audit.log else None
        self._follows = bool(settings.audit.access_logs)
        self._writer, self._clock = writer, SystemClock()

    def problems(self) -> list[str]:
        """Why records cannot be logged now."""
        if self._spool is None:
            return []
        status = read_status(self._spool)
        text = status.problem(self._clock.monotonic()) if status is not None else "the log's writer has not begun"
        return [text] if text else []

    def details(self) -> dict[str, object]:
        """For `/readyz`: how many lines the log has, its checkpoint, what cannot be read, and what witnesses say."""
        status = self._status()
        if status is None:
            return {}
        notes: dict[str, object] = {"unread": status.unread} if status.unread else {}
        if status.witnesses:
            notes["witnessed"] = status.witnessed
            notes["witnesses"] = {
                one.name: {"records": one.known, **({"problem": one.problem} if one.problem else {})}
                for one in status.witnesses
            }
        return {"log": {"records": status.size, "checkpoint": status.head, **notes}}

    def metrics(self) -> Iterator[Metric]:
        """The metrics of the log."""
        status = self._status()
        if status is not None:
            restarts = sum(slot.restarts for slot in self._writer.slots)
            yield from families(status, self._clock.monotonic(), restarts, follows=self._follows)

    def _status(self) -> LogStatus | None:
        return read_status(self._spool) if self._spool is not None else None


def families(status: LogStatus, now: float, restarts: int, *, follows: bool) -> Iterator[Metric]:
    """The metrics of a log; `restarts` are those of its writer, `follows` says whether it follows access logs."""
    text = "Lines in the signed log."
    yield GaugeMetricFamily("authz_log_records", text, status.size)
    text = "Lines that the log's last checkpoint covers."
    yield GaugeMetricFamily("authz_log_checkpoint_records", text, status.signed)
    text = "Time of the log's last checkpoint, in seconds since the epoch."
    yield GaugeMetricFamily("authz_log_checkpoint_timestamp_seconds", text, status.signed_at)
    text = "First 48 bits of the root in the log's last checkpoint: for one number of lines it never differs."
    yield GaugeMetricFamily("authz_log_checkpoint_root", text, root_number(status.head))
    text = "Whether records cannot be logged now."
    yield GaugeMetricFamily("authz_log_failed", text, int(bool(status.problem(now))))
    text = "Age of the oldest record that waits to be logged."
    yield GaugeMetricFamily("authz_log_lag_seconds", text, status.oldest_s(now))
    if follows:
        yield from _of_outcomes(status)
    if status.witnesses:
        yield from _of_witnesses(status)
    text = "Times that the log's writer was started because the one before it had ended."
    yield CounterMetricFamily("authz_log_writer_restarts", text, restarts)


def _of_outcomes(status: LogStatus) -> Iterator[Metric]:
    """The metrics of what access logs say."""
    text = "Lines of access logs that are in the signed log: what came of decisions."
    yield CounterMetricFamily("authz_log_outcomes", text, status.outcomes)
    text = "Lines of access logs that are in the signed log: what tasks read or changed in Airflow."
    yield CounterMetricFamily("authz_log_accesses", text, status.accesses)
    text = "Lines of access logs that are about neither, or no lines of Envoy's."
    yield CounterMetricFamily("authz_log_outcomes_skipped", text, status.skipped)
    text = "Access logs that were removed or truncated, and may not have been read to their end."
    yield CounterMetricFamily("authz_log_outcome_files_lost", text, status.lost)
    text = "Whether an access log cannot be read."
    yield GaugeMetricFamily("authz_log_outcomes_unread", text, int(bool(status.unread)))


def _of_witnesses(status: LogStatus) -> Iterator[Metric]:
    """The metrics of cosigning. A witness's name is that in the settings."""
    text = "Lines that the last checkpoint with a quorum of cosignatures covers."
    yield GaugeMetricFamily("authz_log_witness_records", text, status.witnessed)
    text = "When that checkpoint was kept; without one, when the log's writer was started. Seconds since the epoch."
    yield GaugeMetricFamily("authz_log_witness_timestamp_seconds", text, status.witnessed_at)
    text = "Whether the witness knows another history of the log: a longer one, or one that it does not continue."
    conflicts = GaugeMetricFamily("authz_log_witness_conflict", text, labels=["witness"])
    text = "Requests to a witness to cosign a checkpoint, by what came of them."
    requests = CounterMetricFamily("authz_log_witness_requests", text, labels=["witness", "result"])
    for one in status.witnesses:
        conflicts.add_metric([one.name], int(one.conflict))
        for result, count in one.counts.items():
            requests.add_metric([one.name, result], count)
    yield from (conflicts, requests)


def root_number(head: str) -> int:
    """The first 48 bits of the root in a checkpoint, as a number that a metric can hold; 0 if there is none."""
    lines = head.split("\n")
    if len(lines) <= _ROOT_LINE:
        return 0
    return int.from_bytes(base64.b64decode(lines[_ROOT_LINE])[:_ROOT_BYTES])
