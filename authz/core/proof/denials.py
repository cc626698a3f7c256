"""Finds, among many deny rules, those that may share something with a region.

Law: it finds every rule with which `regions.shared` would find something; others only cost time. A deny rule about DAGs
is kept by what its patterns begin with: two patterns share something only if one beginning begins with the other.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

from authz.core.model import Level, Plane
from authz.core.policy.patterns import Glob
from authz.core.policy.rules import Rule
from authz.core.proof.regions import Region


class Denials:
    """Deny rules of one plane."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._always: list[Rule] = []
        self._by_dag: dict[str, list[Rule]] = defaultdict(list)
        self._by_destination: dict[str, list[Rule]] = defaultdict(list)
        self._of_dags: list[Rule] = []
        self._of_destinations: list[Rule] = []
        for rule in rules:
            if rule.dags:
                self._of_dags.append(rule)
                for begins in {glob.parts[0] for glob in rule.dags}:
                    self._by_dag[begins].append(rule)
            elif rule.destinations:
                self._of_destinations.append(rule)
                for name in rule.destinations:
                    self._by_destination[name].append(rule)
            else:
                self._always.append(rule)
        self._begins = sorted(self._by_dag)

    def __bool__(self) -> bool:
        return bool(self._always or self._of_dags or self._of_destinations)

    def near(self, region: Region) -> Iterator[Rule]:
        """The rules that may share something with the region; some of them twice."""
        yield from self._always
        if region.narrowed and region.shown is None:
            return  # Airflow keeps to what rules about DAGs leave
        if region.plane is Plane.INBOUND and region.dag_at < 0 and not region.any_dag:
            return  # rules about DAGs or destinations have nothing to do with it
        dag = _dag_of(region)
        yield from self._about(dag) if dag is not None else self._of_dags
        if region.destination:
            yield from self._by_destination.get(region.destination, ())
        else:
            yield from self._of_destinations

    def _about(self, dag: str) -> Iterator[Rule]:
        for size in range(len(dag)):
            yield from self._by_dag.get(dag[:size], ())
        for begins in self._begins[bisect_left(self._begins, dag) :]:
            if not begins.startswith(dag):
                return
            yield from self._by_dag[begins]


def _dag_of(region: Region) -> str | None:
    """What the ids of the region's DAGs begin with; None if a rule about DAGs may apply whatever they are."""
    if region.plane is Plane.EGRESS:
        return None if region.level in {None, Level.ASSERTED} else region.dag.parts[0]
    if region.shown is not None:
        return region.shown.parts[0]
    if region.dag_at < 0 or region.reaches_any:
        return None
    segment = region.path[region.dag_at]
    return segment.parts[0] if isinstance(segment, Glob) else segment or ""
