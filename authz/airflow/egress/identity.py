"""The run identity of this process: a token bound to a key of its own, and a proof for every call.

Law: there is one per process and try; a forked child makes its own, with its own key. The token is requested through
the supervisor, which alone holds the task's Airflow token. The form of a received token is checked before it becomes a
header. The token is hidden from Airflow's logs before it can be used, and never written anywhere.
"""

import base64
import json
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Protocol

from authz.airflow.egress import task_sdk
from authz.airflow.egress.credential import Credential, SharedCredential
from authz.airflow.egress.errors import UnavailableError
from authz.airflow.egress.run_key import RunKey, base64url
from authz.airflow.egress.task_sdk import Task

IDENTITY = "X-Run-Identity"
PROOF = "X-Run-Proof"
HEADERS = (IDENTITY, PROOF)
_NAME = "__run_identity__/v1"
_PROXY = "proxy"
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_TOKEN = 8192
_LONGEST_LIFE_S = 3600

Ask = Callable[[str, Task], str]


class Identity(Protocol):
    """Makes the identity headers of a call."""

    def headers(self, method: str, url: str, *, refused: str = "") -> dict[str, str]:
        """The headers for one request; `refused` is the token that the gate has just refused, if any. May block."""
        ...

    async def aheaders(self, method: str, url: str, *, refused: str = "") -> dict[str, str]:
        """The same, for coroutines."""
        ...


class RunIdentity:
    """The identity of the running task's calls. `RunIdentity.current()` returns it; it is thread-safe."""

    def __init__(self, task: Task, *, ask: Ask = task_sdk.ask, hide: task_sdk.Hide = task_sdk.hide) -> None:
        self.task = task
        self.pid = os.getpid()
        self._ask = ask
        self._hide = hide
        self._key = RunKey()
        self._bound = SharedCredential(lambda: self._fetch(self._key.thumbprint))
        self._proxy = SharedCredential(lambda: self._fetch(_PROXY))

    @staticmethod
    def current() -> "RunIdentity":
        """The identity of the task that runs in this process.

        Raises:
            NoRunError: there is none.
        """
        return RunIdentity.of(task_sdk.running())

    @staticmethod
    def of(task: Task) -> "RunIdentity":
        """The identity of this task, which runs in this process."""
        return _CURRENT.of(task)

    def headers(self, method: str, url: str, *, refused: str = "") -> dict[str, str]:
        """The identity headers for one request, with a proof of its own.

        Raises:
            EgressError: there is no identity; the message says why.
        """
        return self._proved(method, url, self._bound.get(refused=refused).token)

    async def aheaders(self, method: str, url: str, *, refused: str = "") -> dict[str, str]:
        """The same, for coroutines."""
        return self._proved(method, url, (await self._bound.aget(refused=refused)).token)

    def level(self) -> str:
        """The highest level that the gate will report: `verified` or `asserted`."""
        return self._bound.get().level

    def proxy(self) -> Credential:
        """The token of the proxy form: anyone who reads it can use it, for some minutes."""
        return self._proxy.get()

    async def aproxy(self) -> Credential:
        """The same, for coroutines."""
        return await self._proxy.aget()

    def proxy_renews_in(self) -> float:
        """Seconds until the token of the proxy form should be requested again."""
        return self._proxy.renews_in()

    def _proved(self, method: str, url: str, token: str) -> dict[str, str]:
        proof = self._key.prove(method=method, url=url, token=token, now=time.time())
        return {IDENTITY: f"DPoP {token}", PROOF: proof}

    def _fetch(self, form: str) -> Credential:
        run: dict[str, Any] = {
            "d": self.task.dag_id,
            "r": self.task.run_id,
            "t": self.task.task_id,
            "m": self.task.map_index,
            "n": self.task.try_number,
        }
        claimed = base64url(json.dumps(run, separators=(",", ":")).encode())
        credential = _read(self._ask(f"{_NAME}/{form}/{claimed}", self.task))
        for ending in endings(credential.token):
            self._hide(ending)
        return credential

    def __repr__(self) -> str:
        return f"RunIdentity({self.task})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a run identity cannot be pickled, copied or returned from a task: it belongs to one process")


def endings(token: str) -> tuple[str, str]:
    """The part that makes a token usable, plain and as in Basic credentials: hiding it from logs is enough.

    Airflow's masker keeps all that it was ever given and recompiles it each time: with whole tokens, a day's renewals
    would take seconds each.
    """
    signature = token.rpartition(".")[2]
    basic = base64.b64encode(f"run:{token}".encode()).decode()
    return signature, basic[-len(signature) :]


def is_compact(token: str) -> bool:
    """Whether it has the form of a signed token (RFC 7515 §3.1), which also makes it a safe header."""
    return len(token) <= _LONGEST_TOKEN and _COMPACT.fullmatch(token) is not None


def _read(text: str) -> Credential:
    try:
        fields = json.loads(text)
        credential = Credential(token=fields["token"], lives_s=float(fields["expires_in"]), level=str(fields["level"]))
        good = is_compact(credential.token)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UnavailableError("The gate's answer is not a run identity token.") from None
    if not good or not 0 < credential.lives_s <= _LONGEST_LIFE_S:
        raise UnavailableError("The gate's answer is not a run identity token.")
    return credential


class _Current:
    """The identity of this process, made on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._identity: RunIdentity | None = None

    def of(self, task: Task) -> RunIdentity:
        with self._lock:
            if self._identity is None or self._identity.task != task or self._identity.pid != os.getpid():
                self._identity = RunIdentity(task)
            return self._identity

    def forget(self) -> None:
        """For a forked child: the key is the parent's, and a thread that does not exist here may hold the lock."""
        self.__init__()  # type: ignore[misc]


_CURRENT = _Current()
os.register_at_fork(after_in_child=_CURRENT.forget)


def token_of(headers: Mapping[str, str]) -> str:
    """The token in identity headers; "" where there is none."""
    return headers.get(IDENTITY, "").partition(" ")[2]
