"""Regions: sets of requests that patterns describe, and what a region shares with a rule.

Law: exact. A region is a box: one method, and a pattern for each other part of a request. `of_rule` gives regions that
together are all requests that the rule may apply to; `shared` gives what a region shares with a rule.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from typing import Final, NamedTuple

from authz.core.catalogue import ANY_DAG
from authz.core.model import Level, Plane
from authz.core.policy.index import METHOD_KEYS
from authz.core.policy.outbound import SATISFIED, in_tunnel, is_tunnel
from authz.core.policy.overlap import Segment, Shape, glob_of, globs, hosts, segments, shape_of, shapes
from authz.core.policy.patterns import Glob, HostPattern
from authz.core.policy.rules import Rule
from authz.core.policy.targets import Target
from authz.core.proof.space import Named, Space
from authz.core.proof.upgrades import text_of
from authz.core.request.path import CONNECT

EVERY: Final = glob_of("*")
_SURE: Final = frozenset({Level.VERIFIED, Level.VERIFIED_BEARER})


class Region(NamedTuple):
    """Requests of one method whose parts match patterns. `host` is None for every host.

    `pattern` is the rule's path pattern that `path` is made of, "" if it has none.

    Inbound: `template` is that of the route, which stands for all that are alike (`Space.alike`); it and `operation`
    are "" outside of the catalogue; `was` is what another catalogue has there, if there are two. `dag_at` is the
    segment that names the DAG, or -1. `any_dag`: the route may reach any DAG whatever its path says. `narrowed`:
    Airflow, in one of the catalogues, narrows the request to the caller's DAGs; `shown` then asks for those that it
    shows, None for whether it may be asked at all.

    Egress: `path` is () in a tunnel. `destination` is "" for a call to any; `level` is None if no run is known, else
    `dag` and `task` are those of the run.
    """

    plane: Plane
    method: str
    host: HostPattern | None = None
    path: tuple[Segment, ...] = ()
    pattern: str = ""
    operation: str = ""
    template: str = ""
    dag_at: int = -1
    any_dag: bool = False
    narrowed: bool = False
    shown: Glob | None = None
    destination: str = ""
    level: Level | None = None
    dag: Glob = EVERY
    task: Glob = EVERY
    was: Target | None = None

    @property
    def reaches_any(self) -> bool:
        """Whether its requests may reach any DAG."""
        return self.any_dag or (self.dag_at >= 0 and self.path[self.dag_at] == ANY_DAG)

    @property
    def of_runs(self) -> bool:
        """Whether only a run with its own token may ask: accounts assert runs in proofs, which no tunnel has."""
        return self.level in _SURE or (self.level is not None and self.method == CONNECT)

    def before(self) -> "Region":
        """The region as the other catalogue has it."""
        if self.was is None:
            return self
        was = self.was
        seen = self._replace(
            operation=was.operation, template=was.template, dag_at=was.dag_at, any_dag=was.any_dag, was=None
        )
        return seen if was.narrows(self.path) else seen._replace(narrowed=False, shown=None)


def of_rule(rule: Rule, plane: Plane, space: Space, *, changed: bool = False) -> Iterator[Region]:
    """Regions that are, together, all requests of the plane that an allow rule or a public one may apply to.

    With `changed`, only those of routes about which two catalogues differ.
    """
    if changed:
        return _routed(rule, space, space.changed)
    return _inbound(rule, space) if plane is Plane.INBOUND else _egress(rule, space)


def _inbound(rule: Rule, space: Space) -> Iterator[Region]:
    yield from _routed(rule, space, space.targets)
    if not rule.operations and not rule.dags:
        methods = [method for method in space.methods if _has_method(rule, method)]
        for (path, pattern), host, method in product(_paths_of(rule, space), rule.hosts or (None,), methods):
            yield Region(plane=Plane.INBOUND, method=method, host=host, path=path, pattern=pattern)


def _routed(rule: Rule, space: Space, targets: Iterable[Target]) -> Iterator[Region]:
    names = space.named.by(rule)
    unnamed = not rule.operations and not rule.dags
    for target in targets:
        if not (target.operation in names or (unnamed and not target.operation)) or not _has_method(
            rule, target.method
        ):
            continue
        wanted = [(made, path.text) for path in rule.paths for made in shapes(shape_of(path), target.shape)]
        for shape, pattern in wanted if rule.paths else [(target.shape, "")]:
            for path, host in product(space.depths(shape), rule.hosts or (None,)):
                region = Region(
                    plane=Plane.INBOUND,
                    method=target.method,
                    host=host,
                    path=path,
                    pattern=pattern if target.operation or target.was is None else text_of(shape, target.was.template),
                    operation=target.operation,
                    template=target.template,
                    dag_at=target.dag_at,
                    any_dag=target.any_dag,
                    was=target.was,
                )
                yield from _about_dags(rule, region, target)


def _paths_of(rule: Rule, space: Space) -> list[tuple[tuple[Segment, ...], str]]:
    """Paths of fixed lengths that stand for those of the rule, each with the pattern that it is of."""
    wanted = [(shape_of(path), path.text) for path in rule.paths] or [(Shape((), rest=True), "")]
    return [(path, pattern) for shape, pattern in wanted for path in space.depths(shape)]


def _about_dags(rule: Rule, region: Region, target: Target) -> Iterator[Region]:
    """The region, split by whether it names a DAG in either catalogue, and limited to the rule's `dags`."""
    named = rule.dags or (EVERY,)
    for made in _split(region, target):
        if made.reaches_any:
            yield from _reaching_any(rule, made, target)
        elif made.dag_at >= 0:
            for glob in named:
                for segment in segments(made.path[made.dag_at], None if glob == EVERY else glob):
                    yield from _as_narrowed_before(_with_segment(made, made.dag_at, segment), target)
        elif not rule.dags:
            yield from _as_narrowed_before(made, target)


