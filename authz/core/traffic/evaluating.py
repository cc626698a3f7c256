"""The decisions of a log, each evaluated again under a policy, and counted by whatever a question tells apart.

Law: every line is counted exactly once. Records that are equal but for id, time and source are evaluated once, and
memory is bounded: by the variety of the answer, never by the log's length. A policy in which something ends decides as
it would have at the record's time, or at the time of the policy that decided (`since`), if that is later.
"""

from bisect import bisect
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypeVar

from authz.core.decision.decide import evaluate
from authz.core.model import Decision, HeldGrant, Identity, Plane
from authz.core.policy import Policy, as_of, ends
from authz.core.record import DecisionParts, Skipped, decision_in, entry_in, fields_of
from authz.core.replay import Callers, Case, Gap, identify, rebuild
from authz.core.traffic.tally import MOST_CALLERS, Tally

_MOST_KNOWN: Final = 20_000  # records that are remembered; a full table is cleared
_MOST_EDITIONS: Final = 16
MOST_KINDS: Final = 20_000
"""Most kinds that it distinguishes: scanners ask for any number of DAGs. The others are `folded`."""


class Foldable(Hashable, Protocol):
    """What records are counted as."""

    def folded(self) -> Self:
        """What they are counted as where there are too many kinds."""
        ...


_Kind = TypeVar("_Kind", bound=Foldable)


class Evaluated(NamedTuple):
    """One record and what the policy decides about it now."""

    record: Mapping[str, Any]
    case: Case
    identity: Identity | None
    decision: Decision

    @property
    def revision(self) -> str:
        """The policy that decided then."""
        return self.case.revision


class Unknown(NamedTuple):
    """Records that cannot be evaluated again, by the revision that decided."""

    gap: Gap
    revision: str


class Traffic(Generic[_Kind]):
    """Counts the decisions of a log. First `learn` from all of its lines, then `read` each of them.

    Args:
        policy: what decides now.
        kind: what a record is counted as.
    """

    def __init__(self, policy: Policy, kind: Callable[[Evaluated], _Kind]) -> None:
        self.found: dict[_Kind, Tally] = {}
        self.unknown: dict[Unknown, Tally] = {}
        self.skipped: dict[Skipped, int] = dict.fromkeys(Skipped, 0)
        self._entries: dict[str, Mapping[str, Any]] = {}
        self._policy, self._kind = policy, kind
        self._known: dict[bytes, Tally] = {}
        self._callers: Callers = {}
        self._identities: dict[tuple[str, Plane, str, tuple[HeldGrant, ...]], Identity | Gap] = {}
        self._ends = ends(policy)
        self._editions: dict[int, Policy] = {}

    def learn(self, line: bytes) -> None:
        """Keep the line's identity entry, if it is one: it may be in another file than the decisions that name it."""
        if (entry := entry_in(line)) is not None:
            self._entries.setdefault(*entry)

    def read(self, line: bytes) -> Skipped | None:
        """Count a line. Returns why, if it is neither a decision nor an identity entry."""
        parts = decision_in(line)
        if isinstance(parts, DecisionParts):
            key = parts.rest if not self._ends else self._dated(parts)
            tally = self._known.get(key) or self._remember(key, parts)
            if isinstance(tally, Tally):
                tally.add(parts.id, parts.time)
                return None
            parts = tally
        if parts is None:
            self.learn(line)
        else:
            self.skipped[parts] += 1
        return parts

    def _dated(self, parts: DecisionParts) -> bytes:
        """The record with the number of ends that had passed: records of different times may be decided otherwise."""
        try:
            time = datetime.fromisoformat(parts.time).timestamp()
        except ValueError:  # no time, or one that a calendar does not have: `rebuild` says so
            return parts.rest
        return b"%d%b" % (bisect(self._ends, time), parts.rest)

    def _remember(self, key: bytes, parts: DecisionParts) -> Tally | Skipped:
        record = fields_of(parts)
        if record is None:
            return Skipped.BROKEN
        if self._ends and parts.time:
            record["time"] = parts.time
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        tally = self._known[key] = self._tally(record)
        return tally

    def _tally(self, record: Mapping[str, Any]) -> Tally:
        evaluated = self._evaluated(record)
        if isinstance(evaluated, Gap):
            return self.unknown.setdefault(Unknown(evaluated, str(record.get("revision", ""))), Tally())
        kind = self._kind(evaluated)
        if len(self.found) >= MOST_KINDS and kind not in self.found:
            kind = kind.folded()
        tally = self.found.get(kind)
        if tally is None:
            tally = self.found[kind] = Tally(case=evaluated.case)
        case = evaluated.case
        if case.caller is not None and len(tally.callers) < MOST_CALLERS:
            tally.callers[record["identity"]] = "" if "subject" in case.lost else case.caller.subject
        return tally

    def _evaluated(self, record: Mapping[str, Any]) -> Evaluated | Gap:
        case = rebuild(record, self._entries, self._callers)
        if isinstance(case, Gap):
            return case
        policy = self._edition(case.at)
        identity = self._identity(record, case, policy)
        if isinstance(identity, Gap):
            return identity
        return Evaluated(record, case, identity, evaluate(case.request, identity, policy))

    def _edition(self, at: float) -> Policy:
        """The policy as it was at a time: without what had ended."""
        passed = bisect(self._ends, at)
        if not passed:
            return self._policy
        if passed not in self._editions:
            if len(self._editions) >= _MOST_EDITIONS:
                self._editions.clear()
            self._editions[passed] = as_of(self._policy, self._ends[passed - 1])
        return self._editions[passed]

    def _identity(self, record: Mapping[str, Any], case: Case, policy: Policy) -> Identity | Gap | None:
        if case.caller is None or case.run is not None:
            return identify(case, policy)
        key = record["identity"], case.request.plane, policy.edition, case.grants
        known = self._identities.get(key)
        if known is None and (known := identify(case, policy)) is not None:
            if len(self._identities) >= _MOST_KNOWN:
                self._identities.clear()
            self._identities[key] = known
        return known
