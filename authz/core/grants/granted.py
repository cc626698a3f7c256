"""Which grants an identity holds now, for the serving thread.

Law 1: nothing is given back after its end: what was seen to be over is left out from then on, even if the clock is set
back and the ledger has not heard of it yet. `ended` has the ids, for the ledger.
Law 2: it says what is held, whatever a policy says. Whether a grant counts is asked of a policy (`Policy.permits`): the
one in force, or another one beside it.
Law 3: `held` returns the same object for as long as nothing has changed for this identity. Whatever was made for the
identity is found again by that object, and a change of other identities' grants touches nothing.

One thread calls `held`; another calls `put`. The tables are made by the first one, so that no lock is needed.
"""

from dataclasses import dataclass
from math import inf
from typing import Final

from authz.core.model import HeldGrant

Held = tuple[HeldGrant, ...]
NONE: Final[Held] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One grant, and its holder by `iss` and subject."""

    issuer: str
    subject: str
    held: HeldGrant


class Granted:
    """The table.

    Attributes:
        any: whether anything is held; if not, only a caller that held something has to be looked at.
        ended: ids of grants that were seen to be over, among those last put.
    """

    __slots__ = ("_next", "_of", "_put", "_taken", "any", "ended")

    def __init__(self) -> None:
        self.any = False
        self.ended: frozenset[str] = frozenset()
        self._put: tuple[Holding, ...] = ()
        self._taken: tuple[Holding, ...] = self._put
        self._of: dict[tuple[str, str], Held] = {}
        self._next = inf

    def put(self, holdings: tuple[Holding, ...]) -> None:
        """These are active now, and no others. Any thread, one at a time."""
        if holdings != self._put:
            self._put = holdings
            self.any = bool(holdings)

    def held(self, issuer: str, subject: str, wall: float) -> Held:
        """The grants that this identity holds at this time. Serving thread only."""
        if wall >= self._next or self._put is not self._taken:
            self._take(wall)
        return self._of.get((issuer, subject), NONE)

    def _take(self, wall: float) -> None:
        put = self._taken = self._put
        self.ended = frozenset(one.held.id for one in put if one.held.until <= wall or one.held.id in self.ended)
        lasting = [one for one in put if one.held.id not in self.ended]
        self._next = min((one.held.until for one in lasting), default=inf)
        found: dict[tuple[str, str], list[HeldGrant]] = {}
        for one in lasting:
            found.setdefault((one.issuer, one.subject), []).append(one.held)
        known, made = self._of, {}
        for who, grants in found.items():
            held = tuple(sorted(grants))
            before = known.get(who, NONE)
            made[who] = before if before == held else held
        self._of = made
