"""The state of one issuer's keys at one moment.

Law: data only. A `KeyState` is frozen and replaced as a whole, so that a reader of a view of the store sees one moment
of it. `last_error` never holds a body, a query or a credential.
"""

from dataclasses import dataclass
from typing import Final

from authz.core.jose.jwks import KeySet

NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyState:
    """The key set in force for one issuer, when it was fetched, and when it stops being trusted (monotonic seconds).

    `issuer` is the `iss` that the keys are for: a name may be given to another issuer, and a check that read the policy
    and the keys a moment apart must not mix the two. `keyset` is None until the first fetch succeeds. Failures leave
    `keyset`, `fetched_at` and `stale_at` as they were and fill `last_error`; the next success empties it. `restored` is
    the time of a key set that was kept from before a restart, until a fetch succeeds.
    """

    issuer: str = ""
    keyset: KeySet | None = None
    fetched_at: float = NEVER
    stale_at: float = NEVER
    last_error: str = ""
    restored: str = ""

    def usable(self, now: float) -> KeySet | None:
        """The key set, unless there is none yet or it is older than `max_stale`."""
        return self.keyset if now < self.stale_at else None

    def problem(self, now: float) -> str:
        """Why tokens of this issuer cannot be verified now, or "" when they can."""
        if self.keyset is None:
            return f"no keys yet: {self.last_error}" if self.last_error else "no keys yet"
        if now >= self.stale_at:
            return f"keys are too old ({now - self.fetched_at:.0f} s): {self.last_error}"
        return ""

    def note(self, now: float) -> str:
        """What an operator should know of them: `problem`, or that older ones serve because the last fetch failed."""
        if problem := self.problem(now):
            return problem
        if self.restored:
            return f"those from {self.restored}, kept from before the restart, are in use: {self.last_error}"
        if not self.last_error:
            return ""
        age, left = now - self.fetched_at, self.stale_at - now
        return f"those from {age:.0f} s ago are in use, for at most {left:.0f} s more: {self.last_error}"
