"""A task that runs in this process, with a supervisor that answers through the simulator: for tests of the client.

The supervisor's other half is imitated here, so that each of its failures can be had. The tests of integration have the
real one.
"""

import contextlib
import threading
import uuid
from types import SimpleNamespace

import httpx
from airflow.sdk.definitions._internal import contextmanager
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

from tests.egress_simulator import TASK_TOKEN


class Comms:
    """`SUPERVISOR_COMMS` of the task: one message and its answer at a time."""

    def __init__(self, site):
        self.site = site
        self.sent = []
        self.threads = set()
        self.fails = None
        self._thread_lock = threading.Lock()

    def send(self, message):
        self.threads.add(threading.get_ident())
        self.sent.append(message)
        if not isinstance(message, GetVariable):
            return None
        if self.fails is not None:
            raise self.fails
        url = f"{self.site.execution}variables/{message.key}"
        response = httpx.get(url, headers={"authorization": f"Bearer {TASK_TOKEN}"}, trust_env=False)
        if response.status_code == 200:
            return VariableResult.model_validate_json(response.content)
        return _as_the_supervisor(response, message.key)


def _as_the_supervisor(response, key):
    """`VariableOperations.get` and `handle_requests` of the Task SDK 1.3."""
    status = response.status_code
    if status == 404:
        return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": key})
    if status in {401, 403}:
        return ErrorResponse(error=ErrorType.PERMISSION_DENIED, detail={"key": key, "status_code": status})
    told = {"status_code": status, "message": "Server returned error", "detail": response.json()}
    raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=told))


def instance(**changes):
    """What Airflow calls a task instance, as far as it counts here."""
    made = {
        "id": uuid.uuid4(),
        "dag_id": "sales_daily",
        "run_id": "manual__1",
        "task_id": "extract",
        "map_index": -1,
        "try_number": 1,
    }
    return SimpleNamespace(**{**made, **changes})


@contextlib.contextmanager
def running(site, **changes):
    """Inside, a task runs; yields its comms."""
    comms = Comms(site)
    before = getattr(task_runner, "SUPERVISOR_COMMS", None)
    task_runner.SUPERVISOR_COMMS = comms
    contextmanager._CURRENT_CONTEXT.append({"ti": instance(**changes)})
    try:
        yield comms
    finally:
        contextmanager._CURRENT_CONTEXT.pop()
        if before is None:
            del task_runner.SUPERVISOR_COMMS
        else:
            task_runner.SUPERVISOR_COMMS = before
