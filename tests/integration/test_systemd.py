"""From the wheel to a gate behind Envoy as `scripts/install-systemd` installs them, under a real systemd."""

import contextlib
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from authz.core import assertion
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY, token
from tests.e2e.raw_http import exchange, request
from tests.support.factories.tokens import make_key
from tests.support.missing import skip_or_fail
from tests.support.ports import loopback
from tests.support.simulators.idp import IdP
from tests.support.systemd_machine import SYSTEMD, Machine

ROOT = Path(__file__).resolve().parents[2]
SHARE = "/opt/authz/share/airflow-envoy-authz"
KEY = make_key("ES256", kid="k1")
UNPRIVILEGED = "0000000000000000"
PORTS_BELOW_1024 = "0000000000000400"  # CAP_NET_BIND_SERVICE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


class Site:
    """A machine with the units, this process's provider and upstream beside it."""

    def __init__(self, machine, folder):
        self.machine = machine
        self.upstream = EchoUpstream()
        self.authority = Authority(folder)
        self.settings = yaml.safe_load((ROOT / "deploy" / "authz.yaml").read_text())
        self.admin, self.listen = loopback(), loopback()

    def write(self, path, content):
        target = self.machine.file(path)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())

    def configure(self, idp):
        """Only what differs from one site to another."""
        self.settings["admin"]["listen"] = self.admin
        envoy = self.settings["envoy"]
        envoy["admin"] = loopback()
        envoy["inbound"]["listen"] = self.listen
        envoy["inbound"]["upstreams"][0]["address"] = self.upstream.address
        self.settings["assertion"]["keys"] = ["/run/credentials/authz.service/gate_assertion.pem"]
        self.write("/etc/authz/authz.yaml", yaml.safe_dump(self.settings))
        self.write("/etc/authz/policy.yaml", POLICY.format(issuer=idp.url))
        pair = self.authority.issue("gate.test")
        self.write("/etc/authz/credentials/envoy/tls.crt", pair.certificate.read_bytes())
        self.write("/etc/authz/credentials/envoy/tls.key", pair.key.read_bytes())
        self.write("/etc/authz/credentials/gate/assertion.pem", assertion.generate_pem())
        self.token = token(KEY, iss=idp.url)

    def get(self, target, *headers):
        host, _, port = self.listen.rpartition(":")
        tls = ssl.create_default_context(cafile=self.authority.ca)
        return exchange((host, int(port)), request(target, *headers), tls=tls)

    def is_ready(self):
        with contextlib.suppress(OSError, httpx.TransportError):
            ready = httpx.get(f"http://{self.admin}/readyz").status_code == 200
            return ready and self.get("/api/v2/monitor/health").status == 200
        return False

    def install(self, *arguments):
        return self.machine.ran(f"{SHARE}/scripts/install-systemd", *arguments)

    def processes(self, unit):
        """`/proc/PID/status` of each process of a unit, as a mapping."""
        group = self.machine.ran("systemctl", "show", "--property=ControlGroup", "--value", unit).strip()
        for pid in self.machine.ran("cat", f"/sys/fs/cgroup{group}/cgroup.procs").split():
            lines = self.machine.ran("cat", f"/proc/{pid}/status").splitlines()
            yield {name: value.split() for name, _, value in (line.partition(":") for line in lines)}

    def journal(self, unit):
        return self.machine.ran("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if not SYSTEMD.exists():
        skip_or_fail("systemd is not installed: scripts/system-packages installs it")
    folder = tmp_path_factory.mktemp("systemd")
    (folder / "dist").mkdir()
    with Machine(folder, folder / "dist") as machine:
        if machine.refused:
            pytest.skip(f"this machine lets no systemd start: {machine.refused}")
        wanted = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        if machine.run("python3", "-c", wanted).returncode:
            skip_or_fail("the system's python3 is not 3.11 or later with venv")
        subprocess.run([sys.executable, ROOT / "scripts" / "dist.py", folder / "dist"], check=True, capture_output=True)
        shutil.copy(ROOT / "scripts" / "install-systemd", folder / "dist")
        yield machine


@pytest.fixture(scope="module")
def site(machine, tmp_path_factory):
    """Installed as docs/howto/systemd.md says, configured and started."""
    (wheel,) = machine.file("/mnt/given").glob("airflow_envoy_authz-*.whl")
    machine.ran("python3", "-m", "venv", "/opt/authz")
    machine.ran("/opt/authz/bin/pip", "install", "--quiet", "--no-deps", f"/mnt/given/{wheel.name}")
    site = Site(machine, tmp_path_factory.mktemp("site"))
    site.first = site.install(f"/mnt/given/{wheel.name}")
    with IdP([KEY]) as idp:
        site.configure(idp)
        machine.ran("systemctl", "enable", "--now", "authz", "authz-envoy", "authz-audit.timer")
        try:
            wait_for(site.is_ready, "gate and Envoy are not ready", pause=time.sleep, seconds=120)
        except AssertionError as error:
            error.add_note(machine.ran("journalctl", "--no-pager"))
            raise
        yield site
    site.upstream.close()


def test_what_the_policy_allows_passes_and_nothing_else(site):
    site.upstream.reset()
    assert site.get("/api/v2/dags", f"Authorization: Bearer {site.token}").status == 200
    assert site.upstream.only.target == "/api/v2/dags"
    site.upstream.reset()
    assert site.get("/api/v2/dags").status == 401
    assert site.upstream.requests == []


def test_each_process_is_unprivileged_and_confined(site):
    for unit, user, capabilities in (
        ("authz.service", "authz", UNPRIVILEGED),
        ("authz-envoy.service", "authz-envoy", PORTS_BELOW_1024),
    ):
        number = site.machine.ran("id", "--user", user).strip()
        found = list(site.processes(unit))
        assert found
        for status in found:
            assert status["Uid"] == [number] * 4
            assert (status["CapEff"], status["CapBnd"]) == ([capabilities], [capabilities])
            assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])


