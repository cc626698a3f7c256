"""Every gain is found, and each is true: brute force, random small policies, all memberships, sampled requests."""

import random
from dataclasses import replace
from itertools import combinations, product
from typing import NamedTuple

import pytest

from authz.core.decision import decide
from authz.core.decision.decide import shows
from authz.core.model import Level, Plane
from authz.core.policy.outbound import in_tunnel
from authz.core.policy.patterns import segment_matches
from authz.core.proof.callers import ANONYMOUS, RUN, Caller, Kind, Membership
from authz.core.proof.gains import Gains
from authz.core.proof.space import Space
from authz.core.request.path import CONNECT
from tests.support.factories.small_policies import CLIENTS, DAGS, GRANTS, GROUPS, SUBJECTS, policy, requests

MOST_CALLERS = 12  # of each request


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
        self.question = Gains(old, new, plane)
        self.gains = [*self.question.all()]
        self.issuers = [issuer.name for issuer in old.issuers.values() if plane in issuer.audiences]
        self.identities = {}
        self.space = Space(plane, old, new)
        self.alike = {
            (target.method, target.template): Alike(number, key[-1] is not None)
            for number, (key, members) in enumerate(self.space.alike.items())
            for target in members
        }
        self.named = {method for known in (old, new) for rule in known.rules.values() for method in rule.methods}

    def method(self, method):
        """The method that is asked about in place of this one."""
        if method in {*self.space.methods, "CONNECT"}:
            return method
        return "GET" if method == "HEAD" else next(other for other in self.space.methods if other not in self.named)

    def identity(self, caller, known, run):
        key = caller, known is self.old, run
        if key not in self.identities:
            self.identities[key] = caller.identity(known, run)
        return self.identities[key]

    def gained(self, caller, asked):
        before, after = (self.identity(caller, known, asked.run) for known in (self.old, self.new))
        return shows(asked.request, after, self.new, asked.shown) and not shows(
            asked.request, before, self.old, asked.shown
        )

    def is_found(self, caller, asked):
        return any(
            self._has(gain.region, asked, caller) and any(self._has_all(caller, who) for who in gain.callers)
            for gain in self.gains
        )

    def is_true(self, gain):
        """Whether the engine answers as the gain says, to all its callers, on the route that it names."""
        at = self.question.at(gain.region)
        route = decide.route_of(at.request, self.new)
        asked = Asked(at.request, at.run, at.shown, gain.region.narrowed, route)
        return (route.template if route is not None else "") == gain.region.template and all(
            self.gained(one, asked) for caller in gain.callers for one in each(caller)
        )

    def _has(self, region, asked, caller):
        request, run = asked.request, asked.run
        return (
            region.narrowed == asked.narrowed
            and (self._is_route(region, asked) if self.plane is Plane.INBOUND else self._is_path(region, request))
            and (region.host is None or region.host.matches(request.host))
            and (not region.destination or region.destination == request.destination)
            and bool(asked.shown) == (region.shown is not None)
            and (not asked.shown or region.shown.matches(asked.shown))
            and (run is None or (region.dag.matches(run.dag_id) and region.task.matches(run.task_id)))
            and (self.plane is Plane.INBOUND or self._level(run, caller, request.method) == region.level)
        )

    def _level(self, run, caller, method):
        """The level of the regions that stand for the run: where no rule tells runs apart, one for all runs."""
        level = run.level if run is not None else None
        if level in self.space.levels:
            return level
        if caller != RUN:
            return None
        return in_tunnel(Level.VERIFIED) if method == CONNECT else Level.VERIFIED

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
        if (caller.issuer, caller.anonymous) != (who.issuer, who.anonymous):
            return False
        held = {self._counts(who.issuer, membership) for membership in caller.memberships}
        return any(held.issuperset(self._counts(who.issuer, m) for m in one.memberships) for one in each(who))

    def _counts(self, issuer, membership):
        alone = Caller(issuer, (membership,))
        return membership.kind, alone.identified(self.old).roles, alone.identified(self.new).roles


def each(caller):
    """The caller, and those who have a membership that does as well as the last one."""
    yield caller
    yield from (replace(caller, memberships=(*caller.memberships[:-1], other)) for other in caller.alike)


def fits(path, segments):
    if len(segments) == len(path):
        return all(segment_matches(want, have) for want, have in zip(path, segments, strict=True))
    return path[-1:] in {(None,), ("",)} and len(segments) > len(path)


def everybody(issuers, run, method=""):
    """Every caller that the policies can tell from others, of those who can ask so."""
    if run is not None and (run.level is not Level.ASSERTED or method == CONNECT):
        return [RUN]
    clients = ((), *(((Membership(Kind.CLIENT, value)),) for value in CLIENTS))
    subjects = ((), *(((Membership(Kind.SUBJECT, value)),) for value in SUBJECTS))
    groups, grants = (
        [
            tuple(Membership(kind, value) for value in chosen)
            for size in range(len(values) + 1)
            for chosen in combinations(values, size)
        ]
        for kind, values in ((Kind.GROUP, GROUPS), (Kind.GRANT, GRANTS))
    )
    every = product(issuers, groups, clients, subjects, grants)
    return [ANONYMOUS, *([] if run is None else [RUN]), *(Caller(one, sum(held, ())) for one, *held in every)]


def questions(rng, pair, count):
    """Requests and callers, in every way that they can be asked."""
    for request, run in requests(rng, pair.plane, count):
        route = decide.route_of(request, pair.new)
        known = everybody(pair.issuers, run, request.method)
        for caller in rng.sample(known, min(len(known), MOST_CALLERS)):
            narrowed = decide.narrows(request, pair.identity(caller, pair.new, run), route)
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
        for gain in pair.gains:
            assert pair.is_true(gain), (number, gain)
        for caller, asked in questions(rng, pair, asked_each):
            if pair.gained(caller, asked):
                assert pair.is_found(caller, asked), (number, caller, asked, pair.gains)
                compared += 1
    return compared


@pytest.mark.no_cover
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", range(5))
def test_every_gain_is_found_and_true(plane, block):
    assert none_is_missed(block * 20, 20, plane, 40) > 10


@pytest.mark.full
@pytest.mark.parametrize("plane", list(Plane))
@pytest.mark.parametrize("block", range(10))
def test_every_gain_of_ten_thousand_pairs_is_found_and_true(plane, block):
    assert none_is_missed(10_000 + block * 500, 500, plane, 8) > 100
