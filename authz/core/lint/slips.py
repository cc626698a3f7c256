"""Finds names that only deny rules or entries of `never` have: perhaps a slip, and then they forbid nothing.

Law: that of `authz.core.lint.review`. A deny rule, and an entry of `never`, which is written like one, say the same
whether their names are right or not, so no test and no proof shows the slip. A name is reported where no rule that
allows has one that could be the same. Most guards are about what no rule allows yet: only a name that is nearly one of
those, or is about nothing that any rule could reach, is reported.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
from typing import Final, NamedTuple

from authz.core.catalogue import Catalogue
from authz.core.documents.wording import Vocabulary
from authz.core.errors import Problem
from authz.core.model import Plane
from authz.core.policy import Effect, Policy, Rule
from authz.core.policy.overlap import Segment, Shape, segments
from authz.core.policy.patterns import Glob, PathPattern
from authz.core.policy.reach import Overlaps
from authz.core.policy.targets import targets

_MOST_COMPARED: Final = 1000
"""Paths of allow rules that one path is compared with; of more, one is taken to be the same."""
_MOST_NEAR: Final = 200
"""Paths for which a near one is looked for, each in some hundred microseconds."""
_NOWHERE: Final = Shape(("",) * 2)  # a path that no request has
_WORDS: Final = 2
_EVERY: Final = "*"
_CHECK: Final = "check how it is written; if it is right, there is nothing to do"


class Slip(NamedTuple):
    """What a rule names and no other does; `near`: it is nearly a name that is there."""

    what: str
    hint: str
    near: bool


class Slips:
    """The names that rules allowing something have, and Airflow's routes.

    `by_settings`: settings say which destinations there are, and a name that they lack is an error.
    """

    def __init__(self, policy: Policy, *, by_settings: bool = False) -> None:
        self._policy = policy
        self._allowing = [rule for rule in policy.rules.values() if rule.effect is not Effect.DENY]
        self._by_settings = by_settings
        self._looked = 0
        self._globs: dict[tuple[str, frozenset[Plane]], _Globs] = {}

    def of(self, rule: Rule) -> Iterator[Slip]:
        """The slips of a deny rule, or of the one that says the same as an entry of `never`."""
        yield from self._of_destinations(rule)
        yield from self._of_globs("dags", rule, rule.dags, lambda one: one.dags)
        yield from self._of_globs("tasks", rule, rule.tasks, lambda one: one.tasks)
        yield from self.of_paths(rule)

    def _of_destinations(self, rule: Rule) -> Iterator[Slip]:
        known, anywhere = self._named_destinations
        for name in () if self._by_settings else rule.destinations:
            if name in known:
                continue
            near = self._near_destination.near(name)
            if near or not anywhere:
                yield Slip(
                    f"the destination `{name}`, which no rule that allows something names", near or _CHECK, bool(near)
                )

    @cached_property
    def _named_destinations(self) -> tuple[frozenset[str], bool]:
        """The destinations that rules allow, and whether some rule allows a call to any."""
        egress = [rule for rule in self._allowing if Plane.EGRESS in rule.planes]
        names = frozenset(name for rule in egress for name in rule.destinations)
        return names, any(not rule.destinations for rule in egress)

    @cached_property
    def _near_destination(self) -> Vocabulary:
        return Vocabulary(self._named_destinations[0])

    def _of_globs(
        self, key: str, rule: Rule, named: tuple[Glob, ...], of: Callable[[Rule], tuple[Glob, ...]]
    ) -> Iterator[Slip]:
        if not named:
            return
        question = key, rule.planes
        known = self._globs.get(question)
        if known is None:
            named_by = [of(one) for one in self._allowing if not one.planes.isdisjoint(rule.planes)]
            if key == "dags":  # those of teams are known, also where a team may do nothing
                named_by += [one.dags for one in self._policy.rules.values() if one.team and one.dags]
            known = self._globs[question] = _Globs(named_by)
        kind = "DAGs" if key == "dags" else "tasks"
        for glob in named:
            if not known.meets(glob):
                near = known.vocabulary.near(glob.text)
                if near or not known.any:
                    text = f"{kind} like `{glob.text}`, which no rule that allows something names"
                    yield Slip(text, near or _CHECK, bool(near))

    def of_paths(self, rule: Rule) -> Iterator[Slip]:
        """The paths of a rule of the inbound plane that are no routes of Airflow's, nor of a rule that allows paths."""
        if rule.operations or not (rule.planes == {Plane.INBOUND} or not self._egress):
            return  # with operations, a path that can never match is a mistake already
        for path in rule.paths:
            if self._routes.has(path) or (rule.effect is Effect.DENY and self._opened(path)):
                continue
            self._looked += 1
            near = self._routes.near(path) if self._looked <= _MOST_NEAR else ""
            if near or self._routes.below_airflow(path):
                hint = f"did you mean `{near}`?" if near else _CHECK
                yield Slip(
                    f"the path `{path.text}`, which is no route of Airflow {self._policy.catalogue.version}",
                    hint,
                    bool(near),
                )

    @cached_property
    def _egress(self) -> bool:
        return any(Plane.EGRESS in rule.planes for rule in self._allowing)

    @cached_property
    def _routes(self) -> "_Routes":
        return _routes_of(self._policy.catalogue)

    @cached_property
    def _paths(self) -> Overlaps | None:
        """What rules open by its path, such as the places of plugins; None if that is too much to compare."""
        inbound = (rule for rule in self._allowing if Plane.INBOUND in rule.planes and not rule.operations)
        opened = {_wide(path): None for rule in inbound for path in rule.paths}
        return Overlaps([*opened, _NOWHERE]) if len(opened) <= _MOST_COMPARED else None

    def _opened(self, path: PathPattern) -> bool:
        return self._paths is None or self._paths.of(path) != 0