def test_keys_that_are_brought_are_credentials_and_others_are_made(site):
    made = {path.name for path in site.machine.file("/var/lib/authz").iterdir()}
    assert "audit-key.pem" in made
    assert "assertion.pem" not in made
    pem = site.machine.file("/etc/authz/credentials/gate/assertion.pem").read_bytes()
    (shown,) = httpx.get(f"http://{site.admin}/jwks.json").json()["keys"]
    assert shown["kid"] == assertion.load_signing_key(pem).kid


def test_installed_again_nothing_changes_and_nothing_is_restarted(site):
    pids = site.machine.ran("systemctl", "show", "--property=MainPID", "authz", "authz-envoy")
    lines = site.install().splitlines()
    assert {line.split()[0] for line in lines} == {"unchanged", "kept"}
    assert "wrote /etc/systemd/system/authz.service" in site.first
    assert site.machine.ran("systemctl", "show", "--property=MainPID", "authz", "authz-envoy") == pids


def test_the_log_is_verified_against_the_last_verification(site):
    machine = site.machine

    def checkpoint():
        return machine.file("/var/log/authz/audit/checkpoint").read_bytes()

    site.write("/etc/authz/audit.keys", machine.ran("/opt/authz/bin/authz", "audit", "key", "/var/log/authz/audit"))
    site.write("/etc/authz/audit.env", 'AUDIT_OPTIONS="--key /etc/authz/audit.keys"\n')
    machine.ran("systemctl", "start", "authz-audit")
    machine.ran("cp", "--archive", "/var/log/authz/audit", "/var/log/authz/older")
    before = checkpoint()
    site.get("/api/v2/dags")
    wait_for(lambda: checkpoint() != before, "no new checkpoint", pause=time.sleep)
    machine.ran("systemctl", "start", "authz-audit")
    assert "it continues /var/lib/authz-audit/checkpoint" in site.journal("authz-audit")
    assert "the keys are those in the log's own folder" not in site.journal("authz-audit")
    machine.ran("systemctl", "stop", "authz")
    assert machine.ran("systemctl", "show", "--property=Result", "--value", "authz") == "success\n"
    machine.ran("mv", "/var/log/authz/audit", "/var/log/authz/newer")
    machine.ran("systemctl", "start", "authz-audit")  # no log: skipped
    machine.ran("cp", "--archive", "/var/log/authz/older", "/var/log/authz/audit")
    assert machine.run("systemctl", "start", "authz-audit").returncode == 1
    assert "it was cut or rolled back" in site.journal("authz-audit")
    assert machine.run("systemctl", "is-failed", "authz-audit").returncode == 0


def test_removed_it_leaves_what_is_yours_and_purged_nothing(site):
    removed = site.install("--remove")
    assert "removed /opt/authz\n" in removed
    assert "kept /var/log/authz\n" in removed
    assert site.machine.run("systemctl", "is-active", "authz-envoy").returncode != 0
    assert site.machine.run("systemctl", "cat", "authz").returncode != 0
    kept = ("/etc/authz/authz.yaml", "/etc/authz/credentials/envoy/tls.key", "/var/lib/authz/audit-key.pem")
    assert [path for path in kept if not site.machine.file(path).exists()] == []
    site.machine.ran("/mnt/given/install-systemd", "--purge")
    assert site.machine.ran("find", "/etc", "/var", "/opt", "/dev", "-name", "*authz*") == ""
    assert site.machine.run("id", "authz").returncode != 0
