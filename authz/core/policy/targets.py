"""The routes of a catalogue as shapes: what an operation is about, for questions about all requests at once.

Law: data only, read from the catalogue's own tries, so that nothing is said here that a lookup would not find.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from authz.core.catalogue import ANY_DAG, Catalogue
from authz.core.catalogue.routes import Endpoint, Node
from authz.core.policy.overlap import Segment, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One method and path template of an operation.

    `dag_at` is the segment that names the DAG, -1 if none does; it may say `~`, any DAG. `any_dag`: the route may
    reach any DAG whatever its path says. `narrowed`: where it may, Airflow keeps to the caller's DAGs.

    `was` is what another catalogue makes of the same requests, if there are two (`authz.core.proof.upgrades`).
    `operation` and `template` are "" where a catalogue has no route.
    """

    operation: str
    method: str
    template: str
    shape: Shape
    dag_at: int = -1
    any_dag: bool = False
    narrowed: bool = False
    was: "Target | None" = None

    def names_a_dag(self, path: tuple[Segment, ...]) -> bool:
        """Whether the path of a request names the only DAG that it is about."""
        return self.dag_at >= 0 and not self.any_dag and path[self.dag_at] != ANY_DAG

    def narrows(self, path: tuple[Segment, ...]) -> bool:
        """Whether Airflow keeps the request to the caller's DAGs."""
        return self.narrowed and (self.any_dag or (self.dag_at >= 0 and path[self.dag_at] == ANY_DAG))


def targets(catalogue: Catalogue) -> Iterator[Target]:
    """Every route of the catalogue; what GET reads, HEAD reads too."""
    for method, root in catalogue.tries.items():
        for shape, end in _ends(root, ()):
            yield Target(
                operation=end.operation,
                method=method,
                template=end.template,
                shape=shape,
                dag_at=end.dag if isinstance(end.dag, int) else -1,
                any_dag=end.dag == ANY_DAG,
                narrowed=end.narrowed,
            )


def _ends(node: Node, path: tuple[Segment, ...]) -> Iterator[tuple[Shape, Endpoint]]:
    if node.here is not None:
        yield Shape(path), node.here
    if node.rest is not None:
        yield Shape(path, rest=True), node.rest
    for segment, below in node.literals.items():
        yield from _ends(below, (*path, segment))
    if node.parameter is not None:
        yield from _ends(node.parameter, (*path, None))
