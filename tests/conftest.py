"""What tests need to run in two processes: names that both agree on, and groups that share what they start.

With `--numprocesses 2 --dist loadgroup`, tests with real Airflows, and the browsers that use them, stay in one process,
the other ones with real servers in another. The rest are handed out one by one.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
TOGETHER = {
    "airflow": ("browser", "integration", "parity", "runs"),
    "servers": ("attacks", "contracts", "e2e", "test_docs.py"),
}
GROUPS = {name: group for group, names in TOGETHER.items() for name in names}
LONGEST_IN_A_NAME = 40


def pytest_collection_modifyitems(items):
    for item in items:
        group = GROUPS.get(item.path.relative_to(HERE).parts[0])
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_make_parametrize_id(val, argname):
    """Long texts are often made of new keys: they differ from process to process, and say nothing in a name."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_IN_A_NAME else None
