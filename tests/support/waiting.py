"""Waits for a condition that something else brings about, for a bounded time."""

import time

from tests.support.simulators.idp import PATIENCE_S


def wait_for(condition):
    """Return as soon as the condition holds; a failure if it does not within the tests' patience."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