def _split(region: Region, target: Target) -> Iterator[Region]:
    """The region with `~` in place of each segment that names a DAG and may be that, and without."""
    found = [region]
    for at in {one.dag_at for one in (target, target.was) if one is not None and not one.any_dag} - {-1}:
        wide = [made for made in found if made.path[at] != ANY_DAG and segments(made.path[at], ANY_DAG)]
        found = [*(_with_segment(made, at, ANY_DAG) for made in wide), *found]
    return iter(found)


def _reaching_any(rule: Rule, region: Region, target: Target) -> Iterator[Region]:
    narrows, whole = target.narrows(region.path), not rule.dags or EVERY in rule.dags  # else it never allows any DAG
    if whole and narrows:
        yield region
    elif whole:
        yield from _as_narrowed_before(region, target)
    if narrows:
        was = target.was
        shown = () if was is not None and was.names_a_dag(region.path) else rule.dags or (EVERY,)
        yield from (region._replace(narrowed=True, shown=glob) for glob in (None, *shown))


def _as_narrowed_before(region: Region, target: Target) -> Iterator[Region]:
    """The region, which Airflow does not narrow, and what becomes of it where the other Airflow does.

    Where one of them is about a DAG that the path names, they show different things, and no DAG is compared.
    """
    yield region
    if target.was is not None and target.was.narrows(region.path):
        shown = () if target.names_a_dag(region.path) else (EVERY,)
        yield from (region._replace(narrowed=True, shown=glob) for glob in (None, *shown))


def _with_segment(region: Region, at: int, segment: Segment) -> Region:
    path = (*region.path[:at], segment, *region.path[at + 1 :])
    return region._replace(path=path)


def _has_method(rule: Rule, method: str) -> bool:
    return not rule.methods or any(word in METHOD_KEYS[method] for word in rule.methods)


def _egress(rule: Rule, space: Space) -> Iterator[Region]:
    tunnel = is_tunnel(rule.methods)
    methods = [CONNECT] if tunnel else [method for method in space.methods if _has_method(rule, method)]
    paths = _paths_of(rule, space)
    for method, host, destination in product(methods, rule.hosts or (None,), rule.destinations or ("",)):
        region = Region(plane=Plane.EGRESS, method=method, host=host, destination=destination)
        for path, pattern in [((), "")] if method == CONNECT else paths:
            yield from _about_runs(rule, region._replace(path=path, pattern=pattern), space)


