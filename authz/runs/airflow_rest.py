"""Asks Airflow's REST API whether a task instance is what it claims to be, and runs.

Law 1: everything about an answer is bounded before it is trusted: time (one deadline for all that one question takes),
size, and shape. No redirect is followed, no proxy of the environment is used, nothing is kept open.
Law 2: only "exactly this instance, in exactly this place, and running" is a yes. Ids are compared character by
character with Airflow's answer: its database may equate two spellings. Without an answer it is `airflow_unavailable`.
Law 3: a detail never quotes a body, a token or a header of an answer.
"""

import ssl
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpcore
import orjson

from authz.core.errors import FetchError
from authz.core.loopback import names_loopback
from authz.core.reasons import Reason
from authz.core.runs.task_lookup import TaskRef, TaskStatus
from authz.core.version import __version__
from authz.fetching.download import read_url, tls_of
from authz.fetching.guard import Deadline, GuardedBackend, Resolver, system_resolver
from authz.system.regular_file import read_regular

_PLAIN: Final = frozenset((string.ascii_letters + string.digits + "-._~").encode("ascii"))
_MOST_BYTES: Final = 1024 * 1024  # of an answer: rendered fields of a task may be large
_MOST_MAPPED: Final = 1000  # map indices searched for a more precise refusal
_MOST_TOKEN: Final = 64 * 1024
_OK: Final = 200
_NOT_FOUND: Final = 404
_RUNNING: Final = "running"
_NOT_MAPPED: Final = -1

Credentials = Callable[[], Mapping[str, str]]
"""Makes the headers of one question."""


class _NoAnswerError(Exception):
    """There is no answer that can be trusted; the text says why. Never leaves this module."""


def token_in(path: Path) -> Credentials:
    """Airflow's token in a file, which is read for every question: it may be replaced at any time."""

    def headers() -> Mapping[str, str]:
        try:
            token = read_regular(path, _MOST_TOKEN).strip().decode("ascii")
        except (OSError, ValueError):
            raise _NoAnswerError("the file with the token for Airflow cannot be read") from None
        return {"authorization": f"Bearer {token}"}

    return headers


