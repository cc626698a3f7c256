"""From a catalogue's file to the compiled catalogue.

Law: strict. Anything misspelt, duplicated, unused or contradictory is an error, because a route with the wrong
operation is a wrong allow. Mistakes in the YAML are a `ProblemsError`; mistakes in the data are a `ValueError`
(pydantic's `ValidationError` is one). The order of the routes is kept.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from authz.core.catalogue.routes import (
    CHANGE,
    ONE_DAG,
    READ,
    Catalogue,
    Endpoint,
    LeftOut,
    Node,
    Operation,
    OperationRoute,
)
from authz.core.documents import yaml_document
from authz.core.errors import ProblemsError, RequestError
from authz.core.request.path import canonicalise

_OperationName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]*:[a-z][a-z_]*$")]
_MenuItem = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z_]*$")]
_Sentence = Annotated[str, StringConstraints(min_length=1)]
_Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_parameter = re.compile(r"\{([a-z_]+)(:path)?\}").fullmatch


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _OperationRecord(_Record):
    help: _Sentence
    airflow_role: Literal["viewer", "user", "op", "admin"]
    public: bool = False
    never: bool = False
    changes: bool = True


class _RouteRecord(_Record):
    """`dag` is "~" for a route that reaches DAGs which its path does not name; else `{dag_id}` names the DAG.

    `narrowed`: where the DAG is `~`, by `dag` or because the path says so, Airflow keeps to the permitted DAGs.
    `why` is for people. `review` is a script's note on a route that a person has not yet reviewed.
    """

    path: str
    methods: Annotated[dict[_Method, _OperationName], Field(min_length=1)]
    dag: Literal["~"] | None = None
    narrowed: bool = False
    why: _Sentence | None = None
    review: _Sentence | None = None


class _LeftOutRecord(_Record):
    """An Airflow route that deliberately has no operation."""

    path: str
    methods: Annotated[Sequence[_Method], Field(min_length=1)]
    why: _Sentence


class _Document(_Record):
    version: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+$")]
    operations: dict[_OperationName, _OperationRecord]
    routes: Sequence[_RouteRecord]
    menu: dict[_MenuItem, str] = {}
    no_operation: Sequence[_LeftOutRecord] = ()


def read(content: bytes, file: str, version: str) -> Catalogue:
    """Compile the catalogue file for `version`. Raises ProblemsError or ValueError."""
    document = yaml_document.parse(content, file)
    if document.problems:
        raise ProblemsError(document.problems)
    return build(document.data, version)


def build(data: object, version: str) -> Catalogue:
    """Compile the data of a catalogue file for `version`. Raises ValueError."""
    document = _Document.model_validate(data)
    if document.version != version:
        raise ValueError(f"the catalogue for {version} says that it is for {document.version}")
    _all_reviewed(document.routes)
    _plain_actions(document.operations)
    tries: dict[str, Node] = {}
    listed: dict[str, list[OperationRoute]] = {name: [] for name in document.operations}
    for order, record in enumerate(document.routes):
        template = _segments(record.path)
        dag = record.dag or _dag_position(template)
        if record.narrowed and dag == "":
            raise ValueError(f"{record.path}: narrowed, but it concerns no DAG")
        for method, operation in record.methods.items():
            if operation not in listed:
                raise ValueError(f"{record.path}: unknown operation {operation}")
            endpoint = Endpoint(
                order=order, operation=operation, template=record.path, dag=dag, narrowed=record.narrowed
            )
            _insert(tries.setdefault(method, Node()), template, endpoint)
            literal = not any(map(_parameter, template))
            route = OperationRoute(
                method=method,
                template=record.path,
                literal=literal,
                dag=dag if isinstance(dag, str) else ONE_DAG,
                narrowed=record.narrowed,
            )
            listed[operation].append(route)
    if unused := sorted(name for name, routes in listed.items() if not routes):
        raise ValueError(f"operations without a route: {', '.join(unused)}")
    left_out = tuple(_left_out(document, listed))
    if "GET" in tries:
        tries["HEAD"] = tries["GET"]
    made = Catalogue(
        version=document.version,
        operations=_operations(document, listed),
        tries=MappingProxyType(tries),
        left_out=left_out,
        menu=MappingProxyType({item: tuple(path[1:].split("/")) for item, path in document.menu.items()}),
    )
    for item, segments in made.menu.items():
        if not _is_canonical(document.menu[item]) or made.match(segments, "GET") is None:
            raise ValueError(f"menu {item}: {document.menu[item]} is not a route")
    return made


def _all_reviewed(routes: Sequence[_RouteRecord]) -> None:
    """Refuse a file with open decisions for a person: a script's proposal is not a decision."""
    if waiting := [record.path for record in routes if record.review]:
        raise ValueError(f"{len(waiting)} routes wait for a person's decision (`review`): {', '.join(waiting)}")


