"""The policy in force as time passes: what has ended answers no check, whatever the clock does.

Law 1: `current` only ever goes on. In this process no policy is made as of an earlier time than one before it, so a
clock that is set back brings back nothing that has ended.
Law 2: the policy after an end is made before it, on a thread of its own, and the serving thread puts it into force at
the first check after that end. If it is not there (the clock was set ahead), `at` gives none, and the check is denied.
Law 3: the serving thread never waits: the lock is held only to exchange references.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from authz.core.documents.moments import moment_text
from authz.core.policy import Policy, as_of
from authz.system.threads import Background

log = logging.getLogger(__name__)

AHEAD_S: Final = 60.0
"""How long before an end the policy after it is made. Until then there is one policy in memory, and not two."""
_LOOK_S: Final = 1.0
_LISTED: Final = 10  # what has ended, in one line of the log


class _Step(NamedTuple):
    """A policy, and the one that takes its place when it ends."""

    before: Policy
    after: Policy


class PolicyInForce:
    """Holds the policy in force. `wall` is the time since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._lock = threading.Lock()
        self._latest = -1.0  # the latest time that a policy was made for
        self._step: _Step | None = None
        self._told: Policy | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._thread = Background(self._follow, name="policy-ends")
        self.current: Policy | None = None

    def put(self, written: Policy) -> Policy:
        """Put a policy into force, without what has ended; `written` is what the loader returned. Any thread but one.

        The policy that is in force now is returned.
        """
        now = as_of(written, self._now())
        with self._lock:
            self.current, self._step, self._told = now, None, now
        self._wake.set()
        return now

    def at(self, time: float) -> Policy | None:
        """The policy that decides at this time; None if there is none yet. The serving thread."""
        current = self.current
        if current is None or time < current.valid_until:
            return current
        with self._lock:
            current, step = self.current, self._step
            if current is None or time < current.valid_until:
                return current
            if step is not None and step.before is current and time < step.after.valid_until:
                self.current, self._step, self._latest = step.after, None, max(self._latest, time)
                return step.after
        self._wake.set()
        return None

    def start(self) -> None:
        """Begin to make policies ahead of time."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop, and wait for the thread for at most `timeout` seconds."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def look(self) -> None:
        """Make the policy that is needed next, if its time is near, and put it into force if its time has come."""
        current, now = self.current, self._now()
        if current is None:
            return
        if now >= current.valid_until - AHEAD_S:
            step = self._step
            if step is None or step.before is not current or now >= step.after.valid_until:
                made = _Step(current, as_of(current, max(now, current.valid_until)))
                with self._lock:
                    self._step = made if self.current is current else None
            self.at(self._wall())
        self._tell()

    def problem(self) -> str:
        """Why what has ended stays ended although the clock was set back; "" if it was not."""
        current = self.current
        if current is None or self._wall() >= current.since:
            return ""
        return (
            f"the policy is as it is from {moment_text(current.since)} on, and the clock was set back before that: what"
            " has ended stays ended until the gate is restarted"
        )

    def _now(self) -> float:
        with self._lock:
            self._latest = max(self._latest, self._wall())
            return self._latest

    def _follow(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self.look()
            self._wake.wait(_LOOK_S)

    def _tell(self) -> None:
        """Log what has ended since the last time."""
        before, now = self._told, self.current
        if before is not None and now is not None and now is not before and now.revision == before.revision:
            listed = [*_ended(before, now)]
            more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
            log.info("policy %s: %s%s", now.revision[:12], ", ".join(listed[:_LISTED]), more)
        self._told = now


def _ended(before: Policy, now: Policy) -> Iterator[str]:
    for rule in now.ended[len(before.ended) :]:
        yield f"the rule `{rule.id}` ended on {moment_text(rule.until)}"
    for role in now.roles.values():
        for member in role.ended[len(before.roles[role.name].ended) :]:
            what = member.kind.removesuffix("s")
            yield f"the role `{role.name}` of the {what} `{member.name}` ended on {moment_text(member.until)}"
