"""The space of all requests, as coarse as two policies allow: what no pattern of theirs tells apart is one.

Law: exact for these policies, and only for them. A method, a depth of a path or an assurance level is left out only
where no rule of either policy can tell it from one that is in. Where the policies have two catalogues, a target is what
both make of a request (`upgrades`); else it is a route.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache, reduce
from operator import or_
from typing import Final

from authz.core.catalogue import ANY_DAG, Catalogue
from authz.core.model import Level, Plane
from authz.core.policy.compiled import Policy
from authz.core.policy.operations import Words, is_native, words_for
from authz.core.policy.overlap import Segment, Shape, symbol_beside
from authz.core.policy.patterns import PathPattern
from authz.core.policy.reach import Overlaps
from authz.core.policy.rules import Effect, Rule
from authz.core.policy.targets import Target, targets
from authz.core.proof.upgrades import is_changed, is_of, together
from authz.core.request.path import METHODS

_HEAD: Final = "HEAD"
_GET: Final = "GET"


class Space:
    """What two policies, the newer one last, tell apart on one plane, and `also` further rules."""

    def __init__(self, plane: Plane, *policies: Policy, also: Iterable[Rule] = ()) -> None:
        every = [*(rule for policy in policies for rule in policy.rules.values()), *also]
        self._rules = [rule for rule in every if plane in rule.planes]
        self._old, self._new = policies[0].catalogue, policies[-1].catalogue
        self.named = Named(self._new)
        self.named_before = self.named if self._old is self._new else Named(self._old)
        self._plane = plane
        self._depths: dict[Shape, tuple[tuple[Segment, ...], ...]] = {}

    @cached_property
    def symbol(self) -> str:
        """A character that no pattern of these rules holds: it stands for whatever a `*` or a `{x}` matches."""
        texts = {text for rule in self._rules for text in rule.destinations}
        texts.update(path.text for rule in self._rules for path in rule.paths)
        texts.update(glob.text for rule in self._rules for glob in (*rule.dags, *rule.tasks))
        return symbol_beside("".join(texts))

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods to ask about. HEAD is GET to all rules, unless one names it.

        On egress, where no catalogue has methods, one stands for all that no rule names.
        """
        named = {method for rule in self._rules for method in rule.methods}
        others = sorted(METHODS - named - {_HEAD}, key=lambda method: (method != _GET, method))
        wanted = {*(METHODS & named), *(others if self._plane is Plane.INBOUND else others[:1])}
        return tuple(sorted(wanted, key=lambda method: (method != _GET, method)))  # people try GET first

    @cached_property
    def targets(self) -> tuple[Target, ...]:
        """Routes, on the inbound plane: of those that no rule tells apart, the first one."""
        return tuple(alike[0] for alike in self.alike.values())

    @cached_property
    def changed(self) -> tuple[Target, ...]:
        """Those of `targets` about which two catalogues differ."""
        return tuple(target for target in self.targets if is_changed(target, self._old, self._new))

    @cached_property
    def _changed(self) -> frozenset[tuple[str, str, str]]:
        return frozenset(map(_key, self.changed))

    def is_changed(self, method: str, template: str, was: Target | None) -> bool:
        """Whether two catalogues differ about one of `targets`."""
        return was is not None and (method, template, was.template) in self._changed

    def like(self, method: str, template: str, was: Target | None) -> list[Target]:
        """The routes that no rule tells from this one."""
        return self._like[method, template, was.template if was is not None else ""]

    @cached_property
    def _like(self) -> dict[tuple[str, str, str], list[Target]]:
        return {_key(target): members for members in self.alike.values() for target in members}

    @cached_property
    def every(self) -> tuple[Target, ...]:
        """The routes of the inbound plane with methods to ask about."""
        if self._plane is not Plane.INBOUND:
            return ()
        found = targets(self._new) if self._old is self._new else together(self._old, self._new)
        return tuple(target for target in found if target.method in self.methods)

    @cached_property
    def alike(self) -> dict[object, list[Target]]:
        """The routes by what rules can tell apart: operation, method, path and how they name DAGs."""
        every = self.every
        if not every:
            return {}
        used = {word for rule in self._rules for word in rule.operations}
        by_method = any(rule.methods for rule in self._rules)
        known = _taken(every, self._old, self._new, self.symbol)
        by_path = reduce(or_, map(known.overlaps.of, self._inbound_paths()), known.missed)
        distinguished = self._distinguishing(self._new, used)
        before = distinguished if self._old is self._new else self._distinguishing(self._old, used)
        found: dict[object, list[Target]] = {}
        for number, target in enumerate(every):
            key = (
                distinguished(target),
                self._told_before(target, before),
                target.method if by_method else "",
                known.path(number) if by_path >> number & 1 else None,
            )
            found.setdefault(key, []).append(target)
        for members in found.values():  # people know the API better than pages of the UI or of FAB
            members.sort(key=lambda target: not is_native(target.template))
        return found

    def _told_before(self, target: Target, distinguished: Callable[[Target], object]) -> object:
        """What rules can tell of a target in the other catalogue, and whether that is another thing."""
        if target.was is None:
            return None
        only_there = "" if target.template else target.was.template  # it is reported by its path
        changed = is_changed(target, self._old, self._new)
        return changed, distinguished(target.was), target.dag_at == target.was.dag_at, only_there

    @staticmethod
    def _distinguishing(table: Catalogue, used: set[str]) -> Callable[[Target], object]:
        """What rules can distinguish of a route in its catalogue, of rules that use these words."""
        words = {name: frozenset(used.intersection(words_for(one))) for name, one in table.operations.items()}

        def distinguished(target: Target) -> object:
            if not target.operation:
                return None
            never = table.operations[target.operation].never
            return words[target.operation], never, target.dag_at >= 0, target.any_dag, target.narrowed

        return distinguished

    def _inbound_paths(self) -> Iterator[PathPattern]:
        seen = set()
        for path in (path for rule in self._rules for path in rule.paths):
            if path.key not in seen:
                seen.add(path.key)
                yield path

    @cached_property
    def levels(self) -> tuple[Level | None, ...]:
        """The assurance levels of the calling run to ask about, None for no run."""
        return (None, *Level) if self.about_runs else (None, Level.VERIFIED)

    @cached_property
    def about_runs(self) -> bool:
        """Whether rules tell runs apart; else one level stands for all."""
        return any(rule.dags or rule.tasks or rule.identity for rule in self._rules)

    def depths(self, shape: Shape) -> tuple[tuple[Segment, ...], ...]:
        """Paths of a fixed length that stand for the shape: of each length that some pattern tells from the others."""
        if not shape.rest:
            return (shape.segments,)
        found = self._depths.get(shape)
        if found is None:
            found = self._depths[shape] = tuple(self._filled(shape))
        return found

    def _filled(self, shape: Shape) -> Iterator[tuple[Segment, ...]]:
        least = len(shape.segments) + 1
        for length in sorted({least} | {length for length in self._lengths if length > least}):
            begun = (*shape.segments, *[None] * (length - least))
            yield (*begun, None)
            yield (*begun, "")

    @cached_property
    def _lengths(self) -> frozenset[int]:
        """The lengths at which some pattern or route begins or ends to match."""
        shapes = [(len(path.segments), path.rest) for rule in self._rules for path in rule.paths]
        shapes += [(len(target.shape.segments), target.shape.rest) for target in self._ends]
        return frozenset(length + step for length, rest in shapes for step in ((1,) if rest else (0, 1)))

    @cached_property
    def _ends(self) -> Sequence[Target]:
        """The routes of both catalogues: paths of their lengths are asked about."""
        return self.targets if self._old is self._new else [*targets(self._old), *targets(self._new)]


