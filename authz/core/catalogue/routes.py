"""The catalogue's records, and the lookup from a request to its operation.

Law: data and one pure lookup. A request is matched segment by segment, on decoded segments: a literal is equal, `{x}`
takes one segment that is not empty, `{x:path}` takes the rest, at least one segment, even if that is empty
(`/api/v2/pools/`). If several routes fit, the first in the data wins, per method, as in Starlette: the data is in
Airflow's order. The cost of a lookup depends on the path's length, not on the number of routes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from authz.core.model import made_per_request

ANY_DAG = "~"
"""The DAG id that means "any DAG, or several": Airflow's own wildcard in a path, and the value for a route that reaches
DAGs which its path does not name."""
READ: Final = ":read"
"""The end of the names of operations that only read."""
ONE_DAG: Final = "{dag_id}"
"""The DAG of a route that is about the one that its path names."""
CHANGE: Final = ":change"
"""The end of words for operations that are not only reads; no operation has it."""
TASKS_ONLY: Final = "execution:call"
"""The operation of Airflow's execution API, which no rule can allow."""


@made_per_request
class Route:
    """What a request asks for: its operation, the template that it matched, and the DAG that it names.

    `dag_id` is "" if no DAG is concerned and `~` if it may be any DAG. `narrowed` applies only to `~`: there Airflow's
    own checks limit what is shown or done to the DAGs that the caller may use.
    """

    operation: str
    template: str
    dag_id: str = ""
    narrowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRoute:
    """One method and path template of an operation; `literal` when the template has no parameter.

    `dag` is `{dag_id}` if it is about the DAG that its path names, `~` if it reaches others too, and "" if it concerns
    none. `narrowed`: where the DAG is `~`, by `dag` or because the path says so, Airflow keeps to the permitted DAGs.
    """

    method: str
    template: str
    literal: bool
    dag: str = ""
    narrowed: bool = False

    @property
    def open(self) -> bool:
        """Whether it reaches DAGs that its path does not name, and Airflow does not limit it to permitted DAGs."""
        return self.dag == ANY_DAG and not self.narrowed


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An Airflow route that deliberately has no operation: only a rule about `paths` can allow it."""

    method: str
    template: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A named group of routes, `dag_runs:create`: what a policy grants.

    `airflow_role` is the lowest of Airflow's `viewer`, `user`, `op`, `admin` that may do it by FAB's default roles.
    `public` means that Airflow itself answers it to anyone. `never` means that no wildcard includes it.
    `changes`: it may do something, so that it is no read; what the data does not say otherwise of counts.
    """

    name: str
    help: str
    airflow_role: str
    public: bool = False
    never: bool = False
    changes: bool = True
    routes: tuple[OperationRoute, ...] = ()

    @property
    def literal(self) -> bool:
        """Return whether none of its routes has a parameter."""
        return all(route.literal for route in self.routes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The end of one route in the trie. `dag` is the index of the segment that names the DAG, or a fixed DAG id.

    `narrowed` applies if that DAG is `~`, as in `Route`.
    """

    order: int
    operation: str
    template: str
    dag: int | str
    narrowed: bool = False

    def route(self, segments: tuple[str, ...]) -> Route:
        """Return the route that these segments take here."""
        dag_id = self.dag if isinstance(self.dag, str) else segments[self.dag]
        narrowed = self.narrowed and dag_id == ANY_DAG
        return Route(operation=self.operation, template=self.template, dag_id=dag_id, narrowed=narrowed)


@dataclass(slots=True, kw_only=True)
class Node:
    """One node in the trie of one method's templates. `build` fills it; it never changes after that."""

    literals: dict[str, "Node"] = field(default_factory=dict)
    parameter: "Node | None" = None
    rest: Endpoint | None = None
    here: Endpoint | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalogue:
    """The routes of one Airflow version. `tries` has one trie per method; a path that is in none has no operation.

    Compared by identity: a version is read once, and what is derived from it is computed once.

    `menu` has, for each item of Airflow's menu, the path (as segments) that its page needs to GET.
    """

    version: str
    operations: Mapping[str, Operation]
    tries: Mapping[str, Node] = field(repr=False)
    menu: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    left_out: tuple[LeftOut, ...] = field(default=(), repr=False)

    def match(self, segments: tuple[str, ...], method: str) -> Route | None:
        """Return the route of a canonical path and method, or None if there is none."""
        root = self.tries.get(method)
        endpoint = _find(root, segments, 0) if root is not None else None
        return endpoint.route(segments) if endpoint is not None else None


def _find(node: Node, segments: tuple[str, ...], position: int) -> Endpoint | None:
    """Return the first endpoint, in the data's order, that the segments from `position` on reach from `node`."""
    if position == len(segments):
        return node.here
    segment = segments[position]
    found = node.rest
    child = node.literals.get(segment)
    if child is not None:
        found = _first(found, _find(child, segments, position + 1))
    if node.parameter is not None and segment:
        found = _first(found, _find(node.parameter, segments, position + 1))
    return found


def _first(one: Endpoint | None, other: Endpoint | None) -> Endpoint | None:
    if one is None or (other is not None and other.order < one.order):
        return other
    return one