class AirflowRest:
    """Asks one Airflow.

    Args:
        url: its origin and base path.
        credentials: what is sent to it.
        timeout_s: for one question, which may take several requests.
        ca: authority of its certificate, PEM; the system's when not given.
        resolver: the system's, unless a test passes its own.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        timeout_s: float,
        ca: str | None = None,
        resolver: Resolver = system_resolver,
    ) -> None:
        self._base = read_url(url)
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        self._ca = ca
        self._resolver = resolver

    def ask(self, claim: TaskRef) -> TaskStatus:
        """See `authz.runs.task_states.Airflow`."""
        deadline = Deadline(self._timeout_s)
        try:
            return self._judge(claim, deadline)
        except _NoAnswerError as error:
            return TaskStatus(Reason.AIRFLOW_UNAVAILABLE, detail=str(error))
        except FetchError as error:
            return TaskStatus(Reason.AIRFLOW_UNAVAILABLE, detail=error.detail)

    def _judge(self, claim: TaskRef, deadline: Deadline) -> TaskStatus:
        place = _place(claim)
        if not place:
            return TaskStatus(Reason.RUN_MISMATCH, detail="no task can have these ids")
        mapped = "" if claim.map_index == _NOT_MAPPED else f"/{claim.map_index}"
        found = self._get(place + mapped, deadline)
        if found is None:
            return self._elsewhere(claim, place, deadline) or TaskStatus(
                Reason.RUN_MISMATCH, detail="Airflow knows no such task instance"
            )
        if not _is_at(found, claim):
            return TaskStatus(Reason.RUN_MISMATCH, detail="Airflow's task instance has ids other than those asked for")
        number = found.get("try_number")
        if type(number) is not int or number < 1:
            raise _NoAnswerError("Airflow's answer has no try number")
        if found.get("id") != claim.instance:
            return self._whose(claim, place, number, deadline)
        return _standing(claim, number, found.get("state"))

    def _whose(self, claim: TaskRef, place: str, current: int, deadline: Deadline) -> TaskStatus:
        """The refusal of another instance's token: of another try, of another map index, or of anything else."""
        try:
            elsewhere = self._elsewhere(claim, place, deadline)
            if elsewhere is not None:
                return elsewhere
            if claim.try_number != current and self._had_tries(claim, place, current, deadline):
                return TaskStatus(Reason.RUN_OTHER_TRY, detail=f"the task is at try {current}")
        except _NoAnswerError:
            pass  # it is refused either way, only for a less precise reason
        return TaskStatus(Reason.RUN_MISMATCH, detail="Airflow has another id for this task instance")

    def _elsewhere(self, claim: TaskRef, place: str, deadline: Deadline) -> TaskStatus | None:
        """The refusal if the token is that of another map index of the same task."""
        try:
            listed = self._get(f"{place}/listMapped?limit={_MOST_MAPPED}", deadline)
        except _NoAnswerError:
            return None
        for item in _items(listed):
            if item.get("id") == claim.instance and item.get("map_index") != claim.map_index:
                return TaskStatus(
                    Reason.RUN_OTHER_MAP_INDEX, detail=f"the token is that of {_word(item.get('map_index'))}"
                )
        return None

    def _had_tries(self, claim: TaskRef, place: str, current: int, deadline: Deadline) -> bool:
        """Whether the task has had the try that is claimed, or any other if none is claimed."""
        mapped = "" if claim.map_index == _NOT_MAPPED else f"/{claim.map_index}"
        tries = {item.get("try_number") for item in _items(self._get(f"{place}{mapped}/tries", deadline))}
        return claim.try_number in tries if claim.try_number is not None else bool(tries - {current})

    def _get(self, path: str, deadline: Deadline) -> dict[str, Any] | None:
        """The JSON object at an Airflow path; None if there is none (404)."""
        base = self._base
        target = f"{base.target.rstrip('/')}/api/v2/{path}"
        url = httpcore.URL(scheme=base.scheme, host=base.host.strip("[]"), port=base.port, target=target)
        headers = {
            "host": base.authority,
            "accept": "application/json",
            "accept-encoding": "identity",
            "connection": "close",
            "user-agent": f"airflow-envoy-authz/{__version__}",
            **self._credentials(),
        }
        here = base.scheme == "http" and names_loopback(base.host)  # the name says so; a DNS server may say otherwise
        backend = GuardedBackend(deadline=deadline, loopback=True, resolver=self._resolver, only_here=here)
        try:
            with (
                httpcore.ConnectionPool(
                    ssl_context=self._context(), network_backend=backend, max_connections=1
                ) as pool,
                pool.stream("GET", url, headers=list(headers.items())) as response,
            ):
                if response.status == _NOT_FOUND:
                    return None
                if response.status != _OK:
                    raise _NoAnswerError(f"Airflow answers with status {response.status}")
                body = bytearray()
                for chunk in response.iter_stream():
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise _NoAnswerError(f"Airflow answers with more than {_MOST_BYTES} bytes")
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise _NoAnswerError(f"Airflow cannot be asked: {type(error).__name__}") from None
        return _object(bytes(body))

    def _context(self) -> ssl.SSLContext | None:
        if self._base.scheme == "http":
            return None
        if self._tls is None:
            self._tls = tls_of(self._ca)
        return self._tls


def _place(claim: TaskRef) -> str:
    """The path of a task instance below `/api/v2/`; "" if it would be another path after decoding."""
    names = (claim.dag_id, claim.run_id, claim.task_id)
    if any("/" in name or name in {".", "..", "~"} for name in names):
        return ""
    dag, run, task = (_encoded(name) for name in names)
    return f"dags/{dag}/dagRuns/{run}/taskInstances/{task}"


def _encoded(name: str) -> str:
    """One path segment (RFC 3986 §3.3), everything but letters, digits and a few marks escaped."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode("utf-8", "surrogatepass"))


def _is_at(found: Mapping[str, Any], claim: TaskRef) -> bool:
    """Whether the task instance has exactly the ids that are claimed."""
    said = (found.get("dag_id"), found.get("dag_run_id"), found.get("task_id"), found.get("map_index"))
    return said == (claim.dag_id, claim.run_id, claim.task_id, claim.map_index) and type(said[3]) is int


def _standing(claim: TaskRef, number: int, state: object) -> TaskStatus:
    """The result for the task instance that the token belongs to."""
    if claim.try_number is not None and claim.try_number != number:
        return TaskStatus(Reason.RUN_OTHER_TRY, detail=f"the task is at try {number}")
    if state != _RUNNING:
        return TaskStatus(Reason.RUN_ENDED, detail=f"its state is {_word(state)}")
    return TaskStatus(None, number)


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _NoAnswerError("Airflow's answer is not JSON") from None
    if not isinstance(value, dict):
        raise _NoAnswerError("Airflow's answer is not a JSON object")
    return value


def _items(listed: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    found = (listed or {}).get("task_instances")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _word(value: object) -> str:
    """Airflow's state or map index, shortened for a message."""
    return ascii(value)[:40]
