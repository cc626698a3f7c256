"""Issues run identity tokens to tasks that ask the gate for one.

The request asks Airflow's execution API for a "variable" (docs/run-identity.md): the Task SDK's supervisor sends the
task's own token from Airflow. The gate verifies it with Airflow's keys, asks Airflow whether the task is what it says
and is running, and answers in Airflow's place. Requests on this path are never forwarded.

Law 1: three things must hold: Airflow signed the token, Airflow confirms that the token's id is the claimed task
instance's, and Airflow says that it runs. What cannot be checked gives 503; any other failure, a denial with its cause.
Law 2: Airflow is asked for every token; its earlier answers are good for calls, not for tokens.
Law 3: only a caller whose token names Airflow as its issuer waits, and only so many wait for a key at a time.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from authz.authn.run_minter import RunMinter
from authz.authn.sessions import KeyState, KeyWanted
from authz.core import tokens
from authz.core.clock import Clock
from authz.core.errors import DeniedError, KeysUnavailableError, RequestError, TokenError
from authz.core.jose.jwks import KeySet
from authz.core.model import HttpRequest, Issuer, Level, Run
from authz.core.parked import Begin, Done, WantKey
from authz.core.reasons import Reason
from authz.core.runs import run_request
from authz.core.runs.run_request import RunRequest
from authz.core.runs.task_lookup import PendingLookup, TaskRef
from authz.core.runs.task_token import read_task_token

AIRFLOW: Final = "airflow task tokens"  # no policy can name an issuer so: a name there has no spaces
_MOST_WAITING: Final = 64
_MOST_RETIRED: Final = 1024


class Asker(Protocol):
    """Asks Airflow (implemented by `authz.runs.task_states`)."""

    def look(self, attempt: PendingLookup, done: Done | None) -> bool:
        """Ask; see `authz.runs.task_states.TaskStates.look`."""
        ...

    def leave(self, attempt: PendingLookup) -> None:
        """Stop waiting; see `authz.runs.task_states.TaskStates.leave`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The request waits for an answer from Airflow, or for its keys. `begin` starts the wait."""

    asked: RunRequest
    pending: "_Pending" = field(repr=False)
    begin: Begin = field(repr=False)


@dataclass(slots=True, eq=False)
class _Pending:
    """Outcome of the wait: a question to Airflow, or why there was none."""

    attempt: PendingLookup | None = None
    refused: DeniedError | None = None
    left: bool = False  # the caller has stopped waiting


class Exchange:
    """Issues tokens to tasks.

    Args:
        issuer: Airflow, as the issuer of task tokens; its `name` is `AIRFLOW`.
        minter: makes the tokens.
        states: asks Airflow.
        keys: the current state of the issuers' keys.
        want_key: asks for a key, see `authz.keys.KeyStore.request`.
        level: the highest level reported, given a token form's best.
        max_token_bytes: a longer token is refused before any of it is decoded.
        clock: wall and monotonic time.
    """

    def __init__(
        self,
        *,
        issuer: Issuer,
        minter: RunMinter,
        states: Asker,
        keys: Callable[[], Mapping[str, KeyState]],
        want_key: WantKey,
        level: Callable[[Level], Level],
        max_token_bytes: int,
        clock: Clock,
    ) -> None:
        self._issuer = issuer
        self._minter = minter
        self._states = states
        self._keys = keys
        self._want_key = want_key
        self._level = level
        self._max_token_bytes = max_token_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = 0
        self._retired: dict[str, None] = {}
        self._current: frozenset[str] = frozenset()

    def note_keys(self, keyset: KeySet | None) -> None:
        """Note that Airflow's keys may have changed: a key that is gone has been retired. Any thread."""
        if keyset is None:
            return
        now = frozenset(keyset.keys)
        with self._lock:
            for kid in self._current - now:
                self._retired[kid] = None
            for kid in now:
                self._retired.pop(kid, None)
            while len(self._retired) > _MOST_RETIRED:
                del self._retired[next(iter(self._retired))]
            self._current = now

    def begin(self, http: HttpRequest) -> Wait:
        """What this token request waits for.

        Raises:
            RequestError: it is not such a request.
            DeniedError: it is not a task's token.
        """
        if http.method != "GET":
            raise RequestError(Reason.BAD_METHOD, "a run identity is asked for with GET")
        asked = run_request.parse(http.target)
        token = tokens.parse_bearer(http.authorization)
        if token is None:
            raise TokenError(Reason.NO_TOKEN, "no task token")
        pending = _Pending()
        wanted = self._instance(token)
        if isinstance(wanted, KeyWanted):
            return Wait(asked=asked, pending=pending, begin=partial(self._wait_for_key, wanted, token, asked, pending))
        return Wait(asked=asked, pending=pending, begin=partial(self._look, wanted, asked, pending))

    def end(self, wait: Wait, now: float) -> tuple[bytes, Run]:
        """The body of the answer and the run that it names, after the wait. `now` is since the epoch.

        Raises:
            DeniedError: this task gets no token, or it cannot be checked.
        """
        pending = wait.pending
        if pending.refused is not None:
            raise pending.refused
        attempt = pending.attempt
        if attempt is None or attempt.found is None:
            raise DeniedError(Reason.AIRFLOW_UNAVAILABLE, "Airflow did not answer in time")
        best = Level.VERIFIED_BEARER if wait.asked.proxy else Level.VERIFIED
        level, claim, found = self._level(best), attempt.claim, attempt.found
        number = found.try_number or claim.try_number or 0
        run = Run(claim.dag_id, claim.run_id, claim.task_id, claim.map_index, number, level)
        if found.reason is not None:
            refused = DeniedError(found.reason, found.detail)
            refused.run = run
            raise refused
        return self._minter.variable(wait.asked, claim, found.try_number, level, now), run

    def leave(self, wait: Wait) -> None:
        """End the wait: the caller has hung up, or its time is over."""
        wait.pending.left = True
        if wait.pending.attempt is not None:
            self._states.leave(wait.pending.attempt)

    def _instance(self, token: str) -> str | KeyWanted:
        """The id of the token's task instance, or the key that is missing to verify the token."""
        issuer, now = self._issuer, self._clock.wall()
        parsed = tokens.parse(token, max_bytes=self._max_token_bytes)
        tokens.find_issuer(parsed, {issuer.issuer: issuer})
        state = self._keys().get(issuer.name)
        if state is None or state.keyset is None or self._clock.monotonic() >= state.stale_at:
            return KeyWanted(issuer=issuer.name, key_id=parsed.kid or "", reason=Reason.KEYS_UNAVAILABLE)
        try:
            key = tokens.find_key(parsed, issuer, state.keyset)
        except TokenError as error:
            if error.reason is not Reason.UNKNOWN_KEY:
                raise
            reason = Reason.KEY_RETIRED if parsed.kid in self._retired else Reason.UNKNOWN_KEY
            reason = Reason.KEYS_UNAVAILABLE if state.last_error else reason
            return KeyWanted(issuer=issuer.name, key_id=parsed.kid or "", reason=reason)
        tokens.verify(parsed, key)
        return read_task_token(parsed, issuer, now)

    def _look(self, instance: str, asked: RunRequest, pending: _Pending, done: Done) -> bool:
        claim = TaskRef(instance, asked.dag_id, asked.run_id, asked.task_id, asked.map_index, asked.try_number)
        pending.attempt = PendingLookup(claim)
        if pending.left:
            return False
        return self._states.look(pending.attempt, done)

    def _wait_for_key(self, wanted: KeyWanted, token: str, asked: RunRequest, pending: _Pending, done: Done) -> bool:
        """Fetch Airflow's keys once, then ask Airflow itself."""
        pending.refused = KeysUnavailableError("Airflow's keys did not come in time")
        with self._lock:
            if self._waiting >= _MOST_WAITING:
                pending.refused = DeniedError(
                    Reason.TASKS_WAIT_FOR_KEYS, f"{_MOST_WAITING} requests wait for Airflow's keys"
                )
                return False
            self._waiting += 1
        if self._want_key(wanted.issuer, wanted.key_id, partial(self._with_key, token, asked, pending, done)):
            return True
        with self._lock:
            self._waiting -= 1
        return self._again(token, asked, pending, done)

    def _with_key(self, token: str, asked: RunRequest, pending: _Pending, done: Done) -> None:
        """Go on after the fetch, in a key store thread."""
        asking = False
        with self._lock:
            self._waiting -= 1
        try:
            asking = self._again(token, asked, pending, done)
        finally:
            if not asking:
                done()

    def _again(self, token: str, asked: RunRequest, pending: _Pending, done: Done) -> bool:
        try:
            instance = self._instance(token)
        except DeniedError as error:
            pending.refused = error
            return False
        if isinstance(instance, KeyWanted):
            pending.refused = _no_key(instance)
            return False
        pending.refused = None
        return self._look(instance, asked, pending, done)


def _no_key(wanted: KeyWanted) -> DeniedError:
    """Why a token whose key is missing cannot be checked."""
    if wanted.reason is Reason.KEYS_UNAVAILABLE:
        return KeysUnavailableError("Airflow's keys could not be fetched")
    return TokenError(wanted.reason, "Airflow's key set does not have the task token's key")
