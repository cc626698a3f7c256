"""Lets the records of a worker reach the disk, all that wait at once (group commit).

Law 1: a ticket is safe only if a sync that began after its records were written has succeeded, and none has failed in
between: after a failure the system may have dropped what it could not write, and say nothing the next time.
Law 2: bounded. With `MOST_WAITING` tickets that wait, the next one is not safe.
"""

import contextlib
import queue
from dataclasses import dataclass, field
from typing import Final

from authz.audit.spool_sink import SpoolSink
from authz.core.parked import Done
from authz.system.threads import Background

MOST_WAITING: Final = 4096
"""Answers that may wait for the disk."""
_NONE: Final = -1


@dataclass(slots=True, eq=False)
class SpoolTicket:
    """See `authz.check.durable.Ticket`."""

    waiting: "queue.SimpleQueue[tuple[SpoolTicket, Done] | None]" = field(repr=False)
    era: int
    is_safe: bool = False

    def begin(self, done: Done) -> bool:
        """Let what was handed over before now reach the disk."""
        if self.waiting.qsize() >= MOST_WAITING:
            return False
        self.waiting.put((self, done))
        return True


class SpoolSync:
    """The thread that syncs.

    Args:
        sink: what takes the records, made `durable`.
    """

    def __init__(self, sink: SpoolSink) -> None:
        self._sink = sink
        self._waiting: queue.SimpleQueue[tuple[SpoolTicket, Done] | None] = queue.SimpleQueue()
        self._thread = Background(self._run, name="spool-sync")

    def ticket(self) -> SpoolTicket:
        """One for all records that were handed over so far."""
        return SpoolTicket(self._waiting, self._sink.era)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Sync what waits, and end."""
        self._waiting.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        over = False
        while not over:
            taken = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    taken.append(self._waiting.get_nowait())
            over = None in taken
            self._sync([one for one in taken if one is not None])

    def _sync(self, taken: list[tuple[SpoolTicket, Done]]) -> None:
        try:
            era = self._sink.sync()
        except OSError:
            era = _NONE  # the sink says why
        for ticket, done in taken:
            ticket.is_safe = ticket.era == era
            done()