def _about_runs(rule: Rule, region: Region, space: Space) -> Iterator[Region]:
    least = rule.identity
    known = dict.fromkeys(map(in_tunnel, space.levels)) if region.method == CONNECT else space.levels
    levels = [one for one in known if least is None or (one is not None and least in SATISFIED[one])]
    for level, dag, task in product(levels, rule.dags or (EVERY,), rule.tasks or (EVERY,)):
        yield region._replace(level=level, dag=dag, task=task)


def of_denial(rule: Rule, plane: Plane, space: Space) -> Iterator[Region]:
    """Regions that are, together, all requests of the plane that a deny rule applies to."""
    wide = replace(rule, dags=(), tasks=())
    every = [wide] if plane is Plane.INBOUND or is_tunnel(rule.methods) else [wide, replace(wide, methods=(CONNECT,))]
    for one in every:
        for region in of_rule(one, plane, space):
            yield from shared(region, rule, space.named)


def shared_before(region: Region, rule: Rule, named: Named) -> Iterator[Region]:
    """What the region shares with the requests that a deny rule of the other catalogue applies to."""
    if region.was is None:
        yield from shared(region, rule, named)
        return
    before = region.before()
    for part in shared(before, rule, named):
        shown = part.shown if before.narrowed else region.shown
        yield region._replace(host=part.host, path=part.path, shown=shown)


def shared(region: Region, rule: Rule, named: Named) -> Iterator[Region]:
    """Regions that are, together, what the region shares with the requests that a deny rule applies to.

    `named` has the operations of the rule's catalogue, which is that of the region.
    """
    if region.plane not in rule.planes or not _same_method(region, rule):
        return
    if rule.operations and region.operation not in named.by(rule):
        return
    if rule.destinations and region.destination and region.destination not in rule.destinations:
        return
    destinations = (region.destination,) if region.destination or not rule.destinations else rule.destinations
    for destination, host, path in product(destinations, _hosts(region, rule), _paths(region, rule)):
        made = region._replace(destination=destination, host=host, path=path)
        yield from _shared_dags(made, rule) if region.plane is Plane.INBOUND else _shared_runs(made, rule)


def _same_method(region: Region, rule: Rule) -> bool:
    if region.method == CONNECT:
        return True  # a deny rule applies to tunnels whatever its methods are
    return _has_method(rule, region.method) and not is_tunnel(rule.methods)


def _hosts(region: Region, rule: Rule) -> Iterator[HostPattern | None]:
    for host in rule.hosts or (None,):
        yield from hosts(region.host, host)


def _paths(region: Region, rule: Rule) -> Iterator[tuple[Segment, ...]]:
    if region.method == CONNECT or not rule.paths:
        yield region.path
        return
    for path in rule.paths:
        yield from (made.segments for made in shapes(Shape(region.path), shape_of(path)))


def _shared_dags(region: Region, rule: Rule) -> Iterator[Region]:
    if not rule.dags:
        yield region
    elif region.narrowed:
        wanted = () if region.shown is None else (region.shown,)  # Airflow keeps to what deny rules leave
        yield from (
            region._replace(shown=both) for glob in rule.dags for shown in wanted for both in globs(shown, glob)
        )
    elif region.reaches_any:
        yield region
    elif region.dag_at >= 0:
        for glob in rule.dags:
            for segment in segments(region.path[region.dag_at], None if glob == EVERY else glob):
                yield _with_segment(region, region.dag_at, segment)


def _shared_runs(region: Region, rule: Rule) -> Iterator[Region]:
    if region.level is None or region.level is Level.ASSERTED:
        yield region
        return
    dags = [both for glob in rule.dags or (EVERY,) for both in globs(region.dag, glob)]
    tasks = [both for glob in rule.tasks or (EVERY,) for both in globs(region.task, glob)]
    yield from (region._replace(dag=dag, task=task) for dag, task in product(dags, tasks))