def about_slips(policy: Policy, *, near: bool) -> Iterator[Problem]:
    """The slips of deny rules that are nearly other names (`near`), or all others, and those of allow rules' paths."""
    slips = Slips(policy)
    for rule in policy.rules.values():
        deny = rule.effect is Effect.DENY
        for slip in slips.of(rule) if deny else slips.of_paths(rule):
            if near is (slip.near and deny) and (deny or slip.near):
                message = f"the {'deny ' if deny else ''}rule `{rule.id}` names {slip.what}"
                yield Problem(*policy.place_of(rule), message, slip.hint)


def _wide(path: PathPattern) -> Shape:
    """The shape of a path, with any segment in place of a part of one."""
    return Shape(tuple(None if isinstance(one, Glob) else one for one in path.segments), path.rest)


class _Globs:
    """Patterns by their beginnings: the exact question would compare each with each."""

    def __init__(self, named: Iterable[tuple[Glob, ...]]) -> None:
        self.any = False
        texts: dict[str, str] = {}
        for globs in named:
            self.any = self.any or not globs or any(glob.text == _EVERY for glob in globs)
            texts.update((glob.text, glob.parts[0]) for glob in globs if glob.text != _EVERY)
        self._beginnings = sorted(set(texts.values()))
        self._known = frozenset(self._beginnings)
        self.vocabulary = Vocabulary(texts)

    def meets(self, glob: Glob) -> bool:
        """Whether some pattern may match what this one does: whether a beginning begins with the other."""
        first = glob.parts[0]
        if any(first[:size] in self._known for size in range(len(first) + 1)):
            return True
        at = bisect_left(self._beginnings, first)
        return at < len(self._beginnings) and self._beginnings[at].startswith(first)


@cache
def _routes_of(catalogue: Catalogue) -> "_Routes":
    return _Routes(catalogue)


class _Routes:
    """The routes of a catalogue, as shapes."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._shapes = [*dict.fromkeys(target.shape for target in targets(catalogue))]
        self._overlaps = Overlaps(self._shapes)
        self._first = {shape.segments[0] for shape in self._shapes if shape.segments}

    def has(self, path: PathPattern | Shape) -> bool:
        """Whether a route has such a path."""
        return self._overlaps.of(path) != 0

    def below_airflow(self, path: PathPattern) -> bool:
        """Whether its first segment is one of Airflow's own: others are the places of plugins."""
        return len(path.segments) > 1 and path.segments[0] in self._first

    def near(self, path: PathPattern) -> str:
        """The path with a near word in place of the one that no route has; "" if there is none.

        Another word of it must be one of a route: the place of a plugin is no slip.
        """
        left, words, made = self._shapes, path.text.split("/"), [*path.segments]
        if sum(isinstance(word, str) for word in made) < _WORDS:
            return ""
        for at, want in enumerate(path.segments):
            fitting = _with(left, at, want)
            if not fitting and isinstance(want, str) and made == [*path.segments]:
                here = (shape.segments[at] for shape in left if len(shape.segments) > at)
                word = Vocabulary({word for word in here if isinstance(word, str) and word}).nearest(want)
                words[at + 1] = made[at] = word
                fitting = _with(left, at, word) if word else []
            if not fitting:
                return ""
            left = fitting
        return "/".join(words) if self.has(Shape(tuple(made), path.rest)) else ""


def _with(left: Iterable[Shape], at: int, want: Segment) -> list[Shape]:
    """The shapes that may have such a segment there."""
    return [shape for shape in left if (segments(shape.segments[at], want) if at < len(shape.segments) else shape.rest)]
