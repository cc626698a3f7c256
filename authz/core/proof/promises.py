"""Which entries of `never` a new policy no longer says: what is not forbidden any more need not be allowed yet.

Law: what is written is compared, and nothing is proven. An entry is kept if one of the new ones is, by its words, about
at least the same and excepts no one more. One that is not kept may be said otherwise, by other patterns or by several
entries: a person compares.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from authz.core.policy.patterns import Glob, HostPattern, PathPattern
from authz.core.proof.never import Invariant

_LISTS: Final = ("roles", "operations", "dags", "destinations", "hosts", "paths", "methods", "tasks")
_EVERY: Final = frozenset({"*", "/**"})

_Content = tuple[tuple[frozenset[str], ...], frozenset[str], frozenset[str], bool]


class Lost(NamedTuple):
    """An entry of the old policy that the new one does not say.

    `weaker`: an entry of that name is there, and these of its keys say less; () if there is none.
    """

    entry: Invariant
    weaker: tuple[str, ...] = ()


def lost(old: Iterable[Invariant], new: Iterable[Invariant]) -> list[Lost]:
    """The entries that are not kept, in their order."""
    now = [(one.name, _content(one)) for one in new]
    same = {content for _name, content in now}
    found = ((one, _content(one)) for one in old)
    return [*_lost([(one, content) for one, content in found if content not in same], now)]


def _lost(changed: Iterable[tuple[Invariant, _Content]], now: Sequence[tuple[str, _Content]]) -> Iterator[Lost]:
    for one, content in changed:
        left = [(name, tuple(_weaker(content, other))) for name, other in now]
        if all(weaker for _name, weaker in left):
            yield Lost(one, min((weaker for name, weaker in left if name == one.name), key=len, default=()))


def _content(one: Invariant) -> _Content:
    """What an entry says, as texts."""
    lists = tuple(frozenset(map(_text, getattr(one.rule, key))) for key in _LISTS)
    return lists, frozenset(one.rule.planes), one.excepted, one.anonymous


def _text(word: str | Glob | HostPattern | PathPattern) -> str:
    return word if isinstance(word, str) else word.text


def _weaker(old: _Content, new: _Content) -> Iterator[str]:
    """The keys by which the new entry may not be about all that the old one is about."""
    (before, planes, excepted, anonymous), (after, planes_now, excepted_now, anonymous_now) = old, new
    if not planes <= planes_now:
        yield "plane"
    for key, some, all_of in zip(_LISTS, before, after, strict=True):
        if all_of and not (some and (some <= all_of or not _EVERY.isdisjoint(all_of))):
            yield key
    if not excepted_now <= excepted or anonymous > anonymous_now:
        yield "except"
