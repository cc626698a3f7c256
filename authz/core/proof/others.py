"""The rules of one plane and one effect, asked which of them apply to a request: all that do, and not only the first.

Law: the engine's own index answers. It gives the smallest id of the rules that apply; of the same rules in the opposite
order it gives the last one. Only where both are of no interest, halves of the rules are asked, and halves of these.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final, NamedTuple

from authz.core.catalogue import Catalogue, Route
from authz.core.decision.decide import applying
from authz.core.model import Plane
from authz.core.policy.index import Index, Keys
from authz.core.policy.rules import Effect, Rule
from authz.core.proof.points import Point

MOST_SORTED: Final = 300_000
"""Rules put into the indexes of halves, each of which takes some ten microseconds. Beyond that, no more are made."""


class Question(NamedTuple):
    """A request of a caller with these roles; `route` is the request's."""

    at: Point
    route: Route | None
    roles: Keys

    def of(self, rules: Index) -> str:
        """The smallest id of the rules that apply, or ""."""
        at = self.at
        return applying(rules, at.request, at.run, self.route, at.shown, roles=self.roles)


class Others:
    """Rules of one plane and effect."""

    def __init__(self, rules: Sequence[Rule], plane: Plane, effect: Effect, catalogue: Catalogue) -> None:
        self._rules = sorted(rules, key=lambda rule: rule.id)
        self._plane, self._effect, self._catalogue = plane, effect, catalogue
        self._whole = _Part(self, 0, len(self._rules))
        self.sorted = 0

    def index(self, rules: Sequence[Rule]) -> Index:
        """An index of some of the rules."""
        return Index(rules, plane=self._plane, effect=self._effect, catalogue=self._catalogue)

    def between(self, begin: int, end: int) -> Sequence[Rule]:
        """The rules at these positions."""
        return self._rules[begin:end]

    def are(self, these: Collection[str]) -> bool:
        """Whether there are no others than these."""
        return all(rule.id in these for rule in self._rules)

    @cached_property
    def _backward(self) -> Index:
        last = len(self._rules) - 1
        return self.index([replace(rule, id=f"{last - at:09}") for at, rule in enumerate(self._rules)])

    def beside(self, these: Collection[str], question: Question) -> Iterator[str]:
        """Ids of rules that apply, but for these; the first and the last one, or, if both are of these, all others."""
        first = question.of(self._whole.index)
        if not first:
            return
        last = self._rules[-1 - int(question.of(self._backward))].id
        found = [one for one in dict.fromkeys((first, last)) if one not in these]
        if found or first == last:
            yield from found
        else:
            yield from (one for one in self._whole.each(question) if one not in these)

    def all(self, question: Question) -> Iterator[str]:
        """The ids of all rules that apply, until too many indexes are needed."""
        return self._whole.each(question)


class _Part:
    """Some of the rules, and their halves."""

    def __init__(self, others: Others, begin: int, end: int) -> None:
        self._others, self._begin, self._end = others, begin, end

    @cached_property
    def index(self) -> Index:
        """The index of the part's rules."""
        return self._others.index(self._others.between(self._begin, self._end))

    @cached_property
    def _halves(self) -> tuple["_Part", ...]:
        middle = (self._begin + self._end) // 2
        if self._others.sorted > MOST_SORTED:
            return ()
        self._others.sorted += self._end - self._begin
        return _Part(self._others, self._begin, middle), _Part(self._others, middle, self._end)

    def each(self, question: Question) -> Iterator[str]:
        """The ids of the part's rules that apply."""
        found = question.of(self.index) if self._begin < self._end else ""
        if not found:
            return
        if self._end - self._begin == 1:
            yield found
            return
        for half in self._halves:
            yield from half.each(question)
