"""A gate that signs its log, for chaos: two real workers, small files, and what its log has of the answers that left.

Law: what is compared with the log are the answers that clients got, not what the gate says of itself.
"""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import MappingProxyType

from authz import settings as settings_file
from bench.chaos_clients import Checks, until
from tests.e2e.gate import POLICY, Gate, now, token
from tests.support.factories.tokens import make_key
from tests.support.rigs.service import message

KEY = make_key("ES256", kid="k1")
WORKERS = 2
_AUTHZ = Path(sys.executable).with_name("authz")
_ID = re.compile(rb'"id":"([0-9a-f]+)"')
_SETTINGS = """
version: 1
workers: {workers}
policy: policy.yaml
listen: ["{{listen}}"]
admin: {{{{listen: "127.0.0.1:{{admin}}"}}}}
assertion: {{{{issuer: "https://gate.test", keys: [assertion.pem]}}}}
audit:
  on_failure: {on_failure}
  log: {log}
  keys: [audit.pem]
  spool: {spool}
  checkpoints: {{{{every: 500ms, records: 1000}}}}
  files: {{{{max_bytes: 8MiB}}}}
keys: {{{{refresh: 60s, min_interval: 1s, timeout: 2s}}}}
shutdown: {{{{drain_delay: 300ms, drain_grace: 3s}}}}
log: {{{{level: warning}}}}
"""


class ChaosGate(Gate):
    """Not started yet.

    Args:
        folder: for its files.
        idp: the provider of its tokens.
        log: the folder of the signed log; default: in `folder`.
        spool: that of the spool; default: in memory, as the product chooses.
        on_failure: of the section `audit`.
        env: more environment variables.
    """

    def __init__(self, folder, idp, *, log="audit", spool="", on_failure="deny", env=MappingProxyType({})):
        self.audit, self._idp, self._env = folder / log, idp, env
        settings = _SETTINGS.format(workers=WORKERS, on_failure=on_failure, log=log, spool=spool or '""')
        super().__init__(folder, idp, settings=settings, policy=POLICY)

    def start(self, *, ready=True):
        """Start, in a process group of its own, and wait until it is ready."""
        with self.log.open("ab") as log:
            command = [_AUTHZ, "serve", "--settings", self.settings]
            env = {**os.environ, **self._env}
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, process_group=0
            )
        if ready:
            until(self._ready_or_gone, f"the gate is not ready: see {self.log}")

    def _ready_or_gone(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the gate ended with status {self.process.returncode}: {self.log.read_text()[-2000:]}")
        return self.is_ready()

    def clients(self, answers, rate):
        """One for each worker: each asks for what is allowed and for what is not."""
        bearer = token(KEY, iss=self._idp.url, exp=now() + 3500)
        headers = [("authorization", f"Bearer {bearer}".encode())]
        asked = [message(headers=headers), message("DELETE", "/api/v2/dags/sales_daily", headers=headers)]
        places = [endpoint.removeprefix("unix:") for endpoint in self.endpoints]
        return [Checks(place, asked, rate / len(places), answers) for place in places]

    def end(self, number=signal.SIGTERM):
        """Stop in order; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40)

    def forget(self):
        """Remove the spool, which is in memory and outlives the gate."""
        shutil.rmtree(settings_file.load(self.settings).spool, ignore_errors=True)

    def signed_at(self):
        """When the log's checkpoint was written last."""
        return (self.audit / "checkpoint").stat().st_mtime_ns

    def reasons(self):
        """What `/readyz` says is wrong."""
        return self.get("/readyz").json().get("reasons", [])


class Log:
    """What is in the folder of a log."""

    def __init__(self, folder):
        self.folder = folder
        self.ids, self.gaps = Counter(), 0
        for path in sorted(folder.glob("decisions*.jsonl*")):
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rb") as lines:
                for line in lines:
                    self._take(line)

    def _take(self, line):
        if b'"type":"decision"' in line:
            self.ids[_ID.search(line)[1].decode()] += 1
        elif b'"event":"gap"' in line:
            self.gaps += json.loads(line)["count"]

    @property
    def doubled(self):
        return sum(count > 1 for count in self.ids.values())

    def without(self, ids):
        """How many of these are not in the log."""
        return sum(name not in self.ids for name in ids)

    def verified(self):
        """The exit status of `authz audit verify`."""
        command = [_AUTHZ, "audit", "verify", self.folder]
        return subprocess.run(command, capture_output=True, timeout=300, check=False).returncode
