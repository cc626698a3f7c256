"""Which checkpoint the witnesses of a log are asked to cosign, which of them is asked when, and what has a quorum.

Law 1: all are asked about the same checkpoint; else each could cosign another one, and none would get its quorum.
Law 2: the newest checkpoint takes its place when it has the quorum, or has waited long enough for it. So one witness
that is away costs at most that time, and the others still know the newest tree.
Law 3: a witness that fails is asked again after a time that doubles, and that changes nothing for the others.
Law 4: times are an argument, from a clock that never goes back. One caller at a time.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from authz.core.audit import checkpoint, note
from authz.core.audit.checkpoint import Checkpoint, Trust
from authz.core.audit.keys import VerifierKey, cosigned_at
from authz.core.audit.note import Note, Signature


class Result(StrEnum):
    """What came of asking a witness."""

    COSIGNED = "cosigned"
    UNREACHABLE = "unreachable"
    """There is no complete answer within the limits."""
    REFUSED = "refused"
    """It does not cosign: it knows no such log, does not trust the log's keys, or answers with another status."""
    INVALID = "invalid"
    """It answers what the protocol does not have, or a cosignature that does not verify."""
    CONFLICT = "conflict"
    """It knows another history of this log: a longer one, or one that the checkpoint does not continue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds.

    Attributes:
        every: between the beginnings of two checkpoints that get their quorum.
        patience: so long a checkpoint waits for its quorum while there is a newer one.
        first, longest: the first wait after a failure, and the longest; it doubles.
    """

    every: float = 10.0
    patience: float = 60.0
    first: float = 1.0
    longest: float = 300.0


@dataclass(frozen=True, slots=True)
class Head:
    """A checkpoint, the note in which the log signed it, and that note's bytes."""

    checkpoint: Checkpoint
    signed: Note
    data: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Head":
        """The log's own signed note; AuditBrokenError if it is none."""
        read = note.parse(data)
        return cls(Checkpoint.parse(read.text), read, data)


@dataclass(slots=True)
class Asked:
    """What is known of one witness.

    Attributes:
        known: the size of the last checkpoint of this log that it has cosigned, as far as we know.
        cosigned_at: when it says that it did, in seconds since the epoch; 0: not since the start.
        last: what came of the last request; None before the first.
        problem: why that failed, "" if it did not.
        in_conflict: whether it has known another history of the log, and has not cosigned since.
        counts: how many requests had which result.
        due: when it may be asked again.
    """

    known: int = 0
    cosigned_at: int = 0
    last: Result | None = None
    problem: str = ""
    in_conflict: bool = False
    counts: Counter[Result] = field(default_factory=Counter)
    due: float = float("-inf")
    _delay: float = 0.0

    def came(self, result: Result, now: float, pace: Pace, problem: str = "") -> None:
        """Note what came of a request."""
        self.counts[result] += 1
        self.last, self.problem = result, problem
        self.in_conflict = result is Result.CONFLICT or (self.in_conflict and result is not Result.COSIGNED)
        self._delay = min(max(pace.first, 2 * self._delay), pace.longest) if problem else 0.0
        self.due = now + self._delay


class Cosigning:
    """The cosigning of one log's checkpoints.

    Args:
        trust: the log's key, its witnesses, the quorum.
        pace: see there.

    Attributes:
        asked: what is known of each witness.
        is_over: set when no newer checkpoint comes; the last one does not wait for its turn.
    """

    def __init__(self, trust: Trust, pace: Pace) -> None:
        self._trust, self._pace = trust, pace
        self.asked = {witness: Asked() for witness in trust.witnesses}
        self.is_over = False
        self._newest: Head | None = None
        self._target: Head | None = None
        self._began = 0.0
        self._signatures: dict[VerifierKey, Signature] = {}

    def offer(self, head: Head) -> None:
        """The log's newest checkpoint."""
        self._newest = head

    def due(self, witness: VerifierKey, now: float) -> Head | None:
        """The checkpoint that this witness is to be asked to cosign now; None if there is nothing to ask."""
        if now < self.asked[witness].due:
            return None
        self._advance(now)
        return None if witness in self._signatures else self._target

    def cosigned(self, witness: VerifierKey, head: Head, signature: Signature, now: float) -> bytes | None:
        """Add a cosignature that verified; returns the note with all that there are, if they are a quorum."""
        asked = self.asked[witness]
        asked.came(Result.COSIGNED, now, self._pace)
        asked.known, asked.cosigned_at = head.checkpoint.size, cosigned_at(signature.value)
        if head is not self._target:
            return None  # it took so long that another one is asked about by now
        self._signatures[witness] = signature
        if not self._has_quorum:
            return None
        cosignatures = [self._signatures[one] for one in self._trust.witnesses if one in self._signatures]
        made = note.write(head.signed.text, [*head.signed.signatures, *cosignatures])
        checkpoint.verify(made, self._trust)
        return made

    def failed(self, witness: VerifierKey, result: Result, problem: str, now: float) -> None:
        """A request failed; `problem` says why."""
        self.asked[witness].came(result, now, self._pace, problem)

    def is_settled(self, now: float) -> bool:
        """Whether nothing can be expected soon: the newest checkpoint has its quorum, or those that lack it fail."""
        if self._newest is self._target and self._has_quorum:
            return True
        return all(now < asked.due for witness, asked in self.asked.items() if self._lacks(witness))

    def _lacks(self, witness: VerifierKey) -> bool:
        return self._newest is not self._target or witness not in self._signatures

    @property
    def _has_quorum(self) -> bool:
        return self._target is not None and len(self._signatures) >= self._trust.quorum

    def _advance(self, now: float) -> None:
        """Ask about the newest checkpoint, if it is time."""
        waited = now - self._began
        stays = self._pace.every if self._has_quorum else self._pace.patience
        if self._newest is not self._target and (self._target is None or self.is_over or waited >= stays):
            self._target, self._began, self._signatures = self._newest, now, {}
