"""The routes of two catalogues, laid over each other: requests that both of them classify in one way each.

Law: exact. Each request of a route of either catalogue is one of exactly one target here: that of its route in the new
catalogue and its route in the old one. What matches the target's stand-in matches all its requests, and the order alone
chooses among the routes that match. So the stand-in shows which targets have requests at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Final

from authz.core.catalogue import Catalogue
from authz.core.policy.operations import words_for
from authz.core.policy.overlap import Segment, Shape, shapes, symbol_beside
from authz.core.policy.reach import Overlaps
from authz.core.policy.targets import Target, targets

_SYMBOL: Final = symbol_beside("")  # no template holds it


@cache
def together(old: Catalogue, new: Catalogue) -> tuple[Target, ...]:
    """The targets of both, as the new catalogue has them; `was` is what the old one has."""
    before, after = tuple(targets(old)), tuple(targets(new))
    deepest = max(len(target.shape.segments) for target in (*before, *after)) + 1
    return tuple(target for target in _pairs(before, after) if _is_found(target, old, new, deepest))


def _pairs(before: Sequence[Target], after: Iterable[Target]) -> Iterator[Target]:
    overlaps = Overlaps([target.shape for target in before])
    for target in after:
        near = overlaps.of(target.shape)
        others = [one for number, one in enumerate(before) if near >> number & 1 and one.method == target.method]
        for was in others:
            yield from (replace(target, shape=shape, was=was) for shape in shapes(target.shape, was.shape))
        yield replace(target, was=_nowhere(target))
    yield from (replace(_nowhere(was), was=was) for was in before)


def _nowhere(target: Target) -> Target:
    return Target(operation="", method=target.method, template="", shape=target.shape)


def _is_found(target: Target, old: Catalogue, new: Catalogue, deepest: int) -> bool:
    """Whether there are such requests. Below `deepest`, a path of a target that takes any rest is like one there."""
    begun = tuple(_SYMBOL if segment is None else str(segment) for segment in target.shape.segments)
    rests: Iterable[tuple[str, ...]] = [()]
    if target.shape.rest:
        more = [(_SYMBOL,) * count for count in range(deepest - len(begun) + 1)]
        rests = [(*rest, last) for rest in more for last in (_SYMBOL, "")]
    return any(is_of(target, (*begun, *rest), old, new) for rest in rests)


def is_of(target: Target, path: tuple[str, ...], old: Catalogue, new: Catalogue) -> bool:
    """Whether a request is one of the target's: other routes may take some of its paths."""
    if _template(new, path, target.method) != target.template:
        return False
    return target.was is None or _template(old, path, target.method) == target.was.template


def _template(table: Catalogue, path: tuple[str, ...], method: str) -> str:
    route = table.match(path, method)
    return route.template if route is not None else ""


def is_changed(target: Target, old: Catalogue, new: Catalogue) -> bool:
    """Whether the catalogues differ about it: equal rules of both then need not say the same."""
    return target.was is not None and _meaning(target, new) != _meaning(target.was, old)


def _meaning(target: Target, table: Catalogue) -> object:
    """All that rules and decisions can tell of a route."""
    if not target.operation:
        return None
    operation = table.operations[target.operation]
    return words_for(operation), operation.never, target.dag_at, target.any_dag, target.narrowed


def text_of(shape: Shape, template: str) -> str:
    """The paths of a shape that a template describes, as a pattern."""
    names = template[1:].split("/")
    words = [_word(segment, name) for segment, name in zip(shape.segments, names, strict=False)]
    words += [_word(segment, "{x}") for segment in shape.segments[len(words) :]]
    return "/" + "/".join([*words, *(["**"] if shape.rest else [])])


def _word(segment: Segment, name: str) -> str:
    if segment is None:
        return name if name.startswith("{") and ":" not in name else "{x}"
    return segment if isinstance(segment, str) else segment.text
