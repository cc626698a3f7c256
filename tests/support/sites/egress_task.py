"""A task that runs in this process, with a supervisor that answers through the simulator: for tests of the client.

The supervisor's other half is imitated here, so that each of its failures can be had. The tests of integration have the
real one.
"""

import contextlib
import http.client
import json
import threading
import uuid
from types import SimpleNamespace

from airflow.sdk.definitions._internal import contextmanager
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable, VariableResult

from tests.support.simulators.egress import TASK_TOKEN


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
        with contextlib.closing(http.client.HTTPConnection(self.site.authority)) as connection:
            token = {"authorization": f"Bearer {TASK_TOKEN}"}
            connection.request("GET", f"/execution/variables/{message.key}", headers=token)
            response = connection.getresponse()
            body = response.read()
        if response.status == 200:
            return VariableResult.model_validate_json(body)
        return _as_the_supervisor(response.status, body, message.key)


def _as_the_supervisor(status, body, key):
    """`VariableOperations.get` and `handle_requests` of the Task SDK 1.3."""
    if status == 404:
        return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND, detail={"key": key})
    if status in {401, 403}:
        return ErrorResponse(error=ErrorType.PERMISSION_DENIED, detail={"key": key, "status_code": status})
    told = {"status_code": status, "message": "Server returned error", "detail": json.loads(body)}
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
