"""A service account that asserts which run it calls for, where no task token can identify it: level `asserted`.

That is the case in the triggerer, which makes the calls of deferred tasks, and where Airflow signs task tokens with a
shared secret that the gate cannot verify. A holder of the account's token can claim any run, so a policy can refuse
this level.

Law: it never replaces an identity that was refused; it is used only where it is configured. The proof of each call
names the run. The account's token is hidden from logs, and bound to this process's key where the provider does that
(RFC 9449 §5).
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from authz.airflow.egress import settings, task_sdk
from authz.airflow.egress.credential import Credential, SharedCredential
from authz.airflow.egress.errors import NotConfiguredError, UnavailableError
from authz.airflow.egress.identity import IDENTITY, PROOF, Identity, RunIdentity, endings, is_compact
from authz.airflow.egress.run_key import RunKey
from authz.airflow.egress.settings import Account
from authz.airflow.egress.task_sdk import Task

_FILE_LIVES_S = 30.0  # a token file is read again after some 18 s: a replaced token must stay valid for longer
_SHORTEST_S = 10.0
_TIMEOUT_S = 10.0


class ServiceAccount:
    """The account of this process: a token file that others keep fresh, or client credentials (RFC 6749 §4.4)."""

    def __init__(self, account: Account, *, hide: task_sdk.Hide = task_sdk.hide) -> None:
        self.pid = os.getpid()
        self.key = RunKey()
        self._account = account
        self._hide = hide
        self.credential = SharedCredential(self._from_file if account.token_file else self._from_provider)

    def _from_file(self) -> Credential:
        try:
            token = Path(self._account.token_file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            name = type(error).__name__
            raise UnavailableError(f"`[authz] egress_token_file` cannot be read: {name}.") from None
        return self._checked(token, _FILE_LIVES_S, "Bearer")

    def _from_provider(self) -> Credential:
        import httpx  # noqa: PLC0415 the Task SDK brings it

        endpoint = self._account.token_endpoint
        try:
            secret = Path(self._account.client_secret_file).read_text(encoding="utf-8").strip()
            answer = httpx.post(
                endpoint,
                data={"grant_type": "client_credentials", **dict(self._account.parameters)},
                auth=(self._account.client_id, secret),
                headers={"DPoP": self.key.prove_request(method="POST", url=endpoint, now=time.time())},
                timeout=_TIMEOUT_S,
                trust_env=False,  # the proxy variables of tasks lead to the gate
            )
            answered = answer.json() if answer.is_success else {"error": f"HTTP {answer.status_code}"}
            if "error" in answered:
                raise UnavailableError(f"{endpoint} issued no token to {self._account.client_id}: {answered['error']}.")
            return self._checked(
                answered["access_token"], float(answered.get("expires_in", 60)), answered["token_type"]
            )
        except (OSError, httpx.HTTPError, ValueError, TypeError, KeyError) as error:
            raise UnavailableError(f"{endpoint} issued no token: {type(error).__name__}.") from None

    def _checked(self, token: str, lives_s: float, kind: str) -> Credential:
        if not is_compact(token):
            raise UnavailableError("The service account's token is not a JWT.")
        for ending in endings(token):
            self._hide(ending)
        return Credential(token=token, lives_s=max(lives_s, _SHORTEST_S), level=kind)

    def __repr__(self) -> str:
        return "ServiceAccount()"


class AssertedIdentity:
    """The identity that the service account asserts for one run."""

    def __init__(self, task: Task, account: ServiceAccount | None = None) -> None:
        self._task = task
        self._account = account or _account()

    def headers(self, method: str, url: str, *, refused: str = "") -> dict[str, str]:
        """The headers for one request."""
        return self._proved(method, url, self._account.credential.get(refused=refused))

    async def aheaders(self, method: str, url: str, *, refused: str = "") -> dict[str, str]:
        """The same, for coroutines."""
        return self._proved(method, url, await self._account.credential.aget(refused=refused))

    def _proved(self, method: str, url: str, held: Credential) -> dict[str, str]:
        run: dict[str, Any] = {
            "dag_id": self._task.dag_id,
            "run_id": self._task.run_id,
            "task_id": self._task.task_id,
            "map_index": self._task.map_index,
            "try_number": self._task.try_number,
        }
        proof = self._account.key.prove(method=method, url=url, token=held.token, now=time.time(), run=run)
        scheme = "DPoP" if held.level.lower() == "dpop" else "Bearer"
        return {IDENTITY: f"{scheme} {held.token}", PROOF: proof}

    def __repr__(self) -> str:
        return f"AssertedIdentity({self._task})"


def current() -> Identity:
    """The identity of the running task's calls; an asserted one with `[authz] egress_identity = asserted`.

    Raises:
        NoRunError: there is no running task here.
    """
    if settings.is_asserted():
        return AssertedIdentity(task_sdk.running())
    return RunIdentity.current()


_LOCK = threading.Lock()
_KEPT: list[ServiceAccount] = []


def _account() -> ServiceAccount:
    with _LOCK:
        if not _KEPT or _KEPT[0].pid != os.getpid():
            found = settings.from_airflow().account
            if not found.is_complete:
                raise NotConfiguredError(
                    "No service account is configured for asserted calls: set `[authz] egress_token_file`, or"
                    " `egress_token_endpoint`, `egress_client_id` and `egress_client_secret_file`."
                )
            _KEPT[:] = [ServiceAccount(found)]
        return _KEPT[0]


def _after_fork() -> None:
    """A thread that does not exist in the child may have held the lock."""
    global _LOCK  # noqa: PLW0603 there is one per process
    _LOCK = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
