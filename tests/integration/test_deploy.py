"""The files in deploy/: settings that load and render, a unit that systemd accepts."""

import shutil
import subprocess
from pathlib import Path

import pytest

from authz import settings
from authz.envoy_config.provider import complete
from authz.envoy_config.render import render, to_yaml
from authz.settings import endpoints
from tests.support.missing import skip_or_fail

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_settings_load_and_render():
    made = settings.load(DEPLOY / "authz.yaml")
    text = to_yaml(render(complete(made, "authz.yaml")))
    for endpoint in endpoints.of_all(made.listen, made.worker_count):
        assert endpoint.removeprefix("unix:/run/authz/") in text


@pytest.mark.parametrize(
    ("place", "program"),
    [
        ("systemd/authz.service", "/opt/authz/.venv/bin/authz"),
        ("shippers/syslog-ng/authz-ship.service", "/usr/sbin/syslog-ng"),
    ],
)
def test_systemd_accepts_the_unit(place, program, tmp_path):
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed: scripts/system-packages installs it")
    text = (DEPLOY / place).read_text()
    assert program in text
    unit = tmp_path / Path(place).name
    unit.write_text(text.replace(program, "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in checked.stderr.splitlines() if f"/{unit.name}" in line]
    assert complaints == []
    broken = tmp_path / "broken.service"
    broken.write_text(unit.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", broken], capture_output=True, text=True, timeout=60, check=False
    )
    assert "protect home" in checked.stderr, "the check above would not have noticed a mistake"
