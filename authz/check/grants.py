"""Grants that are too large for an assertion; Airflow asks for them by reference.

Law: a grant that Airflow may still ask for is never dropped. It is kept until every assertion that names it has
expired, even if another policy is in force by then, and it is never evicted. A grant that finds no room is not kept:
the gate then answers 404 for it, and Airflow 503. Room is limited for all grants, and for those of callers with the
same roles: the possible grants follow from the policy and the caller's roles, so a caller fills at most that share.

Only the serving thread writes. Any thread may read.
"""

import logging
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final

from authz.core.model import DagGrant
from authz.core.policy.dags import grant_json

log = logging.getLogger(__name__)

KEPT_S: Final = 180.0  # an assertion lives for 60 s, Airflow's clock may be 60 s behind; the rest is for slow answers
_SHARE: Final = 1 << 20  # globs, of callers with the same roles: 8 MB beside the policy's own texts
_ROOM: Final = 1 << 23  # globs, of all
_ENTRY: Final = 64  # what an entry takes beside its globs, in globs
_SAID_EVERY_S: Final = 60.0


@dataclass(slots=True)
class _Kept:
    """One grant, the share it takes from, its size, and until when it is kept (wall time)."""

    grant: DagGrant
    roles: frozenset[str]
    weight: int
    until: float


class Grants:
    """The grants that recent assertions name."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._due: deque[tuple[float, str]] = deque()  # when to look at an entry again, the earliest first
        self._taken: Counter[frozenset[str]] = Counter()
        self._total = 0
        self._said = float("-inf")

    def __len__(self) -> int:
        """The number kept."""
        return len(self._kept)

    def keep(self, grant: DagGrant, roles: frozenset[str], now: float) -> bool:
        """Keep the grant that a new assertion names; False if there is no room. `roles` are its caller's."""
        until = now + KEPT_S
        known = self._kept.get(grant.reference)
        if known is not None:
            known.until = max(known.until, until)
            return True
        self._forget(now)
        weight = len(grant.allowed) + len(grant.denied) + _ENTRY
        taken = self._taken.get(roles, 0)
        # The first of a share, and of all, is kept whatever its size.
        if (taken and taken + weight > _SHARE) or (self._total and self._total + weight > _ROOM):
            if not 0 <= now - self._said < _SAID_EVERY_S:
                self._said = now
                log.error("no room for more grants of DAGs over 8 KiB: Airflow answers 503 to requests that need one")
            return False
        self._kept[grant.reference] = _Kept(grant, roles, weight, until)
        self._due.append((until, grant.reference))
        self._taken[roles] += weight
        self._total += weight
        return True

    def find(self, reference: str) -> bytes | None:
        """The grant of this reference, as JSON; None if it is not known."""
        kept = self._kept.get(reference)
        return grant_json(kept.grant) if kept is not None else None

    def _forget(self, now: float) -> None:
        """Drop grants that no valid assertion names."""
        while self._due and self._due[0][0] <= now:
            _, reference = self._due.popleft()
            kept = self._kept[reference]
            if kept.until > now:  # named again since
                self._due.append((kept.until, reference))
                continue
            del self._kept[reference]
            self._total -= kept.weight
            self._taken[kept.roles] -= kept.weight
            if not self._taken[kept.roles]:
                del self._taken[kept.roles]
