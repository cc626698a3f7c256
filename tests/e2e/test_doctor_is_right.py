"""What `authz doctor` calls a way around the gate is one, in a real Envoy; and what it does not, is none.

One Envoy with a listener for each variant of a configuration. Its authorizer is not there, so nothing passes that is
checked.
"""

import json
import subprocess

import pytest
import yaml
from click.testing import CliRunner

from authz.cli.main import main
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import newest, wait_for
from tests.e2e.raw_http import exchange, request
from tests.support.doctor_envoy import VARIANTS, bootstrap, listener
from tests.support.ports import free_port, loopback

pytestmark = pytest.mark.e2e


class Running:
    """Envoy with all variants, in front of one upstream."""

    def __init__(self, folder, upstream):
        self.upstream = upstream
        self.ports = {name: free_port() for name in VARIANTS}
        self.admin = free_port()
        made = [variant.at(self.ports[name], name) for name, variant in VARIANTS.items()]
        runtime = {key: value for variant in VARIANTS.values() for key, value in variant.runtime.items()}
        config = bootstrap(
            *made,
            upstream=upstream.address,
            gate=loopback(),
            admin={"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
            layered_runtime={"layers": [{"name": "fixed", "static_layer": runtime}]},
        )
        self.path = folder / "envoy.yaml"
        self.path.write_text(yaml.safe_dump(config))
        self.log = folder / "envoy.log"

    def __enter__(self):
        command = [newest(), "-c", self.path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(self._ready, "Envoy is not ready", pause=self._pause)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def _ready(self):
        try:
            return exchange(("127.0.0.1", self.admin), request("/ready", "Connection: close")).status == 200
        except OSError:
            return False

    def _pause(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(self.log.read_text())

    def passes(self, name):
        variant = VARIANTS[name]
        self.upstream.reset()
        upgrade = ["Connection: Upgrade", "Upgrade: websocket"] if variant.upgrade else ["Connection: close"]
        headers = (*variant.headers, *upgrade)
        exchange(("127.0.0.1", self.ports[name]), request(variant.path, *headers))
        if variant.passes:  # a mirrored request may come after the answer
            wait_for(lambda: self.upstream.requests, "nothing came", pause=self._pause)
        return bool(self.upstream.requests)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with EchoUpstream() as upstream, Running(tmp_path_factory.mktemp("envoy"), upstream) as running:
        yield running


def doctor(*arguments):
    ended = CliRunner().invoke(main, ["doctor", *arguments, "--json"])
    return ended.exit_code, json.loads(ended.stdout)


@pytest.mark.parametrize("name", VARIANTS)
def test_envoy_lets_a_request_around_the_gate_exactly_where_it_was_expected(running, name):
    assert running.passes(name) is VARIANTS[name].passes


@pytest.mark.parametrize("name", VARIANTS)
def test_doctor_names_the_ways_around_the_gate_and_no_others(running, name, tmp_path):
    variant = VARIANTS[name]
    checked = listener(name="checked", port=8081)
    config = bootstrap(
        checked, variant.at(8080), layered_runtime={"layers": [{"name": "fixed", "static_layer": variant.runtime}]}
    )
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    status, found = doctor("--proxy", str(path))
    errors = {one["id"] for one in found if one["severity"] == "error"}
    assert errors == variant.found
    assert status == (1 if running.passes(name) else 0)


def test_doctor_finds_the_same_when_it_asks_the_running_envoy(running):
    status, found = doctor("--envoy-admin", f"http://127.0.0.1:{running.admin}")
    assert status == 1
    named = {one["where"].split("`")[1] for one in found if one["severity"] == "error"}
    assert named == {name for name, variant in VARIANTS.items() if variant.passes}
