import pytest

from tests.attacks.firing_range import Range
from tests.e2e.stack import Stack


@pytest.fixture(scope="package")
def lane(tmp_path_factory):
    """One stack for all attacks, so that what they leave in the logs can be read at the end (d-30)."""
    with Stack(tmp_path_factory.mktemp("attacks")) as stack:
        yield Range(stack)
