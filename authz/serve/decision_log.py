"""The decision log of one process, from the settings: where lines go, and what of them is hidden.

A signed log has one writer, a process of its own (`log_writer.py`); lines go to its spool.

Law: where nothing is hidden, no check pays for it, and no file of salts is opened.
"""

import sys
from pathlib import Path
from typing import Final

from authz.audit.spool_sink import SpoolSink
from authz.audit.spool_sync import SpoolSync
from authz.check.durable import Durable
from authz.check.privacy import Privacy
from authz.check.recorder import Recorder
from authz.check.redacting_recorder import RedactingRecorder
from authz.check.service import Service
from authz.core.grants.events import Approved, Ended, Requested
from authz.core.policy import Policy
from authz.core.record import Event
from authz.core.revocation import Kind, Revocation
from authz.ops.decision_log import DecisionSink
from authz.ops.salts import Salts
from authz.settings import Settings
from authz.system.clock import Clock

_MARGIN_S: Final = 5.0
_ACTIONS: Final = {Requested: "request", Approved: "approve", Ended: "end"}


class LogParts:
    """The sink, what hides fields, and what makes the records.

    Args:
        settings: the settings.
        lock: a file to lock around writes, if other processes write to the log too.
        worker: the number of this process among its workers.
        clock: the time, for a signed log.

    Raises:
        ConfigError: the log or the file of the salts cannot be used.
    """

    def __init__(self, settings: Settings, lock: Path | None, worker: int, clock: Clock) -> None:
        hidden, gate, on_failure = settings.log.privacy, settings.gate_name, settings.audit.on_failure
        self.salts = Salts(Path(settings.salts), required=on_failure == "deny") if settings.salts else None
        self._hides_people = not {"subject", "user"}.isdisjoint((*hidden.drop, *hidden.hash))
        self._required = on_failure == "deny"
        self._sync: SpoolSync | None = None
        self.sink: DecisionSink | SpoolSink
        if settings.audit.log:
            before_s = settings.shutdown.longest + _MARGIN_S  # of one that ends
            self.sink = SpoolSink(
                Path(settings.spool),
                worker,
                gate=gate,
                clock=clock,
                on_failure=on_failure,
                durable=settings.audit.durability == "machine",
                wait_s=before_s,
            )
            self._sync = SpoolSync(self.sink) if settings.audit.durability == "machine" else None
        else:
            target = sys.stdout.buffer if settings.log.decisions == "stdout" else Path(settings.log.decisions)
            self.sink = DecisionSink(target, capacity=settings.log.queue, on_failure=on_failure, lock=lock)
        self.privacy: Privacy | None = None
        self.recorder = Recorder(self.sink, gate=gate, worker=worker)
        if hidden.drop or hidden.hash:
            self.privacy = Privacy(hidden.drop, hidden.hash, self.salts)
            self.recorder = RedactingRecorder(self.sink, gate=gate, worker=worker, privacy=self.privacy)

    def start(self) -> None:
        """Begin to keep salts, and to let records reach the disk."""
        if self.salts is not None:
            self.salts.start()
        if self._sync is not None:
            self._sync.start()

    def stop(self) -> None:
        """Stop both."""
        if self._sync is not None:
            self._sync.stop()
        if self.salts is not None:
            self.salts.stop()

    def durable(self, service: Service) -> Service | Durable:
        """The service for the engine: its answers wait for the disk where the settings say so."""
        if self._sync is None:
            return service
        return Durable(service, self._sync.ticket, required=self._required)

    def enter_policy(self, policy: Policy) -> None:
        """A policy decides from now on."""
        self._enter(Event.POLICY, revision=policy.revision, by="")

    def enter_revocation(self, revocation: Revocation) -> None:
        """A session, a token or a subject is revoked from now on."""
        hidden = revocation.kind is Kind.SUBJECT and self._hides_people
        self._enter(
            Event.REVOCATION,
            kind=str(revocation.kind),
            issuer=revocation.issuer,
            value="" if hidden else revocation.value,
            until=revocation.until,
            by="" if self._hides_people else revocation.note,
        )

    def enter_grant(self, event: Requested | Approved | Ended) -> None:
        """Temporary access was asked for, approved or ended."""
        action, by = _ACTIONS[type(event)], event.holder if isinstance(event, Requested) else event.by
        who = str(by) if by is not None and not self._hides_people else ""
        self._enter(Event.GRANT, action=action, grant=event.id, by=who)

    def _enter(self, event: Event, **fields: object) -> None:
        """What decides is in the signed log too, beside the decisions."""
        if isinstance(self.sink, SpoolSink):
            self.sink.enter(event, **fields)

    def problems(self) -> list[str]:
        """Notes for the operator, for `/readyz`."""
        failed = self.sink.status().failed
        return [*([failed] if failed else []), *(self.salts.problems() if self.salts is not None else [])]
