"""Answers that leave only when their records are on the disk (`audit.durability: machine`).

Law: the service decides and records as ever. An answer that allows then waits, as a check waits for a key; the serving
thread goes on, and one sync is for all that wait. Where its record does not reach the disk in time, the answer is 503
with a record of its own, or with `audit.on_failure: allow` as it was. Denials leave at once.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from authz.check.wire import is_denial
from authz.core.parked import Done, Parked


class Ticket(Protocol):
    """Stands for all records that were handed over before it was made."""

    @property
    def is_safe(self) -> bool:
        """Whether they are on the disk."""
        ...

    def begin(self, done: Done) -> bool:
        """Let them reach the disk; see `authz.core.parked.Begin`."""
        ...


class Answers(Protocol):
    """The service (`authz.check.service`)."""

    def check(self, message: bytes) -> bytes | Parked:
        """Decide and record."""
        ...

    def overloaded(self) -> bytes:
        """The answer under overload."""
        ...

    def unrecorded(self) -> bytes:
        """The answer in place of one whose record is lost."""
        ...


class Durable:
    """The service, whose answers wait for the disk. Used by one thread.

    Args:
        service: decides and records.
        ticket: makes one for what was recorded so far.
        required: an answer whose record is not safe is replaced by a 503.
    """

    def __init__(self, service: Answers, ticket: Callable[[], Ticket], *, required: bool) -> None:
        self._service, self._ticket, self._required = service, ticket, required
        self.overloaded = service.overloaded

    def check(self, message: bytes) -> bytes | Parked:
        """As the service's `check`; an allow waits for the disk at last."""
        return self._held(self._service.check(message))

    def _held(self, outcome: bytes | Parked) -> bytes | Parked:
        if isinstance(outcome, Parked):
            return replace(outcome, resume=lambda: self._held(outcome.resume()))
        if is_denial(outcome):
            return outcome
        ticket = self._ticket()
        return Parked(partial(self._after, outcome, ticket), ticket.begin)

    def _after(self, answer: bytes, ticket: Ticket) -> bytes:
        return answer if ticket.is_safe or not self._required else self._service.unrecorded()
