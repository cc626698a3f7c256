"""Which run an outbound call comes from, and at which assurance level.

The first of these that a call carries identifies its caller:

    X-Run-Identity with a token from the gate, X-Run-Proof        verified
    X-Run-Identity with a token from an issuer, X-Run-Proof       asserted: the proof says which run
    Proxy-Authorization with the gate's token for proxies         verified-bearer
    Proxy-Authorization, Authorization with an issuer's token     a service account, without a known run

Law 1: a level never exceeds what is known. Where tasks can reach the key that Airflow signs task tokens with
(`signing_key_isolated` is not declared), every run is `asserted`.
Law 2: the gate verifies its token once; it checks the token's time, proof and task state on every use. The replay
cache comes last (`use_up`), for calls that the policy allows: callers without rights cannot fill it.
Law 3: a token is accepted in its own form only. A token that is bound to a key needs a proof of that key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple, Protocol

from authz.authn.sessions import Authenticator, KeyState, KeyWanted, Session
from authz.authn.token_headers import header_token, proxy_token
from authz.core import tokens
from authz.core.caching.clock_cache import SecondChance
from authz.core.caching.rate_limit import FairShare
from authz.core.errors import DeniedError, RequestError, TokenError
from authz.core.model import Claims, HttpRequest, Identity, Level, Plane, Request, Run
from authz.core.parked import Begin, Done
from authz.core.policy import Policy
from authz.core.reasons import Reason
from authz.core.runs import run_token
from authz.core.runs.proof import Proof, check_proof, parse_proof
from authz.core.runs.run_token import START_SKEW_S, RunToken
from authz.core.runs.task_lookup import PendingLookup, TaskRef

_MOST_KEPT: Final = 10_000  # verified tokens, some 20 MB
_MOST_ASSERTED: Final = 4096  # runs that service accounts say they are
_GONE: Final = frozenset({Reason.RUN_MISMATCH, Reason.RUN_OTHER_TRY, Reason.RUN_OTHER_MAP_INDEX})


class States(Protocol):
    """Whether tasks run (implemented by `authz.runs.task_states`)."""

    def seen(self, claim: TaskRef, now: float) -> bool:
        """Whether the task was running a short while ago; False: Airflow has to be asked first.

        Raises:
            DeniedError: it does not run, or Airflow cannot be asked.
        """
        ...

    def look(self, attempt: PendingLookup, done: Done | None) -> bool:
        """Ask; see `authz.runs.task_states.TaskStates.look`."""
        ...

    def leave(self, attempt: PendingLookup) -> None:
        """Stop waiting; see `authz.runs.task_states.TaskStates.leave`."""
        ...


class Replays(Protocol):
    """The replay cache (implemented by `authz.runs.replay_table`)."""

    def first(self, digest: bytes, until: float, now: float) -> bool:
        """Whether this is new; it is remembered until `until`.

        Raises:
            ReplaysFullError: it cannot be remembered.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StateWanted:
    """The call waits until Airflow says whether its task `run` is running.

    `begin` asks (`attempt` is the question), and `leave` ends the wait before the answer.
    """

    run: Run
    attempt: PendingLookup = field(repr=False)
    begin: Begin = field(repr=False)
    leave: Done = field(repr=False)


@dataclass(slots=True, eq=False)
class Caller:
    """The caller. `identity` is the same object for as long as the token is; `used`: not the first use.

    `account` is the session of an issuer's token; None if a token of the gate identifies the caller.
    """

    identity: Identity
    used: bool = False
    account: Session | None = None


class Shown(NamedTuple):
    """The caller, and the proof to use up if the policy allows the call."""

    caller: Caller
    proof: Proof | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Known:
    """One verified token from the gate."""

    token: RunToken
    caller: Caller
    shown: Shown  # the caller without a proof
    run: Run
    claim: TaskRef
    used: bool = False

    def check_time(self, now: float) -> None:
        if not now < self.token.expires_at:
            raise TokenError(Reason.EXPIRED, f"exp was {now - self.token.expires_at:.0f} s ago")
        if not self.token.issued_at <= now + START_SKEW_S:
            raise TokenError(Reason.NOT_YET_VALID, f"iat is more than {START_SKEW_S} s in the future")


@dataclass(slots=True, eq=False)
class _Asserted:
    """A run that a service account claims to be. `account` keeps alive the identity whose `id` is in the key."""

    account: Identity
    caller: Caller
    used: bool = False


