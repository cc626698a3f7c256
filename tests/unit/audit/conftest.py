"""A folder where many files are synced."""

import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def in_memory(tmp_path):
    """A folder in memory where there is one: syncing there costs nothing, and a kill leaves the same."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="authz-test-") as folder:
        yield Path(folder)
