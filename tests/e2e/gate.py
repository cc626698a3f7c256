"""The real `authz serve` as a process, with its files in one folder, for as long as a test needs it."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from authz import settings as settings_file
from authz.serve.supervisor.worker_context import VARIABLE
from authz.settings import endpoints
from tests.e2e.envoy_harness import wait_for, whole_lines
from tests.support.factories.tokens import access_claims, sign
from tests.support.ports import free_port
from tests.support.simulators.idp import PATIENCE_S

POLICY = """
version: 1
issuers:
  - name: corp
    issuer: {issuer}
    audiences: {{inbound: [airflow], egress: [airflow-egress]}}
    algorithms: [RS256, ES256]
    max_lifetime: 1h
    username: preferred_username
    groups: [groups, realm_access.roles]
roles:
  viewer: {{groups: [data-readers]}}
  op: {{groups: [data-ops], includes: [viewer]}}
  sales-etl: {{clients: [sales-etl]}}
  copilot: {{clients: [copilot], agent: true}}
rules:
  - {{id: health, public: true, plane: inbound, operations: ["health:read"]}}
  - {{id: readers, plane: inbound, roles: [viewer], operations: ["dags:read", "dag_runs:read"]}}
  - {{id: operators, plane: inbound, roles: [op], operations: ["pools:*", "variables:*", "connections:*"]}}
  - {{id: sales-trigger, plane: inbound, roles: [sales-etl], operations: ["dag_runs:create"], dags: ["sales_*"]}}
  - {{id: copilot-reads, plane: inbound, roles: [copilot], operations: ["dags:*"]}}
  - id: orders
    plane: egress
    roles: [sales-etl]
    hosts: [orders.internal]
    methods: [GET]
    paths: ["/v1/orders", "/v1/orders/{{id}}"]
  - {{id: agents-never-delete, deny: true, roles: [copilot], methods: [DELETE]}}
"""

SETTINGS = """
version: 1
workers: 1
policy: policy.yaml
listen: ["{listen}"]
admin: {{listen: "127.0.0.1:{admin}"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
log: {{decisions: decisions.jsonl}}
keys: {{refresh: 60s, min_interval: 1s, timeout: 2s}}
shutdown: {{drain_delay: 500ms}}
"""


def now():
    return int(time.time())


def token(key, **changes):
    """A good access token for this very moment, with changes."""
    headers = changes.pop("headers", None)
    return sign(access_claims(**{"iat": now() - 5, "exp": now() + 300, **changes}), key, headers)


class Gate:
    """Starts on entry, is ready then, and ends by its process handle on exit.

    `program` is another `authz` than this environment's: it runs in the gate's folder, away from this work tree.
    """

    def __init__(
        self, folder, idp, *, policy=POLICY, settings=SETTINGS, listen=None, ready=True, arguments=(), program=None
    ):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.listen = listen or f"unix:{self.folder}/authz.sock"
        self.admin = f"http://127.0.0.1:{(admin := free_port())}"
        self.policy = self.folder / "policy.yaml"
        self.policy.write_text(policy.format(issuer=idp.url))
        self.settings = self.folder / "authz.yaml"
        self.settings.write_text(settings.format(listen=self.listen, admin=admin))
        self.log = self.folder / "authz.log"
        self._wait_ready = ready
        self._arguments = arguments
        self.program = program
        self.process = None

    @property
    def endpoints(self):
        """Where the workers listen, as Envoy is told."""
        made = settings_file.load(self.settings)
        return endpoints.of_all(made.listen, made.worker_count)

    @property
    def workers(self):
        """The process ids of the workers by their index; one that is being replaced is not there."""
        return {context["index"]: pid for pid, context in self._children() if not context["writes_log"]}

    @property
    def writer(self):
        """The process id of the signed log's writer; None while there is none."""
        return next((pid for pid, context in self._children() if context["writes_log"]), None)

    def _children(self):
        """The processes that the supervisor has started, with their contexts."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError, ValueError, KeyError):
                told = dict(
                    item.split("=", 1) for item in Path(f"/proc/{child}/environ").read_text().split("\0") if item
                )
                yield int(child), json.loads(told[VARIABLE])

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.kill()  # else it outlives the test that it failed
            raise
        return self

    def __exit__(self, *_exc):
        self.stop()

    def start(self):
        with self.log.open("ab") as log:
            program = self.program or Path(sys.executable).with_name("authz")
            command = [program, "serve", "--settings", self.settings, *self._arguments]
            place = self.folder if self.program else None
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place)
        check = self.is_ready if self._wait_ready else self.is_up
        wait_for(check, f"the gate did not start: {self.log.read_text()}", pause=self._pause, seconds=60)

    def stop(self, timeout=30):  # on a busy machine; a test that promises less says so
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self):
        """`kill -9`, and its processes have ended too: they notice a moment later, and may still write until then."""
        workers = [os.pidfd_open(pid) for pid, _ in self._children()] if self.process.poll() is None else []
        self.process.kill()
        self.process.wait()
        for worker in workers:
            ended, _, _ = select.select([worker], [], [], 15)
            os.close(worker)
            assert ended, "a worker outlives its supervisor"

    def _pause(self, seconds):
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"the gate ended with status {status}: {self.log.read_text()}")

    def get(self, page, timeout=PATIENCE_S, **options):
        return httpx.get(self.admin + page, timeout=timeout, **options)

    def is_up(self):
        try:
            return self.get("/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def is_ready(self):
        try:
            return self.get("/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def until(self, check, what):
        wait_for(check, what, pause=self._pause)

    @property
    def decisions(self):
        path = self.folder / "decisions.jsonl"
        return [line for line in whole_lines(path) if line["type"] == "decision"] if path.exists() else []

    def decision(self, decision_id):
        """The one record with that id; the log is written a moment after the answer."""
        found = []

        def look():
            found[:] = [record for record in self.decisions if record["id"] == decision_id]
            return bool(found)

        self.until(look, f"no record of decision {decision_id}")
        assert len(found) == 1
        return found[0]

    def metric(self, sample):
        """The value of one line of /metrics, 0.0 without it."""
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0
