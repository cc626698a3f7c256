"""The use case: one CheckRequest in, one CheckResponse out.

Law 1: a check never blocks. It reads one snapshot, computes, hands its record to a sink that does not block, and
returns; what it must wait for (a key, a task's state, a revocation) gives `Parked`, and the engine waits.
Law 2: every check ends in an answer. The only `except Exception` between a request and its answer is here: a bug is a
503 with the reason `internal_error`, never an allow and never a gRPC error (an Envoy with `failure_mode_allow` would
let the request through). Those elsewhere keep threads alive; `tests/repository/test_architecture.py` lists them.
Law 3: no record, no allow. The answer is handed out only after the sink has accepted its record.
Law 4: a task's request for its identity is answered here and never forwarded, whatever the answer.
Law 5: a sign-out is confirmed only when the session is revoked, on record and in force. Where Envoy has a path that
ends a browser's session, anyone may sign out, whatever the policy says.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from authz.authn.run_exchange import Exchange, Wait
from authz.authn.run_identity import Caller, Shown, StateWanted
from authz.authn.sessions import Authenticator, KeyState, KeyWanted, Session
from authz.check import wire
from authz.check.answers import Answers, Minter
from authz.check.check_record import CheckRecord, new_id, place_of
from authz.check.decision_cache import DecisionCache
from authz.check.parts import Records, Revoker, Runs, Snapshot
from authz.check.privacy import Privacy
from authz.check.shadow import Shadow
from authz.check.sign_out import SIGN_IN, SIGN_OUT, check_cookies, signed_out, signs_out
from authz.core.clock import Clock
from authz.core.decision import decide
from authz.core.errors import AuditUnavailableError, DeniedError, RequestError, TokenError
from authz.core.http_answer import refusal
from authz.core.messages.page_frame import NO_BRANDING, Branding
from authz.core.model import EXECUTION, Allow, Claims, Decision, Deny, HttpRequest, Plane, Request
from authz.core.parked import Begin, Done, Parked, WantKey
from authz.core.policy import Policy
from authz.core.reasons import Reason, word_of
from authz.core.revocation import PendingRevocation
from authz.core.runs.proof import Proof
from authz.core.runs.task_lookup import PendingLookup

log = logging.getLogger(__name__)

_OF_SESSIONS: Final = frozenset({SIGN_IN, SIGN_OUT})
_DAY_S: Final = 86400.0
_EGRESS: Final = Plane.EGRESS.value
_ENDED: Final = "something in the policy has ended, or a grant has"
_AnyAnswer = TypeVar("_AnyAnswer", bytes, bytes | Parked)
_KNOWN: Final = (Session, Caller)  # a union of types takes six times as long to ask for


class Service:
    """Answers checks. One instance per process, used by one thread.

    `successor` is asked for the policy of a time when that of the snapshot has ended; None where it is not made yet.
    `want_key` has a missing key fetched. `revoker` ends sessions (by default in this memory alone), and `keep` is how
    long they are remembered. Without `runs` no call comes from a run. `shadow` compares with a candidate policy.
    `alarm` is called about each check of a caller with a break-glass token.
    """

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        successor: Callable[[float], Policy | None] = lambda _time: None,
        authenticator: Authenticator,
        minter: Minter,
        clock: Clock,
        recorder: Records,
        observe: Callable[[str, Reason, float, str], None],
        want_key: WantKey,
        branding: Branding = NO_BRANDING,
        revoker: Revoker | None = None,
        keep: float = _DAY_S,
        runs: Runs | None = None,
        privacy: Privacy | None = None,
        shadow: Shadow | None = None,
        alarm: Callable[[CheckRecord, Claims], None] = lambda _check, _claims: None,
        parse: Callable[[bytes], HttpRequest] = wire.parse,
    ) -> None:
        self._snapshot, self._successor = snapshot, successor
        self._authenticator, self._clock, self._want_key = authenticator, clock, want_key
        self._recorder, self._observe = recorder, observe
        self._answers = Answers(minter, branding=branding)
        self._verdicts = DecisionCache()
        self._revoker = authenticator.revoked if revoker is None else revoker
        self._keep, self._runs, self._privacy, self._shadow = keep, runs, privacy, shadow
        self._parse, self._alarm = parse, alarm

    def check(self, message: bytes) -> bytes | Parked:
        """Answer a serialised CheckRequest with a serialised CheckResponse, or return what it waits for."""
        return self._check(message, may_wait=True)

    def overloaded(self) -> bytes:
        """The answer of an overloaded engine: a denial with 503, recorded like any other."""
        return self._unasked(Reason.OVERLOADED)

    def unrecorded(self) -> bytes:
        """The answer in place of one whose record did not reach the disk: a denial with 503, recorded if possible."""
        return self._unasked(Reason.AUDIT_UNAVAILABLE)

    def _unasked(self, reason: Reason) -> bytes:
        check = CheckRecord(new_id())

        def answer() -> bytes:
            check.started, check.time = self._clock.monotonic(), self._clock.wall()
            return self._finish(check, Deny(reason=reason))

        return self._guarded(check, answer)

    def _check(
        self,
        message: bytes,
        *,
        may_wait: bool,
        asked: float | None = None,
        looked: PendingLookup | None = None,
        salted: bool = False,
    ) -> bytes | Parked:
        """`may_wait`: for a key, or for Airflow's answer about a task. It always waits for a revocation.

        `salted`: it has waited for the caller's salt.
        """
        check = CheckRecord(new_id())
        try:
            check.started = self._clock.monotonic()
            check.asked, check.looked = check.started if asked is None else asked, looked
            check.time = self._clock.wall()
            if salted:
                check.salted = True
            return self._judge(message, check, may_wait=may_wait)
        except Exception as error:  # noqa: BLE001 the service's door, for what comes from Envoy
            return self._internal_error(check, error)

    def _guarded(self, check: CheckRecord, answer: Callable[[], _AnyAnswer]) -> _AnyAnswer | bytes:
        """What `answer` returns, for checks that waited and for an overloaded engine; a bug is a 503."""
        try:
            return answer()
        except Exception as error:  # noqa: BLE001 the service's door, for what comes from the engine
            return self._internal_error(check, error)

    def _after_look(self, message: bytes, asked: float, wanted: StateWanted) -> bytes | Parked:
        """Evaluate again a check that waited for Airflow's answer, whether it has come or not."""
        wanted.leave()
        return self._check(message, may_wait=False, asked=asked, looked=wanted.attempt)

    def _judge(self, message: bytes, check: CheckRecord, *, may_wait: bool) -> bytes | Parked:
        snapshot = self._snapshot()
        policy, without = snapshot.policy, ""
        if policy is not None and check.time >= policy.valid_until:
            policy, without = self._successor(check.time), _ENDED
            snapshot = Snapshot(policy=policy, keys=snapshot.keys)
        try:
            http = check.http = self._parse(message)
            if policy is None:
                raise DeniedError(Reason.NOT_READY, without)  # noqa: TRY301 one exit for all that is denied here
            check.policy = policy
            if http.plane == EXECUTION:
                return self._exchange(http, check)
            question = self._verdicts.question(http, policy)
            request = check.request = question.request
            session: Session | Caller | KeyWanted | StateWanted | None
            proof = None
            if http.run_identity or http.proxy_authorization:
                session, proof = self._of_a_run(http, request, policy, check, snapshot.keys, may_wait=may_wait)
            else:
                session = self._authenticator.authenticate(
                    http, request.plane, policy, snapshot.keys, wall=check.time, monotonic=check.started
                )
            if http.cookies and check.cookies().session:
                check_cookies(http, request, session, check.cookies(), policy)
        except DeniedError as error:
            return self._refused(check, policy, error)
        privacy = self._privacy
        if not isinstance(session, _KNOWN) or not (privacy is None or self._redacts(check, session.account, privacy)):
            return self._without_session(message, check, snapshot, session, may_wait=may_wait)
        identity = session.identity
        verdict = self._verdicts.kept(question, identity) if session.used else None
        decision = self._verdicts.decide(http, question, identity, policy) if verdict is None else verdict.decision
        if proof is not None and isinstance(decision, Allow):
            try:
                self._run_parts.identities.use_up(proof, identity, check.time)
            except DeniedError as error:
                return self._refused(check, policy, error)
        check.identity, check.account = identity, session.account
        if decision.operation in _OF_SESSIONS and type(session) is Session:  # a question ends no session
            return self._sign_in_or_out(http, check, session, decision)
        # Preparing for a second time pays only for those who come a second time; without a salt it may be another then.
        if session.used and (privacy is None or (check.redactor is not None and check.redactor.is_whole)):
            check.verdict = verdict or self._verdicts.verdict(question, identity, decision)
        return self._finish(check, decision)

    def _redacts(self, check: CheckRecord, account: Session | None, privacy: Privacy) -> bool:
        """Choose how the record is redacted; False if the check waits for the caller's salt, or cannot do without."""
        if privacy.someone_was_erased():
            for memory in (self._verdicts, self._answers, self._recorder):
                memory.forget()
        check.redactor = privacy.of(account)
        if check.redactor is None and check.salted and privacy.refusal() is None:
            check.redactor = privacy.without_salt
        return check.redactor is not None

    def _without_salt(
        self, check: CheckRecord, account: Session | None, resume: Callable[[], bytes | Parked]
    ) -> bytes | Parked:
        """For a caller whose salt this process does not know, or who gets none."""
        privacy = self._privacy
        if privacy is None or account is None:
            raise ValueError("there is no salt to wait for")
        if check.salted:
            return self._finish(check, Deny(reason=Reason.AUDIT_UNAVAILABLE, detail=privacy.refusal() or ""))
        return Parked(resume, partial(_begin, privacy.wait_for(account)))

    def _refused(self, check: CheckRecord, policy: Policy | None, error: DeniedError) -> bytes:
        check.run = error.run or check.run
        if isinstance(error, RequestError) or policy is None:
            return self._finish(check, Deny(reason=error.reason, detail=error.detail))
        return self._unauthenticated(check, policy, error.reason, error.detail)

    def _without_session(
        self,
        message: bytes,
        check: CheckRecord,
        snapshot: Snapshot,
        wanted: Session | Caller | KeyWanted | StateWanted | None,
        *,
        may_wait: bool,
    ) -> bytes | Parked:
        """For an anonymous caller, or one whose key, task or salt must be asked for first."""
        if isinstance(wanted, _KNOWN):
            resume = partial(self._check, message, may_wait=False, asked=check.asked, looked=check.looked, salted=True)
            return self._without_salt(check, wanted.account, resume)
        if isinstance(wanted, StateWanted):
            # Checked again when Airflow has said whether the task runs.
            resume = partial(self._after_look, message, check.asked, wanted)
            return Parked(resume, partial(_begin, wanted.begin), leave=wanted.leave)
        policy = snapshot.policy
        if check.request is None or check.http is None or policy is None:
            raise ValueError("there is no request")
        decision = decide.evaluate(check.request, None, policy)
        leaves = signs_out(check.http, decision)
        if wanted is None:
            return self._finish(check, signed_out(decision) if leaves else decision)
        if may_wait and (leaves or isinstance(decision, Deny)):
            begin = partial(_begin, partial(self._want_key, wanted.issuer, wanted.key_id))
            again = partial(self._check, message, may_wait=False, asked=check.asked)
            return Parked(again, begin, counted=True)
        reason = wanted.reason
        state = snapshot.keys.get(wanted.issuer)
        if leaves and (state is None or state.fetched_at < check.asked):
            reason = Reason.KEYS_UNAVAILABLE  # not fetched since: the key may be there, and the session good
        return self._unauthenticated(check, policy, reason, f"no such key of issuer {wanted.issuer}")

    def _unauthenticated(self, check: CheckRecord, policy: Policy | None, reason: Reason, detail: str) -> bytes:
        """A public route stays public for a caller whose token is invalid: everyone is anonymous there.

        So does signing out, except with a token that cannot be checked yet: its session would silently go on.
        """
        if policy is not None and check.request is not None and check.http is not None:
            decision = decide.evaluate(check.request, None, policy)
            if signs_out(check.http, decision):
                if reason is Reason.NOT_YET_VALID:
                    return self._finish(check, Deny(reason=Reason.REVOCATION_UNAVAILABLE, detail=f"{reason}: {detail}"))
                if reason is not Reason.KEYS_UNAVAILABLE:
                    return self._finish(check, signed_out(decision, f"{reason}: {detail}"))
            elif isinstance(decision, Allow):
                return self._finish(check, decision)
        return self._finish(check, Deny(reason=reason, detail=detail))

    def _sign_in_or_out(
        self, http: HttpRequest, check: CheckRecord, session: Session, decision: Decision
    ) -> bytes | Parked:
        """Redirect back from Airflow's login; or revoke the session, then go where its cookies end, or to Airflow."""
        if decision.operation == SIGN_IN:
            return self._finish(check, Deny(reason=Reason.SIGNED_IN, operation=SIGN_IN) if http.signout else decision)
        if not http.signout and isinstance(decision, Deny):
            return self._finish(check, decision)
        after = signed_out(decision) if http.signout else decision
        note = f"signed out, decision {check.id}"
        revocation = self._authenticator.revocation(http, session, wall=check.time, keep=self._keep, note=note)
        attempt = PendingRevocation(revocation, subject=session.claims.subject)
        return Parked(
            partial(self._guarded, check, lambda: self._after_sign_out(check, attempt, after)),
            partial(_begin, partial(self._revoker.revoke, attempt)),
        )

    def _after_sign_out(
        self, check: CheckRecord, attempt: PendingRevocation, after: Decision, *, salted: bool = False
    ) -> bytes | Parked:
        """The answer to a sign-out. The caller's salt may have gone while it waited, so it is looked up again."""
        check.salted = check.salted or salted
        privacy = self._privacy
        if privacy is not None and not self._redacts(check, check.account, privacy):
            check.redactor = privacy.without_salt
            again = partial(self._after_sign_out, check, attempt, after, salted=True)
            return self._without_salt(check, check.account, partial(self._guarded, check, again))
        if not attempt.made:
            after = Deny(reason=Reason.REVOCATION_UNAVAILABLE, operation=after.operation, detail=attempt.refused)
        elif isinstance(after, Allow) and self._clock.wall() >= check.ends:
            after = Deny(reason=Reason.NOT_READY, operation=after.operation, detail=_ENDED)
        return self._finish(check, after)

    @property
    def _run_parts(self) -> Runs:
        """What checks run identities; TokenError if the settings have none."""
        if self._runs is None:
            raise TokenError(
                Reason.TOKEN_TYPE,
                "Proxy-Authorization and X-Run-Identity are read only where the settings have `run_identity`",
            )
        return self._runs

    def _of_a_run(
        self,
        http: HttpRequest,
        request: Request,
        policy: Policy,
        check: CheckRecord,
        keys: Mapping[str, KeyState],
        *,
        may_wait: bool,
    ) -> tuple[Caller | KeyWanted | StateWanted, Proof | None]:
        """The caller that the run headers identify, and the proof to use up if the policy allows the call."""
        identities = self._run_parts.identities
        shown = identities.authenticate(http, request, policy, keys, wall=check.time, monotonic=check.started)
        if isinstance(shown, Shown):
            caller, proof = shown
            check.run = caller.identity.run
            return caller, proof
        if isinstance(shown, StateWanted):
            check.run = shown.run
            if not may_wait:
                if check.looked is not None and (found := check.looked.found) is not None and found.reason is not None:
                    raise DeniedError(found.reason, found.detail)
                raise DeniedError(Reason.AIRFLOW_UNAVAILABLE, "Airflow did not answer in time")
        return shown, None

    def _exchange(self, http: HttpRequest, check: CheckRecord) -> bytes | Parked:
        """Answer a task's request for its identity."""
        exchange = self._runs.exchange if self._runs is not None else None
        if exchange is None:
            raise DeniedError(Reason.MISCONFIGURED, "the settings' `run_identity` does not say how to give tokens")
        wait = exchange.begin(http)
        resume = partial(self._guarded, check, lambda: self._after_exchange(exchange, wait, check))
        return Parked(resume, partial(_begin, wait.begin), leave=partial(exchange.leave, wait))

    def _after_exchange(self, exchange: Exchange, wait: Wait, check: CheckRecord) -> bytes:
        check.time = self._clock.wall()
        exchange.leave(wait)
        try:
            body, check.run = exchange.end(wait, check.time)
        except DeniedError as error:
            check.run = error.run
            return self._finish(check, Deny(reason=error.reason, detail=error.detail))
        return self._finish(check, Deny(reason=Reason.RUN_TOKEN_ISSUED), body)

    def _finish(self, check: CheckRecord, decision: Decision, body: bytes = b"") -> bytes:
        """Build the answer, have it recorded, and only then return it. `body` is our own answer to a task."""
        if body and isinstance(decision, Deny):
            answer = self._answers.answered(check, decision, body)
        else:
            answer = self._answers.render(check, decision)
        if self._shadow is not None:
            self._shadow.compare(check, decision)
        if check.identity is not None and check.identity.claims.break_glass:
            self._alarm(check, check.identity.claims)
        now = self._clock.monotonic()
        try:
            self._recorder.record(check, decision, now)
        except AuditUnavailableError:  # the sink reports it, with a count: a line for each check would fill another log
            decision = Deny(reason=Reason.AUDIT_UNAVAILABLE)
            answer = self._answers.render(check, decision)
        http = check.http
        plane = http.plane if http is not None and (check.request is not None or http.plane == EXECUTION) else ""
        self._observe(plane, decision.reason, now - check.started, decision.rule)
        if plane == _EGRESS and self._runs is not None:
            run = check.caller_run
            self._runs.count(str(run.level) if run is not None else "none", word_of(decision.reason))
        return answer

    def _internal_error(self, check: CheckRecord, error: Exception) -> bytes:
        # Neither the error's text nor its arguments: they could quote the request. Class and place are enough.
        log.critical("internal error in decision %s: %s at %s", check.id, type(error).__name__, place_of(error))
        deny = Deny(reason=Reason.INTERNAL_ERROR)
        try:
            bare = CheckRecord(check.id, started=check.started, time=check.time)
            return self._finish(bare, deny)
        except Exception as again:  # noqa: BLE001 the same door: even its own recording may be what is broken
            log.critical("decision %s could not be recorded: %s at %s", check.id, type(again).__name__, place_of(again))
        answer = refusal(deny, decision_id=check.id, identity=None, http=None)
        return wire.denied(answer, reason=deny.reason, metadata={})


def _begin(begin: Begin, done: Done) -> bool:
    try:
        return begin(done)
    except Exception as error:  # noqa: BLE001 the service's door: the engine has no answer for it
        log.critical("internal error in what a check waits for: %s at %s", type(error).__name__, place_of(error))
        return False
