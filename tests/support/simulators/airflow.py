"""An Airflow's REST API on a loopback port, as far as the gate asks it: task instances, tries, mapped instances.

with AirflowSimulator() as airflow:
    task = airflow.add("sales_daily", "run1", "extract")      running, try 1, an id of its own
    airflow.end(task, "success")
    airflow.misbehave(hanging)                                 see `tests.support.simulators.idp`
    assert airflow.count() == 1
"""

import http.server
import json
import threading
import uuid
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.support.simulators.idp import PATIENCE_S, LoopbackServer


@dataclass
class SimTask:
    """One try of one task instance, and what Airflow says of it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1
    state: str | None = "running"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def shown(self):
        return {
            "id": self.id,
            "dag_id": self.dag_id,
            "dag_run_id": self.run_id,
            "task_id": self.task_id,
            "map_index": self.map_index,
            "try_number": self.try_number,
            "state": self.state,
            "rendered_fields": {},
        }


class AirflowSimulator(LoopbackServer):
    """The server. `requests` lists the targets that were asked for, `headers` what was sent with them."""

    def __init__(self, *, tls=None):
        self.tasks = {}
        self.earlier = {}
        self.requests = []
        self.headers = []
        self.arrived = threading.Semaphore(0)
        self._misbehaviour = None
        super().__init__(_Handler, tls=tls)
        if tls is None:
            self.host = "127.0.0.1"

    def add(self, dag_id="sales_daily", run_id="run1", task_id="extract", **more):
        task = SimTask(dag_id, run_id, task_id, **more)
        self.tasks[dag_id, run_id, task_id, task.map_index] = task
        return task

    def try_again(self, task):
        """The next try of a task: another id, as Airflow does it."""
        place = (task.dag_id, task.run_id, task.task_id, task.map_index)
        self.earlier.setdefault(place, []).append(task)
        return self.add(*place[:3], map_index=task.map_index, try_number=task.try_number + 1)

    def misbehave(self, answer):
        """Answer everything with `answer(handler)` from now on."""
        self._misbehaviour = answer

    def hold(self, go):
        """Answer as ever, but not before `go` is set."""

        def answer(handler):
            assert go.wait(PATIENCE_S)
            self._usual(handler)

        self._misbehaviour = answer

    def behave(self):
        self._misbehaviour = None

    def count(self, part=""):
        return sum(part in target for target in self.requests)

    def until_asked(self):
        """Wait for one request that was not waited for yet."""
        assert self.arrived.acquire(timeout=PATIENCE_S), "nobody asks"

    def answer(self, handler):
        self.requests.append(handler.path)
        self.headers.append(dict(handler.headers))
        self.arrived.release()
        if self._misbehaviour is not None:
            self._misbehaviour(handler)
        else:
            self._usual(handler)

    def _usual(self, handler):
        found = self._find(handler.path)
        body = json.dumps({"detail": "not found"} if found is None else found).encode()
        handler.send_response(404 if found is None else 200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _find(self, target):
        parts = [unquote(part) for part in target.partition("?")[0].split("/")]
        if parts[:4] != ["", "api", "v2", "dags"] or parts[5] != "dagRuns" or parts[7] != "taskInstances":
            return None
        place, rest = (parts[4], parts[6], parts[8]), parts[9:]
        mapped = [task for key, task in sorted(self.tasks.items()) if key[:3] == place and key[3] >= 0]
        if rest == ["listMapped"]:
            shown = [task.shown() for task in mapped]
            return {"task_instances": shown, "total_entries": len(shown)} if shown else None
        index = int(rest.pop(0)) if rest and rest[0].lstrip("-").isdigit() else -1
        task = self.tasks.get((*place, index))
        if task is None:
            return None
        if rest == ["tries"]:
            listed = [*self.earlier.get((*place, index), []), task]
            shown = [{name: value for name, value in one.shown().items() if name != "id"} for one in listed]
            return {"task_instances": shown, "total_entries": len(shown)}
        return None if rest else task.shown()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.idp.answer(self)

    def log_message(self, *_):
        pass
