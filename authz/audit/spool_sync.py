"""Lets the records of a worker reach the disk, all that wait at once (group commit).

Law 1: a ticket is safe only if a sync that began after its records were written has succeeded.
Law 2: after a sync that failed, the system may have dropped what it could not write, and say nothing the next time. So
the segment is not used any more.
"""

import contextlib
import queue
from dataclasses import dataclass, field

from authz.audit.spool_sink import SpoolSink
from authz.core.parked import Done
from authz.system.threads import Background


@dataclass(slots=True, eq=False)
class SpoolTicket:
    """See `authz.check.durable.Ticket`."""

    waiting: "queue.SimpleQueue[tuple[SpoolTicket, Done] | None]" = field(repr=False)
    is_safe: bool = False

    def begin(self, done: Done) -> bool:
        """Let what was handed over before now reach the disk."""
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
        return SpoolTicket(self._waiting)

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
            self._sink.sync()
        except OSError:
            safe = False  # the sink says why
        else:
            safe = True
        for ticket, done in taken:
            ticket.is_safe = safe
            done()
