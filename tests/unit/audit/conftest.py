"""A folder where many files are synced."""

import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")  # noqa: S108 the folder is made with a name of its own


@pytest.fixture
def in_memory(tmp_path):
    """A folder in memory where there is one: syncing there costs nothing, and a kill leaves the same."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY, prefix="authz-test-") as folder:
        yield Path(folder)
