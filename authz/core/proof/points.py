"""The request that stands for a region: each `*` and `{x}` is a character that no pattern holds (`Space.symbol`).

Law: what matches the stand-in matches every request of the region. A stand-in is no real request; `real` makes one.
"""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from authz.core.model import Level, Request, Run
from authz.core.policy.overlap import Segment, glob_of
from authz.core.policy.patterns import Glob, HostPattern
from authz.core.proof.regions import EVERY, Region
from authz.core.request.path import CONNECT

_DAG: Final = glob_of("example_dag")
_TEXTS: Final = (*reversed(string.ascii_lowercase), "zqx", "qzj9", "zxqk-j7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One request; `run` is the calling run, `shown` the DAG that a narrowed list is asked for, "" for none."""

    request: Request
    run: Run | None = None
    shown: str = ""


def point(region: Region, symbol: str) -> Point:
    """The region's point in which each wildcard is the symbol."""
    segments = tuple(_text(segment, symbol) for segment in region.path)
    request = Request(
        plane=region.plane,
        method=region.method,
        host=_host(region.host, symbol),
        port=None,
        path="" if region.method == CONNECT else "/" + "/".join(segments),
        segments=segments,
        narrowed=region.narrowed,
        destination=region.destination,
    )
    run = None if region.level is None else _run(region.dag, region.task, region.level, symbol)
    return Point(request=request, run=run, shown=_text(region.shown, symbol) if region.shown is not None else "")


def real(region: Region) -> Iterator[Point]:
    """Requests of the region that people can try, the most readable first; some of them may be of others too."""
    readable = _of_one_dag(region)
    if readable != region:
        yield point(readable, _TEXTS[0])
    yield from (point(region, text) for text in _TEXTS)


def _of_one_dag(region: Region) -> Region:
    """The region with a DAG that reads like one wherever any may stand."""
    path, at = region.path, region.dag_at
    if at >= 0 and path[at] in {None, EVERY}:
        path = (*path[:at], _DAG.text, *path[at + 1 :])
    dag = _DAG if region.dag == EVERY and region.level is not None else region.dag
    return region._replace(path=path, dag=dag, shown=_DAG if region.shown == EVERY else region.shown)


def _text(segment: Segment, symbol: str) -> str:
    if segment is None:
        return symbol
    return segment if isinstance(segment, str) else segment.text.replace("*", symbol)


def _host(host: HostPattern | None, symbol: str) -> str:
    return symbol if host is None else host.text.replace("*", symbol)


def _run(dag: Glob, task: Glob, level: Level, symbol: str) -> Run:
    return Run(_text(dag, symbol), symbol, _text(task, symbol), -1, 1, level)
