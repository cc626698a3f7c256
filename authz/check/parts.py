"""What the service is given: one snapshot for each check, what ends sessions, what identifies runs.

Law: data and protocols only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from authz.authn.run_exchange import Exchange
from authz.authn.run_identity import RunIdentities
from authz.authn.sessions import KeyState
from authz.check.check_record import CheckRecord
from authz.core.model import Decision, made_per_request
from authz.core.policy import Policy
from authz.core.revocation import PendingRevocation


@made_per_request
class Snapshot:
    """What one check reads, taken once at its start: the policy in force and the key sets."""

    policy: Policy | None
    keys: Mapping[str, KeyState]


class Records(Protocol):
    """Makes the records of checks."""

    def record(self, check: CheckRecord, decision: Decision, now: float) -> None:
        """Hand the check's record to where it is kept; `now` is the monotonic time of the answer.

        Raises:
            AuditUnavailableError: it cannot be kept.
        """
        ...

    def forget(self) -> None:
        """Forget what was remembered about callers."""
        ...


class Revoker(Protocol):
    """Makes revocations."""

    def revoke(self, attempt: PendingRevocation, done: Callable[[], None]) -> bool:
        """Begin to make one; never blocks.

        Returns:
            True when `done` will be called once, from another thread, when the attempt has ended; `attempt.made` is
            the outcome. False when it has already ended.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What the service needs to identify the run that calls.

    `exchange` issues tokens to tasks; None if no tokens are issued. `count` is called with the level (`none` if no run
    is known) and the decision of every outbound call.
    """

    identities: RunIdentities
    exchange: Exchange | None
    count: Callable[[str, str], None]
