"""Splits a set of combinations into boxes: sets of values, one for each side, all combinations of which are in it.

Law: exact. Each combination is in exactly one box, and each combination of a box's values is in the set. What is said
side by side ("create, delete, DAG x, y") is then true of every pair.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

Box = tuple[frozenset[str], ...]


def boxes(combinations: Iterable[tuple[str, ...]]) -> Iterator[Box]:
    """The boxes; values of the first side that combine alike are together, and so on."""
    rests: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for first, *rest in combinations:
        rests[first].add(tuple(rest))
    alike: dict[frozenset[tuple[str, ...]], set[str]] = defaultdict(set)
    for first, combined in rests.items():
        alike[frozenset(combined)].add(first)
    for others, firsts in alike.items():
        if others == {()}:
            yield (frozenset(firsts),)
        else:
            yield from ((frozenset(firsts), *box) for box in boxes(others))
