"""Pauses Python's cyclic garbage collector while many long-lived objects are made.

Law: only around work that leaves no cycles. While a hundred thousand rules are made, the collector would look at all of
them many times and find nothing, which takes as long as making them.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """Pause collection during the block."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
