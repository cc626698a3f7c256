"""A request that people can try for themselves: what `authz check` is asked to see a gain or a loss.

Law: the engine answered this very request, under both policies, as the report says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.catalogue import ANY_DAG
from authz.core.model import Level, Plane
from authz.core.proof.callers import Caller, Kind
from authz.core.proof.points import Point, real
from authz.core.proof.regions import Region
from authz.core.request.path import CONNECT, written

_PORT: Final = ":443"  # a tunnel is asked for with a port, which no rule looks at
_OPTIONS: Final = {Kind.GROUP: "--group", Kind.CLIENT: "--client", Kind.SUBJECT: "--as"}


@dataclass(frozen=True, slots=True)
class Witness:
    """The words after `authz check`; `shows` is the DAG that a narrowed list shows, "" for none."""

    words: tuple[str, ...]
    shows: str = ""


def witness(region: Region, caller: Caller, differs: Callable[[Caller, Point], bool]) -> Witness | None:
    """The first request of the region that `differs`; None if none of those that were tried does."""
    for at in real(region):
        if differs(caller, at):
            return Witness((*_request(at), *_caller(caller, at)), "" if at.shown == ANY_DAG else at.shown)
    return None


def _request(at: Point) -> Iterator[str]:
    request = at.request
    yield request.method
    if request.method == CONNECT:
        yield request.host + _PORT
    else:
        yield written(request.segments)
        yield from ("--host", request.host)
    if request.plane is Plane.EGRESS:
        yield from ("--plane", "egress")
        if request.destination:
            yield from ("--destination", request.destination)
    elif request.narrowed:
        yield "--narrowed"


def _caller(caller: Caller, at: Point) -> Iterator[str]:
    for membership in caller.memberships:
        yield from (_OPTIONS[membership.kind], membership.value)
    if caller.issuer:
        yield from ("--issuer", caller.issuer)
        if not caller.memberships:
            yield from ("--as", "someone")
    if at.run is not None:
        yield from ("--dag", at.run.dag_id, "--task", at.run.task_id)
        if at.run.level is not Level.ASSERTED or not caller.issuer:
            yield from ("--identity", at.run.level.value)
