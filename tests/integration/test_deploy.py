"""The files in deploy/: settings that load and render, a unit that systemd accepts."""

import os
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from authz import settings
from authz.envoy_config.provider import complete
from authz.envoy_config.render import render, to_yaml
from authz.settings import endpoints
from tests.support.missing import skip_or_fail

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def test_the_settings_load_and_render():
    made = settings.load(DEPLOY / "authz.yaml")
    text = to_yaml(render(complete(made, "authz.yaml")))
    for endpoint in endpoints.of_all(made.listen, made.worker_count):
        assert endpoint.removeprefix("unix:/run/authz/") in text


def analyzed(*command):
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed: scripts/system-packages installs it")
    return subprocess.run(["systemd-analyze", *command], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("place", "program"),
    [
        ("systemd/authz.service", "/opt/authz/bin/authz"),
        ("systemd/authz-envoy.service", "/opt/authz/bin/"),
        ("systemd/authz-audit.service", "/opt/authz/bin/authz"),
        ("shippers/syslog-ng/authz-ship.service", "/usr/sbin/syslog-ng"),
    ],
)
def test_systemd_accepts_the_unit(place, program, tmp_path):
    text = (DEPLOY / place).read_text()
    assert program in text
    unit = tmp_path / Path(place).name
    unit.write_text(re.sub(r"=(/opt/authz/bin|/usr/sbin)/\S+", "=/bin/true", text))
    complaints = [line for line in analyzed("verify", unit).stderr.splitlines() if f"/{unit.name}" in line]
    assert complaints == []
    broken = tmp_path / "broken.service"
    broken.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps"))
    assert "protect home" in analyzed("verify", broken).stderr, "the check above would not have noticed a mistake"


@pytest.mark.parametrize("name", ["authz", "authz-envoy", "authz-audit"])
def test_the_unit_is_exposed_to_little(name):
    said = analyzed("security", "--offline=true", "--no-pager", DEPLOY / "systemd" / f"{name}.service").stdout
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= 2.0


def test_the_timer_starts_the_verification(tmp_path):
    for name in ("authz-audit.timer", "authz-audit.service"):
        shutil.copy(DEPLOY / "systemd" / name, tmp_path)
    checked = analyzed("verify", tmp_path / "authz-audit.timer").stderr
    assert [line for line in checked.splitlines() if "authz-audit.timer" in line] == []


def test_files_are_installed_below_another_root_and_removed_from_it(tmp_path):
    """What images are built with: nothing of this machine is read, changed or started."""
    if os.geteuid() != 0 or shutil.which("systemd-sysusers") is None:
        skip_or_fail("it needs root and systemd-sysusers: scripts/system-packages installs it")

    def ran(*options):
        command = [ROOT / "scripts" / "install-systemd", "--root", tmp_path, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    (tmp_path / "etc").mkdir()
    assert f"wrote {tmp_path}/etc/systemd/system/authz.service" in ran()
    assert "authz-envoy:" in (tmp_path / "etc" / "passwd").read_text()
    assert stat.S_IMODE((tmp_path / "etc/authz/credentials/envoy").stat().st_mode) == 0o700
    (tmp_path / "etc/authz/authz.yaml").write_text("mine")
    (tmp_path / "etc/systemd/system/authz.service").write_text("older")
    again = ran()
    assert [line for line in again if line.startswith("wrote")] == [
        f"wrote {tmp_path}/etc/systemd/system/authz.service"
    ]
    assert (tmp_path / "etc/authz/authz.yaml").read_text() == "mine"
    assert f"kept {tmp_path}/etc/authz" in ran("--remove")
    assert not list(tmp_path.glob("etc/*/**/authz*.service"))
    assert (tmp_path / "etc/authz/authz.yaml").exists()
    assert f"removed {tmp_path}/etc/authz" in ran("--purge")
    assert not (tmp_path / "etc/authz").exists()
