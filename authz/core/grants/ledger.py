"""The ledger: every grant that is waiting, in force or recently ended, made from events in the order of the file.

Law 1: what is over stays over: an end that was seen, here or in an event, is never taken back. An event's time is time
that has passed, so it ends what ends before it, whatever a clock says later.
Law 2: an event changes only what it may: a request makes a grant once, an approval by another identity starts one that
waits, an end ends. Everything else is ignored.
Law 3: a request that is not approved within `WAIT_S` is over; a grant is over when its duration is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

from authz.core.grants.events import Approved, Ended, Event, Requested
from authz.core.grants.granted import Holding
from authz.core.model import HeldGrant

WAIT_S: Final = 7 * 86_400
KEPT_S: Final = 86_400  # an ended grant is shown for so long
_MOST_OVER: Final = 10_000  # ids that are remembered to be over without an event


class State(StrEnum):
    """Where a grant is; whether the policy in force still permits it is another question."""

    WAITING = "waiting"
    ACTIVE = "active"
    ENDED = "ended"


@dataclass(slots=True, kw_only=True)
class Grant:
    """One grant. `over_at` is when it was over, None while it has not been seen to be; `ended` is the event, if any."""

    request: Requested
    approved: Approved | None = None
    ended: Ended | None = None
    over_at: int | None = None

    @property
    def id(self) -> str:
        """Its id."""
        return self.request.id

    @property
    def state(self) -> State:
        """Where it is."""
        if self.over_at is not None:
            return State.ENDED
        return State.ACTIVE if self.approved is not None or self.request.open else State.WAITING

    @property
    def until(self) -> int:
        """When it ends by itself: a request that waits, unapproved; a grant, when its duration is over."""
        if self.approved is not None:
            return self.approved.at + self.request.seconds
        return self.request.at + (self.request.seconds if self.request.open else WAIT_S)

    @property
    def end(self) -> Ended | None:
        """Its end as an event, recorded or not; None before it is over."""
        if self.ended is not None or self.over_at is None:
            return self.ended
        return Ended(id=self.id, at=self.over_at)

    def holding(self) -> Holding:
        """What the serving thread needs of an active grant."""
        asked, is_approved = self.request, self.approved is not None
        held = HeldGrant(asked.entry, self.id, float(self.until), asked.seconds, is_approved)
        return Holding(issuer=asked.holder.issuer, subject=asked.holder.subject, held=held)


class Ledger:
    """All grants by id. Used under one lock.

    Attributes:
        changes: how often something in it has changed.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._grants: dict[str, Grant] = {}
        self._over: dict[str, int] = {}
        self._next = inf

    def __len__(self) -> int:
        return len(self._grants)

    def __iter__(self) -> Iterator[Grant]:
        return iter(self._grants.values())

    def get(self, name: str) -> Grant | None:
        """The grant with this id."""
        return self._grants.get(name)

    def knows(self, event: Event) -> bool:
        """Whether it has this event, or has had it and the grant is over."""
        grant = self._grants.get(event.id)
        return event.id in self._over if grant is None else event in (grant.request, grant.approved, grant.ended)

    def of(self, issuer: str, subject: str) -> list[Grant]:
        """The grants of one identity."""
        who = (issuer, subject)
        return [one for one in self if (one.request.holder.issuer, one.request.holder.subject) == who]

    def open(self) -> list[Grant]:
        """Those that wait or are active."""
        return [grant for grant in self if grant.over_at is None]

    def active(self) -> tuple[Holding, ...]:
        """What is held, whether or not the policy permits it."""
        return tuple(grant.holding() for grant in self if grant.state is State.ACTIVE)

    def apply(self, event: Event) -> bool:
        """Take in one event; whether it changed anything."""
        self.pass_time(event.at)
        found = self._grants.get(event.id)
        if isinstance(event, Requested):
            is_new = found is None
            if is_new:
                found = self._grants[event.id] = Grant(request=event, over_at=self._over.get(event.id))
        elif isinstance(event, Ended):
            is_new = found is not None and found.ended is None
            if found is not None and is_new:
                found.ended = event
                found.over_at = event.at if found.over_at is None else found.over_at
        else:
            is_new = found is not None and found.state is State.WAITING and event.by != found.request.holder
            if found is not None and is_new:
                found.approved = event
        if found is not None and is_new:
            self._next = min(self._next, found.until)
            self._changed()
        return is_new

    def _changed(self) -> None:
        self.changes += 1

    def pass_time(self, now: float) -> None:
        """End everything whose time is over at this moment; a moment before an earlier one changes nothing."""
        if now < self._next:
            return
        self._next = inf
        for grant in self:
            if grant.over_at is None:
                if grant.until <= now:
                    grant.over_at = grant.until
                    self._changed()
                else:
                    self._next = min(self._next, grant.until)

    def close(self, ids: Iterable[str]) -> None:
        """End these: another place has seen their end."""
        for name in ids:
            grant = self._grants.get(name)
            if grant is not None and grant.over_at is None:
                grant.over_at = grant.until
                self._changed()

    def unrecorded(self) -> list[Ended]:
        """The ends that were seen and are no events yet."""
        return [grant.end for grant in self if grant.ended is None and grant.end is not None]

    def events(self, now: float) -> Iterator[Event]:
        """What a file needs to have: nothing of grants that ended long ago, and the end of each that is over."""
        for grant in self:
            if not _is_past(grant, now):
                yield from (event for event in (grant.request, grant.approved, grant.end) if event is not None)

    def forget(self, now: float) -> None:
        """Drop the grants that ended long ago and are recorded so; their ids are still known to be over."""
        past = {grant.id: grant.over_at for grant in self if _is_past(grant, now) and grant.over_at is not None}
        if past:
            # Those whose time is over end by that too, unless a clock is set back: they are the first to make room.
            late = {name: over for name, over in past.items() if self._grants[name].until <= now}
            self._over = _bounded(late | self._over | past)
            self._grants = {name: grant for name, grant in self._grants.items() if name not in past}

    def replaced(self) -> "Ledger":
        """An empty one for the events of another file, in which what was over here is over too."""
        made = Ledger()
        over = self._over | {grant.id: grant.over_at for grant in self if grant.over_at is not None}
        made._over = _bounded(over)
        made.changes = self.changes + 1
        return made


def _bounded(over: dict[str, int]) -> dict[str, int]:
    return dict(list(over.items())[-_MOST_OVER:])


def _is_past(grant: Grant, now: float) -> bool:
    return grant.ended is not None and (grant.over_at or 0) + KEPT_S <= now
