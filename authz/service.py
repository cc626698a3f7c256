"""The use case: one CheckRequest in, one CheckResponse out.

Law 1: a check never blocks. It reads one snapshot, computes, hands its record to a sink that does not block, and
returns; a key that is not there yet gives `Parked`, and the engine waits in its own way.
Law 2: every way out is an answer. The only `except Exception` between a request and its answer is here: a bug is a 503
with the reason `internal_error`, never an allow and never a gRPC error (Envoy would hand that to somebody's
`failure_mode_allow`). Those elsewhere keep threads alive; `tests/test_architecture.py` lists them.
Law 3: no record, no allow. The answer is handed out only after the sink has accepted its record.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from authz import decide, wire
from authz.answers import Answers, Minter
from authz.authenticate import Authenticator, KeyState, KeyWanted
from authz.errors import AuditUnavailableError, DeniedError, RequestError
from authz.model import Allow, Decision, Deny, Request, made_per_request
from authz.policy import Policy
from authz.reasons import ANSWERS, Reason
from authz.trail import Trail
from authz.verdicts import Verdicts

log = logging.getLogger(__name__)


@made_per_request
class Snapshot:
    """What one check reads, taken once at its start: the policy in force and the key sets."""

    policy: Policy | None
    keys: Mapping[str, KeyState]


class Clock(Protocol):
    """Wall time in seconds since the epoch, and a monotonic time in seconds."""

    def wall(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...


@dataclass(frozen=True, slots=True)
class Parked:
    """A check that waits for a key of `issuer`. `resume` answers it for good, whatever became of the key."""

    issuer: str
    key_id: str
    resume: Callable[[], bytes] = field(repr=False)


class Service:
    """Judges checks. One instance per process, used by one thread."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        authenticator: Authenticator,
        minter: Minter,
        clock: Clock,
        record: Callable[[bytes], None],
        observe: Callable[[str, Reason, float], None],
        realm: str = "airflow",
    ) -> None:
        self._snapshot = snapshot
        self._authenticator = authenticator
        self._clock = clock
        self._record = record
        self._observe = observe
        self._answers = Answers(minter, realm=realm)
        self._verdicts = Verdicts()

    def check(self, message: bytes) -> bytes | Parked:
        """Answer one serialised CheckRequest with a serialised CheckResponse, or say which key it waits for."""
        return self._check(message, may_wait=True)

    def overloaded(self) -> bytes:
        """The answer of an engine that has too much in hand: a denial with 503, recorded like any other."""
        trail = Trail(_new_id())
        try:
            trail.started = self._clock.monotonic()
            trail.time = self._clock.wall()
            return self._finish(trail, Deny(reason=Reason.OVERLOADED))
        except Exception as error:  # noqa: BLE001 the service's door, for an engine that has no other answer
            return self._internal_error(trail, error)

    def _check(self, message: bytes, *, may_wait: bool) -> bytes | Parked:
        trail = Trail(_new_id())
        try:
            trail.started = self._clock.monotonic()
            trail.time = self._clock.wall()
            return self._judge(message, trail, may_wait=may_wait)
        except Exception as error:  # noqa: BLE001 the service's door: the one place that may catch everything
            return self._internal_error(trail, error)

    def _last_answer(self, message: bytes) -> bytes:
        answer = self._check(message, may_wait=False)
        return answer if isinstance(answer, bytes) else self.overloaded()

    def _judge(self, message: bytes, trail: Trail, *, may_wait: bool) -> bytes | Parked:
        snapshot = self._snapshot()
        policy = snapshot.policy
        try:
            http = trail.http = wire.parse(message)
            if policy is None:
                return self._finish(trail, Deny(reason=Reason.NOT_READY))
            trail.revision = policy.revision
            question = self._verdicts.question(http, policy)
            request = trail.request = question.request
            session = self._authenticator.authenticate(
                http, request.plane, policy, snapshot.keys, wall=trail.time, monotonic=trail.started
            )
        except RequestError as error:
            return self._finish(trail, Deny(reason=error.reason, detail=error.detail))
        except DeniedError as error:
            return self._unauthenticated(trail, policy, error.reason, error.detail)
        if session is None:
            return self._finish(trail, decide.evaluate(request, None, policy))
        if isinstance(session, KeyWanted):
            return self._park(message, trail, policy, session, may_wait=may_wait)
        identity = trail.identity = session.identity
        decision = self._verdicts.decide(http, question, identity, policy)
        if session.used:  # preparing for a second time pays only for those who come a second time
            trail.verdict = self._verdicts.verdict(question, identity, decision)
        return self._finish(trail, decision)

    def _park(
        self, message: bytes, trail: Trail, policy: Policy, wanted: KeyWanted, *, may_wait: bool
    ) -> bytes | Parked:
        if may_wait and trail.request is not None and not self._is_public(trail.request, policy):
            return Parked(wanted.issuer, wanted.key_id, lambda: self._last_answer(message))
        return self._unauthenticated(trail, policy, wanted.reason, f"no such key of issuer {wanted.issuer}")

    @staticmethod
    def _is_public(request: Request, policy: Policy) -> bool:
        return isinstance(decide.evaluate(request, None, policy), Allow)

    def _unauthenticated(self, trail: Trail, policy: Policy | None, reason: Reason, detail: str) -> bytes:
        """A public route stays public for a caller whose token is no good: they are nobody there, like everyone."""
        if policy is not None and trail.request is not None and self._is_public(trail.request, policy):
            return self._finish(trail, decide.evaluate(trail.request, None, policy))
        return self._finish(trail, Deny(reason=reason, detail=detail))

    def _finish(self, trail: Trail, decision: Decision) -> bytes:
        """Build the answer, have it recorded, and only then hand it out."""
        answer = self._answers.render(trail, decision)
        now = self._clock.monotonic()
        try:
            self._record(trail.record(decision, now))
        except AuditUnavailableError as error:
            log.error("decision %s denied: %s", trail.id, error)  # noqa: TRY400 the text says it all
            decision = Deny(reason=Reason.AUDIT_UNAVAILABLE)
            answer = self._answers.render(trail, decision)
        plane = trail.http.plane if trail.http is not None and trail.request is not None else ""
        self._observe(plane, decision.reason, now - trail.started)
        return answer

    def _internal_error(self, trail: Trail, error: Exception) -> bytes:
        # Neither the error's text nor its arguments: they could quote the request. Class and place are enough.
        log.critical("internal error in decision %s: %s at %s", trail.id, type(error).__name__, _place(error))
        deny = Deny(reason=Reason.INTERNAL_ERROR)
        try:
            bare = Trail(trail.id, trail.started, trail.time)
            return self._finish(bare, deny)
        except Exception as again:  # noqa: BLE001 the same door: even its own recording may be what is broken
            log.critical("decision %s could not be recorded: %s at %s", trail.id, type(again).__name__, _place(again))
        answer = ANSWERS[deny.reason]
        return wire.denied(deny, decision_id=trail.id, identity=None, html=False, metadata={}, realm=answer.public)


class _Ids:
    """Decision ids: 96 random bits in hex, read from the system many at a time."""

    def __init__(self) -> None:
        self._spare: list[str] = []

    def __call__(self) -> str:
        if not self._spare:
            text = os.urandom(12 * 256).hex()
            self._spare = [text[at : at + 24] for at in range(0, len(text), 24)]
        return self._spare.pop()


_new_id = _Ids()


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
