"""Queries to Airflow's Task SDK: which task runs here, and the gate's answer through the supervisor.

Law: the supervisor is asked with the SDK's own message, never with `Variable.get`: so no other secrets backend sees the
name, nothing is cached or logged on the way, and a refusal is not mistaken for "not found". The call blocks, and is
never made on the thread of an event loop. Processes that a task has forked share the supervisor's socket: they ask one
after another.
"""

import contextlib
import errno
import fcntl
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from authz.airflow.egress.errors import EgressError, NoRunError, NotServedError, RefusedError, UnavailableError

Hide = Callable[[str], None]
FORK_WAIT_S = 5.0
_REFUSALS = (401, 403)
_NO_WAY = (
    "The supervisor of {} cannot be reached from this process: Airflow's connection to it is missing in children of"
    " `multiprocessing` and in programs that a task starts. Make the call in the task's own process, or through its"
    " proxy variables."
)
_LEAD = "Point the workers' [core] execution_api_server_url at the gate's execution listener."


class Task(NamedTuple):
    """The try of a task instance that runs in this process."""

    id: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int

    def __str__(self) -> str:
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{index}, run {self.run_id}, try {self.try_number}"


def running() -> Task:
    """The task that runs in this process.

    Raises:
        NoRunError: there is none.
    """
    from airflow.sdk import get_current_context  # noqa: PLC0415 Airflow's own import time is not ours

    try:
        return task_of(get_current_context()["ti"])
    except (RuntimeError, KeyError):
        raise NoRunError(
            "No task is running here, so there is no run to identify. Calls through the gate are made while a task"
            " runs: not while a DAG is parsed, not by a command, not in the triggerer and not after the task's end."
        ) from None


def task_of(instance: Any) -> Task:
    """The try of Airflow's task instance."""
    index = getattr(instance, "map_index", None)
    return Task(
        id=str(instance.id),
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        task_id=instance.task_id,
        map_index=-1 if index is None else index,
        try_number=instance.try_number,
    )


def ask(key: str, task: Task) -> str:
    """The value of the variable `key`, as the server behind the worker's execution API answers.

    Raises:
        EgressError: there is no value; the message says why, as far as the SDK passes it on.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError  # noqa: PLC0415 see above
    from airflow.sdk.execution_time import task_runner  # noqa: PLC0415
    from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult  # noqa: PLC0415

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if comms is None:
        raise NoRunError(_NO_WAY.format(task))
    _one_at_a_time(type(comms))
    try:
        with _TURN.taken():
            answer = comms.send(GetVariable(key=key))
    except AirflowRuntimeError as error:
        raise _error_of(error.error, task) from None
    except OSError as error:
        if error.errno in {errno.ENOTSOCK, errno.EBADF}:  # `multiprocessing` closes descriptor 0, which Airflow uses
            raise NoRunError(_NO_WAY.format(task)) from None
        raise UnavailableError(f"The supervisor of {task} does not answer: {type(error).__name__}.") from None
    except EOFError as error:
        raise UnavailableError(f"The supervisor of {task} does not answer: {type(error).__name__}.") from None
    if isinstance(answer, ErrorResponse):
        raise _error_of(answer, task)
    if not isinstance(answer, VariableResult) or answer.key != key or answer.value is None:
        raise UnavailableError(f"The supervisor of {task} answered something else ({type(answer).__name__}).")
    return str(answer.value)


def hide(secret: str) -> None:
    """Have Airflow replace this text in the logs of the task and of its supervisor."""
    from airflow.sdk.log import mask_secret  # noqa: PLC0415 see above

    with _TURN.taken():
        mask_secret(secret)


def _error_of(answer: Any, task: Task) -> EgressError:
    """What the supervisor's error means for an identity."""
    detail = answer.detail or {}
    status = detail.get("status_code")
    kind = getattr(answer.error, "value", str(answer.error))
    if kind == "PERMISSION_DENIED" or status in _REFUSALS:
        why = _gates_word(detail.get("detail")) or "see its decision log or the supervisor's debug log"
        return RefusedError(f"The gate refused a run identity to {task} (HTTP {status or 403}): {why}.")
    if kind == "VARIABLE_NOT_FOUND":
        return NotServedError(f"Airflow itself was asked for the run identity of {task}, not the gate. {_LEAD}")
    why = _gates_word(detail.get("detail")) or f"{detail.get('message') or kind}"
    return UnavailableError(
        f"The run identity of {task} is not available now (HTTP {status or 'without answer'}): {why}."
    )


def _gates_word(body: Any) -> str:
    """Reason, sentence and decision of the gate's denial, where the SDK passes the body on."""
    if isinstance(body, dict) and isinstance(body.get("detail"), dict):
        body = body["detail"]
    if not isinstance(body, dict) or "decision_id" not in body:
        return ""
    return f"{body.get('error')}: {str(body.get('message', '')).rstrip('.')} (decision {body['decision_id']})"


def _one_at_a_time(comms: Any) -> None:
    """Airflow 3.1 has no lock around a message and its answer: threads would read each other's answers."""
    if hasattr(comms, "_thread_lock") or hasattr(comms.send, "locked"):
        return
    lock = threading.RLock()
    bare = comms.send

    @functools.wraps(bare)
    def send(self: Any, msg: Any) -> Any:
        with lock:
            return bare(self, msg)

    send.locked = True  # type: ignore[attr-defined]
    comms.send = send


class _Turn:
    """Turns at the supervisor's socket: one thread at a time, across all processes that a task has forked.

    A fork waits for the end of a turn: else the SDK's own lock would be held in the child, with no owner. It does not
    wait for ever, because the turn may wait for an event loop that the fork blocks. Between processes it is a record
    lock, which is the process's own even on an inherited descriptor. Airflow's own calls do not take turns.
    """

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._file = -1
        self._forking = threading.local()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        with self._threads:
            if self._file < 0:
                yield
                return
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)

    def before_fork(self) -> None:
        self._forking.waited = self._threads.acquire(timeout=FORK_WAIT_S)
        if self._file < 0 and hasattr(os, "memfd_create"):
            self._file = os.memfd_create("run-identity")

    def after_fork(self) -> None:
        if self._forking.waited:
            self._threads.release()

    def in_child(self) -> None:
        self._threads = threading.Lock()


_TURN = _Turn()
os.register_at_fork(before=_TURN.before_fork, after_in_parent=_TURN.after_fork, after_in_child=_TURN.in_child)