class RunIdentities:
    """Authenticates the callers of outbound calls.

    Args:
        authenticator: for tokens from issuers.
        keys: the gate's own, which verify its tokens.
        issuer: `iss` of its tokens.
        isolated: tasks cannot reach the key that Airflow signs with.
        states: whether tasks run.
        replays: the replay cache of proofs.
        share: limits the proofs that one task, or one service account acting for tasks, may use.
    """

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        keys: run_token.Keys,
        issuer: str,
        isolated: bool,
        states: States,
        replays: Replays,
        share: FairShare,
    ) -> None:
        self._authenticator = authenticator
        self._keys = keys
        self._issuer = issuer
        self._audience = run_token.audience(issuer)
        self._isolated = isolated
        self._states = states
        self._replays = replays
        self._share = share
        self._known: SecondChance[bytes, _Known] = SecondChance(_MOST_KEPT)
        self._asserted: SecondChance[tuple[int, Run], _Asserted] = SecondChance(_MOST_ASSERTED)

    def level(self, level: Level) -> Level:
        """The highest level reported for a run that a token from the gate names."""
        return level if self._isolated else Level.ASSERTED

    def authenticate(
        self,
        http: HttpRequest,
        request: Request,
        policy: Policy,
        keys: Mapping[str, KeyState],
        *,
        wall: float,
        monotonic: float,
    ) -> Shown | KeyWanted | StateWanted:
        """The caller, at `wall` (seconds since the epoch) and `monotonic`.

        Raises:
            RequestError: a credential is duplicated or malformed.
            DeniedError: the caller is not identified, its task has ended, or Airflow cannot be asked. The error's
                `run` is the run that a verified token names.
        """
        if (
            len(http.run_identity) > 1
            or len(http.run_proof) > 1
            or len(http.proxy_authorization) > 1
            or len(http.authorization) > 1
        ):
            raise RequestError(Reason.BAD_AUTHORIZATION, "duplicate credential header")
        if http.run_identity:
            return self._with_proof(http, request, policy, keys, wall=wall, monotonic=monotonic)
        token = proxy_token(http.proxy_authorization[0])
        known = self._of_the_gate(token, wall)
        if known is not None:
            try:
                known.check_time(wall)
                if known.token.thumbprint is not None:
                    raise TokenError(Reason.PROOF_MISSING, "a token that is bound to a key, in Proxy-Authorization")
                return self._running(known, monotonic) or known.shown
            except DeniedError as error:
                error.run = known.run
                raise
        as_header = replace(http, authorization=(b"Bearer " + token.encode("ascii"),))
        session = self._authenticator.authenticate(
            as_header, Plane.EGRESS, policy, keys, wall=wall, monotonic=monotonic
        )
        if session is None:
            raise RequestError(Reason.BAD_AUTHORIZATION, "no token in Proxy-Authorization")
        return session if isinstance(session, KeyWanted) else Shown(Caller(session.identity, account=session))

    def _with_proof(
        self,
        http: HttpRequest,
        request: Request,
        policy: Policy,
        keys: Mapping[str, KeyState],
        *,
        wall: float,
        monotonic: float,
    ) -> Shown | KeyWanted | StateWanted:
        scheme, token = header_token(http.run_identity[0])
        known = self._of_the_gate(token, wall)
        if known is not None:
            try:
                known.check_time(wall)
                if known.token.thumbprint is None:
                    raise TokenError(Reason.TOKEN_TYPE, "a token for proxies, in X-Run-Identity")
                if scheme != b"dpop":
                    raise RequestError(Reason.BAD_AUTHORIZATION, "the scheme of X-Run-Identity is not DPoP")
                proof = _proof_of(token, known.token.thumbprint, http, request, wall)
                return self._running(known, monotonic) or Shown(known.caller, proof)
            except DeniedError as error:
                error.run = known.run
                raise
        session = self._authenticator.bound(token, Plane.EGRESS, policy, keys, wall=wall, monotonic=monotonic)
        if isinstance(session, KeyWanted):
            return session
        proof = _proof_of(token, session.thumbprint or None, http, request, wall)
        if proof.run is None:
            raise TokenError(Reason.PROOF_INVALID, "the proof does not say which run the call comes from")
        return Shown(self._caller(session, proof.run), proof)

    def _caller(self, session: Session, run: Run) -> Caller:
        """The service account as that run: one object for as long as the account's identity is one.

        Caches find decisions, answers and assertions by that object. A new one for each call would need a new
        signature each time, and evict what is cached for others.
        """
        account = session.identity
        place = id(account), run
        known = self._asserted.get(place)
        if known is None:
            known = _Asserted(account, Caller(replace(account, run=run), account=session))
            self._asserted.put(place, known)
        else:
            known.used = known.caller.used = True
        return known.caller

    def _running(self, known: _Known, monotonic: float) -> StateWanted | None:
        """The question to Airflow whether the task still runs; None if it is known to run."""
        try:
            if self._states.seen(known.claim, monotonic):
                return None
        except DeniedError as error:
            if error.reason in _GONE:  # the token was once this very task's: whatever is there now is another
                raise DeniedError(Reason.RUN_ENDED, error.detail) from None
            raise
        attempt = PendingLookup(known.claim)
        return StateWanted(
            run=known.run,
            attempt=attempt,
            begin=partial(self._states.look, attempt),
            leave=partial(self._states.leave, attempt),
        )

    def use_up(self, proof: Proof, caller: Identity, now: float) -> None:
        """Record the proof as used; a call with a proof is allowed only after this.

        Only a new proof counts against its caller's share, so a thief who replays used proofs takes nothing from it.
        A caller that has used its share adds nothing to the table, so it cannot fill it.

        Raises:
            TokenError: the proof was used before.
            DeniedError: the replay cache is full, or the caller has used its share.
        """
        claims = caller.claims
        who = f"{claims.issuer} {claims.subject}"
        if self._share.left(who, now) <= 0:
            raise DeniedError(Reason.RATE_LIMITED, "one task, or one service account, makes more calls than its share")
        if not self._replays.first(proof.digest, proof.ends, now):
            raise TokenError(Reason.PROOF_REPLAYED, "the proof was used before")
        self._share.take(who, now)

    def _of_the_gate(self, token: str, wall: float) -> _Known | None:
        """The token as one from the gate, its time not yet checked; None if it does not claim to be one."""
        digest = sha256(token.encode("ascii")).digest()
        known = self._known.get(digest)
        if known is None:
            if not _says_to_be_ours(token):
                return None
            read = run_token.verify(token, self._keys, issuer=self._issuer, audience=self._audience, now=wall)
            known = self._make(read)
            self._known.put(digest, known)
        else:
            known.used = known.caller.used = True
        return known

    def _make(self, read: RunToken) -> _Known:
        run = read.run._replace(level=self.level(read.run.level))
        claims = Claims(
            issuer_name="",
            issuer=self._issuer,
            subject=run_token.SUBJECT + read.instance,
            client_id="",
            username=f"{run.dag_id}.{run.task_id}",
            full_name="",
            groups=frozenset(),
            audiences=frozenset((self._audience,)),
            expires_at=read.expires_at,
            issued_at=read.issued_at,
            not_before=read.issued_at,
        )
        identity = Identity(claims=claims, roles=frozenset(), run=run)
        caller = Caller(identity)
        return _Known(token=read, caller=caller, shown=Shown(caller), run=run, claim=task_ref(read.instance, run))


