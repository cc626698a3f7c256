"""Lines that someone wrote to be passed over, or to take memory."""

import random
import tracemalloc
from pathlib import Path

import pytest

from authz.core.record import record_in
from authz.core.traffic.selection import Selection
from authz.ops.log_reader import Block
from authz.ops.log_sieve import Sieve

OWN = b'"id":"%024x","time":"2026-11-30T08:00:00.000000Z","dag":"sales"' % 7


@pytest.mark.parametrize(
    ("line", "selection"),
    [
        (b'{"v":1,"type":"outcome","type":"decision",' + OWN + b"}", Selection()),
        (b'{"v":1,"type":"access",' + OWN + b',"type":"decision"}', Selection()),
        (
            b'{"v":1,"type":"decision",' + OWN + b',"time":"2026-11-28T08:00:00.000000Z"}',
            Selection(until="2026-11-29T00:00:00.000000Z"),
        ),
    ],
)
def test_a_line_that_says_a_field_twice_is_not_passed_over(line, selection):
    """The last one counts (`orjson`), for the definition `Selection.matches` too."""
    kind, record = record_in(line)
    assert kind == "decision"
    assert selection.matches(record)
    block = Block(Path("log"), 1, line)
    assert [found for _, found in Sieve(selection).lines(block)] == [line]


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
