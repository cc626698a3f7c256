"""Prometheus's programs, for tests: `promtool`, and a server that scrapes what a test started."""

import json
import shutil
import subprocess
import threading
from pathlib import Path

import httpx

from tests.e2e.envoy_harness import wait_for
from tests.support.missing import skip_or_fail
from tests.support.ports import loopback

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"


def needed(program):
    """The program's path. Without it the test is skipped, and fails where CI runs it."""
    found = shutil.which(program)
    if found is None:
        skip_or_fail(f"{program} is not installed: scripts/system-packages installs it")
    return found


def promtool(*arguments, text=None):
    """Run `promtool`; the exit status and what it printed."""
    ended = subprocess.run(
        [needed("promtool"), *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


class Prometheus:
    """A server with our rules that scrapes targets, given as pages by job, every quarter of a second."""

    def __init__(self, folder, targets):
        self.folder = Path(folder)
        self.address = loopback()
        self._log = self.folder / "prometheus.log"
        self._config = self.folder / "prometheus.yaml"
        jobs = []
        for name, url in targets.items():
            host, _, path = url.removeprefix("http://").partition("/")
            jobs.append({"job_name": name, "metrics_path": f"/{path}", "static_configs": [{"targets": [host]}]})
        quick = {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "500ms"}
        self._config.write_text(json.dumps({"global": quick, "rule_files": [str(RULES)], "scrape_configs": jobs}))

    def __enter__(self):
        command = [
            needed("prometheus"),
            f"--config.file={self._config}",
            f"--storage.tsdb.path={self.folder / 'tsdb'}",
            f"--web.listen-address={self.address}",
            "--log.level=warn",
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.until(self._ready, "Prometheus is not ready")
        except BaseException as error:
            error.add_note(self._log.read_text())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc):
        self.process.kill()
        self.process.wait()

    def until(self, check, what):
        wait_for(check, what, pause=threading.Event().wait)

    def get(self, path, **parameters):
        answer = httpx.get(f"http://{self.address}/api/v1/{path}", params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expression):
        """The numbers that an expression gives now."""
        return [float(one["value"][1]) for one in self.get("query", query=expression)["result"]]

    def _ready(self):
        assert self.process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"http://{self.address}/-/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False