def _says_to_be_ours(token: str) -> bool:
    """Whether the token's type is that of the gate's tokens. Other checks report whatever else is wrong."""
    try:
        return tokens.parse(token, max_bytes=run_token.MAX_TOKEN_BYTES).typ == run_token.TYP
    except TokenError:
        return False


def task_ref(instance: str, run: Run) -> TaskRef:
    """The claim to check with Airflow for a run that a token names."""
    return TaskRef(instance, run.dag_id, run.run_id, run.task_id, run.map_index, run.try_number)


def _proof_of(token: str, thumbprint: str | None, http: HttpRequest, request: Request, now: float) -> Proof:
    """The proof of this call, valid unless it was used before.

    Raises:
        TokenError: it is missing, or invalid for this call.
    """
    if not http.run_proof:
        raise TokenError(Reason.PROOF_MISSING, "X-Run-Identity without X-Run-Proof")
    proof = parse_proof(http.run_proof[0])
    check_proof(
        proof,
        token=token,
        thumbprint=thumbprint,
        method=request.method,
        authority=http.authority,
        path=request.base if _is_bare(http) else request.whole_path,
        now=now,
    )
    return proof


def _is_bare(http: HttpRequest) -> bool:
    """Whether the call is for a base URL itself, without a trailing slash: this is the destination's `/` too."""
    return bool(http.base) and http.target.partition("?")[0] == http.base
