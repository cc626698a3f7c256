"""How tests are named and shared between processes, so that `make test` uses both cores."""

from xdist.scheduler import LoadFileScheduling

from tests.support.examples import share_by_default

LONGEST_IN_A_NAME = 40
# Folders whose tests share started parts (an Airflow, a broker, another user): one process runs them all.
TOGETHER = ("tests/runs/", "tests/browser/", "tests/attacks/")
# What takes longest begins first: else one process works on it while the other has nothing left.
LONGEST_FIRST = ("tests/runs/", "tests/browser/", "tests/integration/", "tests/e2e/", "tests/attacks/")

share_by_default()


class _ByParts(LoadFileScheduling):
    """The tests of a file, or of a folder of `TOGETHER`, run in one process: they share what is started for them."""

    def _split_scope(self, nodeid):
        path = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if path.startswith(folder)), path)


def pytest_xdist_make_scheduler(config, log):
    """`--dist loadfile` keeps what is started together; other ways to share tests are pytest-xdist's own."""
    return _ByParts(config, log) if config.option.dist == "loadfile" else None


def _place(item):
    ranks = [rank for rank, folder in enumerate(LONGEST_FIRST) if item.nodeid.startswith(folder)]
    return ranks[0] if ranks else len(LONGEST_FIRST)


def pytest_collection_modifyitems(items):
    """The longest folders first; the tests of a folder stay in their order."""
    items.sort(key=_place)


def pytest_make_parametrize_id(val, argname):
    """Long texts are often made of new keys: they differ from process to process, and say nothing in a name."""
    return argname if isinstance(val, str | bytes) and len(val) > LONGEST_IN_A_NAME else None
