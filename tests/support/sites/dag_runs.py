"""DAG runs of an `AirflowSite` that has a scheduler: triggered, waited for, read.

run = DagRun(site, "three")
assert run.wait() == "success"
assert run.xcom("user") == 7
"""

import time
from urllib.parse import quote

ENDS_S = 180  # on a busy machine
POLL_S = 0.2
OVER = {"success", "failed"}


class DagRun:
    """One run; making it triggers it."""

    def __init__(self, site, client, dag_id, conf=None):
        self.dag_id = dag_id
        self._site = site
        self._client = client
        answer = self._client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf or {}})
        assert answer.status_code == 200, answer.text
        self.run_id = answer.json()["dag_run_id"]
        self.path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(self.run_id, safe='')}"

    @property
    def state(self):
        return self._get("")["state"]

    @property
    def tasks(self):
        """What Airflow says of each task instance, by task id and map index."""
        found = self._get("/taskInstances")["task_instances"]
        return {(one["task_id"], one["map_index"]): one for one in found}

    def wait(self, timeout_s=ENDS_S):
        """Its state once it is over."""
        self.until(lambda: self.state in OVER, timeout_s)
        return self.state

    def until(self, check, timeout_s=ENDS_S):
        end = time.monotonic() + timeout_s
        while not check():
            self._site.children.check()
            assert time.monotonic() < end, {key: one["state"] for key, one in self.tasks.items()}
            time.sleep(POLL_S)

    def xcom(self, task_id, map_index=-1):
        """What the task has returned."""
        where = f"/taskInstances/{task_id}/xcomEntries/return_value?map_index={map_index}&deserialize=true"
        return self._get(where)["value"]

    def log(self, task_id, *, map_index=-1, try_number=1):
        """The text of the task's log file."""
        index = f"/map_index={map_index}" if map_index >= 0 else ""
        path = f"dag_id={self.dag_id}/run_id={self.run_id}/task_id={task_id}{index}/attempt={try_number}.log"
        return (self._site.task_logs / path).read_text()

    def _get(self, below):
        answer = self._client.get(self.path + below)
        assert answer.status_code == 200, answer.text
        return answer.json()
