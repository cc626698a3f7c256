"""Lines that someone wrote to take memory."""

import random
import tracemalloc
from pathlib import Path

from authz.core.traffic.selection import Selection
from authz.ops.log_reader import Block
from authz.ops.log_sieve import Sieve


def test_what_a_search_remembers_is_bounded_whatever_braces_names_have():
    """A task asks for a connection of any name: each access of these has other braces."""
    draw = random.Random(1)  # noqa: S311
    sieve = Sieve(Selection())
    tracemalloc.start()
    for _ in range(10):
        names = [f"{draw.getrandbits(330):0330b}".translate({48: "{}", 49: "}{"}) for _ in range(500)]
        lines = "\n".join(f'{{"v":1,"type":"access","id":"x","name":"{name}"}}' for name in names)
        list(sieve.lines(Block(Path("log"), 1, lines.encode())))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_500_000