def _plain_actions(operations: Mapping[str, _OperationRecord]) -> None:
    """Refuse an action that is the word for all that change something, and a mark that says what the name says."""
    if taken := sorted(name for name in operations if name.endswith(CHANGE)):
        raise ValueError(f"the action `change` stands for all operations that are not reads: {', '.join(taken)}")
    if twice := sorted(name for name, one in operations.items() if not one.changes and name.endswith(READ)):
        raise ValueError(f"a read never changes anything, so remove `changes`: {', '.join(twice)}")


def _left_out(document: _Document, listed: Mapping[str, list[OperationRoute]]) -> Iterator[LeftOut]:
    routes = {(route.method, route.template) for routes in listed.values() for route in routes}
    for record in document.no_operation:
        _segments(record.path)
        for method in record.methods:
            if (method, record.path) in routes:
                raise ValueError(f"{method} {record.path}: it has an operation, and is listed under no_operation")
            yield LeftOut(method=method, template=record.path, why=record.why)


def _operations(document: _Document, listed: Mapping[str, list[OperationRoute]]) -> Mapping[str, Operation]:
    return MappingProxyType(
        {
            name: Operation(
                name=name,
                help=record.help,
                airflow_role=record.airflow_role,
                public=record.public,
                never=record.never,
                changes=record.changes and not name.endswith(READ),
                routes=tuple(listed[name]),
            )
            for name, record in document.operations.items()
        }
    )


def _segments(path: str) -> tuple[str, ...]:
    """Return a template's segments; literals must be canonical as they stand, `{x:path}` only the last one."""
    segments = tuple(path.removeprefix("/").split("/"))
    sample = "/" + "/".join("x" if _parameter(segment) else segment for segment in segments)
    if not path.startswith("/") or not _is_canonical(sample):
        raise ValueError(f"{path}: not a canonical path template")
    names = [match[1] for match in map(_parameter, segments) if match]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: a parameter is named twice")
    if any(_takes_the_rest(segment) for segment in segments[:-1]):
        raise ValueError(f"{path}: only the last parameter may hold slashes")
    return segments


def _is_canonical(path: str) -> bool:
    try:
        return "%" not in path and canonicalise(path).path == path
    except RequestError:
        return False


def _takes_the_rest(segment: str) -> bool:
    match = _parameter(segment)
    return match is not None and match[2] is not None


def _dag_position(template: tuple[str, ...]) -> int | str:
    return template.index(ONE_DAG) if ONE_DAG in template else ""


def _insert(node: Node, template: tuple[str, ...], endpoint: Endpoint) -> None:
    for segment in template:
        if _takes_the_rest(segment):
            if node.rest is not None:
                raise ValueError(f"{endpoint.template}: the same as {node.rest.template}")
            node.rest = endpoint
            return
        if _parameter(segment):
            node.parameter = node.parameter or Node()
            node = node.parameter
        else:
            node = node.literals.setdefault(segment, Node())
    if node.here is not None:
        raise ValueError(f"{endpoint.template}: the same as {node.here.template}")
    node.here = endpoint
