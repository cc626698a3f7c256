"""Lets Python's collector of cycles rest while many objects are made that stay.

Law: only around work that leaves no cycles. While a hundred thousand rules are made, the collector would look at all of
them many times and find nothing, which takes as long again as making them.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def resting() -> Iterator[None]:
    """No collections for the time of the block."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
