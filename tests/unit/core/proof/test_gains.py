"""Every gain is found: against brute force, over random small policies, all memberships and sampled requests."""

import random
from itertools import combinations
from typing import NamedTuple

import pytest

from authz.core.decision import decide
from authz.core.decision.decide import shows
from authz.core.model import Level, Plane
from authz.core.policy.overlap import Shape
from authz.core.policy.patterns import segment_matches
from authz.core.proof.callers import ANONYMOUS, RUN, Caller, Kind, Membership
from authz.core.proof.gains import Gains
from authz.core.proof.space import Space
from tests.support.factories.small_policies import DAGS, GROUPS, policy, requests


class Asked(NamedTuple):
    """One request, and what its policies have to do with it."""

    request: object
    run: object
    shown: str
    narrowed: bool
    route: object


class Alike(NamedTuple):
    """A set of routes that no rule tells apart; `has_path` if rules can tell its path from others."""

    number: int
    has_path: bool


class Pair:
    """Two policies, the gains that are found, and what counts as alike."""

    def __init__(self, old, new, plane):
        self.old, self.new, self.plane = old, new, plane
        self.gains = [*Gains(old, new, plane).all()]
        self.space = Space(plane, old, new)
        self.alike = {
            (target.method, target.template): Alike(number, any(isinstance(part, Shape) for part in key))
            for number, (key, members) in enumerate(self.space.alike.items())
            for target in members
        }
        self.named = {method for known in (old, new) for rule in known.rules.values() for method in rule.methods}

    def method(self, method):
        """The method that is asked about in place of this one."""
        if method in {*self.space.methods, "CONNECT"}:
            return method
        return "GET" if method == "HEAD" else next(other for other in self.space.methods if other not in self.named)

    def gained(self, caller, asked):
        before, after = (caller.identity(known, asked.run) for known in (self.old, self.new))
        return shows(asked.request, after, self.new, asked.shown) and not shows(
            asked.request, before, self.old, asked.shown
        )

    def is_found(self, caller, asked):
        return any(
            self._has(gain.region, asked) and any(self._has_all(caller, who) for who in gain.callers)
            for gain in self.gains
        )

    def _has(self, region, asked):
        request, run = asked.request, asked.run
        return (
            region.narrowed == asked.narrowed
            and (self._is_route(region, asked) if self.plane is Plane.INBOUND else self._is_path(region, request))
            and (region.host is None or region.host.matches(request.host))
            and (not region.destination or region.destination == request.destination)
            and bool(asked.shown) == (region.shown is not None)
            and (not asked.shown or region.shown.matches(asked.shown))
            and (run is None or (region.dag.matches(run.dag_id) and region.task.matches(run.task_id)))
            and (self.plane is Plane.INBOUND or self._level(run) == region.level)
        )

    def _level(self, run):
        level = run.level if run is not None else None
        if level in self.space.levels:
            return level
        return Level.VERIFIED if level is Level.VERIFIED_BEARER else None

    def _is_path(self, region, request):
        return self.method(request.method) == region.method and fits(region.path, request.segments)

    def _is_route(self, region, asked):
        """Whether the region stands for the request's route, or has its path where there is none."""
        route, request = asked.route, asked.request
        if route is None or not region.template:
            return route is None and not region.template and self._is_path(region, request)
        here = self.alike[self.method(request.method), route.template]
        about = route.dag_id if region.dag_at >= 0 and not region.reaches_any else "~"
        return (
            self.alike[region.method, region.template] == here
            and (about == "~" or segment_matches(region.path[region.dag_at], about))
            and (about == "~") == (route.dag_id in {"", "~"})
            and (not here.has_path or fits(region.path, request.segments))
        )

    def _has_all(self, caller, who):
        """Whether the caller has the memberships of another one, or others that count alike."""
        if caller.anonymous or who.anonymous:
            return caller.anonymous and who.anonymous
        held = {self._counts(membership) for membership in caller.memberships}
        return held.issuperset(map(self._counts, who.memberships))

    def _counts(self, membership):
        alone = Caller("corp", (membership,)).claims()
        return membership.kind, self.old.identify(alone).roles, self.new.identify(alone).roles


def fits(path, segments):
    if len(segments) == len(path):
        return all(segment_matches(want, have) for want, have in zip(path, segments, strict=True))
    return path[-1:] in {(None,), ("",)} and len(segments) > len(path)


def everybody(run):
    """Every caller that the policies can tell from others."""
    if run is not None and run.level is not Level.ASSERTED:
        yield RUN
        return
    yield ANONYMOUS
    for size in range(len(GROUPS) + 1):
        for groups in combinations(GROUPS, size):
            for client in ((), (Membership(Kind.CLIENT, "c0"),)):
                yield Caller("corp", (*(Membership(Kind.GROUP, group) for group in groups), *client))


def questions(rng, pair, count):
    """Requests and callers, in every way that they can be asked."""
    for request, run in requests(rng, pair.plane, count):
        route = decide.route_of(request, pair.new)
        for caller in everybody(run):
            narrowed = decide.narrows(request, caller.identity(pair.new, run), route)
            for shown in ["", *(DAGS if narrowed else [])]:
                yield caller, Asked(request, run, shown, narrowed, route)


def pairs(first, count, plane):
    """Policies that are often not far from each other, each by its number."""
    for number in range(first, first + count):
        rng = random.Random(number)  # noqa: S311 drawn again from its number
        written, old = policy(rng, plane.value)
        _, new = policy(rng, plane.value, written)
        yield number, rng, Pair(old, new, plane)


def none_is_missed(first, count, plane, asked_each):
    """How many gains were compared."""
    compared = 0
    for number, rng, pair in pairs(first, count, plane):
        for caller, asked in questions(rng, pair, asked_each):
            if pair.gained(caller, asked):
                assert pair.is_found(caller, asked), (number, caller, asked, pair.gains)
                compared += 1
    return compared


@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", range(5))
def test_every_gain_is_found(plane, block):
    assert none_is_missed(block * 20, 20, plane, 40) > 20


@pytest.mark.full
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", range(10))
def test_every_gain_of_ten_thousand_pairs_is_found(plane, block):
    assert none_is_missed(10_000 + block * 500, 500, plane, 8) > 100
