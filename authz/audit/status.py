"""What the log's writer says of itself to the workers and to the supervisor, in a file of the spool.

Law: a status is whole or not there. One older than `SILENT_S` says nothing any more: its writer hangs or is gone.
`beat` and ages are of this machine's monotonic clock, which all its processes share.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from authz.system.regular_file import read_regular
from authz.system.whole_file import write_whole

SILENT_S: Final = 5.0
"""After so many seconds without a sign of the log's writer, records are refused."""
_NAME: Final = "status"
_MOST_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessStatus:
    """What is known of a witness; the values are those of `Asked` in `authz.core.audit.cosigning`."""

    name: str
    known: int
    cosigned_at: int
    problem: str
    conflict: bool
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """The state of a log.

    Attributes:
        beat: when this was said.
        failed: why records cannot be logged now, "" if they can.
        size, signed: lines of the log, and how many of them the last checkpoint covers.
        signed_at: when that was signed, in seconds since the epoch.
        head: the checkpoint, a signed note.
        waits_since: when the reader had last taken all that was there.
        behind: whether something has come since.
        outcomes: entries about what came of decisions, since the writer's start.
        accesses: entries about what tasks read or changed, since the writer's start.
        skipped: lines of access logs that are about neither, or no line of Envoy's.
        lost: access logs that are gone or were truncated, and may not have been read to their end.
        unread: which access logs cannot be read now, and why; "" if all can.
        witnessed: lines that the last checkpoint with a quorum of cosignatures covers.
        witnessed_at: when that was kept; without one, when the writer was started. In seconds since the epoch.
        witnesses: what is known of each witness.
    """

    beat: float
    failed: str = ""
    size: int = 0
    signed: int = 0
    signed_at: float = 0.0
    head: str = ""
    waits_since: float = 0.0
    behind: bool = False
    outcomes: int = 0
    accesses: int = 0
    skipped: int = 0
    lost: int = 0
    unread: str = ""
    witnessed: int = 0
    witnessed_at: float = 0.0
    witnesses: tuple[WitnessStatus, ...] = ()

    def oldest_s(self, now: float) -> float:
        """At least so long has the oldest record waited to be logged, in seconds."""
        return now - self.waits_since if self.behind else 0.0

    def problem(self, now: float) -> str:
        """Why no records can be taken now, "" if they can."""
        if self.failed:
            return self.failed
        silent = now - self.beat
        if silent < 0:  # of a time before the machine was restarted
            return "the log's writer has not begun"
        return f"the log's writer has said nothing for {silent:.0f} s" if silent > SILENT_S else ""


def write_status(spool: Path, status: LogStatus) -> None:
    """Say it.

    Raises:
        OSError: it cannot be written.
    """
    write_whole(spool / _NAME, orjson.dumps(asdict(status)), replace=True, durable=False)


def read_status(spool: Path) -> LogStatus | None:
    """What was said last; None if nothing was, or it cannot be read."""
    try:
        said: dict[str, Any] = orjson.loads(read_regular(spool / _NAME, _MOST_BYTES))
        witnesses = tuple(WitnessStatus(**one) for one in said.pop("witnesses"))
        return LogStatus(**said, witnesses=witnesses)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