def _key(target: Target) -> tuple[str, str, str]:
    return target.method, target.template, target.was.template if target.was is not None else ""


class _Taken:
    """Which routes may take requests from each other. `missed` has those that a lookup of any path of theirs misses."""

    def __init__(self, every: tuple[Target, ...], old: Catalogue, new: Catalogue, symbol: str) -> None:
        self._every = every
        self._paths: dict[int, object] = {}
        self.overlaps = Overlaps([target.shape for target in every])
        found = (_is_found(target, old, new, symbol) for target in every)
        self.missed = sum(1 << number for number, is_found in enumerate(found) if not is_found)

    def path(self, number: int) -> object:
        """The path of a target, and those of others that may take requests from it, or it from them."""
        if number not in self._paths:
            target, near = self._every[number], self.overlaps.of(self._every[number].shape)
            others = (other for at, other in enumerate(self._every) if near >> at & 1)
            alike = frozenset(other.shape for other in others if other.method == target.method)
            self._paths[number] = target.shape, alike
        return self._paths[number]


_taken: Final = lru_cache(maxsize=16)(_Taken)  # it says nothing of policies, and takes longer than most of them


def _is_found(target: Target, old: Catalogue, new: Catalogue, symbol: str) -> bool:
    """Whether a lookup finds this route for paths that have nothing to do with other routes."""
    paths = [tuple(symbol if segment is None else str(segment) for segment in target.shape.segments)]
    for at in {one.dag_at for one in (target, target.was) if one is not None and one.dag_at >= 0}:
        paths += [(*path[:at], ANY_DAG, *path[at + 1 :]) for path in paths]
    rest = [symbol] * target.shape.rest
    return all(is_of(target, (*path, *rest), old, new) for path in paths)


class Named:
    """The operations that rules are about in one catalogue."""

    def __init__(self, table: Catalogue) -> None:
        self._words = Words(table)
        self._sets: dict[tuple[tuple[str, ...], bool], frozenset[str]] = {}

    def by(self, rule: Rule) -> frozenset[str]:
        """The operations that the rule names, or all that need no name."""
        deny = rule.effect is Effect.DENY
        question = rule.operations or ("*",), deny
        if question not in self._sets:
            self._sets[question] = self._words.stand_for(question[0], never=deny)
        return self._sets[question]
