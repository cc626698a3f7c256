"""The engines keep their contract whoever reads the sockets; gRPC is told once per process, so in another process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from authz.engine.poller import choose_poller

CONTRACT = Path(__file__).with_name("test_engine.py")
# Over plain TCP, where a stranger can flood, gRPC's own threads read; see authz/engine/poller.py.
NOT_PROMISED = "not test_a_flood_of_frames_without_calls"


@pytest.mark.timeout(180)
def test_the_contract_holds_where_the_serving_thread_reads_the_sockets():
    settings = {}
    choose_poller(["unix:/one.sock"], client_ca=False, environment=settings)
    options = ["-q", "-k", NOT_PROMISED, "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *options, CONTRACT],
        env={**os.environ, **settings},
        cwd=CONTRACT.parents[2],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
